"""The humans of a release: do they agree, does the order of showing move them, do sites differ, which policy wins."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from bad_robot_behavior.benchmark import ranking
from bad_robot_behavior.benchmark.agreement import AlphaStatistic
from bad_robot_behavior.benchmark.intervals import DIGITS, Statistic, estimate
from bad_robot_behavior.benchmark.metrics import Floats, Ratio
from bad_robot_behavior.benchmark.results import Counted, Evaluators, PolicyRank, Site
from bad_robot_behavior.benchmark.world import World


def study(world: World, *, draws: int, seed: int) -> Evaluators:
    """Everything about the humans of a world; intervals by bootstrap over sessions."""
    share, spread = _between_sites(world, draws=draws, seed=seed)
    return Evaluators(
        evaluators=len({name for name in world.judge if name is not None}),
        agreement=_agreement(world, draws, seed),
        failure_agreement=_failure_agreement(world, draws, seed),
        first_preferred=_first_preferred(world, draws, seed),
        first_scored_higher=_first_scored_higher(world, draws, seed),
        sites=tuple(_sites(world, draws, seed)),
        site_share=share,
        site_p=spread,
        policies=tuple(policies(world)),
    )


def _counted(statistic: Statistic, n: int, world: World, draws: int, seed: int) -> Counted:
    [(value, interval)] = estimate([statistic], world.sessions, draws=draws, seed=seed)
    return Counted(value=value, interval=interval, n=n, sessions=statistic.support)


def _agreement(world: World, draws: int, seed: int) -> Counted:
    """Krippendorff's alpha (nominal) of the choices a, b, tie, over pairs that several evaluators judged."""
    judged: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    for a, b, choice, name in zip(world.a.tolist(), world.b.tolist(), world.preferred, world.judge, strict=True):
        if name is not None:
            judged[min(a, b), max(a, b)][name] = float(choice if a < b else -choice)
    units = {pair: choices for pair, choices in judged.items() if len(choices) > 1}
    names = sorted({name for choices in units.values() for name in choices})
    ratings = np.full((len(names), len(units)), np.nan)
    for column, choices in enumerate(units.values()):
        for name, choice in choices.items():
            ratings[names.index(name), column] = choice
    session = world.session[np.array([first for first, _ in units], np.int64)]
    return _counted(AlphaStatistic(ratings, "nominal", session, world.sessions), len(units), world, draws, seed)


def _failure_agreement(world: World, draws: int, seed: int) -> Counted:
    """Krippendorff's alpha (nominal) of whether a failure of a category was named, over each rollout whose failures
    several annotators named and each category that any of them uses. One who saw nothing wrong is not in the data."""
    said: dict[int, dict[str, set[str]]] = {}
    for row, failures in enumerate(world.failures):
        by: dict[str, set[str]] = defaultdict(set)
        for failure in failures:
            by[f"{failure['annotator_type']} {failure['annotator']}"].add(failure["category"])
        if len(by) > 1:
            said[row] = by
    names = sorted({name for by in said.values() for name in by})
    categories = sorted({category for by in said.values() for named in by.values() for category in named})
    ratings = np.full((len(names), len(said) * len(categories)), np.nan)
    for place, by in enumerate(said.values()):
        for name, named in by.items():
            start = place * len(categories)
            ratings[names.index(name), start : start + len(categories)] = [c in named for c in categories]
    session = np.repeat(world.session[np.array(list(said), np.int64)], len(categories))
    return _counted(AlphaStatistic(ratings, "nominal", session, world.sessions), len(said), world, draws, seed)


def _presented(world: World) -> Floats:
    """1 where a ran first, -1 where b did, 0 where that is not known."""
    return np.array([{"a": 1.0, "b": -1.0}.get(first or "", 0.0) for first in world.first], np.float64)


def _first_preferred(world: World, draws: int, seed: int) -> Counted:
    """Share of the decided choices that went to the rollout that was shown first; 0.5 without an order effect."""
    order = _presented(world)
    known = (order != 0) & (world.preferred != 0)
    won = (order == world.preferred).astype(float)
    ratio = Ratio.of(won, known, world.session[world.a], world.sessions)
    return _counted(ratio, int(known.sum()), world, draws, seed)


def _first_scored_higher(world: World, draws: int, seed: int) -> Counted:
    """Mean score of the rollout shown first less that of the other; 0 without an order effect."""
    order = _presented(world)
    gap = (world.score[world.a] - world.score[world.b]) * order
    known = (order != 0) & ~np.isnan(gap)
    ratio = Ratio.of(gap, known, world.session[world.a], world.sessions)
    return _counted(ratio, int(known.sum()), world, draws, seed)


def _sites(world: World, draws: int, seed: int) -> list[Site]:
    where = np.array([name or "" for name in world.sites])
    pair_site = where[world.a] if world.a.size else np.zeros(0, where.dtype)
    found = []
    for name in sorted(set(where.tolist()) - {""}):
        scored = (where == name) & ~np.isnan(world.score)
        chosen = pair_site == name
        ties = Ratio.of((world.preferred == 0).astype(float), chosen, world.session[world.a], world.sessions)
        found.append(
            Site(
                site=name,
                score=_counted(
                    Ratio.of(world.score, scored, world.session, world.sessions),
                    int(scored.sum()),
                    world,
                    draws,
                    seed,
                ),
                ties=_counted(ties, int(chosen.sum()), world, draws, seed),
            )
        )
    return found


def _between_sites(world: World, *, draws: int, seed: int) -> tuple[float | None, float | None]:
    """Share of the variance of scores that lies between sites (eta squared), and how often as much or more lies there
    when whole sessions are dealt to sites by chance: (count + 1) / (draws + 1). None with fewer than two sites.

    Sites also differ in policies and tasks, so this is no proof that evaluators judge differently.
    """
    where = np.array([name or "" for name in world.sites])
    known = (where != "") & ~np.isnan(world.score)
    names, site = np.unique(where[known], return_inverse=True)
    if len(names) < 2:
        return None, None
    score = world.score[known] - world.score[known].mean()
    total = float((score**2).sum())
    if total == 0:
        return None, None
    present, session = np.unique(world.session[known], return_inverse=True)
    sums = np.bincount(session, score, len(present))
    sizes = np.bincount(session, minlength=len(present)).astype(np.float64)
    home = np.zeros(len(present), np.int64)
    home[session] = site  # a session is at one site

    def between(places: np.ndarray) -> float:
        rollouts = np.bincount(places, sizes, len(names))
        return float((np.bincount(places, sums, len(names)) ** 2 / np.where(rollouts > 0, rollouts, 1)).sum()) / total

    own = between(home)
    if draws <= 0:
        return round(own, DIGITS), None
    rng = np.random.default_rng(seed)
    as_much = sum(between(rng.permutation(home)) >= own - 1e-12 for _ in range(draws))
    return round(own, DIGITS), round((as_much + 1) / (draws + 1), DIGITS)


def policies(world: World) -> list[PolicyRank]:
    """Every policy that was put to a choice against another, the strongest first, those without a strength last."""
    a, b = ([world.policies[row] for row in side.tolist()] for side in (world.a, world.b))
    usable = np.array([x is not None and y is not None and x != y for x, y in zip(a, b, strict=True)], bool)
    names = sorted({name for side in (a, b) for name, use in zip(side, usable, strict=True) if use and name})
    number = {name: k for k, name in enumerate(names)}
    first, second = (np.array([number.get(name or "", 0) for name in side], np.int64)[usable] for side in (a, b))
    choice = world.preferred[usable]
    fitted = ranking.fit(first, second, choice, len(names))
    ranks = []
    for name, k in number.items():
        own = np.where(first == k, choice, -choice)[(first == k) | (second == k)]
        strength = float(fitted.strength[k])
        unknown = np.isnan(strength)
        low, high = fitted.interval(k)
        ranks.append(
            PolicyRank(
                policy=name,
                comparisons=len(own),
                wins=int((own > 0).sum()),
                ties=int((own == 0).sum()),
                losses=int((own < 0).sum()),
                value=None if unknown else round(strength, DIGITS),
                interval=None if unknown else (round(low, DIGITS), round(high, DIGITS)),
            )
        )
    return sorted(ranks, key=lambda rank: (rank.value is None, -(rank.value or 0), rank.policy))
