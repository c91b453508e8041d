"""Policies ranked from pairwise choices with ties: Bradley-Terry with Davidson's ties, by maximum likelihood.

    P(i beats j) = p_i / D,  P(tie) = nu sqrt(p_i p_j) / D,  D = p_i + p_j + nu sqrt(p_i p_j),  p = exp(strength)

Davidson 1970, doi:10.1080/01621459.1970.10481082. RoboArena's leaderboard (arXiv 2506.18123) writes 2 nu where this
writes nu; the strengths are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from bad_robot_behavior.benchmark.metrics import Floats, Ints

_NORMAL = 1.959963984540054  # of a 95 % interval
_STEPS = 200
_TOLERANCE = 1e-10


class Strengths(msgspec.Struct, frozen=True, kw_only=True):
    """What was fitted to K policies. strength: (K,) log scale, mean 0 over the ranked ones, NaN for those not ranked;
    error: (K,) standard errors, from the inverse of the information; nu: of ties, 0 where there was none."""

    strength: Floats
    error: Floats
    nu: float

    def interval(self, policy: int) -> tuple[float, float]:
        """95 % interval of one strength, normal on the log scale."""
        middle, half = float(self.strength[policy]), _NORMAL * float(self.error[policy])
        return middle - half, middle + half


def fit(first: Ints, second: Ints, choice: Floats, policies: int) -> Strengths:
    """Fit strengths to choices between `first[k]` and `second[k]`: 1 first, -1 second, 0 tie.

    The likelihood has a finite maximum only among policies that can each be reached from each other by wins and ties
    (Ford 1957, for wins): one that lost every comparison has no strength, it is just weaker than all. So the largest
    such set is ranked, and the others are NaN. Where ties are fitted too, nobody is ranked if they stand in the way of
    a maximum (`_ties_bounded`). Comparisons of a policy with itself say nothing and are left out.
    """
    other = first != second
    first, second, choice = first[other], second[other], choice[other]
    ranked = largest_connected(first, second, choice, policies)
    strength, error = np.full(policies, np.nan), np.full(policies, np.nan)
    inside = np.isin(first, ranked) & np.isin(second, ranked)
    if len(ranked) < 2 or not _ties_bounded(first[inside], second[inside], choice[inside], policies):
        return Strengths(strength=strength, error=error, nu=float("nan"))
    number = {policy: k for k, policy in enumerate(ranked)}
    pairs = np.array([[number[int(i)], number[int(j)]] for i, j in zip(first[inside], second[inside], strict=True)])
    seen = np.array([1 if c > 0 else 2 if c < 0 else 0 for c in choice[inside].tolist()])
    strength[ranked], error[ranked], nu = _newton(pairs, seen, len(ranked))
    return Strengths(strength=strength, error=error, nu=nu)


def largest_connected(first: Ints, second: Ints, choice: Floats, policies: int) -> list[int]:
    """The policies of the largest set in which each beat or tied, through others, each other one; ties by comparisons.

    Returns a sorted list; of length 1 at most where no two policies can be ranked.
    """
    reach = np.eye(policies, dtype=bool)
    reach[first[choice >= 0], second[choice >= 0]] = True
    reach[second[choice <= 0], first[choice <= 0]] = True
    for through in range(policies):
        reach |= reach[:, through, None] & reach[None, through, :]
    both = reach & reach.T
    compared = np.bincount(np.concatenate([first, second]), minlength=policies)
    best: Sequence[int] = []
    for policy in range(policies):
        members = np.flatnonzero(both[policy]).tolist()
        if (len(members), compared[members].sum()) > (len(best), compared[list(best)].sum() if best else 0):
            best = members
    return list(best)


def _ties_bounded(first: Ints, second: Ints, choice: Floats, policies: int) -> bool:
    """Does nu have a finite maximum: is there a cycle of comparisons with more wins than ties in it?

    Otherwise strengths exist that lie 2 apart or more for each win and 2 at most for each tie, and going in their
    direction with log nu rising by 1 never lowers the likelihood. That is a system of difference constraints, which
    has a solution unless a cycle is negative, wins counting -1 and ties 1. Without a tie nu is 0 and no matter.
    """
    if (choice != 0).all():
        return True
    cost = np.full((policies, policies), np.inf)
    tied = choice == 0
    cost[first[tied], second[tied]] = cost[second[tied], first[tied]] = 1.0
    cost[first[choice > 0], second[choice > 0]] = -1.0
    cost[second[choice < 0], first[choice < 0]] = -1.0
    for through in range(policies):
        # A negative cycle shows at once; beyond it the numbers only have to stay finite.
        cost = np.maximum(np.minimum(cost, cost[:, through, None] + cost[None, through, :]), -1e6)
    return bool((np.diag(cost) < 0).any())


def log_likelihood(pairs: Ints, seen: Ints, strength: Floats, log_nu: float) -> float:
    """Of outcomes 0 tie, 1 first, 2 second between `pairs` (N, 2), as the module's formula says."""
    logits = _logits(pairs, strength, log_nu)
    return float((logits[np.arange(len(seen)), seen] - np.logaddexp.reduce(logits, axis=1)).sum())


def _logits(pairs: Ints, strength: Floats, log_nu: float) -> Floats:
    one, two = strength[pairs[:, 0]], strength[pairs[:, 1]]
    return np.stack([log_nu + (one + two) / 2, one, two], axis=1)


def _newton(pairs: Ints, seen: Ints, count: int) -> tuple[Floats, Floats, float]:
    """Strengths, their standard errors and nu. The model is a multinomial logit that is linear in strengths and log nu,
    so the log-likelihood is concave, and halved Newton steps reach its maximum."""
    ties = bool((seen == 0).any())
    size = count + ties
    features = np.zeros((len(pairs), 3, size))
    rows = np.arange(len(pairs))
    for side in (0, 1):
        features[rows, 0, pairs[:, side]] += 0.5
        features[rows, side + 1, pairs[:, side]] = 1.0
    if ties:
        features[:, 0, count] = 1.0
    known = features[rows, seen].sum(axis=0)
    at = np.zeros(size)

    def split(where: Floats) -> tuple[Floats, float]:
        return where[:count], float(where[count]) if ties else -np.inf

    information = np.zeros((size, size))
    for _ in range(_STEPS):
        logits = _logits(pairs, *split(at))
        chance = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
        mean = np.einsum("no,nof->nf", chance, features)
        information = np.einsum("no,nof,nog->fg", chance, features, features) - mean.T @ mean
        step = np.linalg.pinv(information, hermitian=True) @ (known - mean.sum(axis=0))
        before, size_of_step = log_likelihood(pairs, seen, *split(at)), 1.0
        while size_of_step > 1e-6 and log_likelihood(pairs, seen, *split(at + size_of_step * step)) < before - 1e-12:
            size_of_step /= 2
        at = at + size_of_step * step
        at[:count] -= at[:count].mean()  # only differences matter
        if np.abs(step).max() < _TOLERANCE:
            break
    # The pseudo-inverse is the covariance under the constraint that strengths have mean 0.
    error = np.sqrt(np.clip(np.diag(np.linalg.pinv(information, hermitian=True))[:count], 0, None))
    return at[:count], error, float(np.exp(at[count])) if ties else 0.0
