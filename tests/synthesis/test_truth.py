"""Truth of made-up traces: what must be told, what must hold of rewards, and what must not."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_robot_behavior.schema import taxonomy
from bad_robot_behavior.synthesis import causes, events, failures, measure, rubric, truth
from bad_robot_behavior.synthesis.causes import find_cause
from bad_robot_behavior.synthesis.trace import Trace
from bad_robot_behavior.synthesis.truth import Truth, tell, why_not_clean
from tests.synthesis import traces
from tests.synthesis.traces import CARRY, CLOSE, GOAL, LIFT, REACH, REST, START, pick_place, with_distractor, with_force

TWIN = pick_place()


def kinds(told: Truth) -> set[str]:
    return {f"{failure.category}/{failure.kind}" for failure in told.failures}


def event(told: Truth, kind: str) -> Any:
    found = [event for event in told.events if event.kind == kind]
    assert len(found) == 1, (kind, [event.kind for event in told.events])
    return found[0]


def cut(trace: Trace, steps: int) -> Trace:
    """The first steps of it."""
    return at_steps(trace, slice(steps))


def at_steps(trace: Trace, steps: Any) -> Trace:
    """The trace with its steps taken in another order, or more than once."""
    arrays = {
        field.name: value[steps]
        for field in dataclasses.fields(trace)
        if isinstance(value := getattr(trace, field.name), np.ndarray) and field.name != "goal"
    }
    others = tuple(
        dataclasses.replace(o, position=o.position[steps], upright=o.upright[steps], spilled=o.spilled[steps])
        for o in trace.distractors
    )
    forces = {kind: force[steps] for kind, force in trace.forces.items()}
    return dataclasses.replace(trace, **arrays, forces=forces, distractors=others)


def failed(**changes: Any) -> Trace:
    """A trace without success whose progress follows from where its object is."""
    trace = pick_place(**changes | {"success": np.zeros(REST, dtype=bool)})
    way = measure.to_goal(trace) / np.linalg.norm(START - GOAL)
    return dataclasses.replace(trace, progress=np.clip(1 - way, 0, 0.99))


def test_a_clean_twin_beside_itself_has_nothing_wrong() -> None:
    told = tell(TWIN, TWIN)
    assert (told.outcome, told.success, told.failures, told.score) == ("success", True, (), 1.0)
    assert [event.kind for event in told.events] == ["grasp", "lift", "goal_reached"]
    assert (told.onset_step, told.failure_step, told.effective) == (None, None, False)
    assert why_not_clean(TWIN) is None
    assert told.penalty.sum() == 0


def test_an_injected_fault_that_did_nothing_is_a_success_without_effect() -> None:
    told = tell(pick_place(), TWIN, 20)
    assert (told.outcome, told.effective, told.inject_step) == ("success", False, 20)


def test_no_function_of_the_truth_can_be_given_a_name_of_a_fault() -> None:
    for function in (tell, events.find_events, failures.find_failures, find_cause):
        assert not {"fault", "parameters", "name"} & set(inspect.signature(function).parameters)
    assert not {"fault", "parameters"} & {field.name for field in dataclasses.fields(Trace)}
    for module in (truth, events, failures, causes, measure, rubric):
        assert "synthesis.faults" not in inspect.getsource(module)


def test_a_hit_cup_is_a_success_with_a_side_effect() -> None:
    moved = traces.still(REST, [0.1, 0.8, 0.03])
    moved[60:] += [0.04, 0, 0]
    trace = with_distractor(with_force(TWIN, "object_distractor", 58, 62, 30.0), position=moved)
    told = tell(trace, TWIN, 50)
    assert told.outcome == "success_side_effect"
    assert kinds(told) == {"unsafe_interaction/collision_object", "poor_execution/disturbs_other_objects"}
    assert event(told, "hit_distractor").subject == "red cup"
    assert event(told, "object_moved").value == pytest.approx(0.04)
    assert (told.inject_step, told.onset_step, told.failure_step) == (50, 60, 58)
    assert told.score < 1


def test_the_constraint_of_an_instruction_is_broken_by_what_it_names_alone() -> None:
    trace = with_force(TWIN, "robot_distractor", 58, 62, 30.0)
    moved = traces.still(REST, [0.1, 0.8, 0.03])
    moved[60:] += [0.02, 0, 0]
    trace = with_distractor(trace, position=moved)
    assert "shortcut/constraint_violated" in kinds(tell(trace, TWIN, 50, forbidden=("red cup",)))
    assert "shortcut/constraint_violated" not in kinds(tell(trace, TWIN, 50, forbidden=("blue block",)))


def test_a_tipped_cup_and_its_particles() -> None:
    upright, out = np.ones(REST), np.zeros(REST, dtype=np.int64)
    upright[60:], out[64:] = 0.1, 4
    told = tell(with_distractor(TWIN, upright=upright, spilled=out), TWIN, 50)
    assert event(told, "tipped").start == 60
    assert event(told, "spilled").value == 4
    assert {"manipulation/spill", "poor_execution/disturbs_other_objects"} == kinds(told)
    assert {failure.severity for failure in told.failures} == {"medium"}


def test_a_force_is_held_against_the_twins_own() -> None:
    hard = with_force(TWIN, "grip", 50, 70, 1.2 * traces.GRIP)
    assert tell(hard, TWIN, 40).outcome == "success"
    harder = tell(with_force(TWIN, "grip", 50, 70, 2 * traces.GRIP), TWIN, 40)
    assert harder.outcome == "success_side_effect"
    strong_twin = with_force(TWIN, "grip", 50, 70, 1.9 * traces.GRIP)
    assert tell(with_force(TWIN, "grip", 50, 70, 2 * traces.GRIP), strong_twin, 40).outcome == "success"


def test_severity_is_over_the_limit_of_the_contact_that_was_too_hard() -> None:
    """The twin's object stands on the table with 2000 N: what its hand does to the table is another contact."""
    heavy = np.where(TWIN.held, 0.0, 2000.0)
    twin = dataclasses.replace(TWIN, forces=TWIN.forces | {"object_table": heavy})
    told = tell(with_force(twin, "robot_table", 60, 64, 3 * traces.GRIP), twin, 50)
    found = event(told, "hit_table")
    assert (found.value, found.limit) == (3 * traces.GRIP, rubric.ENVIRONMENT * traces.GRIP)
    assert [failure.severity for failure in told.failures] == ["medium"]
    carried = tell(with_force(twin, "object_table", 60, 64, 2800.0), twin, 50)
    assert event(carried, "hit_table").limit == pytest.approx(rubric.OVER_TWIN * 2000)
    assert [failure.severity for failure in carried.failures] == ["low"]


def test_a_squeeze_is_no_picture_but_a_press_that_goes_where_the_twin_never_was_is() -> None:
    squeeze = tell(with_force(TWIN, "grip", 50, 70, 2 * traces.GRIP), TWIN, 40)
    assert [failure.observable for failure in squeeze.failures] == [False]
    tcp = TWIN.tcp.copy()
    tcp[20:28, 2] -= 0.04
    press = tell(with_force(dataclasses.replace(TWIN, tcp=tcp), "robot_table", 20, 27, 500.0), TWIN, 15)
    assert [failure.observable for failure in press.failures] == [True]
    assert kinds(press) == {"unsafe_interaction/collision_environment"}
    long = tell(with_force(TWIN, "robot_table", 20, 50, 500.0), TWIN, 15)
    assert kinds(long) == {"unsafe_interaction/excessive_force"}


def test_what_lies_on_the_table_after_its_release_does_not_hit_it() -> None:
    free = TWIN.held.copy()
    free[60:] = False
    trace = with_force(dataclasses.replace(TWIN, held=free), "object_table", 70, 80, 900.0)
    assert not [event for event in tell(trace, TWIN, 50).events if event.kind == "hit_table"]


def dropped(at: int = 65) -> Trace:
    thing, held, gripper = TWIN.object_position.copy(), TWIN.held.copy(), TWIN.gripper.copy()
    high = thing[at - 1].copy()
    thing[at:] = np.array([high[0], high[1], START[2]])
    thing[at : at + 5, 2] = np.linspace(high[2], START[2], 6)[1:]
    held[at:], gripper[at:] = False, 1.0
    return failed(object_position=thing, held=held, gripper=gripper)


def test_a_drop_has_a_height_and_a_speed_and_is_the_only_cause() -> None:
    told = tell(dropped(), TWIN, 60)
    height = TWIN.object_position[64, 2] - START[2]
    assert event(told, "drop").value == pytest.approx(height)
    assert event(told, "impact").value == pytest.approx(height / 5 * 80)
    assert kinds(told) == {"grasp/slip_or_drop"}
    assert told.failures[0].severity == "medium"
    assert (told.inject_step, told.failure_step) == (60, 64)
    assert told.outcome == "failure"


def test_an_object_that_slides_in_the_gripper() -> None:
    thing = TWIN.object_position.copy()
    thing[60:] -= [0, 0, 0.03]
    told = tell(dataclasses.replace(TWIN, object_position=thing), TWIN, 55)
    assert event(told, "slip").value == pytest.approx(0.03)
    assert told.outcome == "success_suboptimal"


def never_held(**changes: Any) -> Trace:
    values = {
        "object_position": traces.still(REST, START),
        "held": np.zeros(REST, dtype=bool),
        "forces": pick_place().forces | {"grip": np.zeros(REST)},
    }
    return failed(**values | changes)


def test_causes_of_failure_are_told_from_what_never_happened() -> None:
    open_ = np.ones(REST)
    beside = TWIN.tcp + np.linspace(0, 1, REST)[:, None] ** 0.1 * [0.08, 0, 0]
    early = np.interp(np.arange(REST), [0, 5, 10], [1.0, 1.0, 0.4])
    late = np.interp(np.arange(REST), [0, LIFT + 10, LIFT + 15], [1.0, 1.0, 0.4])
    away = np.linspace(traces.HOME, traces.HOME + np.array([-0.4, -0.4, 0.3]), REST)
    tilted = TWIN.hand.copy()
    tilted[15:] = [np.sin(np.pi / 4 + 0.3), 0, np.cos(np.pi / 4 + 0.3), 0]
    shoved = np.concatenate([traces.still(CLOSE, START), traces.line(START, GOAL, REST - CLOSE)])
    pushed = np.concatenate([traces.still(CLOSE, START), traces.still(REST - CLOSE, START + np.array([0, 0.05, 0]))])
    to_goal_only = np.concatenate([traces.line(traces.HOME, GOAL, 60), traces.still(30, GOAL)])
    found = {
        "no_grasp": never_held(gripper=open_, max_steps=REST),
        "position_deviation": never_held(tcp=beside, max_steps=REST),
        "timing_error": never_held(gripper=early, max_steps=REST),
        "late": never_held(gripper=late, max_steps=REST),
        "aimless_motion": never_held(tcp=away, gripper=open_, max_steps=REST),
        "orientation_deviation": never_held(hand=tilted, max_steps=REST),
        "superficial_success": never_held(object_position=shoved, max_steps=REST),
        "imprecise_grasp": never_held(object_position=pushed, max_steps=REST),
        "missing_step": never_held(tcp=to_goal_only, gripper=open_, max_steps=REST),
        "stall": cut(never_held(), REACH - 10),
        "premature_stop": cut(failed(), CARRY - 10),
    }
    causes = {name: find_cause(trace, TWIN, ()).kind for name, trace in found.items()}
    assert causes == {name: "timing_error" if name == "late" else name for name in found}


def test_what_rests_a_little_short_of_the_goal_looks_done_and_is_not() -> None:
    """It stops short on its twin's way. Farther off, beside it, moving or out of time it is something else."""
    stop = CARRY - 3
    still = np.minimum(np.arange(REST + 15), stop)
    short = dataclasses.replace(
        at_steps(failed(), still), success=np.zeros(REST + 15, dtype=bool), progress=np.full(REST + 15, 0.95)
    )
    cause = find_cause(short, TWIN, ())
    assert (cause.category, cause.kind, cause.end) == ("shortcut", "superficial_success", REST + 14)
    assert cause.start >= stop
    told = tell(short, TWIN, stop)
    assert told.outcome == "failure"
    assert "shortcut/superficial_success" in kinds(told)
    farther = dataclasses.replace(short, progress=np.full(REST + 15, 0.6))
    assert find_cause(farther, TWIN, ()).kind == "premature_stop"
    aside = short.object_position + np.array([0.06, 0, 0])
    assert find_cause(dataclasses.replace(short, object_position=aside), TWIN, ()).kind != "superficial_success"
    assert find_cause(cut(short, stop + 3), TWIN, ()).kind != "superficial_success"
    late = dataclasses.replace(short, max_steps=short.steps)
    assert find_cause(late, TWIN, ()).kind != "superficial_success"


def test_held_and_brought_elsewhere() -> None:
    short = failed(max_steps=REST)
    carried = short.tcp.copy()
    carried[CARRY - 8 :] = carried[CARRY - 8]
    broken_off = dataclasses.replace(short, tcp=carried, object_position=np.where(short.held[:, None], carried, START))
    assert find_cause(broken_off, TWIN, ()).kind == "premature_stop"
    beyond = short.tcp.copy()
    beyond[CARRY:] += np.linspace(0, 1, REST - CARRY)[:, None] * [0.2, 0, 0]
    misplaced = dataclasses.replace(short, tcp=beyond, object_position=np.where(short.held[:, None], beyond, START))
    assert find_cause(misplaced, TWIN, ()).kind == "misplaced"
    released = dataclasses.replace(TWIN, held=TWIN.held & (np.arange(REST) < CARRY))
    assert find_cause(short, released, ()).kind == "failed_release"


def test_a_goal_that_was_left_again_is_no_success() -> None:
    success = TWIN.success.copy()
    success[-5:] = False
    thing = TWIN.object_position.copy()
    thing[-5:] -= [0.1, 0, 0]
    told = tell(dataclasses.replace(TWIN, success=success, object_position=thing), TWIN, 70)
    assert not told.success
    assert "semantic/reverted" in kinds(told)
    assert event(told, "goal_left").start == REST - 5


def test_leaving_the_twin_before_the_injection_is_a_defect_of_the_world() -> None:
    tcp = TWIN.tcp.copy()
    tcp[30] += 0.05
    with pytest.raises(RuntimeError, match="step 30, before the fault at step 40"):
        tell(dataclasses.replace(TWIN, tcp=tcp), TWIN, 40)


def test_a_twin_that_is_not_clean_says_why() -> None:
    assert "did not succeed" in str(why_not_clean(failed()))
    assert "no part of the task at step 10" in str(why_not_clean(with_force(TWIN, "robot_distractor", 10, 12, 9.0)))


def test_times_are_in_the_files_seconds() -> None:
    told = tell(dropped(), TWIN, 60, seconds_per_step=0.025)
    assert told.failures[0].start_s == pytest.approx(64 * 0.025)
    assert told.failure_step == 64


def test_causes_where_nothing_is_held() -> None:
    twin = traces.push()
    assert why_not_clean(twin) is None
    assert find_cause(traces.push([0, 0.7, 0.02]), twin, ()).kind == "incomplete_motion"
    assert find_cause(traces.push([0, 0.9, 0.02]), twin, ()).kind == "misplaced"
    assert find_cause(traces.push([0, 0.45, 0.02]), twin, ()).kind == "wrong_goal_state"
    untouched = {"object_position": traces.still(REST, START), "success": np.zeros(REST, dtype=bool), "max_steps": REST}
    touched = traces.push(**untouched)
    assert find_cause(touched, twin, ()).kind == "incomplete_motion"
    never = {kind: np.zeros(REST) for kind in twin.forces}
    assert find_cause(traces.push(**untouched | {"forces": never}), twin, ()).kind == "position_deviation"
    aside = twin.tcp + np.linspace(0, 1, REST)[:, None] ** 0.1 * [0.08, 0, 0]
    beside = traces.push(**untouched | {"forces": never, "tcp": aside})
    assert find_cause(beside, twin, ()).kind == "position_deviation"


def test_running_out_of_time_on_the_right_way_is_slowness_and_nothing_else() -> None:
    time = np.arange(200) / 3
    tcp = np.stack([np.interp(time, np.arange(REST), axis) for axis in TWIN.tcp.T], axis=1)
    slow = at_steps(TWIN, time.astype(int))
    thing = np.where(slow.held[:, None], tcp, START)
    told = tell(dataclasses.replace(slow, tcp=tcp, object_position=thing, max_steps=200), TWIN, 0)
    assert not told.success
    assert kinds(told) == {"poor_execution/slow"}


# Properties.


@settings(max_examples=60, deadline=None)
@given(
    newtons=st.floats(0, 1e5),
    harder=st.floats(1, 100),
    kind=st.sampled_from(
        ["robot_distractor", "object_distractor", "robot_table", "robot_fixture", "grip", "robot_object"]
    ),
    start=st.integers(0, REST - 1),
    length=st.integers(1, 40),
)
def test_a_harder_hit_is_never_less_of_one(newtons: float, harder: float, kind: Any, start: int, length: int) -> None:
    end = min(start + length, REST - 1)
    soft, hard = (
        tell(with_force(TWIN, kind, start, end, max(force, float(TWIN.forces[kind].max()))), TWIN, 0)
        for force in (newtons, newtons * harder)
    )
    order = ["none", "low", "medium", "catastrophic"]
    assert hard.penalty.sum() >= soft.penalty.sum() - 1e-12
    assert hard.score <= soft.score + 1e-12
    worst = [max([0, *(order.index(f.severity or "none") for f in told.failures)]) for told in (soft, hard)]
    assert worst[1] >= worst[0]


@st.composite
def wild(draw: st.DrawFn) -> Trace:
    """Anything that fits the arrays."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.integers(1, REST))
    trace = cut(TWIN, steps)
    flags = {name: rng.random(steps) < draw(st.floats(0, 1)) for name in ("held", "wrong_object", "limit", "success")}
    progress = np.where(flags["success"], 1.0, rng.random(steps) * 0.99)
    shake = draw(st.floats(0, 0.1))
    forces = {
        kind: force * (rng.random(steps) < 0.3) * 10 ** rng.uniform(-1, 3) for kind, force in trace.forces.items()
    }
    forces["robot_distractor"] = (rng.random(steps) < 0.1) * 10 ** rng.uniform(-1, 4)
    first = dataclasses.replace(
        trace.distractors[0],
        upright=rng.uniform(0, 1, steps),
        spilled=np.sort(rng.integers(0, 7, steps)),
        position=trace.distractors[0].position + rng.normal(0, shake, (steps, 3)),
    )
    return dataclasses.replace(
        trace,
        **flags,
        progress=progress,
        tcp=trace.tcp + rng.normal(0, shake, (steps, 3)),
        object_position=trace.object_position + rng.normal(0, shake, (steps, 3)),
        gripper=rng.uniform(0, 1, steps),
        forces=forces,
        distractors=(first, *trace.distractors[1:]),
        carries=draw(st.booleans()),
        max_steps=draw(st.sampled_from([steps, 400])),
    )


@settings(max_examples=150, deadline=None)
@given(trace=wild(), twin=wild())
def test_whatever_happened_the_truth_is_within_its_bounds(trace: Trace, twin: Trace) -> None:
    told = tell(trace, twin, 0)
    legal = taxonomy.load()
    assert told.reward.shape == told.penalty.shape == (trace.steps,)
    assert np.abs(told.reward).max() <= 1
    assert told.penalty.min() >= 0
    assert 0 <= told.score <= 1
    assert (told.outcome == "failure") == (not told.success) == (not trace.success[-1])
    assert told.failures or told.outcome == "success"
    for failure in told.failures:
        assert legal.is_legal(failure.category, failure.kind)
        assert failure.start_s is not None
        assert failure.end_s is not None
        assert 0 <= failure.start_s <= failure.end_s <= trace.steps / trace.control_hz
    for found in told.events:
        assert 0 <= found.start <= found.end < trace.steps


@settings(max_examples=80, deadline=None)
@given(trace=wild())
def test_rewards_and_penalties_add_up_to_the_progress(trace: Trace) -> None:
    trace = dataclasses.replace(trace, progress=trace.progress * 0.99)  # a fall from 1 to 0 leaves no room for the time
    told = tell(trace, TWIN, 0)
    total = float((told.reward + told.penalty).sum())
    assert total == pytest.approx(trace.progress[-1] - trace.steps * rubric.TIME_COST, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(trace=wild())
def test_no_twin_is_at_fault_for_what_it_did_itself(trace: Trace) -> None:
    told = tell(trace, trace)
    relative = {"idle", "slow", "detour", "jerk", "regrasp", "slip", "excessive_grip", "excessive_force", "hit_table"}
    assert not relative & {found.kind for found in told.events}
    assert told.onset_step is None


@settings(max_examples=40, deadline=None)
@given(pause=st.integers(0, 100), longer=st.integers(0, 100))
def test_a_longer_pause_costs_more(pause: int, longer: int) -> None:
    def paused(steps: int) -> Trace:
        return at_steps(TWIN, np.r_[0:60, np.full(steps, 60), 60:REST])

    short, long = tell(paused(pause), TWIN, 55), tell(paused(pause + longer), TWIN, 55)
    assert long.score <= short.score
    assert long.penalty.sum() >= short.penalty.sum()
    assert long.reward.sum() <= short.reward.sum() + 1e-12
