"""What each kind of task counts: its units, the groups they fall into, and its numbers over any part of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np

from bad_robot_behavior.benchmark.detection import THRESHOLD, AreaStatistic, Thresholds, tie_rate
from bad_robot_behavior.benchmark.intervals import Difference, Statistic
from bad_robot_behavior.benchmark.metrics import (
    DECIMALS,
    Aggregation,
    Floats,
    Ints,
    Pairs,
    Ratio,
    accuracies,
    count_pairs,
    pairs_by_score,
)
from bad_robot_behavior.benchmark.runs import Run, marked_spans
from bad_robot_behavior.benchmark.tasks import Kind, Task
from bad_robot_behavior.benchmark.world import Mask, World

RISING = 0.8
"""VOC above which a curve counts as rising throughout."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A number before its interval: the statistic, and the units it is over and could be had for."""

    statistic: Statistic
    n: int
    covered: int
    tie_rate: float | None = None


class Measured(Protocol):
    """The units of a task (pairs or rollouts), U of them."""

    session: Ints
    """(U,) the session of each unit."""
    groups: dict[str, Mask]
    """Name to (U,), `pooled` first."""
    left_out: dict[str, int]

    def answered(self, run: Run) -> Mask:
        """(U,): the units that a run can be held to."""
        ...

    def count(self, run: Run, how: Aggregation | None, units: Ints, context: Ints, contexts: int) -> dict[str, Counted]:
        """Every metric of the task over those units; context: (len(units),) their sessions as 0..contexts-1."""
        ...


class PairMeasure:
    """Pairs that the ground truth orders, and for preferences those that it calls a tie."""

    def __init__(self, world: World, task: Task) -> None:
        make: Callable[[World], tuple[Pairs, Pairs, dict[str, int]]] = _PAIRS[task.truth]
        decided, tied, self.left_out = make(world)
        self._first = np.concatenate([decided.better, tied.better])
        self._second = np.concatenate([decided.worse, tied.worse])
        self._decided = np.arange(len(self._first)) < len(decided.better)
        self.session = world.session[self._first]
        self.groups = (
            world.groups_by_category(self.session)
            if task.groups == "task_category"
            else world.groups_by_failure(self._second.tolist(), [world.failures[row] for row in self._second.tolist()])
        )

    def answered(self, run: Run) -> Mask:
        both: Mask = run.covered[self._first] & run.covered[self._second]
        return both

    def count(self, run: Run, how: Aggregation | None, units: Ints, context: Ints, contexts: int) -> dict[str, Counted]:
        value = run.returns[how or "mean"]
        first, second, decided = value[self._first[units]], value[self._second[units]], self._decided[units]
        found = _ordered(first[decided], second[decided], context[decided], contexts)
        known = ~np.isnan(first) & ~np.isnan(second)
        same = np.where(decided, first > second, first == second)
        found["three_way"] = Counted(
            statistic=Ratio.of(same, known, context, contexts), n=len(units), covered=int(known.sum())
        )
        gap = np.round(np.abs(first - second)[known], DECIMALS)
        areas = Thresholds(gap, decided[known], context[known])
        found["tie_gap"] = Counted(
            statistic=AreaStatistic(areas, "auroc"),
            n=len(units),
            covered=int(known.sum()),
            tie_rate=tie_rate(gap, decided[known]),
        )
        return found


def _ordered(better: Floats, worse: Floats, context: Ints, contexts: int) -> dict[str, Counted]:
    counts = count_pairs(better, worse, context, contexts)
    ratios = accuracies(counts)
    n, covered, ties = int(counts.pairs.sum()), int(counts.covered.sum()), ratios["tie_rate"].value
    names = ("strict", "half", "macro", "answered")
    return {name: Counted(statistic=ratios[name], n=n, covered=covered, tie_rate=ties) for name in names}


_NO_PAIRS = Pairs(better=np.zeros(0, np.int64), worse=np.zeros(0, np.int64))


def _by_score(world: World) -> tuple[Pairs, Pairs, dict[str, int]]:
    pairs = pairs_by_score(world.score, world.session)
    known = np.bincount(world.session, ~np.isnan(world.score), world.sessions).astype(np.int64)
    equal = int((known * (known - 1) // 2).sum()) - len(pairs.better)
    return pairs, _NO_PAIRS, {"pairs that the human scored equally": equal}


def _by_preference(world: World) -> tuple[Pairs, Pairs, dict[str, int]]:
    a, b, preferred = world.a, world.b, world.preferred
    for_a, decided = preferred > 0, preferred != 0
    pairs = Pairs(better=np.where(for_a, a, b)[decided], worse=np.where(for_a, b, a)[decided])
    tied = Pairs(better=a[~decided], worse=b[~decided])
    return pairs, tied, {"ties of the human, which only three_way and tie_gap count": int((~decided).sum())}


def _by_violation(world: World) -> tuple[Pairs, Pairs, dict[str, int]]:
    rank = np.where(world.clean, 1.0, np.where(world.violating, 0.0, np.nan))
    pairs = pairs_by_score(rank, world.session)
    alone = world.violating.copy()
    alone[pairs.worse] = False
    return pairs, _NO_PAIRS, {"violating successes without a clean one in their session": int(alone.sum())}


def _by_twin(world: World) -> tuple[Pairs, Pairs, dict[str, int]]:
    named = [i for i, twin in enumerate(world.twins) if twin is not None and world.failed[i]]
    kept = [(world.row[world.twins[i]], i) for i in named if world.twins[i] in world.row]
    kept = [(twin, i) for twin, i in kept if world.succeeded[twin] and world.session[twin] == world.session[i]]
    order = np.array(kept, np.int64).reshape(-1, 2)
    lost = {"failures whose twin is no success of their session in this split": len(named) - len(kept)}
    return Pairs(better=order[:, 0], worse=order[:, 1]), _NO_PAIRS, lost


_PAIRS: dict[str, Callable[[World], tuple[Pairs, Pairs, dict[str, int]]]] = {
    "score": _by_score,
    "preference": _by_preference,
    "violation": _by_violation,
    "twin": _by_twin,
}


class _Rollouts:
    """Units that are rollouts: the rows of the world that `chosen` marks."""

    def __init__(self, world: World, chosen: Mask, why_not: str) -> None:
        self.row = np.flatnonzero(chosen)
        self.session = world.session[self.row]
        self.left_out = {why_not: int((~chosen).sum())}
        self.groups = world.groups_by_category(self.session)

    def answered(self, run: Run) -> Mask:
        return run.covered[self.row]


class DetectionMeasure(_Rollouts):
    """Rollouts that succeeded or failed."""

    def __init__(self, world: World, task: Task) -> None:
        super().__init__(world, world.failed | world.succeeded, "rollouts of unknown outcome")
        self._good = world.succeeded[self.row]

    def count(self, run: Run, how: Aggregation | None, units: Ints, context: Ints, contexts: int) -> dict[str, Counted]:
        value, good = run.returns[how or "last"][self.row[units]], self._good[units]
        known = ~np.isnan(value)
        areas = Thresholds(value[known], good[known], context[known])
        ties = tie_rate(value[known], good[known])
        covered = int(known.sum())
        found = {
            name: Counted(statistic=AreaStatistic(areas, name), n=len(units), covered=covered, tie_rate=ties)
            for name in ("auroc", "auprc", "fpr_at_95_recall")
        }
        meant = known & (run.kind == "progress" and how != "sum")
        for name, side in (("fpr_at_half", ~good), ("recall_at_half", good)):
            rate = Ratio.of(value >= THRESHOLD, meant & side, context, contexts)
            found[name] = Counted(statistic=rate, n=int(side.sum()), covered=int((meant & side).sum()))
        return found


class OrderMeasure(_Rollouts):
    """Rollouts that succeeded or failed, and how their curves go with time."""

    def __init__(self, world: World, task: Task) -> None:
        super().__init__(world, world.failed | world.succeeded, "rollouts of unknown outcome")
        self._good = world.succeeded[self.row]

    def count(self, run: Run, how: Aggregation | None, units: Ints, context: Ints, contexts: int) -> dict[str, Counted]:
        rows = self.row[units]
        forward, covered = run.voc[rows], run.covered[rows]
        # Stored by frame; in the order in which the frames were shown it is the other way round.
        backward = -run.backward.voc[rows] if run.backward is not None else np.full(len(rows), np.nan)

        def mean(value: Floats, side: Mask, counted: Mask) -> Counted:
            use = side & counted
            return Counted(statistic=Ratio.of(value, use, context, contexts), n=int(side.sum()), covered=int(use.sum()))

        found: dict[str, Counted] = {}
        for name, side in (("success", self._good[units]), ("failure", ~self._good[units])):
            found[f"voc_{name}"] = mean(forward, side, ~np.isnan(forward))
            found[f"rising_{name}"] = mean((forward > RISING).astype(float), side, covered)
        good, bad = found["voc_success"], found["voc_failure"]
        found["voc_gap"] = Counted(
            statistic=Difference(good.statistic, bad.statistic), n=good.n + bad.n, covered=good.covered + bad.covered
        )
        side = self._good[units]
        found["voc_reversed"] = mean(backward, side, ~np.isnan(backward))
        found["reversal_gap"] = mean(forward - backward, side, ~np.isnan(forward - backward))
        return found


class SensitivityMeasure(_Rollouts):
    """Rollouts that succeeded, under their own and under a wrong instruction."""

    def __init__(self, world: World, task: Task) -> None:
        super().__init__(world, world.succeeded, "rollouts that are no success")

    def answered(self, run: Run) -> Mask:
        return super().answered(run) & (run.wrong.covered[self.row] if run.wrong is not None else False)

    def count(self, run: Run, how: Aggregation | None, units: Ints, context: Ints, contexts: int) -> dict[str, Counted]:
        how = how or "mean"
        own = run.returns[how][self.row[units]]
        if run.wrong is None:
            empty = Ratio.of(own, np.zeros(len(own), bool), context, contexts)
            names = ("strict", "half", "answered", "gap")
            return {name: Counted(statistic=empty, n=len(units), covered=0) for name in names}
        other = run.wrong.returns[how][self.row[units]]
        found = _ordered(own, other, context, contexts)
        known = ~np.isnan(own) & ~np.isnan(other)
        found["gap"] = Counted(
            statistic=Ratio.of(own - other, known, context, contexts), n=len(units), covered=int(known.sum())
        )
        return found


class LocalisationMeasure(_Rollouts):
    """Rollouts with failures that were marked in time."""

    def __init__(self, world: World, task: Task) -> None:
        marked = np.array([bool(marked_spans(world, row)) for row in range(len(world.ids))], bool)
        failed = int((world.failed & ~marked).sum())
        super().__init__(world, marked, "")
        self.left_out = {"failed rollouts without a failure marked in time": failed}
        timed = [[f for f in world.failures[row] if f["start_s"] is not None] for row in self.row.tolist()]
        self.groups = world.groups_by_failure(self.row.tolist(), timed)

    def count(self, run: Run, how: Aggregation | None, units: Ints, context: Ints, contexts: int) -> dict[str, Counted]:
        found = [run.localised.get(row) for row in self.row[units].tolist()]

        def mean(name: str) -> Counted:
            given: list[Any] = [None if item is None else getattr(item, name) for item in found]
            value = np.array([np.nan if number is None else float(number) for number in given], np.float64)
            known = ~np.isnan(value)
            return Counted(statistic=Ratio.of(value, known, context, contexts), n=len(units), covered=int(known.sum()))

        return {name: mean(name) for name in ("inside", "rises", "noticed", "delay_s", "false_alarm")}


MEASURES: dict[Kind, Callable[[World, Task], Measured]] = {
    "pairs": PairMeasure,
    "detection": DetectionMeasure,
    "localisation": LocalisationMeasure,
    "sensitivity": SensitivityMeasure,
    "order": OrderMeasure,
}
