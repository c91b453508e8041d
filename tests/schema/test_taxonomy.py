"""taxonomy.yaml: what it holds, that every published label is mapped, and that nothing is ever guessed."""

from __future__ import annotations

import typing

import pytest

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import records, taxonomy
from bad_robot_behavior.schema.taxonomy import UnknownLabelError

KNOWN = taxonomy.load()

LEVELS = {
    "unknown": "",
    "semantic": "wrong_object wrong_goal_state wrong_order missing_step contradictory_or_ambiguous_plan "
    "instruction_mismatch reverted",
    "no_attempt": "stall no_progress aimless_motion",
    "reach": "position_deviation orientation_deviation missing_rotation approach_miss",
    "grasp": "no_grasp imprecise_grasp slip_or_drop timing_error failed_release",
    "manipulation": "incomplete_motion misplaced spill topple insertion_or_alignment_error premature_stop",
    "unsafe_interaction": "collision_environment collision_object excessive_force object_damage "
    "self_collision_or_limit near_human",
    "poor_execution": "jerky hesitant_or_repeated_attempts slow inefficient_path disturbs_other_objects",
    "shortcut": "superficial_success constraint_violated reward_hack_view",
    "hardware": "robot_fault gripper_fault comms_or_latency",
    "perception_scene": "occlusion wrong_perception blocked occupied_target",
}

# system, label as published, category/kind ("-" where the label is an axis only), axis values and attributes
LABELS = """
oopsie | Reaching failure | reach/unknown |
oopsie | Reaching failure (pre contact) | reach/unknown |
oopsie | reaching | reach/unknown |
oopsie | Grasp failure | grasp/unknown |
oopsie | Grasp failure (at contact) | grasp/unknown |
oopsie | grasp | grasp/unknown |
oopsie | Manipulation failure | manipulation/unknown |
oopsie | Manipulation failure (post contact) | manipulation/unknown |
oopsie | manipulation | manipulation/unknown |
oopsie | Sequencing or semantic failure | semantic/unknown |
oopsie | sequencing_semantic | semantic/unknown |
oopsie | Collision failure | unsafe_interaction/collision_environment |
oopsie | collision | unsafe_interaction/collision_environment |
oopsie | Hardware/mechanical issue | hardware/robot_fault |
oopsie | hardware | hardware/robot_fault |
oopsie | Task not attempted | no_attempt/stall |
oopsie | not_attempted | no_attempt/stall |
oopsie | Other | unknown/unknown |
oopsie | Low | - | severity=low
oopsie | Medium | - | severity=medium
oopsie | Catastrophic | - | severity=catastrophic
oopsie | success | - | outcome=success
oopsie | success_suboptimal | - | outcome=success_suboptimal
oopsie | success_side_effect | - | outcome=success_side_effect
oopsie | failure | unknown/unknown | outcome=failure
aha | grasp | grasp/no_grasp |
aha | No_Grasp | grasp/no_grasp |
aha | slip | grasp/slip_or_drop |
aha | translation | reach/position_deviation |
aha | translation_x | reach/position_deviation | axis=x
aha | translation_y | reach/position_deviation | axis=y
aha | translation_z | reach/position_deviation | axis=z
aha | rotation | reach/orientation_deviation |
aha | rotation_x | reach/orientation_deviation | axis=x
aha | rotation_y | reach/orientation_deviation | axis=y
aha | rotation_z | reach/orientation_deviation | axis=z
aha | no_rotation | reach/missing_rotation |
aha | wrong_sequence | semantic/wrong_order |
aha | Wrong_action | semantic/wrong_order |
aha | wrong_object | semantic/wrong_object |
robofac | Step Omission | semantic/missing_step |
robofac | Wrong Object | semantic/wrong_object |
robofac | wrong_object | semantic/wrong_object |
robofac | Position Deviation | reach/position_deviation |
robofac | position offset | reach/position_deviation |
robofac | Orientation Deviation | reach/orientation_deviation |
robofac | rotation offset | reach/orientation_deviation |
robofac | Grasping Error | grasp/imprecise_grasp |
robofac | gripper error | grasp/imprecise_grasp |
robofac | Timing Error | grasp/timing_error |
robofac | gripper close early | grasp/timing_error | direction=early
robofac | close_late | grasp/timing_error | direction=late
robofac | speed_offset | poor_execution/slow |
failsafe | translation | reach/position_deviation |
failsafe | rotation | reach/orientation_deviation |
failsafe | no-ops | no_attempt/stall |
failsafe | None | - | outcome=success
robofail | drop | grasp/slip_or_drop |
robofail | failed_action | manipulation/unknown |
robofail | missing_step | semantic/missing_step |
robofail | wrong_perception | perception_scene/wrong_perception |
robofail | ambiguous_plan | semantic/contradictory_or_ambiguous_plan |
robofail | blocking | perception_scene/blocked |
robofail | occupied | perception_scene/occupied_target |
robofail | occupied_put | perception_scene/occupied_target |
guardian | ground_truth | - | outcome=success
guardian | no_close | grasp/no_grasp |
guardian | no_grasp | grasp/no_grasp |
guardian | no gripper close | grasp/no_grasp |
guardian | no progress | no_attempt/no_progress |
guardian | slip | grasp/slip_or_drop |
guardian | translation | reach/position_deviation |
guardian | translation_object | reach/position_deviation |
guardian | translation_target | manipulation/misplaced |
guardian | imprecise grasping/pushing | grasp/imprecise_grasp |
guardian | rotation | reach/orientation_deviation |
guardian | wrong_object | semantic/wrong_object |
guardian | wrong object manipulated | semantic/wrong_object |
guardian | wrong_sequence | semantic/wrong_order |
guardian | wrong_target | semantic/wrong_goal_state |
guardian | wrong object state or placement | semantic/wrong_goal_state |
guardian | wrong order | semantic/wrong_order | phase=planning
guardian | missing subtask | semantic/missing_step | phase=planning
guardian | contradictory subtasks | semantic/contradictory_or_ambiguous_plan | phase=planning
guardian | task-execution semantic mismatch | semantic/instruction_mismatch | phase=execution
guardian | revert action | semantic/reverted | phase=execution
i_failsense | semantic misalignment error | semantic/instruction_mismatch |
i_failsense | control error | manipulation/unknown |
vifailback | task planning | semantic/unknown |
vifailback | gripper 6D pose | reach/unknown |
vifailback | gripper state | grasp/unknown |
vifailback | human intervention | - | intervention=human
racer | recoverable_failure | unknown/unknown | recoverable=yes
racer | catastrophic failure | unknown/unknown | recoverable=no
sirius | intervention | - | intervention=human
sirius | pre-intervention | - | phase=before intervention
armbench | multi-pick | semantic/wrong_goal_state |
armbench | package-defect | unsafe_interaction/object_damage |
armbench | open | unsafe_interaction/object_damage |
armbench | deconstruction | unsafe_interaction/object_damage |
armbench | nominal | - | outcome=success
kaputt | spillage | manipulation/spill |
kaputt | penetration | unsafe_interaction/object_damage |
kaputt | deformation | unsafe_interaction/object_damage |
kaputt | actuation | unsafe_interaction/object_damage |
kaputt | deconstruction | unsafe_interaction/object_damage |
kaputt | superficial | unsafe_interaction/object_damage |
kaputt | missing unit | manipulation/unknown |
kaputt | minor | - | severity=low
kaputt | major | - | severity=medium
paper | unsafe interaction | unsafe_interaction/unknown |
paper | poor execution | poor_execution/unknown |
paper | shortcut | shortcut/unknown |
roboreward | 1 | - | graded_outcome=none
roboreward | 2 | - | graded_outcome=minimal
roboreward | 3 | - | graded_outcome=partial
roboreward | 4 | - | graded_outcome=near_success
roboreward | 5 | - | graded_outcome=success, outcome=success
robometer | failure | unknown/unknown | outcome=failure, graded_outcome=none+minimal+partial, coarse
robometer | suboptimal | - | graded_outcome=near_success, coarse
robometer | successful | - | outcome=success, graded_outcome=success, coarse
roboarena | 1 | - | outcome=success
roboarena | 0 | unknown/unknown | outcome=failure
sentinel | erratic | poor_execution/jerky | coarse
sentinel | task-progression | no_attempt/no_progress | coarse
soar | success | - | outcome=success
soar | failure | unknown/unknown | outcome=failure
autoeval | true | - | outcome=success
autoeval | False | unknown/unknown | outcome=failure
droid | success | - | outcome=success
droid | failure | unknown/unknown | outcome=failure
fino_net | 0 | - | outcome=success
fino_net | 1 | unknown/unknown | outcome=failure
"""
CASES = [tuple(part.strip() for part in line.split("|")) for line in LABELS.strip().splitlines()]


def test_levels_and_kinds() -> None:
    assert {slug: set(category.kinds) for slug, category in KNOWN.categories.items()} == {
        slug: {"unknown", *kinds.split()} for slug, kinds in LEVELS.items()
    }


def test_definitions_can_be_applied() -> None:
    for category in KNOWN.categories.values():
        assert len(category.definition) > 60
        for kind in category.kinds.values():
            assert kind.definition.endswith(".")
    definitions = [c.definition for c in KNOWN.categories.values()]
    definitions += [k.definition for c in KNOWN.categories.values() for k in c.kinds.values()]
    assert len(set(definitions)) == len(definitions)


def test_axes_agree_with_the_records() -> None:
    assert set(KNOWN.axes["severity"].values) == set(typing.get_args(records.Severity))
    assert set(KNOWN.axes["outcome"].values) == set(typing.get_args(records.Outcome))
    assert set(KNOWN.axes["graded_outcome"].values) == {"success", "near_success", "partial", "minimal", "none"}
    assert set(KNOWN.axes["recoverable"].values) == {"yes", "self_recovered", "no", "unknown"}
    assert set(KNOWN.axes["intervention"].values) == {"none", "human", "estop"}
    assert set(KNOWN.axes["observable"].values) == {"true", "false", "null"}


@pytest.mark.parametrize(("system", "label", "target", "rest"), CASES)
def test_every_published_label(system: str, label: str, target: str, rest: str) -> None:
    mapped = KNOWN.map(system, label)
    category, _, kind = target.partition("/")
    assert (mapped.category, mapped.kind) == ((None, None) if target == "-" else (category, kind))
    wanted = [part.strip() for part in rest.split(",") if part]
    for part in wanted:
        name, _, value = part.partition("=")
        if name == "coarse":
            assert mapped.coarse
        elif name == "graded_outcome":
            assert mapped.graded_outcome == tuple(value.split("+"))
        elif name in ("axis", "direction", "phase"):
            assert mapped.attributes[name] == value
        else:
            assert getattr(mapped, name) == value
    named = {part.partition("=")[0] for part in wanted}
    for axis in ("severity", "recoverable", "intervention", "outcome"):
        assert axis in named or getattr(mapped, axis) is None
    assert "graded_outcome" in named or not mapped.graded_outcome


def test_every_system_is_tried() -> None:
    assert {system for system, *_ in CASES} == set(KNOWN.systems)


def test_guardian_has_all_sixteen_raw_strings() -> None:
    raw = "ground_truth|no_close|no_grasp|no gripper close|no progress|slip|translation|translation_object|"
    raw += "translation_target|imprecise grasping/pushing|rotation|wrong_object|wrong object manipulated|"
    raw += "wrong_sequence|wrong_target|wrong object state or placement"
    assert len(raw.split("|")) == 16
    for label in raw.split("|"):
        KNOWN.map("guardian", label)


def test_binary_sources_name_no_cause() -> None:
    for system in ("roboarena", "soar", "autoeval", "droid", "fino_net"):
        for mapped in KNOWN.mappings[system].labels.values():
            assert (mapped.category, mapped.kind) in ((None, None), ("unknown", "unknown"))
            assert (mapped.category is None) == (mapped.outcome == "success")


def test_case_and_spaces_do_not_matter() -> None:
    assert KNOWN.map("guardian", " No  Gripper close ") == KNOWN.map("guardian", "no gripper close")


@pytest.mark.parametrize("label", ["", "graspp", "gras", "wrong", "success?", "1.0"])
def test_an_unknown_label_is_refused(label: str) -> None:
    with pytest.raises(UnknownLabelError) as caught:
        KNOWN.map("guardian", label)
    assert caught.value.legal == tuple(KNOWN.mappings["guardian"].labels)
    assert "no gripper close" in str(caught.value)


def test_an_unknown_system_is_refused() -> None:
    with pytest.raises(KeyError, match="did you mean 'guardian'"):
        KNOWN.map("guardan", "slip")
    with pytest.raises(BadRobotError, match="no taxonomy is mapped under 'x'"):
        KNOWN.map("x", "slip")


def test_legal_pairs() -> None:
    assert KNOWN.is_legal("grasp", "slip_or_drop")
    assert KNOWN.is_legal("unknown", "unknown")
    assert not KNOWN.is_legal("grasp", "spill")
    assert not KNOWN.is_legal("nothing", "unknown")
    assert KNOWN.legal_kinds("nothing") == ()
    assert all(KNOWN.is_legal(category, "unknown") for category in KNOWN.legal_categories)
    assert KNOWN.observable("hardware", "comms_or_latency") is False
    assert KNOWN.observable("grasp", "no_grasp") is True
    assert KNOWN.observable("shortcut", "superficial_success") is None


TEXT = taxonomy.source_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  no_attempt:\n    name", "  semantic:\n    name", "repeats a key"),
        ("      stall: {name: Stall", "      no_progress: {name: Stall", "repeats a key"),
        ("slip: {category: grasp, kind: slip_or_drop}", "slip: {category: grasp, kind: slipped}", "grasp/slipped"),
        ("slip: {category: grasp, kind: slip_or_drop}", "slip: {category: grasp}", "only one of category and kind"),
        (
            "slip: {category: grasp, kind: slip_or_drop}",
            "Ground_Truth: {category: grasp, kind: slip_or_drop}",
            "two things",
        ),
        ("minor: {severity: low}", "minor: {severity: tiny}", "severity 'tiny'"),
        ("graded_outcome: [minimal]", "graded_outcome: [tiny]", "graded_outcome 'tiny'"),
        ('      "1": {outcome: success,', "      1: {outcome: success,", "put it in quotes"),
        ('also: ["multi_pick"]', 'also: ["open"]', "stands twice"),
        ("version: 1.0.0", "edition: 1.0.0", "malformed"),
        ("mappings:", "maps:", "malformed"),
        ("      drop: {category", "      drop: {colour: red, category", "colour"),
        ("categories:", "categories: [", "not valid YAML"),
        (TEXT, "[]", "must be a mapping"),
    ],
)
def test_a_malformed_taxonomy_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        taxonomy.parse(TEXT.replace(old, new, 1))


def test_categories_need_unknown() -> None:
    line = next(line for line in TEXT.splitlines() if "The plan or its meaning was wrong" in line)
    with pytest.raises(ValueError, match="category semantic has no kind unknown"):
        taxonomy.parse(TEXT.replace(line + "\n", "", 1))
