"""A scorer over a release, written as a predictions file: the library side of `bad-robot score`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bad_robot_behavior import scorers
from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.builder.loader import load
from bad_robot_behavior.schema import EndpointSettings, Prediction
from bad_robot_behavior.scorers.run import score_release


def score(
    release: Path, scorer: str, out: Path, *, split: str | None = None, limit: int | None = None, **options: Any
) -> tuple[int, int]:
    """Score the rollouts of a release and write predictions to `out`; (rollouts, those without a curve).

    `options` go to the scorer; for gvl `base_url`, `model`, `api_key_env` and `concurrency` describe its endpoint.
    """
    loaded = load(release, split=split)
    if scorer == "gvl":
        options["client"] = _client(out, options)
    made = scorers.get(scorer, **options)
    total = len(loaded) if limit is None else min(limit, len(loaded))
    errors = 0

    def counted() -> Iterator[Prediction]:
        nonlocal errors
        for prediction in score_release(islice(loaded, total), made, total=total):
            errors += prediction.error is not None
            yield prediction

    rows = predictions.write(out, counted(), predictions.describe(loaded))
    return rows, errors


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
