"""Confidence intervals: the one place that knows that the cluster is the session.

Pairs of one session share its scene, its instruction and its evaluator, so they are not independent; sessions are. A
draw takes as many sessions as there are, with replacement, and the interval is that of the percentiles of the draws
(the cluster bootstrap: Davison and Hinkley 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.metrics import Floats, Ratio

CONFIDENCE = 0.95
DIGITS = 10
"""Decimals that are kept, so that no number differs between machines in its last bit."""
_CELLS = 2_000_000  # of the matrix of draws x sessions that is held at a time


class Curve(Protocol):
    """A number that is no ratio of sums over sessions, such as an area under a curve."""

    @property
    def support(self) -> int:
        """Sessions that the number rests on."""
        ...

    def over(self, weights: Floats) -> Floats:
        """The number in each draw, (B,), NaN where undefined. weights: (B, S), how often each session was drawn."""
        ...


class Difference(msgspec.Struct, frozen=True):
    """first - second on the same draws of sessions: a paired difference."""

    first: Statistic
    second: Statistic

    @property
    def support(self) -> int:
        return min(self.first.support, self.second.support)


Statistic = Ratio | Curve | Difference


def estimate(
    statistics: Sequence[Statistic], sessions: int, *, draws: int = 1000, seed: int = 0
) -> list[tuple[float | None, tuple[float, float] | None]]:
    """Each number over all sessions, None where undefined, and its 95 % percentile interval, rounded to DIGITS.

    All statistics must be over the same `sessions`, and all see the same draws, so differences between them are paired.
    The interval is None where the number is undefined, where it rests on fewer than two sessions, or where `draws`
    is 0. Draws in which the number is undefined (none of the sessions drawn has a covered pair) are left out.
    """
    if not statistics:
        return []
    whole = _over(statistics, np.ones((1, sessions)))[0]
    values = [None if np.isnan(value) else round(float(value), DIGITS) for value in whole]
    usable = [v is not None and s.support >= 2 for v, s in zip(values, statistics, strict=True)]
    if draws <= 0 or not any(usable):
        return [(value, None) for value in values]
    drawn = resampled(statistics, sessions, draws=draws, seed=seed)
    tail = (1 - CONFIDENCE) / 2
    result: list[tuple[float | None, tuple[float, float] | None]] = []
    for value, column, use in zip(values, drawn.T, usable, strict=True):
        defined = column[~np.isnan(column)]
        if not use or not defined.size:
            result.append((value, None))
            continue
        low, high = np.quantile(defined, [tail, 1 - tail])
        result.append((value, (round(float(low), DIGITS), round(float(high), DIGITS))))
    return result


def resampled(statistics: Sequence[Statistic], sessions: int, *, draws: int, seed: int) -> Floats:
    """The numbers in each draw, (draws, K); NaN where undefined in that draw."""
    return np.concatenate([_over(statistics, weights) for weights in _weights(sessions, draws, seed)])


def _over(statistics: Sequence[Statistic], weights: Floats) -> Floats:
    """(B, K): every statistic in every draw of a block. All ratios of sums are one matrix product."""
    leaves: dict[int, Statistic] = {}
    for statistic in statistics:
        _leaves(statistic, leaves)
    found: dict[int, Floats] = {}
    ratios = [leaf for leaf in leaves.values() if isinstance(leaf, Ratio)]
    if ratios:
        top = np.stack([ratio.numerator for ratio in ratios], axis=1)
        bottom = np.stack([ratio.denominator for ratio in ratios], axis=1)
        above, below = np.split(weights @ np.hstack([top, bottom]), 2, axis=1)
        columns = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        found = {id(ratio): column for ratio, column in zip(ratios, columns.T, strict=True)}
    for leaf in leaves.values():
        if not isinstance(leaf, Ratio | Difference):
            found[id(leaf)] = leaf.over(weights)
    return np.stack([_column(statistic, found) for statistic in statistics], axis=1)


def _leaves(statistic: Statistic, found: dict[int, Statistic]) -> None:
    if isinstance(statistic, Difference):
        _leaves(statistic.first, found)
        _leaves(statistic.second, found)
    else:
        found[id(statistic)] = statistic


def _column(statistic: Statistic, found: dict[int, Floats]) -> Floats:
    if isinstance(statistic, Difference):
        return _column(statistic.first, found) - _column(statistic.second, found)
    return found[id(statistic)]


def _weights(sessions: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each session is in each draw, in blocks of (B, sessions). The blocking does not change the numbers."""
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // sessions)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        picks = rng.integers(sessions, size=(count, sessions))
        picks += np.arange(count)[:, None] * sessions
        yield np.bincount(picks.ravel(), minlength=count * sessions).reshape(count, sessions).astype(np.float64)
