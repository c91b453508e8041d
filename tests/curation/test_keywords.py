from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.curation.keywords import KEYWORDS, attribute, failures, sentences
from bad_robot_behavior.schema import taxonomy


def test_every_pair_is_in_the_taxonomy() -> None:
    assert [pair for pair in KEYWORDS if not taxonomy.load().is_legal(*pair)] == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("It dropped the marker on the table.", ["slip_or_drop"]),
        ("The cup slipped out of the gripper.", ["slip_or_drop"]),
        ("It lost the cube on the way.", ["slip_or_drop"]),
        ("It let it fall from quite high.", ["slip_or_drop"]),
        ("It opened the gripper way too early.", ["timing_error"]),
        ("It never grasped the cup.", ["no_grasp"]),
        ("It failed to pick up the cup.", ["no_grasp"]),
        ("It did not let go of the cup.", ["failed_release"]),
        ("It knocked the bottle over.", ["collision_object"]),
        ("The arm collided with another cup.", ["collision_object"]),
        ("The arm hit the table twice.", ["collision_environment"]),
        ("It squeezed the cup too hard.", ["excessive_force"]),
        ("It broke the egg.", ["object_damage"]),
        ("Water was spilled everywhere.", ["spill"]),
        ("It missed the bowl.", ["misplaced"]),
        ("It did not fully close the drawer.", ["incomplete_motion"]),
        ("It stopped half way and that was it.", ["premature_stop"]),
        ("The tower collapsed.", ["topple"]),
        ("It picked up the wrong cup.", ["wrong_object"]),
        ("It put the cup on the wrong side.", ["wrong_goal_state"]),
        ("Then it took it back out again.", ["reverted"]),
        ("It did not move at all.", ["stall"]),
        ("It moved around randomly.", ["aimless_motion"]),
        ("It never reached the cup.", ["approach_miss"]),
        ("The motion was jerky.", ["jerky"]),
        ("It needed several attempts.", ["hesitant_or_repeated_attempts"]),
        ("It was slow and paused a lot.", ["hesitant_or_repeated_attempts", "slow"]),
        ("It was very slow.", ["slow"]),
        ("It bumped hard into the table.", ["collision_environment"]),
        ("It pushed against the side with a lot of force.", ["excessive_force"]),
        ("It knocked over the bottle and spilled the water.", ["collision_object", "spill"]),
    ],
)
def test_words_that_plainly_say_it(text: str, kinds: list[str]) -> None:
    assert [kind for _, kind in failures(text)] == kinds


def test_every_pair_has_a_sentence_above() -> None:
    (mark,) = test_words_that_plainly_say_it.pytestmark  # type: ignore[attr-defined]
    tried = {pair for text, _ in mark.args[1] for pair in failures(text)}
    assert tried == set(KEYWORDS)


@pytest.mark.parametrize(
    "text",
    [
        "It did not drop the marker.",
        "It didn't spill anything.",
        "It moved the cup without knocking over the bottle.",
        "It placed the cup and avoided hitting the table.",
        "It almost dropped the cup.",
        "I was afraid that it would crush the egg, knocking it over.",
        "Nothing was dropped, and it never knocked anything over.",
        "It managed to pick up the cup.",
        "It was slower than needed.",
        "It never lost the cup.",
        "It lost the way.",
        "It squeezed gently and pressed hard enough.",
        "It dropped the marker into the cup.",
        "Did it drop the cup?",
        "It did not move the cup to the left.",
        "It put the cup in the right place.",
        "Good job, very smooth and quick.",
        "A bit better at grasping.",
        "",
        "...",
    ],
)
def test_words_that_do_not(text: str) -> None:
    assert failures(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "La política A dejó caer el vaso y derramó el agua.",
        "Policy A hat den Becher fallen lassen. Policy B stieß die Flasche um.",
        "策略A把杯子掉在桌子上了。策略B没有动。",
        "ポリシーAはカップを落とした。",
    ],
)
def test_other_languages_give_no_failure(text: str) -> None:
    assert [pair for said in attribute(text, ("A", "B")) for pair in failures(said.text)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Policy A was good. Policy B was bad.", [("Policy A was good.", "A"), ("Policy B was bad.", "B")]),
        ("A dropped the cup, while B placed it.", [("A dropped the cup", "A"), ("B placed it.", "B")]),
        ("policy a froze but policy b moved", [("policy a froze", "A"), ("policy b moved", "B")]),
        ("A: dropped it. B: moved 0.5 m.", [("A: dropped it.", "A"), ("B: moved 0.5 m.", "B")]),
        ("The first policy froze. The second won.", [("The first policy froze.", "A"), ("The second won.", "")]),
        ("The second one moved.", [("The second one moved.", "B")]),
        ("A and B both froze.", [("A and B both froze.", "AB")]),
        ("Both policies froze.", [("Both policies froze.", "AB")]),
        ("Neither policy moved.", [("Neither policy moved.", "")]),
        ("A was better than B.", [("A was better than B.", "")]),
        ("A cup was dropped.", [("A cup was dropped.", "")]),
        ("A red block fell.", [("A red block fell.", "")]),
        ("It dropped the cup.", [("It dropped the cup.", "")]),
    ],
)  # fmt: skip
def test_who_a_sentence_speaks_of(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(said.text, "".join(said.labels)) for said in attribute(text, ("A", "B"))] == expected


def test_feedback_on_a_single_rollout_is_all_about_it() -> None:
    assert [said.labels for said in attribute("It dropped it. Then it stopped.", ("A",))] == [("A",), ("A",)]


@given(st.text(max_size=300), st.sampled_from([("A", "B"), ("A", "B", "C"), ("1", "2"), ("(", "*"), ("A",)]))
def test_every_piece_stands_in_the_text(text: str, labels: tuple[str, ...]) -> None:
    for said in attribute(text, labels):
        assert said.text in text
        assert said.text.strip() == said.text != ""
        assert set(said.labels) <= set(labels)
    assert all(sentence in text for sentence in sentences(text))


@pytest.mark.parametrize(
    "piece", ["A and B ", "and, ", "A dropped ", "not ", "placed a ", "a.b", "\n", "policy A, but "]
)
def test_hostile_repetition_comes_to_an_end(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    for said in attribute(text, ("A", "B")):
        assert said.text in text
        failures(said.text)
