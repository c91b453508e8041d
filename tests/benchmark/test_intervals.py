"""Bootstrap intervals against a plain resampling loop, and their degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest

from bad_robot_behavior.benchmark import intervals
from bad_robot_behavior.benchmark.intervals import ratio_intervals, resampled
from bad_robot_behavior.benchmark.metrics import Ratio


def ratio(top: list[float], bottom: list[float]) -> Ratio:
    return Ratio(numerator=np.array(top, float), denominator=np.array(bottom, float))


def test_equals_a_loop_that_draws_whole_sessions() -> None:
    rng = np.random.default_rng(3)
    bottom = rng.integers(0, 4, 30).astype(float)
    top = np.minimum(bottom, rng.integers(0, 4, 30))
    picks = np.random.default_rng(7).integers(30, size=(200, 30))
    expected = [top[row].sum() / bottom[row].sum() for row in picks]
    got = resampled([ratio(top.tolist(), bottom.tolist())], draws=200, seed=7)[:, 0]
    np.testing.assert_allclose(got, expected)
    low, high = np.quantile(expected, [0.025, 0.975])
    assert ratio_intervals([ratio(top.tolist(), bottom.tolist())], draws=200, seed=7) == [
        (pytest.approx(low), pytest.approx(high))
    ]


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ratio([1, 0, 2, 1, 1], [2, 1, 2, 3, 1])
    whole = resampled([one], draws=50, seed=1)
    monkeypatch.setattr(intervals, "_CELLS", 15)
    np.testing.assert_array_equal(resampled([one], draws=50, seed=1), whole)


def test_ratios_see_the_same_draws_so_differences_are_paired() -> None:
    first, second = ratio([1, 0, 2, 1], [2, 1, 2, 3]), ratio([2, 1, 2, 3], [2, 1, 2, 3])
    alone = resampled([first], draws=40, seed=5)[:, 0]
    together = resampled([second, first], draws=40, seed=5)
    np.testing.assert_array_equal(together[:, 1], alone)
    np.testing.assert_array_equal(together[:, 0], 1)


@pytest.mark.parametrize("bottom", [[], [3.0], [3.0, 0.0], [0.0, 0.0, 0.0]])
def test_fewer_than_two_sessions_have_no_interval(bottom: list[float]) -> None:
    assert ratio_intervals([ratio(bottom, bottom)]) == [None]


def test_no_draws_no_interval_and_no_ratios_no_work() -> None:
    assert ratio_intervals([ratio([1, 1], [2, 2])], draws=0) == [None]
    assert ratio_intervals([]) == []


def test_draws_without_a_pair_are_left_out() -> None:
    low, high = ratio_intervals([ratio([1, 1, 0, 0, 0], [1, 1, 0, 0, 0])], draws=300)[0] or (None, None)
    assert (low, high) == (1.0, 1.0)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        p = rng.beta(6, 4, 60)  # sessions differ, pairs within one are alike
        top = rng.binomial(5, p).astype(float)
        interval = ratio_intervals([Ratio(numerator=top, denominator=np.full(60, 5.0))], draws=200, seed=trial)[0]
        assert interval is not None
        hits += interval[0] <= 0.6 <= interval[1]
    assert 0.88 <= hits / 200 <= 0.99
