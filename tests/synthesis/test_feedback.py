"""Texts of evaluators: they name every rollout, say only what a camera shows, and vary with the seed alone."""

from __future__ import annotations

import msgspec
import pytest

from bad_robot_behavior.curation.distill import attribution, keywords
from bad_robot_behavior.schema import Failure, taxonomy
from bad_robot_behavior.schema.synthetic_file import Event
from bad_robot_behavior.synthesis.feedback import Nouns, pair_feedback, phrases, scene_feedback, visible
from tests.synthetic_sets import dropped, make_episode

NOUNS = Nouns("red cylinder", "blue marker")
SEEDS = [str(seed) for seed in range(300)]


def failure(category: str, kind: str, observable: bool = True) -> Failure:
    return msgspec.structs.replace(dropped(), category=category, kind=kind, observable=observable)


def fault(*failures: Failure, events: tuple[Event, ...] = (), success: bool = False, label: str = "B"):  # type: ignore[no-untyped-def]
    outcome = "success_side_effect" if success else "failure"
    score = 0.9 if success else 0.3
    return make_episode("fault", label, failures=failures, events=events, success=success, outcome=outcome, score=score)


def tipped() -> Event:
    return Event(kind="tipped", start=4, end=9, value=1.0, unit="count", subject="yellow cup", penalty=0.2)


def test_the_same_seed_gives_the_same_text_and_seeds_differ() -> None:
    twin, drop = make_episode("success", "A"), fault(dropped())
    texts = [scene_feedback([twin, drop], NOUNS, seed) for seed in SEEDS]
    assert texts == [scene_feedback([twin, drop], NOUNS, seed) for seed in SEEDS]
    assert len(set(texts)) > 100
    lengths = sorted(len(text.split()) for text in texts)
    assert lengths[0] <= 8  # terse
    assert lengths[-1] >= 20  # thorough


def test_every_rollout_is_named() -> None:
    episodes = [make_episode("success", "A"), fault(dropped()), fault(success=True, label="C")]
    for seed in SEEDS:
        assert {*"ABC"} <= set(scene_feedback(episodes, NOUNS, seed).replace(".", " ").split())
        text = pair_feedback(episodes[0], episodes[1], "a", NOUNS, seed)
        assert {*"AB"} <= set(text.replace(".", " ").replace(",", " ").split())


def test_what_no_camera_shows_is_not_said() -> None:
    """An excessive grip is a force. Neither it nor anything else is claimed to have gone wrong."""
    grip = failure("unsafe_interaction", "excessive_force", observable=False)
    episode = fault(grip, success=True)
    assert visible(episode) == []
    said = {scene_feedback([episode], NOUNS, seed) for seed in SEEDS}
    forceful = phrases()["unsafe_interaction/excessive_force"]
    assert not any(words in text for text in said for words in forceful)
    done = [line.format(object="red cylinder", goal="blue marker") for line in phrases()["done"]]
    assert all(any(words in text for words in done) for text in said)


def test_the_other_object_is_named_where_an_event_knows_it() -> None:
    episode = fault(failure("unsafe_interaction", "collision_object"), events=(tipped(),), success=True)
    said = {scene_feedback([episode], NOUNS, seed) for seed in SEEDS}
    assert all("yellow cup" in text for text in said)
    unknown = fault(failure("unsafe_interaction", "collision_object"), success=True)
    assert all("ran into another object" in scene_feedback([unknown], NOUNS, seed) for seed in SEEDS)


def test_a_preference_is_the_one_that_was_given() -> None:
    twin, drop = make_episode("success", "A"), fault(dropped())
    for seed in SEEDS:
        closing = pair_feedback(twin, drop, "a", NOUNS, seed).rsplit(".", 2)[-2].strip()
        for line in phrases()["prefer"]:
            for worse in ("B", "Policy B"):
                assert closing != line.format(better=worse).rstrip(".")
        tie = pair_feedback(twin, drop, "tie", NOUNS, seed)
        assert any(tie.endswith(line) for line in phrases()["tie"])


@pytest.mark.parametrize("name", [name for name in phrases() if "/" in name])
def test_phrases_stand_under_kinds_of_the_taxonomy(name: str) -> None:
    category, kind = name.split("/")
    assert taxonomy.load().is_legal(category, kind)
    assert any("{other}" not in line for line in phrases()[name]) or name in {
        "manipulation/spill",
        "poor_execution/disturbs_other_objects",
        "shortcut/constraint_violated",
        "unsafe_interaction/collision_object",
    }


def test_the_keyword_rule_reads_it_as_it_was_meant() -> None:
    """What this project's own rule finds in the texts is the drop, and is laid at the right door."""
    found = 0
    for seed in SEEDS:
        text = scene_feedback([make_episode("success", "A"), fault(dropped())], NOUNS, seed)
        for said in attribution.attribute(text, ["A", "B"]):
            told = set(keywords.read(said.text).said) - {("unknown", "unknown")}  # "did not finish" names no cause
            if told:
                assert told == {("grasp", "slip_or_drop")}
                assert said.labels in (("B",), ())
                found += said.labels == ("B",)
    assert found > len(SEEDS) // 2
