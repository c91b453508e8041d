"""The metrics, as pure functions on arrays. An undefined number is None (or NaN inside an array), never 0.

Sources: pairwise preference ordering accuracy from arXiv 2606.01036; value-order correlation (VOC) from arXiv
2411.04549, in a form that does not reward a constant prediction.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Aggregation = Literal["mean", "last", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

DECIMALS = 9
"""Returns that agree to this many decimals are tied. The means of 12 and of 30 equal values can differ in the last bit;
without rounding, a constant scorer would get an order by that noise. Below `scorers.MAX_VALUE` float64 is finer."""
_BLOCK = 50_000  # curves ranked at a time, to bound memory


def returns(value: Floats, offset: Ints, how: Aggregation) -> Floats:
    """One number for each curve.

    `value` (M,) holds the curves one after another, curve i being `value[offset[i]:offset[i + 1]]`; `offset` is
    (N + 1,). `mean` is the paper's return, the sum of the rewards, over a fixed number of steps and divided by it: a
    plain sum over curves of different lengths would reward length. `last` and `max` are what they say.
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
    else:
        result[filled] = value[offset[1:][filled] - 1]
    return np.round(result, DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


class PairCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of each context, (S,) int64 each. Everything that the accuracies need is a sum of these.

    pairs: pairs that the human did not call equal; covered: those with a prediction for both rollouts;
    agreed: covered pairs that the model orders as the human did; tied: covered pairs that the model calls equal.
    """

    pairs: Ints
    covered: Ints
    agreed: Ints
    tied: Ints


def count_by_score(truth: Floats, prediction: Floats, context: Ints, contexts: int) -> PairCounts:
    """Pairs i < j of one context with unequal truth (the paper's P_c), counted against the predicted order.

    truth, prediction: (N,), NaN where there is none; context: (N,) in 0..contexts-1.
    A rollout without truth is in no pair; one without prediction leaves its pairs uncovered. The work is one step for
    each pair, vectorised over all contexts at once.
    """
    known = np.flatnonzero(~np.isnan(truth))
    order = known[np.argsort(context[known], kind="stable")]
    y, p, c = truth[order], prediction[order], context[order]
    size = np.bincount(c, minlength=contexts)
    left_in_context = np.repeat(np.cumsum(size), size) - 1 - np.arange(len(c))  # rows after this one in its context
    counts = np.zeros((4, len(c)), np.int64)
    rows = np.arange(len(c))
    step = 0
    while rows.size:
        step += 1
        rows = rows[left_in_context[rows] >= step]
        _add_pairs(counts, rows, np.sign(y[rows] - y[rows + step]), p[rows], p[rows + step])
    return _by_context(counts, c, contexts)


def count_by_preference(
    preferred: Floats, prediction_a: Floats, prediction_b: Floats, context: Ints, contexts: int
) -> PairCounts:
    """Pairs that a human judged. `preferred` (P,) is 1 for a, -1 for b and 0 for a tie; ties are left out.

    prediction_a, prediction_b: (P,), NaN where there is none; context: (P,) in 0..contexts-1.
    """
    counts = np.zeros((4, len(preferred)), np.int64)
    _add_pairs(counts, np.arange(len(preferred)), preferred, prediction_a, prediction_b)
    return _by_context(counts, context, contexts)


def _add_pairs(counts: Ints, rows: Ints, human: Floats, first: Floats, second: Floats) -> None:
    """Add one pair to each of `rows` (unique): the human's sign, and the model's values of first and second."""
    unequal = human != 0
    covered = unequal & ~np.isnan(first) & ~np.isnan(second)
    # compared, not subtracted: the difference of two tiny numbers must not be lost
    model = (first > second).astype(np.int8) - (first < second).astype(np.int8)
    counts[0, rows] += unequal
    counts[1, rows] += covered
    counts[2, rows] += covered & (model == human)
    counts[3, rows] += covered & (model == 0)


def _by_context(counts: Ints, context: Ints, contexts: int) -> PairCounts:
    sums = [np.bincount(context, row, contexts).astype(np.int64) for row in counts]
    return PairCounts(pairs=sums[0], covered=sums[1], agreed=sums[2], tied=sums[3])


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A number as a ratio of sums over contexts, (S,) each: what the bootstrap over sessions needs."""

    numerator: Floats
    denominator: Floats

    @property
    def value(self) -> float | None:
        """The ratio over all contexts, None where the denominator is 0."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total > 0 else None


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
