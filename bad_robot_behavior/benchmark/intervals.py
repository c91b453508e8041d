"""Confidence intervals: the one place that knows that the cluster is the session.

Pairs of one session share its scene, its instruction and its evaluator, so they are not independent; sessions are. A
draw takes as many sessions as there are, with replacement, and the interval is that of the percentiles of the draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.metrics import Floats, Ratio

CONFIDENCE = 0.95
_CELLS = 2_000_000  # of the matrix of draws x sessions that is held at a time


def ratio_intervals(ratios: Sequence[Ratio], *, draws: int = 1000, seed: int = 0) -> list[tuple[float, float] | None]:
    """95 % percentile interval of each ratio, by bootstrap over its contexts (sessions).

    All ratios must be over the same contexts, and all see the same draws, so differences between them are paired.
    None where fewer than two contexts have a denominator above 0, or where `draws` is 0. Draws in which the ratio is
    undefined (none of the sessions drawn has a covered pair) are left out.
    """
    if not ratios:
        return []
    usable = [int((ratio.denominator > 0).sum()) >= 2 for ratio in ratios]
    if draws <= 0 or not any(usable):
        return [None] * len(ratios)
    values = resampled(ratios, draws=draws, seed=seed)
    tail = (1 - CONFIDENCE) / 2
    result: list[tuple[float, float] | None] = []
    for column, use in zip(values.T, usable, strict=True):
        defined = column[~np.isnan(column)]
        if not use or not defined.size:
            result.append(None)
            continue
        low, high = np.quantile(defined, [tail, 1 - tail])
        result.append((float(low), float(high)))
    return result


def resampled(ratios: Sequence[Ratio], *, draws: int, seed: int) -> Floats:
    """The ratios in each draw, (draws, K); NaN where undefined in that draw."""
    top = np.stack([ratio.numerator for ratio in ratios], axis=1)
    bottom = np.stack([ratio.denominator for ratio in ratios], axis=1)
    sums = np.hstack([top, bottom])
    drawn = np.concatenate([weights @ sums for weights in _weights(len(top), draws, seed)])
    above, below = np.split(drawn, 2, axis=1)
    result: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return result


def _weights(contexts: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each context is in each draw, in blocks of (B, contexts). The blocking does not change the numbers."""
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // contexts)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        picks = rng.integers(contexts, size=(count, contexts))
        picks += np.arange(count)[:, None] * contexts
        yield np.bincount(picks.ravel(), minlength=count * contexts).reshape(count, contexts).astype(np.float64)
