"""A scorer over a release, written as a predictions file: the library side of `bad-robot score`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bad_robot_behavior import scorers
from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.benchmark.checks import INTERVENTIONS
from bad_robot_behavior.benchmark.interventions import Intervention, Reversed, WrongInstruction
from bad_robot_behavior.benchmark.origin import origin
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import BadRobotError, BudgetError
from bad_robot_behavior.schema import EndpointSettings, ModelSettings, Prediction
from bad_robot_behavior.scorers.run import score_release
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import CachedClient
from bad_robot_behavior.vlm.choose import DryClient, Limits, Plan, open_client

# Where a model or a file is and what it costs: a predictions file may be published.
_PLACES = (
    *("base_url", "api_key_env", "client", "local_model", "prompt_price", "completion_price"),
    *("prompt_file", "goals", "progress", "episodes", "checkpoint", "frame_model", "text_model"),
)


class Scored(NamedTuple):
    """What came of it. errors: rollouts without a curve; counters: what a model was asked and took; plan: of a dry run,
    what would be asked."""

    rows: int
    errors: int
    counters: Mapping[str, int] = MappingProxyType({})
    plan: Plan | None = None


def score(
    release: Path,
    scorer: str,
    out: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    intervention: str | None = None,
    limits: Limits | None = None,
    ask_again: bool = False,
    dry_run: bool = False,
    **options: Any,
) -> Scored:
    """Score the rollouts of a release and write predictions to `out`.

    intervention: `wrong_instruction` or `reversed` changes what the scorer is shown (benchmark/interventions.py).
    `options` go to the scorer; for one that asks a model (`scorers.asks_model`) those named as fields of
    EndpointSettings describe its endpoint, and `local_model` is a model in this process instead. `limits`, `ask_again`
    and `dry_run` are for these too: what may be asked of the endpoint in all, whether to ask anew what it could not
    answer usably, and whether to count what would be asked and send and write nothing.
    """
    loaded = load(release, split=split)
    made_with = {"scorer": scorer, "split": split, "limit": limit, "intervention": intervention}
    made_with |= {name: value for name, value in options.items() if name not in _PLACES}
    change = _intervention(loaded, intervention)
    client = _client(out, options, limits, ask_again and not dry_run) if scorers.asks_model(scorer) else None
    if client is not None:
        options["client"] = DryClient(client) if dry_run else client
    made = scorers.get(scorer, **options)
    total = len(loaded) if limit is None else min(limit, len(loaded))
    errors = 0

    def counted() -> Iterator[Prediction]:
        nonlocal errors
        shown = islice(loaded, total) if change is None else change.show(islice(loaded, total))
        for prediction in score_release(shown, made, total=total):
            errors += prediction.error is not None
            yield prediction if change is None else change.mark(prediction)

    if dry_run:
        rows = sum(1 for _ in counted())
        dry = options.get("client")
        return Scored(rows=rows, errors=0, plan=dry.plan if isinstance(dry, DryClient) else Plan())
    try:
        rows = predictions.write(out, counted(), predictions.describe(loaded), origin(made_with))
    except BudgetError as error:
        raise BudgetError(
            f"{error}. What was answered is kept beside {out}: run the same command with a higher limit to go on; with "
            "--dry-run it says what is left to ask"
        ) from error
    return Scored(rows=rows, errors=errors, counters=dict(client.counters) if client is not None else {})


def _intervention(release: Release, name: str | None) -> Intervention | None:
    if name is None:
        return None
    if name == "reversed":
        return Reversed()
    if name != "wrong_instruction":
        raise BadRobotError(f"there is no intervention {name!r}; legal: {', '.join(INTERVENTIONS)}")
    table = release.table("rollouts", columns=["rollout_id", "instruction"])
    return WrongInstruction(dict(zip(*(table[name].to_pylist() for name in table.column_names), strict=True)))


def _client(out: Path, options: dict[str, Any], limits: Limits | None, ask_again: bool) -> CachedClient | None:
    """The model that the options mean. Takes out of them what describes it."""
    described = {name: options.pop(name) for name in EndpointSettings.__struct_fields__ if name in options}
    local = options.pop("local_model", None)
    # Beside the predictions: a run that is stopped pays for nothing twice.
    cache = Cache(out.with_suffix(".requests.sqlite"))
    if cache.path.exists():
        Budget(cache).open()
        if ask_again:
            cache.forget_unusable()
    if local is not None:
        return open_client(None, ModelSettings(kind="transformers", path=local), Path(), cache)
    return open_client(EndpointSettings(**described), None, Path(), cache, limits)
