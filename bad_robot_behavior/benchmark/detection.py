"""Telling success from failure by one number a rollout: areas under curves, and false positives.

Success is the positive class, so a false positive is a failure that the scorer takes for a success. Definitions:
AUROC is the Mann-Whitney statistic with half for ties (Hanley and McNeil 1982); AUPRC is average precision,
sum over thresholds of (recall_n - recall_{n-1}) precision_n (Manning et al. 2008, chapter 8), thresholds being the
distinct values, so tied rollouts enter together. Both equal scikit-learn's of the same names.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.metrics import Floats, Ints

RECALL = 0.95
THRESHOLD = 0.5
Area = Literal["auroc", "auprc", "fpr_at_95_recall"]
_CELLS = 4_000_000  # of the matrix of draws x rollouts that is held at a time


class Thresholds:
    """Rollouts sorted by value, so that every threshold metric of every draw of sessions is a cumulative sum.

    value: (U,) without NaN; positive: (U,) bool; session: (U,) integers.
    """

    def __init__(self, value: Floats, positive: NDArray[np.bool_], session: Ints) -> None:
        order = np.argsort(-value, kind="stable")
        self._positive, self._session = positive[order], session[order]
        ordered = value[order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if value.size else None
        self.support = min(np.unique(session[positive]).size, np.unique(session[~positive]).size)
        self._known: tuple[Floats, dict[Area, Floats]] | None = None

    def over(self, weights: Floats) -> dict[Area, Floats]:
        """Every metric in each draw, (B,) each; NaN where a draw lacks one of the classes. weights: (B, S)."""
        if self._known is None or self._known[0] is not weights:
            self._known = weights, self._compute(weights)
        return self._known[1]

    def _compute(self, weights: Floats) -> dict[Area, Floats]:
        names: tuple[Area, ...] = ("auroc", "auprc", "fpr_at_95_recall")
        if self._starts is None:
            return {name: np.full(len(weights), np.nan) for name in names}
        rows = max(1, _CELLS // len(self._session))
        parts = [self._block(weights[i : i + rows]) for i in range(0, len(weights), rows)]
        return {name: np.concatenate([part[k] for part in parts]) for k, name in enumerate(names)}

    def _block(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        assert self._starts is not None  # noqa: S101 - _compute looked
        drawn = weights[:, self._session]
        hits = drawn * self._positive
        alarms = drawn - hits
        if len(self._starts) < len(self._session):  # tied values are one threshold
            hits, alarms = (np.add.reduceat(part, self._starts, axis=1) for part in (hits, alarms))
        true, false = np.cumsum(hits, axis=1), np.cumsum(alarms, axis=1)
        successes, failures = true[:, -1], false[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc = (alarms * (true - hits / 2)).sum(axis=1) / (successes * failures)
            precision = np.divide(true, true + false, out=np.zeros(true.shape), where=true + false > 0)
            auprc = (hits * precision).sum(axis=1) / successes
            enough = np.argmax(true >= RECALL * successes[:, None] * (1 - 1e-12), axis=1)
            rate = np.take_along_axis(false, enough[:, None], axis=1)[:, 0] / failures
        undefined = (successes == 0) | (failures == 0)
        return tuple(np.where(undefined, np.nan, number) for number in (auroc, auprc, rate))  # type: ignore[return-value]


class AreaStatistic:
    """One metric of `Thresholds`, as the bootstrap over sessions takes it.

    auroc, auprc   as above; the floor of auprc is the share of successes, that of auroc 0.5.
    fpr_at_95_recall   share of the failures at or above the highest threshold at which 95 % of the successes are found.
    Each is undefined without a success or without a failure.
    """

    def __init__(self, thresholds: Thresholds, name: Area) -> None:
        self.thresholds, self.name = thresholds, name

    @property
    def support(self) -> int:
        return self.thresholds.support

    def over(self, weights: Floats) -> Floats:
        return self.thresholds.over(weights)[self.name]


def tie_rate(value: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Share of the pairs of a success and a failure that have equal values; None where there is no such pair."""
    pairs = int(positive.sum()) * int((~positive).sum())
    if not pairs:
        return None
    _distinct, number = np.unique(value, return_inverse=True)
    tied = np.bincount(number[positive], minlength=len(_distinct)) * np.bincount(
        number[~positive], minlength=len(_distinct)
    )
    return float(tied.sum()) / pairs
