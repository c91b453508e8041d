"""Bootstrap intervals against a plain resampling loop, and their degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest

from bad_robot_behavior.benchmark import intervals
from bad_robot_behavior.benchmark.intervals import Difference, estimate, resampled
from bad_robot_behavior.benchmark.metrics import Ratio


def ratio(top: list[float], bottom: list[float]) -> Ratio:
    return Ratio(numerator=np.array(top, float), denominator=np.array(bottom, float))


def sessions(*ratios: Ratio) -> int:
    return len(ratios[0].numerator)


def intervals_of(*ratios: Ratio, draws: int = 1000, seed: int = 0) -> list[tuple[float, float] | None]:
    return [interval for _value, interval in estimate(ratios, sessions(*ratios), draws=draws, seed=seed)]


def test_equals_a_loop_that_draws_whole_sessions() -> None:
    rng = np.random.default_rng(3)
    bottom = rng.integers(0, 4, 30).astype(float)
    top = np.minimum(bottom, rng.integers(0, 4, 30))
    picks = np.random.default_rng(7).integers(30, size=(200, 30))
    expected = [top[row].sum() / bottom[row].sum() for row in picks]
    got = resampled([ratio(top.tolist(), bottom.tolist())], 30, draws=200, seed=7)[:, 0]
    np.testing.assert_allclose(got, expected)
    low, high = np.quantile(expected, [0.025, 0.975])
    assert intervals_of(ratio(top.tolist(), bottom.tolist()), draws=200, seed=7) == [
        (pytest.approx(low), pytest.approx(high))
    ]


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ratio([1, 0, 2, 1, 1], [2, 1, 2, 3, 1])
    whole = resampled([one], 5, draws=50, seed=1)
    monkeypatch.setattr(intervals, "_CELLS", 15)
    np.testing.assert_array_equal(resampled([one], 5, draws=50, seed=1), whole)


def test_ratios_see_the_same_draws_so_differences_are_paired() -> None:
    first, second = ratio([1, 0, 2, 1], [2, 1, 2, 3]), ratio([2, 1, 2, 3], [2, 1, 2, 3])
    alone = resampled([first], 4, draws=40, seed=5)[:, 0]
    together = resampled([second, first], 4, draws=40, seed=5)
    np.testing.assert_array_equal(together[:, 1], alone)
    np.testing.assert_array_equal(together[:, 0], 1)


@pytest.mark.parametrize("bottom", [[3.0], [3.0, 0.0], [0.0, 0.0, 0.0]])
def test_fewer_than_two_sessions_have_no_interval(bottom: list[float]) -> None:
    assert intervals_of(ratio(bottom, bottom)) == [None]


def test_no_draws_no_interval_and_no_ratios_no_work() -> None:
    assert estimate([ratio([1, 1], [2, 2])], 2, draws=0) == [(0.5, None)]
    assert estimate([], 2) == []


def test_draws_without_a_pair_are_left_out() -> None:
    low, high = intervals_of(ratio([1, 1, 0, 0, 0], [1, 1, 0, 0, 0]), draws=300)[0] or (None, None)
    assert (low, high) == (1.0, 1.0)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        p = rng.beta(6, 4, 60)  # sessions differ, pairs within one are alike
        top = rng.binomial(5, p).astype(float)
        interval = intervals_of(Ratio(numerator=top, denominator=np.full(60, 5.0)), draws=200, seed=trial)[0]
        assert interval is not None
        hits += interval[0] <= 0.6 <= interval[1]
    assert 0.88 <= hits / 200 <= 0.99


def test_a_paired_difference_is_narrower_than_its_parts_and_equals_a_loop() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(40)  # sessions differ much, scorers within a session little
    first = Ratio(numerator=10 * np.clip(hard + 0.1, 0, 1), denominator=np.full(40, 10.0))
    second = Ratio(numerator=10 * hard, denominator=np.full(40, 10.0))
    gap = Difference(first, second)
    (value, own), (_, one), (_, nested) = estimate([gap, first, Difference(gap, gap)], 40, draws=300, seed=3)
    picks = np.random.default_rng(3).integers(40, size=(300, 40))
    loop = [first.numerator[row].sum() / 400 - second.numerator[row].sum() / 400 for row in picks]
    assert own == pytest.approx(tuple(np.quantile(loop, [0.025, 0.975])))
    assert value == pytest.approx((first.numerator - second.numerator).sum() / 400)
    assert own is not None
    assert one is not None
    assert own[1] - own[0] < (one[1] - one[0]) / 3
    assert nested == (0.0, 0.0)


def test_a_difference_from_what_is_undefined_is_undefined() -> None:
    known, unknown = ratio([1, 2], [2, 2]), ratio([0, 0], [0, 0])
    assert estimate([Difference(known, unknown)], 2, draws=10) == [(None, None)]
