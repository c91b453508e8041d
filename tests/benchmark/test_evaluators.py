"""The humans of a release: agreement, order and site effects planted and found, policies in order."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bad_robot_behavior.benchmark.evaluators import policies, study
from bad_robot_behavior.benchmark.world import World
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.schema import Failure
from tests.benchmark.conftest import make_session, package


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Six sessions at two sites; a always ran first; one pair of each was judged again by another."""
    folder = tmp_path_factory.mktemp("videos")
    rollouts = []
    for i, (scores, preference) in enumerate(
        [
            ((0.9, 0.1), "a"),
            ((0.8, 0.2), "a"),
            ((0.7, 0.3), "a"),
            ((0.2, 0.3), "b"),
            ((0.1, 0.1), "tie"),
            ((0.3, 0), "a"),
        ]
    ):
        made = make_session(folder, f"s{i}", scores, preference=preference, site="north" if i < 3 else "south")
        [pair] = made[0].session.preferences
        pair = msgspec.structs.replace(pair, presented_first="a", evaluator="one")
        session = msgspec.structs.replace(made[0].session, preferences=(pair,))
        rollouts += [msgspec.structs.replace(rollout, session=session) for rollout in made]
    return package(tmp_path_factory.mktemp("release") / "judged", rollouts)


def test_order_and_sites(judged: Release) -> None:
    found = study(World(judged, "all"), draws=200, seed=0)
    assert (found.evaluators, found.first_preferred.n, found.first_preferred.value) == (1, 5, 0.8)
    assert found.first_preferred.sessions == 5
    assert found.first_scored_higher.value == pytest.approx((0.8 + 0.6 + 0.4 - 0.1 + 0 + 0.3) / 6)
    north, south = found.sites
    assert (north.site, north.score.n, north.score.value) == ("north", 6, 0.5)
    assert (south.site, south.ties.n, south.ties.value) == ("south", 3, pytest.approx(1 / 3))
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.2, 0.3, 0.1, 0.1, 0.3, 0.0])
    between = sum(6 * (part.mean() - scores.mean()) ** 2 for part in (scores[:6], scores[6:]))
    assert found.site_share == pytest.approx(between / ((scores - scores.mean()) ** 2).sum())
    # of the 20 ways to deal three of six sessions to a site, the true one and its mirror are the most uneven
    assert found.site_p is not None
    assert 0.03 < found.site_p < 0.2


def test_where_nobody_judged_twice_agreement_is_null(judged: Release) -> None:
    found = study(World(judged, "all"), draws=20, seed=0)
    assert (found.agreement.n, found.agreement.value, found.agreement.interval) == (0, None, None)


def test_agreement_of_those_who_judged_the_same_pair(judged: Release) -> None:
    world = World(judged, "all")
    n = len(world.a)
    # A second judge saw every pair the other way round and says the same of all but the first.
    world.a, world.b = np.concatenate([world.a, world.b]), np.concatenate([world.b, world.a])
    second = -world.preferred
    second[0] = -second[0]
    world.preferred = np.concatenate([world.preferred, second])
    world.judge, world.first = [*world.judge, *["two"] * n], [*world.first, *[None] * n]
    found = study(world, draws=50, seed=0)
    assert (found.evaluators, found.agreement.n, found.agreement.sessions) == (2, 6, 6)
    # ratings of two judges over six pairs, one disagreement: alpha = 1 - 11 * 2 / (expected coincidences of others)
    assert found.agreement.value is not None
    assert 0.5 < found.agreement.value < 0.9
    assert found.first_preferred.n == 5


def test_agreement_on_what_went_wrong(tmp_path: Path) -> None:
    def said(category: str, by: str, kind: str = "human") -> Failure:
        return Failure(
            category=category,
            kind="unknown",
            annotator=by,
            annotator_type=kind,
            mapping_version="1.0.0",  # type: ignore[arg-type]
        )

    rollouts = [
        *make_session(tmp_path, "s1", [0.1, 0.2], failures=(said("grasp", "one"), said("grasp", "m", "llm"))),
        *make_session(tmp_path, "s2", [0.1, 0.2], failures=(said("reach", "one"), said("reach", "m", "llm"))),
        *make_session(tmp_path, "s3", [0.1, 0.2], failures=(said("semantic", "one"),)),  # described by one only
    ]
    agreed = study(World(package(tmp_path / "a", rollouts), "all"), draws=20, seed=0).failure_agreement
    assert (agreed.n, agreed.value, agreed.sessions) == (4, 1.0, 2)
    torn = make_session(tmp_path, "s4", [0.1, 0.2], failures=(said("reach", "one"), said("grasp", "m", "llm")))
    less = study(World(package(tmp_path / "b", [*rollouts, *torn]), "all"), draws=20, seed=0).failure_agreement
    # 12 units (6 rollouts, 2 categories) of two judgements, 4 of them split; ones and zeros are 12 each:
    # alpha = 1 - 23 * (8 split coincidences) / (2 * 12 * 12)
    assert (less.n, less.value) == (6, pytest.approx(1 - 23 * 8 / 288))


def test_policies_are_ranked_by_their_choices(judged: Release) -> None:
    world = World(judged, "all")
    first, second = policies(world)
    assert (first.policy, first.comparisons, first.wins, first.ties, first.losses) == ("policy_a", 6, 4, 1, 1)
    assert first.value is not None
    assert second.value == pytest.approx(-first.value)
    # Davidson with two policies: wins 4 to 1, so the strengths differ by log 4
    assert first.value - (second.value or 0) == pytest.approx(np.log(4))
    assert first.interval is not None
    assert first.interval[0] < first.value < first.interval[1]


def test_a_release_without_choices_has_no_ranking(tmp_path: Path) -> None:
    made = make_session(tmp_path, "s1", [0.1, 0.9], preference=None)
    found = study(World(package(tmp_path / "r", made), "all"), draws=10, seed=0)
    assert found.policies == ()
    assert (found.first_preferred.value, found.site_share, found.site_p) == (None, None, None)
