"""Which samples of a pair are kept, by both readings, against a plain search and by properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.curation.selection import paired_margins, sample_return, select, verdict
from bad_robot_behavior.schema import Preference, pair_id

HOW = ("paired", "all_pairs")
RETURNS = st.one_of(st.none(), st.integers(0, 20).map(lambda n: n / 20))


def choice(preference: str) -> Preference:
    a, b = "a" * 20, "b" * 20
    return Preference(pair_id=pair_id(a, b), session_id="5" * 20, rollout_a=a, rollout_b=b, preference=preference)  # type: ignore[arg-type]


def test_a_margin_is_in_favour_of_the_preferred() -> None:
    assert paired_margins(choice("a"), [0.5, None, 0.3], [0.125, 0.1, None]) == [0.375, None, None]
    assert paired_margins(choice("b"), [0.5], [0.125]) == [-0.375]


def test_a_return_is_the_mean_and_equal_curves_of_other_lengths_are_equal() -> None:
    assert sample_return(None) is None
    assert sample_return(np.array([0.0, 0.5, 1.0])) == 0.5
    assert sample_return(np.full(3, 0.1)) == sample_return(np.full(7, 0.1))


def test_a_tie_of_the_model_is_never_kept_and_the_earliest_of_equals_is() -> None:
    assert select(choice("a"), [0.5, 0.2], [0.5, 0.4], "paired").kept_a is None
    found = select(choice("a"), [0.5, 0.8, None, 0.8], [0.4, 0.5, 0.0, 0.5], "paired")
    assert (found.kept_a, found.kept_b, found.margin) == (1, 1, 0.3)
    assert select(choice("a"), [], [], "all_pairs").margin is None


def test_all_pairs_keeps_the_highest_of_the_preferred_and_the_lowest_of_the_rejected() -> None:
    found = select(choice("b"), [0.9, 0.2, 0.2], [0.1, None, 0.6], "all_pairs")
    assert (found.kept_a, found.kept_b, found.margin) == (1, 2, 0.4)
    assert found.margins_a == (-0.3, 0.4, 0.4)
    assert found.margins_b == (-0.1, None, 0.4)
    assert select(choice("b"), [0.9, 0.2], [0.1, 0.6], "paired").margin == 0.4
    assert select(choice("b"), [0.2, 0.9], [0.1, 0.6], "paired").kept_a is None


@given(st.lists(st.tuples(RETURNS, RETURNS), min_size=1, max_size=6), st.sampled_from("ab"), st.sampled_from(HOW))
def test_selection_is_a_plain_search(samples: list[tuple[float | None, float | None]], who: str, how: str) -> None:
    a, b = map(list, zip(*samples, strict=True))
    places = [(k, k) for k in range(len(a))] if how == "paired" else list(itertools.product(range(len(a)), repeat=2))
    sign = 1 if who == "a" else -1
    margins = {
        (i, j): round(sign * (a[i] - b[j]), 9) for i, j in places if a[i] is not None and b[j] is not None
    }  # fmt: skip
    agreeing = {place: margin for place, margin in margins.items() if margin > 0}
    found = select(choice(who), a, b, how)  # type: ignore[arg-type]
    if not agreeing:
        assert (found.kept_a, found.kept_b, found.margin) == (None, None, None)
        return
    best = max(agreeing.values())
    assert found.margin == best
    assert (found.kept_a, found.kept_b) == min(place for place, margin in agreeing.items() if margin == best)
    assert found.margins_a[found.kept_a] == found.margins_b[found.kept_b] == best


@pytest.mark.parametrize(
    ("value", "margin", "kept", "usable", "said"),
    [
        (None, None, False, True, "unreadable"),
        (None, None, False, False, "unreadable"),
        (0.5, None, False, False, "not_usable"),
        (0.5, None, False, True, "unreadable"),
        (0.5, 0.2, True, True, "kept"),
        (0.5, 0.1, False, True, "smaller_margin"),
        (0.5, 0.0, False, True, "disagrees"),
        (0.5, -0.1, False, True, "disagrees"),
    ],
)
def test_every_sample_says_why(value: float | None, margin: float | None, kept: bool, usable: bool, said: str) -> None:
    assert verdict(value, margin, kept=kept, usable=usable) == said
