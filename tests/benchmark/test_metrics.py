"""The metrics against a plain loop over pairs, scipy, hand-worked examples, and their own invariances."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bad_robot_behavior.benchmark.metrics import (
    STEPS,
    PairCounts,
    Ratio,
    accuracies,
    count_pairs,
    pairs_by_score,
    returns,
    voc,
)

GRID = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0])  # few values, so that ties are common


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """truth, prediction (both with NaN), context, number of contexts."""
    n = draw(st.integers(0, 25))
    contexts = draw(st.integers(1, 6))
    maybe = st.one_of(GRID, st.just(float("nan")))
    truth = np.array(draw(st.lists(maybe, min_size=n, max_size=n)), float)
    prediction = np.array(draw(st.lists(maybe, min_size=n, max_size=n)), float)
    context = np.array(draw(st.lists(st.integers(0, contexts - 1), min_size=n, max_size=n)), np.int64)
    return truth, prediction, context, contexts


def count_by_score(truth: np.ndarray, prediction: np.ndarray, context: np.ndarray, contexts: int) -> PairCounts:
    pairs = pairs_by_score(truth, context)
    assert (context[pairs.better] == context[pairs.worse]).all()
    return count_pairs(prediction[pairs.better], prediction[pairs.worse], context[pairs.better], contexts)


def loop(truth: np.ndarray, prediction: np.ndarray, context: np.ndarray, contexts: int) -> list[list[int]]:
    """pairs, covered, agreed, tied of each context, one pair at a time, after the formula in the paper."""
    counts = [[0] * contexts for _ in range(4)]
    for i, j in combinations(range(len(truth)), 2):
        c = context[i]
        if context[j] != c or np.isnan(truth[i]) or np.isnan(truth[j]) or truth[i] == truth[j]:
            continue
        counts[0][c] += 1
        if np.isnan(prediction[i]) or np.isnan(prediction[j]):
            continue
        counts[1][c] += 1
        human, model = np.sign(truth[i] - truth[j]), np.sign(prediction[i] - prediction[j])
        counts[2][c] += int(human == model)
        counts[3][c] += int(model == 0)
    return counts


def as_lists(counts: PairCounts) -> list[list[int]]:
    return [counts.pairs.tolist(), counts.covered.tolist(), counts.agreed.tolist(), counts.tied.tolist()]


def values(counts: PairCounts) -> dict[str, float | None]:
    return {name: ratio.value for name, ratio in accuracies(counts).items()}


def test_hand_worked_example_of_the_papers_formula() -> None:
    # Context 0, three policies: human 0.9 > 0.5 > 0.1, model 3, 1, 2: pairs (0,1) ok, (0,2) ok, (1,2) wrong: D = 1/3
    # Context 1 has two: human 0.2 < 0.4, model equal: a model tie disagrees. D = 1.
    # Context 2 has two that the human calls equal: P_c is empty.
    # A = 1 - (3 * 1/3 + 1 * 1) / (3 + 1) = 0.5
    truth = np.array([0.9, 0.5, 0.1, 0.2, 0.4, 0.7, 0.7])
    model = np.array([3.0, 1.0, 2.0, 5.0, 5.0, 1.0, 9.0])
    context = np.array([0, 0, 0, 1, 1, 2, 2])
    result = values(count_by_score(truth, model, context, 3))
    assert result == {
        "strict": 0.5,
        "half": 0.625,  # (2 + 0.5) / 4
        "macro": pytest.approx((2 / 3 + 0) / 2),
        "answered": 0.5,
        "tie_rate": 0.25,
        "coverage": 1.0,
    }


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_equals_a_loop_over_pairs(world: tuple) -> None:
    assert as_lists(count_by_score(*world)) == loop(*world)


@given(worlds(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_rollouts_does_not_matter(world: tuple, random: object) -> None:
    truth, prediction, context, contexts = world
    shuffled = list(range(len(truth)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = count_by_score(truth[shuffled], prediction[shuffled], context[shuffled], contexts)
    assert as_lists(again) == as_lists(count_by_score(*world))


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_rising_transforms_change_nothing_and_a_falling_one_swaps_right_and_wrong(world: tuple) -> None:
    truth, prediction, context, contexts = world
    counts = count_by_score(*world)
    risen = count_by_score(truth, np.exp(3 * prediction) + 7, context, contexts)
    assert as_lists(risen) == as_lists(counts)
    fallen = count_by_score(truth, -prediction, context, contexts)
    np.testing.assert_array_equal(fallen.agreed + counts.agreed + counts.tied, counts.covered)


def test_differences_too_small_to_subtract_still_order() -> None:
    tiny = np.array([5e-324, 0.0])
    assert values(count_by_score(np.array([1.0, 0.0]), tiny, np.zeros(2, np.int64), 1))["strict"] == 1.0


def test_missing_predictions_lower_coverage_and_answered_but_not_strict() -> None:
    truth = np.array([0.1, 0.9, 0.1, 0.9])
    result = values(count_by_score(truth, np.array([0.0, 1.0, np.nan, 1.0]), np.array([0, 0, 1, 1]), 2))
    assert (result["strict"], result["answered"], result["coverage"]) == (1.0, 0.5, 0.5)


def test_without_pairs_every_number_is_none() -> None:
    same = count_by_score(np.array([0.5, 0.5]), np.array([0.1, 0.2]), np.zeros(2, np.int64), 1)
    nothing = count_by_score(np.array([]), np.array([]), np.array([], np.int64), 0)
    for counts in (same, nothing):
        assert set(values(counts).values()) == {None}


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_pairs_by_score_are_the_unequal_pairs_of_each_context_better_first(world: tuple) -> None:
    truth, _prediction, context, _contexts = world
    expected = {
        (i, j)
        for i in range(len(truth))
        for j in range(len(truth))
        if context[i] == context[j] and truth[i] > truth[j]  # false for NaN
    }
    pairs = pairs_by_score(truth, context)
    got = list(zip(pairs.better.tolist(), pairs.worse.tolist(), strict=True))
    assert len(got) == len(set(got))
    assert set(got) == expected


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_a_ratio_of_units_is_their_mean(world: tuple) -> None:
    truth, _prediction, context, contexts = world
    counted = ~np.isnan(truth)
    ratio = Ratio.of(truth, counted, context, contexts)
    expected = float(truth[counted].mean()) if counted.any() else None
    assert ratio.value == (None if expected is None else pytest.approx(expected))
    assert ratio.support == len(set(context[counted].tolist()))


CURVES = st.lists(st.lists(st.one_of(GRID, st.floats(-1, 1)), max_size=12), max_size=8)


def pack(curves: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    offset = np.concatenate([[0], np.cumsum([len(curve) for curve in curves])]).astype(np.int64)
    return np.array([v for curve in curves for v in curve], float), offset


@given(CURVES)
@settings(max_examples=100, deadline=None)
def test_returns_equal_the_plain_definitions(curves: list[list[float]]) -> None:
    value, offset = pack(curves)
    plain = {"mean": np.mean, "last": lambda c: c[-1], "max": np.max}
    for how, function in plain.items():
        expected = [float(function(curve)) if curve else float("nan") for curve in curves]
        np.testing.assert_allclose(returns(value, offset, how), expected, atol=1e-9)  # type: ignore[arg-type]


@given(CURVES, st.data())
@settings(max_examples=100, deadline=None)
def test_the_sum_reads_the_curve_at_a_fixed_number_of_steps(curves: list[list[float]], data: st.DataObject) -> None:
    value, offset = pack(curves)
    frames = [sorted(data.draw(st.sets(st.integers(0, 500), min_size=len(c), max_size=len(c)))) for c in curves]
    expected = [
        float(np.interp(np.linspace(at[0], at[-1], STEPS), at, curve).sum()) if curve else float("nan")
        for at, curve in zip(frames, curves, strict=True)
    ]
    got = returns(value, offset, "sum", np.array([f for at in frames for f in at], np.int64))
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_the_sum_does_not_reward_length_and_is_the_plain_sum_at_the_fixed_number_of_steps() -> None:
    rng = np.random.default_rng(0)
    curves = [rng.random(STEPS).tolist() for _ in range(3)]
    value, offset = pack(curves)
    np.testing.assert_allclose(returns(value, offset, "sum"), [sum(curve) for curve in curves])
    np.testing.assert_allclose(returns(value, offset, "sum"), STEPS * returns(value, offset, "mean"), atol=1e-6)
    value, offset = pack([[0.4] * 400, [0.4] * 80, [0.4]])
    np.testing.assert_array_equal(returns(value, offset, "sum"), [0.4 * STEPS] * 3)
    value, offset = pack([[1.0, 0.0], [], [0.0, 1.0]])  # a curve without values between two others
    np.testing.assert_allclose(returns(value, offset, "sum"), [STEPS / 2, np.nan, STEPS / 2])


@given(st.floats(-1, 1), st.lists(st.integers(1, 40), min_size=2, max_size=6))
def test_constant_curves_of_any_length_are_tied(constant: float, lengths: list[int]) -> None:
    value, offset = pack([[constant] * n for n in lengths])
    for how in ("mean", "sum", "last", "max"):
        assert len(set(returns(value, offset, how).tolist())) == 1  # type: ignore[arg-type]


def test_equal_curves_are_tied_wherever_they_stand_in_a_file() -> None:
    rng = np.random.default_rng(1)
    odd, frames = rng.random(17), np.sort(rng.choice(400, 17, replace=False))
    value, index = np.tile(odd, 3000), np.tile(frames, 3000)
    offset = np.arange(3001) * 17
    assert len(set(returns(value, offset, "sum", index).tolist())) == 1


@given(CURVES)
@settings(max_examples=150, deadline=None)
def test_voc_is_scipys_rank_correlation_and_constant_is_undefined(curves: list[list[float]]) -> None:
    value, offset = pack(curves)
    for curve, got in zip(curves, voc(value, offset), strict=True):
        if len(set(curve)) < 2:
            assert np.isnan(got)
        else:
            assert got == pytest.approx(spearmanr(curve, range(len(curve))).statistic, abs=1e-12)


def test_voc_of_a_rising_a_falling_and_a_constant_curve() -> None:
    value, offset = pack([[0, 0.1, 0.2, 0.9], [3, 2, 1], [0.5, 0.5, 0.5], [1.0], []])
    np.testing.assert_array_equal(voc(value, offset), [1, -1, np.nan, np.nan, np.nan])
