from __future__ import annotations

import pytest

from bad_robot_behavior.curation.distill.attribution import attribute
from bad_robot_behavior.curation.distill.keywords import read, words
from bad_robot_behavior.schema import taxonomy


def test_every_pair_is_in_the_taxonomy() -> None:
    assert [pair for pair in words().patterns if not taxonomy.load().is_legal(*pair)] == []


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
        ("The grip was too loose and the grasp was off-center.", ["imprecise_grasp"]),
        ("Grasping failed.", ["unknown"]),
        ("It ran into a joint limit.", ["self_collision_or_limit"]),
        ("The arm came way too close to me.", ["near_human"]),
        ("That was dangerous.", ["unknown"]),
        ("It could not insert the key.", ["insertion_or_alignment_error"]),
        ("It did everything in reverse order.", ["wrong_order"]),
        ("It forgot the second cup.", ["missing_step"]),
        ("It did not follow the instruction.", ["instruction_mismatch"]),
        ("It did not understand the task.", ["unknown"]),
        ("There was little progress.", ["no_progress"]),
        ("It made no attempt.", ["unknown"]),
        ("The gripper was too far to the left.", ["position_deviation"]),
        ("It approached at a bad angle.", ["orientation_deviation"]),
        ("It never turned the wrist.", ["missing_rotation"]),
        ("It went in circles.", ["inefficient_path"]),
        ("It nudged the other blocks.", ["disturbs_other_objects"]),
        ("It was clumsy.", ["unknown"]),
        ("It is just leaning against the box.", ["superficial_success"]),
        ("It violated the condition in the task.", ["constraint_violated"]),
        ("It turned so that the camera could not see the cup.", ["reward_hack_view"]),
        ("We had a controller error.", ["robot_fault"]),
        ("The gripper stopped working.", ["gripper_fault"]),
        ("Terrible network latency.", ["comms_or_latency"]),
        ("There was a hardware problem.", ["unknown"]),
        ("The cup was occluded.", ["occlusion"]),
        ("It confused the lime with the lemon.", ["wrong_perception"]),
        ("The drawer was blocked by the box.", ["blocked"]),
        ("The slot was already taken.", ["occupied_target"]),
        ("It failed.", ["unknown"]),
        ("It was not able to finish the task.", ["unknown"]),
        ("Neither policy grasped the cup.", ["no_grasp"]),
        ("It wasn't able to reach the cup.", ["approach_miss"]),
        ("It would have won if it had not spilled the milk.", ["spill"]),
    ],
)
def test_words_that_plainly_say_it(text: str, kinds: list[str]) -> None:
    assert [kind for _, kind in read(text).said] == kinds


def test_every_pair_has_a_sentence_above() -> None:
    (mark,) = test_words_that_plainly_say_it.pytestmark  # type: ignore[attr-defined]
    tried = {pair for text, _ in mark.args[1] for pair in read(text).said}
    assert tried == set(words().patterns)


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
    assert read(text).said == ()


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
    assert [pair for said in attribute(text, ("A", "B")) for pair in read(said.text).said] == []
