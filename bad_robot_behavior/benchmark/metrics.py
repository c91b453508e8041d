"""The metrics of pairs and of single curves, as pure functions on arrays. Undefined is None (NaN in an array), never 0.

Sources: pairwise preference ordering accuracy from arXiv 2606.01036; value-order correlation (VOC) from arXiv
2411.04549, in a form that does not reward a constant prediction. `detection` has the metrics over thresholds,
`localisation` those of marked failures.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Aggregation = Literal["mean", "sum", "last", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

DECIMALS = 9
"""Returns that agree to this many decimals are tied. The means of 12 and of 30 equal values can differ in the last bit;
without rounding, a constant scorer would get an order by that noise. Below `scorers.MAX_VALUE` float64 is finer."""
STEPS = 30
"""Moments at which a curve is read for its sum."""
_BLOCK = 50_000  # curves ranked or summed at a time, to bound memory


def returns(value: Floats, offset: Ints, how: Aggregation, frame_index: Ints | None = None) -> Floats:
    """One number for each curve.

    `value` (M,) holds the curves one after another, curve i being `value[offset[i]:offset[i + 1]]`; `offset` is
    (N + 1,); `frame_index` (M,) says where the values stand, increasing within a curve (None: evenly spaced).
    `sum` is the paper's return over a fixed number of steps: the curve is read at `STEPS` evenly spaced moments from
    its first to its last frame, linearly between frames, and summed. `mean` is the mean of the values as they are; for
    evenly spaced frames it orders rollouts as `sum` does up to interpolation. A plain sum over curves of different
    lengths would reward length. `last` and `max` are what they say.
    Returns (N,), rounded to `DECIMALS`; NaN for a curve without values.
    """
    length = np.diff(offset)
    result = np.full(len(length), np.nan)
    filled = np.flatnonzero(length > 0)
    if not filled.size:
        return result
    start = offset[:-1][filled]
    if how == "mean":
        result[filled] = np.add.reduceat(value, start) / length[filled]
    elif how == "max":
        result[filled] = np.maximum.reduceat(value, start)
    elif how == "last":
        result[filled] = value[offset[1:][filled] - 1]
    else:
        at = np.arange(len(value)) if frame_index is None else frame_index
        for block in np.array_split(filled, -(-len(filled) // _BLOCK)):
            result[block] = _read_at_steps(value, at, offset[block], offset[block + 1]).sum(axis=1)
    return np.round(result, DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


def _read_at_steps(value: Floats, at: Ints, start: Ints, end: Ints) -> Floats:
    """(B, STEPS): each curve value[start:end] at evenly spaced moments, linearly between its frames."""
    first, span = at[start], at[end - 1] - at[start]
    # Exact in integers: what lies between which frames must not depend on where the curve stands in the file.
    asked = span[:, None] * np.arange(STEPS)  # in frames since the first, times STEPS - 1
    width = int((end - start).max())
    inside = np.minimum(np.arange(width), (end - start - 1)[:, None])
    known = (at[start[:, None] + inside] - first[:, None]) * (STEPS - 1)
    before = np.empty(asked.shape, np.int64)
    for step in range(STEPS):
        before[:, step] = (known <= asked[:, step, None]).sum(axis=1) - 1
    before = np.minimum(before, (end - start - 1)[:, None])
    after = np.minimum(before + 1, (end - start - 1)[:, None])
    low, high = np.take_along_axis(known, before, 1), np.take_along_axis(known, after, 1)
    share = np.divide(asked - low, high - low, out=np.zeros(asked.shape), where=high > low)
    left, right = value[start[:, None] + before], value[start[:, None] + after]
    read: Floats = np.where(share > 0, left + share * (right - left), left)
    return read


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of rollouts that the ground truth orders, (P,) each: rows of the better and of the worse rollout."""

    better: Ints
    worse: Ints


def pairs_by_score(truth: Floats, context: Ints) -> Pairs:
    """All pairs i < j of one context with unequal truth: the paper's P_c for all c.

    truth: (N,), NaN where there is none, and such a rollout is in no pair; context: (N,) integers. One step for each
    distance within a context, vectorised over all contexts at once.
    """
    known = np.flatnonzero(~np.isnan(truth))
    order = known[np.argsort(context[known], kind="stable")]
    y = truth[order]
    size = np.bincount(context[order]) if order.size else np.zeros(0, np.int64)
    left_in_context = np.repeat(np.cumsum(size), size) - 1 - np.arange(len(y))  # rows after this one in its context
    better: list[Ints] = [np.zeros(0, np.int64)]
    worse: list[Ints] = [np.zeros(0, np.int64)]
    rows = np.arange(len(y))
    step = 0
    while rows.size:
        step += 1
        rows = rows[left_in_context[rows] >= step]
        higher, lower = rows[y[rows] > y[rows + step]], rows[y[rows] < y[rows + step]]
        better += [order[higher], order[lower + step]]
        worse += [order[higher + step], order[lower]]
    return Pairs(better=np.concatenate(better), worse=np.concatenate(worse))


class PairCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of each context, (S,) int64 each. Everything that the accuracies need is a sum of these.

    pairs: pairs that the ground truth orders; covered: those with a prediction for both rollouts;
    agreed: covered pairs that the model orders as the truth does; tied: covered pairs that the model calls equal.
    """

    pairs: Ints
    covered: Ints
    agreed: Ints
    tied: Ints


def count_pairs(better: Floats, worse: Floats, context: Ints, contexts: int) -> PairCounts:
    """Count, for each context, the pairs that a model orders rightly.

    better, worse: (P,) the model's returns of the two rollouts, NaN where there is none; context: (P,) in
    0..contexts-1.
    """
    covered = ~np.isnan(better) & ~np.isnan(worse)
    # compared, not subtracted: the difference of two tiny numbers must not be lost
    parts = (np.ones(len(context), bool), covered, better > worse, covered & (better == worse))
    sums = [np.bincount(context[part], minlength=contexts).astype(np.int64) for part in parts]
    return PairCounts(pairs=sums[0], covered=sums[1], agreed=sums[2], tied=sums[3])


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A number as a ratio of sums over contexts, (S,) each: what the bootstrap over sessions needs."""

    numerator: Floats
    denominator: Floats

    @property
    def support(self) -> int:
        """Contexts that the ratio rests on."""
        return int((self.denominator > 0).sum())

    @property
    def value(self) -> float | None:
        """The ratio over all contexts, None where the denominator is 0."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total > 0 else None

    @classmethod
    def of(cls, value: NDArray[Any], counted: NDArray[np.bool_], context: Ints, contexts: int) -> Ratio:
        """The mean of `value` (U,) over the units that are `counted` (U,), unit i lying in `context[i]`."""
        kept = np.where(counted, value, 0.0).astype(np.float64)
        return cls(
            numerator=np.bincount(context, kept, contexts).astype(np.float64),
            denominator=np.bincount(context, counted, contexts).astype(np.float64),
        )


def accuracies(counts: PairCounts) -> dict[str, Ratio]:
    """The ordering accuracies and the rates that go with them.

    strict    agreed / covered. This is the paper's A = 1 - sum_c |P_c| D_c / sum_c |P_c|: pooled over pairs, a tie of
              the model counts as disagreement. A constant scorer gets 0; a scorer that never ties and guesses gets 0.5.
    half      (agreed + tied / 2) / covered: a tie of the model counts half. A constant scorer gets 0.5.
    macro     mean over contexts of the context's own strict accuracy, so each session weighs the same. Contexts with
              no covered pair are left out.
    answered  agreed / pairs: strict, with a pair that misses a prediction counted as wrong. Equal to strict at full
              coverage; what a scorer can be held to if it may not choose what it answers.
    tie_rate  tied / covered.
    coverage  covered / pairs.
    Each is undefined (None) where its denominator is 0.
    """
    pairs, covered = counts.pairs.astype(float), counts.covered.astype(float)
    agreed, tied = counts.agreed.astype(float), counts.tied.astype(float)
    per_context = np.divide(agreed, covered, out=np.zeros_like(agreed), where=covered > 0)
    return {
        "strict": Ratio(numerator=agreed, denominator=covered),
        "half": Ratio(numerator=agreed + tied / 2, denominator=covered),
        "macro": Ratio(numerator=per_context, denominator=(covered > 0).astype(float)),
        "answered": Ratio(numerator=agreed, denominator=pairs),
        "tie_rate": Ratio(numerator=tied, denominator=covered),
        "coverage": Ratio(numerator=covered, denominator=pairs),
    }


def average_ranks(rows: NDArray[Any]) -> Floats:
    """Ranks 1..T within each row of (M, T), tied values sharing the average of their ranks."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    width = rows.shape[1]
    position = np.broadcast_to(np.arange(width), rows.shape)
    new = np.ones(rows.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, position, 0), axis=1)
    closes = np.ones(rows.shape, bool)
    closes[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(closes, position, width)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(rows.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks


def voc(value: Floats, offset: Ints) -> Floats:
    """Value-order correlation of each curve: Spearman's rank correlation of value with time, in [-1, 1].

    Curves are laid out as in `returns`. Tied values get average ranks, so the result is scipy.stats.spearmanr's. The
    published form, rank correlation of argsort(value), breaks ties in the order of time and so gives a constant
    prediction 1; here a constant curve, and one of fewer than two values, is undefined: NaN.
    VOC is 1 for any rising curve, also that of a failed rollout: it measures order in time, not judgement.
    """
    length = np.diff(offset)
    result = np.full(len(length), np.nan)
    for width in np.unique(length[length >= 2]):
        members = np.flatnonzero(length == width)
        time = np.arange(width) - (width - 1) / 2
        for block in np.array_split(members, -(-len(members) // _BLOCK)):
            ranks = average_ranks(value[offset[block][:, None] + np.arange(width)]) - (width + 1) / 2
            spread = (ranks**2).sum(axis=1) * (time**2).sum()
            defined = spread > 0
            result[block[defined]] = np.clip((ranks @ time)[defined] / np.sqrt(spread[defined]), -1, 1)
    return result
