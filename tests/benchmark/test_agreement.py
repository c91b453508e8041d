"""Krippendorff's alpha: his worked examples, a plain implementation of his definition, and its degenerate cases."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_robot_behavior.benchmark.agreement import AlphaStatistic, Level, alpha

_ = float("nan")
# Krippendorff (2011), example C and D: four observers, twelve units.
FOUR = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], float)  # example A
NOMINAL = np.array([[ord(x) for x in row] for row in ("aabbdcccedda", "babbbccceddd")], float)  # B


@pytest.mark.parametrize(
    ("ratings", "level", "published"),
    [
        (BINARY, "nominal", 0.095),
        (NOMINAL, "nominal", 0.692),
        (FOUR, "nominal", 0.743),
        (FOUR, "ordinal", 0.815),
        (FOUR, "interval", 0.849),
        (FOUR, "ratio", 0.797),
    ],
)
def test_the_published_examples(ratings: np.ndarray, level: Level, published: float) -> None:
    assert alpha(ratings, level) == pytest.approx(published, abs=5e-4)


def plain(ratings: np.ndarray, level: Level) -> float | None:
    """By the definition: every pair of judgements of a unit against every pair of judgements at all."""
    units = [[v for v in column if not np.isnan(v)] for column in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    every = [v for unit in units for v in unit]

    def distance(c: float, k: float) -> float:
        if level == "nominal":
            return float(c != k)
        if level == "interval":
            return (c - k) ** 2
        if level == "ratio":
            return ((c - k) / (c + k)) ** 2 if c + k else 0.0
        low, high = sorted((c, k))
        between = sum(low <= v <= high for v in every) - (every.count(low) + every.count(high)) / 2
        return between**2 if c != k else 0.0

    observed = sum(sum(distance(c, k) for c, k in permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    expected = sum(distance(c, k) for c, k in permutations(every, 2))
    return 1 - (len(every) - 1) * observed / expected if expected else None


@given(
    st.lists(st.lists(st.sampled_from([_, 0.0, 1.0, 2.0, 5.0]), min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
@settings(max_examples=150, deadline=None)
def test_equals_a_plain_implementation_of_the_definition(rows: list[list[float]], level: Level) -> None:
    ratings = np.array(rows).T
    expected = plain(ratings, level)
    assert alpha(ratings, level) == (None if expected is None else pytest.approx(expected))


def test_without_two_judgements_or_without_variation_it_is_undefined() -> None:
    assert alpha(np.zeros((2, 0)), "nominal") is None
    assert alpha(np.array([[1.0, _], [_, 2.0]]), "nominal") is None
    assert alpha(np.ones((3, 5)), "interval") is None


def test_a_session_drawn_twice_counts_twice() -> None:
    session = np.arange(12) // 4
    drawn = AlphaStatistic(FOUR, "ordinal", session, 3).over(np.array([[2.0, 0.0, 1.0]]))[0]
    repeated = np.concatenate([FOUR[:, :4], FOUR[:, :4], FOUR[:, 8:]], axis=1)
    assert drawn == pytest.approx(alpha(repeated, "ordinal"))
    assert AlphaStatistic(FOUR, "ordinal", session, 3).support == 3
