"""What each arm of the ladder gains over no example: paired differences in ordering accuracy, by kind of task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from bad_robot_behavior import __version__
from bad_robot_behavior.benchmark.arms import ARMS, NO_EXAMPLE, Arm, Plan
from bad_robot_behavior.benchmark.intervals import Difference, Statistic, estimate
from bad_robot_behavior.benchmark.metrics import Floats, Ints, Pairs, accuracies, count_pairs, pairs_by_score, returns
from bad_robot_behavior.benchmark.predictions import Predictions, describe
from bad_robot_behavior.benchmark.results import COMBINED, POOLED, Number
from bad_robot_behavior.benchmark.world import World
from bad_robot_behavior.errors import PredictionsError
from bad_robot_behavior.schema import Record, SplitName

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

GroundTruth = Literal["preference", "score"]
BASE = "none"


class Gain(Record, frozen=True, kw_only=True):
    """One arm in one group of task categories, by one ground truth. Ties of the model count as wrong (`strict`)."""

    arm: str
    ground_truth: GroundTruth
    group: str
    accuracy: Number
    """Over all pairs that the arm answered."""
    gain: Number
    """Accuracy of the arm less that of `none`, both over the pairs that both answered, on the same draws of sessions.
    Undefined for `none` itself."""
    pairs: int
    answered: int
    shared: int
    """Pairs that this arm and `none` both answered: what the gain is over."""
    sessions: int
    """Sessions of these: the clusters of its interval."""
    tie_rate: float | None


class LadderResults(Record, frozen=True, kw_only=True):
    """Everything that a run of the ladder found."""

    release: dict[str, str]
    engine_version: str
    split: SplitName
    model: str
    draws: int
    seed: int
    rollouts: int
    sessions: int
    examples: int
    frames: int
    pools: dict[str, int]
    refused: dict[str, int]
    without_example: dict[str, int]
    """Sessions that could be shown nothing, by arm: train holds no example for them."""
    errors: dict[str, int]
    """Rollouts that the model gave no curve for, by arm."""
    gains: tuple[Gain, ...]

    def gain(self, arm: str, group: str = POOLED, ground_truth: GroundTruth = "preference") -> Gain:
        """The row of an arm. Raises KeyError where it was not run."""
        for row in self.gains:
            if (row.arm, row.group, row.ground_truth) == (arm, group, ground_truth):
                return row
        raise KeyError((arm, group, ground_truth))


def compare(
    release: Release, plan: Plan, predictions: Mapping[str, Predictions], *, draws: int = 1000, seed: int = 0
) -> LadderResults:
    """Every arm against `none`, by human preference and by human score, pooled and by group of task categories.

    predictions: by arm. A rollout without a curve leaves its pairs unanswered in that arm and out of that arm's gain.
    Raises PredictionsError where arm `none` is not there.
    """
    if BASE not in predictions:
        raise PredictionsError(f"the ladder needs arm {BASE}: every gain is over it")
    world = World(release, plan.split)
    placed = {name: _placed(world, item) for name, item in predictions.items()}
    chosen = world.preferred != 0
    first, second = world.a[chosen], world.b[chosen]
    a_won = world.preferred[chosen] > 0
    truths: dict[GroundTruth, Pairs] = {
        "preference": Pairs(better=np.where(a_won, first, second), worse=np.where(a_won, second, first)),
        "score": pairs_by_score(world.score, world.session),
    }
    gains = []
    for truth, pairs in truths.items():
        for group, members in world.groups_by_category(world.session[pairs.better]).items():
            gains += _gains(world, placed, truth, group, pairs.better[members], pairs.worse[members], draws, seed)
    return LadderResults(
        release=describe(release),
        engine_version=__version__,
        split=plan.split,
        model=predictions[BASE].model,
        draws=draws,
        seed=seed,
        rollouts=len(world.ids),
        sessions=world.sessions,
        examples=plan.examples,
        frames=plan.frames,
        pools=plan.pools,
        refused=plan.refused,
        without_example={name: _without(world, plan, ARMS[name]) for name in predictions},
        errors={name: sum(e not in (None, NO_EXAMPLE) for e in item.error) for name, item in predictions.items()},
        gains=tuple(gains),
    )


def _without(world: World, plan: Plan, arm: Arm) -> int:
    return 0 if arm.pool is None else world.sessions - len(plan.shown[arm.pool])


def _placed(world: World, item: Predictions) -> Floats:
    """(N,) mean return of each rollout of the world, NaN where there is none."""
    placed = np.full(len(world.ids), np.nan)
    numbers = returns(item.value, item.offset, "mean", item.frame_index)
    for rollout, number in zip(item.rollout_id, numbers, strict=True):
        if rollout in world.row:
            placed[world.row[rollout]] = number
    return placed


def _gains(
    world: World,
    placed: Mapping[str, Floats],
    truth: GroundTruth,
    group: str,
    better: Ints,
    worse: Ints,
    draws: int,
    seed: int,
) -> list[Gain]:
    """One row an arm, all on the same draws of the sessions that have a pair in this group."""
    names, session = np.unique(world.session[better], return_inverse=True)
    statistics: list[Statistic] = []
    counted = []
    for values in placed.values():
        base = placed[BASE]
        shared = ~np.isnan(values[better] + values[worse] + base[better] + base[worse])
        own = count_pairs(values[better], values[worse], session, len(names))
        both = [
            count_pairs(np.where(shared, x[better], np.nan), np.where(shared, x[worse], np.nan), session, len(names))
            for x in (values, base)
        ]
        arm, none = (accuracies(counts)["strict"] for counts in both)
        statistics += [accuracies(own)["strict"], Difference(arm, none)]
        counted.append((own, shared))
    found = estimate(statistics, len(names), draws=draws, seed=seed) if len(names) else [(None, None)] * 2 * len(placed)
    numbers = iter([Number(value=value, interval=interval) for value, interval in found])
    rows = []
    for name, (own, shared) in zip(placed, counted, strict=True):
        accuracy, gain = next(numbers), next(numbers)
        answered = int(own.covered.sum())
        rows.append(
            Gain(
                arm=name,
                ground_truth=truth,
                group=group,
                accuracy=accuracy,
                gain=Number(value=None, interval=None) if name == BASE else gain,
                pairs=len(better),
                answered=answered,
                shared=int(shared.sum()),
                sessions=len(np.unique(session[shared])),
                tie_rate=int(own.tied.sum()) / answered if answered else None,
            )
        )
    return rows


def table(results: LadderResults) -> str:
    """The results as aligned text: for each ground truth the groups of the paper, then each category."""
    lines = [
        f"{results.release['name']} {results.release['version']}, split {results.split}: {results.rollouts} rollouts "
        f"in {results.sessions} sessions, judged by {results.model}",
        f"{results.examples} example(s) a prompt, up to {results.frames} frames each, out of "
        + (", ".join(f"{count} ({pool})" for pool, count in results.pools.items()) or "nothing")
        + "; refused: "
        + (", ".join(f"{count} x {reason}" for reason, count in results.refused.items()) or "none"),
        "gain: accuracy less that of none over the pairs that both answered. 95 % intervals by bootstrap over "
        f"sessions ({results.draws} draws, seed {results.seed})",
    ]
    groups = [POOLED, *COMBINED, *dict.fromkeys(row.group for row in results.gains)]
    for truth in get_args(GroundTruth):
        for group in dict.fromkeys(groups):
            rows = [row for row in results.gains if row.ground_truth == truth and row.group == group]
            if rows and rows[0].pairs:
                lines += ["", f"by human {truth}, {group}: {rows[0].pairs} pairs", *_rows(rows)]
    for name, count in results.errors.items():
        lines += [f"{name}: the model gave no curve for {count} rollouts"] if count else []
        sessions = results.without_example[name]
        lines += [f"{name}: train holds no example for {sessions} of {results.sessions} sessions"] if sessions else []
    return "\n".join(lines)


def _rows(rows: Sequence[Gain]) -> list[str]:
    head = ("arm", "accuracy", "gain over none", "pairs", "sessions", "ties")
    return align(
        head,
        [
            (
                row.arm,
                _shown(row.accuracy, ""),
                "" if row.arm == BASE else _shown(row.gain, "+"),
                str(row.answered if row.arm == BASE else row.shared),
                str(row.sessions),
                "-" if row.tie_rate is None else f"{row.tie_rate:.0%}",
            )
            for row in rows
        ],
    )


def align(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Rows as columns of equal width."""
    rows = [head, *body]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shown(number: Number, sign: str) -> str:
    if number.value is None:
        return "-"
    if number.interval is None:
        return f"{number.value:{sign}.3f} [no interval]"
    return f"{number.value:{sign}.3f} [{number.interval[0]:{sign}.3f}, {number.interval[1]:{sign}.3f}]"
