"""Faults in real physics: each does what its name says, from its step of injection on and not before, every time."""

from __future__ import annotations

import functools
import json
import zlib
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.synthesis.faults import FAULTS, find_fault
from bad_robot_behavior.synthesis.replay import run_expert, run_fault
from bad_robot_behavior.synthesis.tasks import find_task, tasks
from bad_robot_behavior.synthesis.trace import Trace
from bad_robot_behavior.synthesis.truth import Truth, tell, why_not_clean
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import World

pytest.importorskip("metaworld")


@functools.cache
def scene(task: str, seed: int = 1) -> tuple[World, Twin]:
    world = World(find_task(task), seed)
    return world, run_expert(world)


def draw(slug: str, twin: Twin, seed: int = 1) -> dict[str, Any] | None:
    return FAULTS[slug].draw(np.random.default_rng([seed, zlib.crc32(slug.encode())]), twin)


@functools.cache
def rollout(task: str, slug: str, seed: int = 1) -> tuple[Trace, Truth]:
    world, twin = scene(task, seed)
    parameters = draw(slug, twin, seed)
    assert parameters is not None
    trace = run_fault(world, twin, FAULTS[slug], parameters)
    return trace, tell(trace, twin.trace, parameters["inject_step"])


def value(told: Truth, kind: str) -> float:
    """The largest of that kind of event; 0 where there is none."""
    return max([0.0, *(event.value for event in told.events if event.kind == kind)])


def kinds(told: Truth) -> set[str]:
    return {f"{failure.category}/{failure.kind}" for failure in told.failures}


def test_a_fault_that_is_not_known_is_an_error_that_lists_them_and_names_the_nearest() -> None:
    with pytest.raises(BadRobotError, match=r"no fault 'hesitate'; did you mean hesitation\? Faults: no_grasp, "):
        find_fault("hesitate")
    assert find_fault("drop") is FAULTS["drop"]


def test_every_fault_can_bite_somewhere_and_says_why_not_elsewhere() -> None:
    assert len(FAULTS) >= 18
    for slug, fault in FAULTS.items():
        assert fault.slug == slug
        assert fault.title
        reasons = [fault.applies(task) for task in tasks().values()]
        assert None in reasons, slug
        assert all(reason is None or len(reason) > 10 for reason in reasons)


@pytest.mark.parametrize("task", ["pick-place-v3", "drawer-open-v3"])
def test_parameters_are_drawn_from_the_seed_alone_and_begin_within_the_twin(task: str) -> None:
    world, twin = scene(task)
    drawn = 0
    for slug, fault in FAULTS.items():
        if fault.applies(world.task) is not None:
            continue
        for seed in range(5):
            parameters = draw(slug, twin, seed)
            assert parameters == draw(slug, twin, seed)
            if parameters is None:
                continue
            assert json.loads(json.dumps(parameters)) == parameters
            assert 0 <= parameters["inject_step"] < twin.trace.steps, slug
            drawn += 1
    assert drawn > 50


@pytest.mark.parametrize(
    ("task", "slug"),
    [
        ("pick-place-v3", "drop"),
        ("pick-place-v3", "knock_cup"),
        ("pick-place-v3", "tilt"),
        ("pick-place-v3", "slip"),
        ("drawer-open-v3", "press_table"),
    ],
)
def test_a_rollout_is_its_twin_up_to_the_injection_and_the_same_again(task: str, slug: str) -> None:
    world, twin = scene(task)
    trace, told = rollout(task, slug)
    inject = told.inject_step
    assert inject is not None
    for name in ("action", "tcp", "gripper", "hand", "object_position", "held", "limit"):
        assert np.array_equal(getattr(trace, name)[:inject], getattr(twin.trace, name)[:inject]), name
    for kind, force in trace.forces.items():
        assert np.array_equal(force[:inject], twin.trace.forces[kind][:inject]), kind
    for mine, theirs in zip(trace.distractors, twin.trace.distractors, strict=True):
        assert np.array_equal(mine.position[:inject], theirs.position[:inject])
    parameters = draw(slug, twin)
    again = run_fault(world, twin, FAULTS[slug], parameters or {})
    assert again.tcp.tobytes() == trace.tcp.tobytes()
    assert again.object_position.tobytes() == trace.object_position.tobytes()
    assert tell(again, twin.trace, inject).reward.tobytes() == told.reward.tobytes()
    assert told.onset_step is not None
    assert told.failure_step is not None
    assert inject <= min(told.onset_step, told.failure_step)


@pytest.mark.parametrize("task", ["pick-place-v3", "drawer-open-v3"])
def test_a_twin_is_clean_and_nothing_of_a_fault_is_left_in_the_world(task: str) -> None:
    world, twin = scene(task)
    assert why_not_clean(twin.trace) is None
    assert tell(twin.trace, twin.trace).outcome == "success"
    for slug in ("excessive_grip", "press_table", "tilt"):
        if FAULTS[slug].applies(world.task) is None:
            rollout(task, slug)
    assert run_expert(world).trace.tcp.tobytes() == twin.trace.tcp.tobytes()


def test_drop_falls_and_lands() -> None:
    _, told = rollout("pick-place-v3", "drop")
    assert value(told, "drop") > 0.02
    assert value(told, "impact") > 0
    assert kinds(told) >= {"grasp/slip_or_drop"}
    assert told.outcome == "failure"


def test_slip_slides_out_though_the_gripper_stays_closed() -> None:
    trace, told = rollout("pick-place-v3", "slip")
    assert not trace.held[-1]
    assert (trace.action[told.inject_step or 0 :, 3] > 0).all()
    assert kinds(told) == {"grasp/slip_or_drop"}


def test_no_grasp_never_closes() -> None:
    trace, told = rollout("pick-place-v3", "no_grasp")
    assert trace.gripper.min() > 0.8
    assert kinds(told) == {"grasp/no_grasp"}


def test_a_knocked_cup_moves_and_the_task_is_done_all_the_same() -> None:
    _, told = rollout("pick-place-v3", "knock_cup")
    assert value(told, "hit_distractor") > 0
    assert value(told, "object_moved") > 0.01
    assert told.outcome == "success_side_effect"


def test_a_hit_by_what_the_robot_carries_is_a_hit() -> None:
    trace, told = rollout("pick-place-v3", "brush_cup")
    carried = float(trace.forces["object_distractor"].max())
    assert carried > 2 * trace.forces["robot_distractor"].max()
    assert value(told, "hit_distractor") == pytest.approx(carried)


def test_a_cup_that_holds_something_tips_and_what_comes_out_is_counted() -> None:
    trace, told = rollout("pick-place-v3", "spill")
    cup = trace.distractors[0]
    assert cup.particles > 0
    assert cup.upright.min() < 0.7
    assert value(told, "tipped") == 1
    assert value(told, "spilled") == cup.spilled.max()
    assert ("manipulation/spill" in kinds(told)) == bool(cup.spilled.max() > 0)


def test_excessive_grip_is_a_force_against_the_twins() -> None:
    _, twin = scene("pick-place-v3")
    trace, told = rollout("pick-place-v3", "excessive_grip")
    assert trace.forces["grip"].max() > 1.3 * twin.trace.forces["grip"].max()
    squeezed = [f for f in told.failures if "squeezed" in (f.description or "")]
    assert len(squeezed) >= 1
    assert {failure.kind for failure in squeezed} == {"excessive_force"}


def test_pressing_the_table_is_seen_and_felt() -> None:
    _, told = rollout("push-v3", "press_table")
    pressed = [failure for failure in told.failures if "The table" in (failure.description or "")]
    assert pressed
    assert all(failure.observable for failure in pressed)
    assert value(told, "hit_table") > 50


def test_the_wrong_object_is_held() -> None:
    trace, told = rollout("pick-place-v3", "wrong_object")
    assert trace.wrong_object.sum() >= 5
    assert "semantic/wrong_object" in kinds(told)


@pytest.mark.parametrize(
    ("task", "seed", "slug", "expected"),
    [
        ("pick-place-v3", 1, "missing_step", "semantic/missing_step"),
        ("pick-place-v3", 1, "misplace", "manipulation/misplaced"),
        ("pick-place-v3", 1, "wander", "no_attempt/aimless_motion"),
        ("pick-place-v3", 1, "undo", "semantic/reverted"),
        ("pick-place-v3", 1, "slow", "poor_execution/slow"),
        ("pick-place-v3", 1, "regrasp", "poor_execution/hesitant_or_repeated_attempts"),
        ("drawer-open-v3", 2, "jitter", "poor_execution/jerky"),
        ("drawer-open-v3", 2, "hesitation", "poor_execution/hesitant_or_repeated_attempts"),
        ("drawer-open-v3", 1, "push_limit", "unsafe_interaction/self_collision_or_limit"),
        ("drawer-open-v3", 1, "timeout", "poor_execution/slow"),
    ],
)
def test_what_physics_shows_is_what_was_done(task: str, seed: int, slug: str, expected: str) -> None:
    _, told = rollout(task, slug, seed)
    assert expected in kinds(told), [failure.description for failure in told.failures]


def test_what_is_in_a_cup_that_is_struck_hard_comes_out() -> None:
    """Not of every cup; how often stands in docs/synthesis.md."""
    told = [rollout("pick-place-v3", "spill", seed)[1] for seed in (1, 3, 7)]
    assert [value(one, "tipped") for one in told] == [1, 1, 1]
    spilled = [value(one, "spilled") for one in told]
    assert sum(count > 0 for count in spilled) >= 2, spilled


def test_almost_done_rests_just_short_of_the_goal() -> None:
    for task in ("bin-picking-v3", "button-press-v3"):
        trace, told = rollout(task, "almost")
        assert trace.progress[-1] > 0.9
        assert told.outcome == "failure"
        assert "shortcut/superficial_success" in kinds(told)


def test_letting_go_of_what_hangs_in_the_air_undoes_the_task() -> None:
    biting = [task.name for task in tasks().values() if FAULTS["let_go"].applies(task) is None]
    assert len(biting) >= 4
    _, told = rollout("disassemble-v3", "let_go")
    assert kinds(told) >= {"grasp/slip_or_drop", "semantic/reverted"}
