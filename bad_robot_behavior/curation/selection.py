"""Which of m samples of a pair of rollouts is kept: preference-guided selection (arXiv 2606.01036), as pure functions.

The paper does not say how samples of the two rollouts are matched. Both readings are here: sample k with sample k (the
default), or each with each. With each, m * m orders are tried and nearly every pair finds one that agrees, whatever the
model knows: the quality report shows that by its control.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema import Preference, Rollout, SampleVerdict, Selection

Value = NDArray[np.float64]

_DECIMALS = 9  # returns that agree so far are equal: the means of equal numbers may differ in their last bit


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair came to.

    kept_a, kept_b: number of the sample kept of each rollout; margin: return of the preferred minus return of the
    rejected in these. All None where no sample agrees (no_match). margins_a, margins_b: (m,), for each sample its
    margin with the partner's sample of the same number, or, over all pairs, the largest with any; None where a side
    could not be read.
    """

    kept_a: int | None
    kept_b: int | None
    margin: float | None
    margins_a: tuple[float | None, ...]
    margins_b: tuple[float | None, ...]


def select(pair: Preference, a: Sequence[float | None], b: Sequence[float | None], how: Selection) -> Selected:
    """The samples of a pair with the largest positive margin, the earliest of equals. `a` and `b`: (m,) returns."""
    if how == "paired":
        margins = paired_margins(pair, a, b)
        best = _best(margins)
        return Selected(
            kept_a=best,
            kept_b=best,
            margin=None if best is None else margins[best],
            margins_a=tuple(margins),
            margins_b=tuple(margins),
        )
    table = [[_margin(pair, left, right) for right in b] for left in a]
    rows = tuple(_largest(row) for row in table)
    columns = tuple(_largest([row[j] for row in table]) for j in range(len(b)))
    i = _best(rows)
    j = None if i is None else _best(table[i])
    return Selected(
        kept_a=i, kept_b=j, margin=None if i is None else rows[i], margins_a=rows, margins_b=columns
    )  # fmt: skip


def paired_margins(pair: Preference, a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    """For each k: return of the preferred rollout minus return of the rejected one in sample k, or None where either
    could not be read. Positive: sample k orders the pair as the human did; a tie (0) does not."""
    return [_margin(pair, left, right) for left, right in zip(a, b, strict=True)]


def sample_return(value: Value | None) -> float | None:
    """The mean over the sampled frames, so that a longer rollout does not gain by its length; None for no value."""
    return None if value is None else round(float(np.mean(value)), _DECIMALS)


def verdict(value: float | None, margin: float | None, *, kept: bool, usable: bool) -> SampleVerdict:
    """Why a sample with this return and margin was kept or not."""
    if value is None:
        return "unreadable"
    if not usable:
        return "not_usable"
    if margin is None:
        return "unreadable"
    if kept:
        return "kept"
    return "smaller_margin" if margin > 0 else "disagrees"


def usable_pairs(session: Sequence[Rollout]) -> dict[str, Preference]:
    """For each rollout the pair that it is judged by: the first usable one in the session's order.

    A pair is usable where a human chose (no tie), both rollouts are present, and their scores, where both are known,
    differ: of two equal scores the human said in one place that neither is better, whatever was said in the other.
    """
    present = {rollout.rollout_id: rollout for rollout in session}
    pairs: dict[str, Preference] = {}
    for pair in session[0].session.preferences:
        if (
            pair.preference != "tie"
            and pair.rollout_a != pair.rollout_b
            and {pair.rollout_a, pair.rollout_b} <= present.keys()
            and not _equal_scores(present[pair.rollout_a], present[pair.rollout_b])
        ):
            pairs.setdefault(pair.rollout_a, pair)
            pairs.setdefault(pair.rollout_b, pair)
    return pairs


def _margin(pair: Preference, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    return round(left - right if pair.preference == "a" else right - left, _DECIMALS)


def _best(margins: Sequence[float | None]) -> int | None:
    """The place of the largest positive margin, the earliest of equals."""
    largest = _largest(margins)
    return margins.index(largest) if largest is not None and largest > 0 else None


def _largest(margins: Sequence[float | None]) -> float | None:
    return max((margin for margin in margins if margin is not None), default=None)


def _equal_scores(a: Rollout, b: Rollout) -> bool:
    return a.score is not None and a.score == b.score
