"""Areas and false positives against brute force over pairs and thresholds, and under weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from bad_robot_behavior.benchmark.detection import RECALL, AreaStatistic, Thresholds, tie_rate
from bad_robot_behavior.benchmark.intervals import estimate

GRID = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])  # few values, so that ties are common


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """value, positive, session, number of sessions."""
    n = draw(st.integers(1, 25))
    sessions = draw(st.integers(1, 5))
    value = np.array(draw(st.lists(GRID, min_size=n, max_size=n)))
    positive = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    return value, positive, np.array(draw(st.lists(st.integers(0, sessions - 1), min_size=n, max_size=n))), sessions


def brute(value: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """By the definitions, one pair and one threshold at a time; sample weights are repeated rollouts."""
    good, bad = value[positive], value[~positive]
    if not good.size or not bad.size:
        return {"auroc": np.nan, "auprc": np.nan, "fpr_at_95_recall": np.nan}
    wins = [1.0 if g > b else 0.5 if g == b else 0.0 for g in good for b in bad]
    precision_at, recall_before, area, rate = 0.0, 0.0, 0.0, None
    for threshold in sorted(set(value.tolist()), reverse=True):
        taken = value >= threshold
        recall = (taken & positive).sum() / positive.sum()
        precision_at = (taken & positive).sum() / taken.sum()
        area += (recall - recall_before) * precision_at
        recall_before = recall
        if rate is None and recall >= RECALL:
            rate = (taken & ~positive).sum() / (~positive).sum()
    assert rate is not None
    return {"auroc": float(np.mean(wins)), "auprc": float(area), "fpr_at_95_recall": float(rate)}


@given(samples())
@settings(max_examples=150, deadline=None)
def test_equals_brute_force(sample: tuple) -> None:
    value, positive, session, sessions = sample
    got = Thresholds(value, positive, session).over(np.ones((1, sessions)))
    for name, expected in brute(value, positive).items():
        assert got[name][0] == pytest.approx(expected, nan_ok=True), name  # type: ignore[index]


@given(samples(), st.lists(st.integers(0, 3), min_size=5, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_session_drawn_k_times_counts_k_times(sample: tuple, drawn: list[int]) -> None:
    value, positive, session, sessions = sample
    weights = np.array([drawn[:sessions], [1] * sessions], float)
    times = np.array(drawn)[session]
    repeated = brute(np.repeat(value, times), np.repeat(positive, times))
    got = Thresholds(value, positive, session).over(weights)
    for name, expected in repeated.items():
        assert got[name][0] == pytest.approx(expected, nan_ok=True), name  # type: ignore[index]


def test_auroc_is_scipys_mann_whitney() -> None:
    rng = np.random.default_rng(0)
    value, positive = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.3
    statistic = mannwhitneyu(value[positive], value[~positive]).statistic
    area = Thresholds(value, positive, np.zeros(300, np.int64)).over(np.ones((1, 1)))["auroc"][0]
    assert area == pytest.approx(statistic / positive.sum() / (~positive).sum())


def test_hand_worked() -> None:
    # values 0.9+ 0.8- 0.7+ 0.1-: of four pairs three are right; AP = 1/2 * 1 + 1/2 * 2/3; both successes need 0.7, by
    # which one of two failures passes
    value, positive = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    got = Thresholds(value, positive, np.arange(4)).over(np.ones((1, 4)))
    assert {name: number[0] for name, number in got.items()} == {
        "auroc": 0.75,
        "auprc": pytest.approx(5 / 6),
        "fpr_at_95_recall": 0.5,
    }


def test_one_class_only_or_nothing_is_undefined_and_one_session_has_no_interval() -> None:
    none = Thresholds(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64))
    one = Thresholds(np.array([0.1, 0.9]), np.array([True, True]), np.array([0, 1]))
    both = Thresholds(np.array([0.1, 0.9]), np.array([False, True]), np.array([0, 0]))
    found = estimate([AreaStatistic(item, "auroc") for item in (none, one, both)], 2, draws=20)
    assert found == [(None, None), (None, None), (1.0, None)]


def test_draws_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    value, positive, session = rng.random(50), rng.random(50) < 0.5, rng.integers(0, 10, 50)
    weights = rng.integers(0, 3, (40, 10)).astype(float)
    whole = Thresholds(value, positive, session).over(weights)
    monkeypatch.setattr("bad_robot_behavior.benchmark.detection._CELLS", 120)
    parts = Thresholds(value, positive, session).over(weights)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name])


@given(samples())
@settings(max_examples=60, deadline=None)
def test_tie_rate_equals_a_loop(sample: tuple) -> None:
    value, positive, *_ = sample
    pairs = [(g, b) for g in value[positive] for b in value[~positive]]
    assert tie_rate(value, positive) == (sum(g == b for g, b in pairs) / len(pairs) if pairs else None)
