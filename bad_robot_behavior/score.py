"""A scorer over a release, written as a predictions file: the library side of `bad-robot score`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bad_robot_behavior import scorers
from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.benchmark.checks import INTERVENTIONS
from bad_robot_behavior.benchmark.interventions import Intervention, Reversed, WrongInstruction
from bad_robot_behavior.benchmark.origin import origin
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import EndpointSettings, Prediction
from bad_robot_behavior.scorers.run import score_release

_PLACES = ("base_url", "api_key_env", "client")  # of an endpoint; a predictions file may be published


def score(
    release: Path,
    scorer: str,
    out: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    intervention: str | None = None,
    **options: Any,
) -> tuple[int, int]:
    """Score the rollouts of a release and write predictions to `out`; (rollouts, those without a curve).

    intervention: `wrong_instruction` or `reversed` changes what the scorer is shown (benchmark/interventions.py).
    `options` go to the scorer; for gvl `base_url`, `model`, `api_key_env` and `concurrency` describe its endpoint.
    """
    loaded = load(release, split=split)
    made_with = {"scorer": scorer, "split": split, "limit": limit, "intervention": intervention}
    made_with |= {name: value for name, value in options.items() if name not in _PLACES}
    change = _intervention(loaded, intervention)
    if scorer == "gvl":
        options["client"] = _client(out, options)
    made = scorers.get(scorer, **options)
    total = len(loaded) if limit is None else min(limit, len(loaded))
    errors = 0

    def counted() -> Iterator[Prediction]:
        nonlocal errors
        shown = islice(loaded, total) if change is None else change.show(islice(loaded, total))
        for prediction in score_release(shown, made, total=total):
            errors += prediction.error is not None
            yield prediction if change is None else change.mark(prediction)

    rows = predictions.write(out, counted(), predictions.describe(loaded), origin(made_with))
    return rows, errors


def _intervention(release: Release, name: str | None) -> Intervention | None:
    if name is None:
        return None
    if name == "reversed":
        return Reversed()
    if name != "wrong_instruction":
        raise BadRobotError(f"there is no intervention {name!r}; legal: {', '.join(INTERVENTIONS)}")
    table = release.table("rollouts", columns=["rollout_id", "instruction"])
    return WrongInstruction(dict(zip(*(table[name].to_pylist() for name in table.column_names), strict=True)))


def _client(out: Path, options: dict[str, Any]) -> Any:
    from bad_robot_behavior.vlm.cache import Cache
    from bad_robot_behavior.vlm.openai_client import OpenAIClient

    settings = EndpointSettings(
        base_url=options.pop("base_url"),
        model=options.pop("model"),
        api_key_env=options.pop("api_key_env", None),
        concurrency=options.pop("concurrency", 8),
    )
    # Beside the predictions: a run that is stopped pays for nothing twice.
    return OpenAIClient(settings, Cache(out.with_suffix(".requests.sqlite")))
