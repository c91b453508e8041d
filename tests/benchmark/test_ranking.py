"""Bradley-Terry with Davidson's ties against brute-force maximisation of the published likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from bad_robot_behavior.benchmark.ranking import fit, largest_connected


def simulate(seed: int, n: int = 400, nu: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    strength = np.array([1.0, 0.3, -0.2, -1.1])
    first = rng.integers(0, 4, n)
    second = (first + rng.integers(1, 4, n)) % 4
    p, q = np.exp(strength[first]), np.exp(strength[second])
    tie = nu * np.sqrt(p * q)
    draw = rng.random(n) * (p + q + tie)
    return first, second, np.where(draw < p, 1.0, np.where(draw < p + q, -1.0, 0.0)), strength


def published(first: np.ndarray, second: np.ndarray, choice: np.ndarray, parameters: np.ndarray) -> float:
    """Davidson's log-likelihood, one comparison at a time; the last parameter is log nu."""
    total = 0.0
    for i, j, c in zip(first, second, choice, strict=True):
        p, q, nu = np.exp(parameters[i]), np.exp(parameters[j]), np.exp(parameters[-1])
        tie = nu * np.sqrt(p * q)
        total += np.log((p if c > 0 else q if c < 0 else tie) / (p + q + tie))
    return total


def test_equals_brute_force_maximisation_of_the_published_likelihood() -> None:
    first, second, choice, _ = simulate(0, 150)
    fitted = fit(first, second, choice, 4)

    def loss(free: np.ndarray) -> float:
        return -published(first, second, choice, np.concatenate([free[:3], [-free[:3].sum()], free[3:]]))

    found = minimize(loss, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 9000})
    expected = np.append(found.x[:3], -found.x[:3].sum())
    np.testing.assert_allclose(fitted.strength, expected, atol=1e-4)
    assert fitted.nu == pytest.approx(np.exp(found.x[3]), abs=1e-4)


def test_standard_errors_are_those_of_the_curvature() -> None:
    first, second, choice, _ = simulate(3, 120)
    fitted = fit(first, second, choice, 4)
    at = np.append(fitted.strength, np.log(fitted.nu))
    step = 1e-4
    # The Hessian in three free strengths and log nu, by finite differences; the fourth strength is minus their sum.
    basis = np.zeros((4, 5))
    basis[:3, :3], basis[:3, 3], basis[3, 4] = np.eye(3), -1.0, 1.0

    def value(u: np.ndarray) -> float:
        return published(first, second, choice, at + u @ basis)

    eye = np.eye(4) * step
    hessian = np.array(
        [
            [
                (value(a + b) - value(a - b) - value(b - a) + value(-a - b)) / (4 * step**2)
                for b in eye
            ]
            for a in eye
        ]
    )  # fmt: skip
    covariance = basis[:, :4].T @ np.linalg.inv(-hessian) @ basis[:, :4]
    np.testing.assert_allclose(fitted.error, np.sqrt(np.diag(covariance)), rtol=1e-3)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    hits = []
    for seed in range(60):
        first, second, choice, strength = simulate(seed)
        fitted = fit(first, second, choice, 4)
        truth = strength - strength.mean()
        hits += [low <= truth[k] <= high for k in range(4) for low, high in [fitted.interval(k)]]
    assert 0.90 <= np.mean(hits) <= 0.99


def test_without_ties_it_is_plain_bradley_terry() -> None:
    # i beat j three times of four: the strengths differ by log 3.
    fitted = fit(np.array([0, 0, 0, 0]), np.array([1, 1, 1, 1]), np.array([1.0, 1.0, 1.0, -1.0]), 2)
    assert fitted.nu == 0
    assert fitted.strength[0] - fitted.strength[1] == pytest.approx(np.log(3))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([-1.0, 0.0, 1.0])), max_size=25))
@settings(max_examples=100, deadline=None)
def test_swapping_sides_changes_nothing_and_what_is_ranked_is_finite(rows: list[tuple[int, int, float]]) -> None:
    first, second, choice = (np.array([row[k] for row in rows]) for k in range(3))
    first, second, choice = first.astype(np.int64), second.astype(np.int64), choice.astype(float)
    fitted = fit(first, second, choice, 5)
    swapped = fit(second, first, -choice, 5)
    np.testing.assert_allclose(fitted.strength, swapped.strength, atol=1e-6)
    ranked = ~np.isnan(fitted.strength)
    assert np.isfinite(fitted.error[ranked]).all()
    if ranked.any():
        assert np.abs(fitted.strength[ranked]).max() < 30
        assert fitted.strength[ranked].mean() == pytest.approx(0, abs=1e-9)


def test_a_policy_that_always_lost_is_not_ranked() -> None:
    first, second, choice = np.array([0, 1, 0, 1]), np.array([1, 0, 2, 2]), np.array([1.0, 1.0, 1.0, 1.0])
    fitted = fit(first, second, choice, 4)
    assert largest_connected(first, second, choice, 4) == [0, 1]
    np.testing.assert_array_equal(np.isnan(fitted.strength), [False, False, True, True])


def test_more_ties_than_wins_can_leave_no_maximum_and_a_cycle_of_wins_mends_it() -> None:
    first, second = np.array([0, 0]), np.array([1, 1])
    assert np.isnan(fit(first, second, np.array([1.0, 0.0]), 2).strength).all()
    # 0 beat 1, 1 beat 2, 0 and 2 tied: one tie in a cycle of two wins
    chain = fit(np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([1.0, 1.0, 0.0]), 3)
    assert chain.strength[0] > chain.strength[1] > chain.strength[2]
    assert np.abs(chain.strength).max() < 10


@pytest.mark.parametrize("choice", [[], [0.0, 0.0]])
def test_nothing_but_ties_or_nothing_at_all_ranks_nobody(choice: list[float]) -> None:
    n = len(choice)
    fitted = fit(np.zeros(n, np.int64), np.ones(n, np.int64), np.array(choice), 2)
    assert np.isnan(fitted.strength).all()
