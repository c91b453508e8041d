"""Why a rollout that did not succeed did not: the cause, told from what never happened that did in the twin.

The order of the questions is the order of a manipulation: did it act on the right object, did it stop, did it come to
the object, take it, keep it, bring it, let it go. Where none of the answers says why, the cause is `unknown`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema.synthetic_file import Event
from bad_robot_behavior.synthesis import measure, rubric
from bad_robot_behavior.synthesis.trace import Floats, Trace

NEAR = 0.03
"""Metres from where the twin was, against the object, at its first touch, that still count as being there."""
AT_GOAL = 0.05
"""Metres from where the twin left the object that look as if it were there."""
PAST = 0.02
"""Metres that the object has to be moved past or away from the goal to say so."""
LOOKS_DONE = 0.9
"""Progress from which the last picture of a robot at rest looks like success."""
AT_REST = 10
"""Steps at the end over which nothing moves on where a robot holds itself to be done."""
RESTS = 0.08
"""Metres within which a hand that was told to stop comes to rest."""
OFF_THE_WAY = 0.03
"""Metres between the object's last place and all that it passes in the twin: then it was brought elsewhere."""
TILTED = 0.2
"""Radians that the hand is turned, against the twin at its first touch, to blame the orientation."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """Category and kind are slugs of taxonomy.yaml; over steps `start` to `end`."""

    category: str
    kind: str
    start: int
    end: int
    text: str


@dataclasses.dataclass(frozen=True)
class _Facts:
    trace: Trace
    twin: Trace
    gap: Floats
    """(T,) fingers to object."""
    left: Floats
    """(T,) object to goal."""
    twin_touch: int

    @property
    def last(self) -> int:
        return self.trace.steps - 1

    @property
    def near_steps(self) -> NDArray[np.intp]:
        """Steps at which the fingers are to the object as the twin's were when it first touched it."""
        mine = self.trace.tcp - self.trace.object_position
        theirs = self.twin.tcp[self.twin_touch] - self.twin.object_position[self.twin_touch]
        return np.flatnonzero(np.linalg.norm(mine - theirs, axis=1) <= NEAR)

    @property
    def first_near(self) -> int | None:
        steps = self.near_steps
        return int(steps[0]) if len(steps) else None

    @property
    def at_goal(self) -> bool:
        return self.beside_place <= AT_GOAL

    @property
    def beside_place(self) -> float:
        """Metres between where the object ended and where the twin left it."""
        return float(np.linalg.norm(self.trace.object_position[-1] - self.twin.object_position[-1]))

    def at_goal_by(self, step: int) -> int | None:
        """The first step before `step` at which the fingers are where the twin's were at the goal."""
        steps = np.flatnonzero(self._goal_gap(self.trace)[:step] < self._goal_gap(self.twin).min() + NEAR)
        return int(steps[0]) if len(steps) else None

    @property
    def twin_passes_goal(self) -> bool:
        """The twin's fingers are at the goal on their way to the object."""
        gap = self._goal_gap(self.twin)
        return bool((gap[: self.twin_touch + 1] < gap.min() + NEAR).any())

    @staticmethod
    def _goal_gap(trace: Trace) -> Floats:
        return np.asarray(np.linalg.norm(trace.tcp - trace.goal, axis=1))

    @property
    def off_the_way(self) -> bool:
        """The object ended where it never passes in the twin."""
        way = self.twin.object_position - self.trace.object_position[-1]
        return bool(np.linalg.norm(way, axis=1).min() > OFF_THE_WAY)

    @property
    def moved(self) -> float:
        way = self.trace.object_position
        return float(np.linalg.norm(way - way[0], axis=1).max())


def find_cause(trace: Trace, twin: Trace, events: tuple[Event, ...]) -> Cause:
    """The one cause of a rollout without success. `twin` is the success from the same state."""
    touches = np.flatnonzero(measure.touched(twin))
    twin_gap = measure.to_object(twin)
    touch = int(touches[0]) if len(touches) else int(np.argmin(twin_gap))
    facts = _Facts(trace, twin, measure.to_object(trace), measure.to_goal(trace), touch)
    return (
        _wrong_object(facts, events)
        or _reverted(facts, events)
        or _superficial(facts)
        or _stopped(facts)
        or _out_of_time(facts, events)
        or _not_reached(facts)
        or _wrong_order(facts)
        or (_not_taken(facts) if twin.held.any() else None)
        or (_not_brought(facts) if measure.holds(trace) else _not_moved(facts))
        or Cause("unknown", "unknown", facts.last, facts.last, f"It ended {_cm(facts.left[-1])} from the goal.")
    )


def _cm(metres: float) -> str:
    return f"{100 * float(metres):.1f} cm"


def _wrong_object(facts: _Facts, events: tuple[Event, ...]) -> Cause | None:
    for event in events:
        if event.kind == "wrong_object":
            text = f"It took hold of the {event.subject} for {event.value:.0f} steps."
            return Cause("semantic", "wrong_object", event.start, event.end, text)
    return None


def _reverted(facts: _Facts, events: tuple[Event, ...]) -> Cause | None:
    for event in events:
        if event.kind == "goal_left":
            back = bool(measure.touched(facts.trace)[max(event.start - 5, 0) : event.start + 5].any())
            text = f"The goal was reached and lost again; the object ended {_cm(event.value)} from it."
            kind = ("semantic", "reverted") if back else ("manipulation", "misplaced")
            return Cause(*kind, event.start, event.end, text)
    return None


def _superficial(facts: _Facts) -> Cause | None:
    """It ended by itself, at rest and on its twin's way, so little short of the goal that it looks done."""
    trace = facts.trace
    ways = (trace.tcp[-AT_REST:], trace.object_position[-AT_REST:])
    rests = all(np.linalg.norm(way - way[-1], axis=1).max() < rubric.TCP_APART for way in ways)
    if trace.progress[-1] < LOOKS_DONE or not rests or trace.steps >= trace.max_steps or facts.off_the_way:
        return None
    text = f"It rests as if it were done, with the object {_cm(facts.left[-1])} from the goal."
    return Cause("shortcut", "superficial_success", trace.steps - min(AT_REST, trace.steps), facts.last, text)


def _stopped(facts: _Facts) -> Cause | None:
    """It left its twin by staying where it was, while the twin went on to the goal."""
    trace = facts.trace
    apart = np.flatnonzero(measure.divergence(trace, facts.twin))
    stop = int(apart[0]) if len(apart) else trace.steps - 1
    if stop > measure.working_steps(facts.twin):
        return None
    if np.linalg.norm(trace.tcp[stop:] - trace.tcp[stop], axis=1).max() > RESTS:
        return None
    if trace.held[max(stop - 1, 0)] and not trace.held[-3:].any():
        return None  # it stands there because it has lost what it had
    if measure.touched(trace).any():
        text = f"It broke off with the object {_cm(facts.left[-1])} from the goal."
        return Cause("manipulation", "premature_stop", stop, facts.last, text)
    text = f"It stopped {_cm(facts.gap[stop])} from the object and never went on."
    return Cause("no_attempt", "stall", stop, facts.last, text)


def _out_of_time(facts: _Facts, events: tuple[Event, ...]) -> Cause | None:
    """It went its twin's way, and its time was over before it was done."""
    trace = facts.trace
    late = [event for event in events if event.kind in {"slow", "idle"}]
    ways = [(trace.tcp, facts.twin.tcp), (trace.object_position, facts.twin.object_position)]
    off = max(float(np.linalg.norm(mine[:, None] - theirs[None], axis=2).min(axis=1).max()) for mine, theirs in ways)
    if trace.steps < trace.max_steps or not late or off > OFF_THE_WAY:
        return None
    kind = "slow" if late[-1].kind == "slow" else "hesitant_or_repeated_attempts"
    return Cause("poor_execution", kind, late[0].start, facts.last, "Its time was over before it was done.")


def _not_reached(facts: _Facts) -> Cause | None:
    if facts.first_near is not None or measure.touched(facts.trace).any():
        return None
    trace, closest = facts.trace, int(np.argmin(facts.gap))
    went = float(np.linalg.norm(trace.tcp - trace.tcp[0], axis=1).max())
    distance = f"It came no closer to the object than {_cm(facts.gap[closest])}"
    if went < 0.03:
        return Cause("no_attempt", "stall", 0, facts.last, f"It never moved more than {_cm(went)}.")
    tried = facts.gap[closest] < 0.1
    if facts.twin.held.any():
        around = [facts.gap[max(step - 10, 0) : step + 10].min() for step in measure.closings(trace, facts.twin)]
        tried = any(gap < facts.gap[closest] + NEAR for gap in around)
    first = facts.at_goal_by(trace.steps)
    if trace.carries and first is not None and first < closest and facts.gap[closest] < 2 * NEAR:
        return Cause("semantic", "wrong_order", first, closest, f"{distance}, and that after it had been at the goal.")
    if trace.carries and not tried and first is not None:
        return Cause("semantic", "missing_step", 0, facts.last, f"{distance}, but went to where it should be brought.")
    if facts.gap[closest] > 0.5 * facts.gap[0]:
        return Cause("no_attempt", "aimless_motion", 0, facts.last, f"{distance}, and made for nothing.")
    if _turned_away(facts, closest):
        return Cause("reach", "orientation_deviation", closest, facts.last, f"{distance}, with its hand turned.")
    kind = "position_deviation" if tried else "approach_miss"
    return Cause("reach", kind, closest, facts.last, f"{distance}{' and made its attempt there' if tried else ''}.")


def _wrong_order(facts: _Facts) -> Cause | None:
    """It went to the goal before it ever had the object, and its twin did not pass there."""
    held = measure.holds(facts.trace)
    until = held[0][0] if held else facts.first_near
    first = None if until is None else facts.at_goal_by(until)
    if not facts.trace.carries or first is None or facts.twin_passes_goal:
        return None
    return Cause("semantic", "wrong_order", first, until or first, "It went to the goal first, and to the object then.")


def _turned_away(facts: _Facts, step: int) -> bool:
    return float(measure.turned(facts.trace, facts.twin.hand[facts.twin_touch])[step]) > TILTED


def _not_taken(facts: _Facts) -> Cause | None:
    """It came to the object, and never held it."""
    trace = facts.trace
    if measure.holds(trace):
        return None
    if trace.carries and facts.at_goal and facts.moved > NEAR:
        text = f"The object was shoved to {_cm(facts.beside_place)} from its place and never lifted."
        return Cause("shortcut", "superficial_success", facts.last, facts.last, text)
    near = int(np.argmin(facts.gap)) if facts.first_near is None else facts.first_near
    if _turned_away(facts, near):
        angle = np.degrees(measure.turned(trace, facts.twin.hand[facts.twin_touch])[near])
        text = f"Its hand was turned by {angle:.0f} degrees at the object, and it never held it."
        return Cause("reach", "orientation_deviation", near, facts.last, text)
    shut = measure.closings(trace, facts.twin)
    last_near = int(facts.near_steps[-1]) if facts.first_near is not None else near
    if not shut:
        return Cause("grasp", "no_grasp", near, last_near, "Its gripper stood open at the object and never closed.")
    came = facts.first_near is not None
    if came and shut[0] < near - 2 and not any(near - 2 <= step <= last_near + 2 for step in shut):
        text = f"Its gripper had closed {near - shut[0]} steps before it came to the object."
        return Cause("grasp", "timing_error", shut[0], near, text)
    if came and all(step > last_near + 2 for step in shut):
        text = f"Its gripper closed {shut[0] - last_near} steps after it had left the object."
        return Cause("grasp", "timing_error", last_near, shut[0], text)
    if facts.left[-1] < 0.7 * facts.left[0]:
        text = f"It shoved the object to {_cm(facts.left[-1])} from the goal and never held it."
        return Cause("grasp", "imprecise_grasp", near, facts.last, text)
    if facts.moved > NEAR:
        text = f"It pushed the object by {_cm(facts.moved)} and never held it."
        return Cause("grasp", "imprecise_grasp", near, facts.last, text)
    return Cause("grasp", "no_grasp", near, last_near, "Its gripper closed at the object and did not hold it.")


def _was_lifted(trace: Trace) -> bool:
    height = trace.object_position[:, 2] - trace.object_position[0, 2]
    return bool((trace.held & (height > rubric.LIFTED)).any())


def _not_brought(facts: _Facts) -> Cause | None:
    """It held the object, and the object is not at the goal as the instruction says."""
    trace = facts.trace
    end = measure.holds(trace)[-1][1] if measure.holds(trace) else facts.last
    if end >= facts.last - 2:
        if trace.carries and facts.at_goal and not _was_lifted(trace):
            text = f"The object was dragged to {_cm(facts.beside_place)} from its place and never lifted."
            return Cause("shortcut", "superficial_success", facts.last, facts.last, text)
        if facts.at_goal and not facts.twin.held[-1]:
            text = f"It holds the object {_cm(facts.left[-1])} from the goal and has not let go."
            return Cause("grasp", "failed_release", facts.last, facts.last, text)
        closest = int(np.argmin(facts.left))
        text = f"It still holds the object {_cm(facts.left[-1])} from the goal"
        if facts.left[closest] < facts.left[-1] - NEAR:
            text += f", after it had been {_cm(facts.left[closest])} from it."
            return Cause("manipulation", "misplaced", closest, facts.last, text)
        kind = "misplaced" if facts.off_the_way else "incomplete_motion"
        return Cause("manipulation", kind, facts.last, facts.last, f"{text}.")
    fell = [loss for loss in measure.losses(trace) if loss.step == end]
    height = fell[0].height if fell else 0.0
    opened = bool((trace.action[max(end - 12, 0) : end + 1, 3] < 0).any())
    if height > rubric.FELL or not opened:
        text = f"The object left the gripper {_cm(facts.left[end])} from the goal and fell {_cm(height)}."
        return Cause("grasp", "slip_or_drop", end, fell[0].landed if fell else end, text)
    text = f"The object was let go {_cm(facts.left[end])} from the goal and lies {_cm(facts.left[-1])} from it."
    return Cause("manipulation", "misplaced", end, facts.last, text)


def _not_moved(facts: _Facts) -> Cause | None:
    """Nothing is held: a button, a handle or an object that is pushed."""
    trace, start = facts.trace, float(facts.left[0])
    if not measure.touched(trace).any():
        closest = int(np.argmin(facts.gap))
        kind = "orientation_deviation" if _turned_away(facts, closest) else "position_deviation"
        text = f"It came to {_cm(facts.gap[closest])} from the object and never touched it."
        return Cause("reach", kind, closest, facts.last, text)
    first = int(np.flatnonzero(measure.touched(trace))[0])
    left, way = float(facts.left[-1]), trace.goal - trace.object_position[0]
    beyond = float((trace.object_position[-1] - trace.goal) @ way / max(float(np.linalg.norm(way)), 1e-9))
    if left > start + max(PAST, 0.2 * start):
        text = f"It moved the object from {_cm(start)} to {_cm(left)} away from the goal."
        label = ("manipulation", "misplaced") if beyond > PAST else ("semantic", "wrong_goal_state")
        return Cause(*label, first, facts.last, text)
    if beyond > PAST:
        text = f"It moved the object {_cm(beyond)} past the goal."
        return Cause("manipulation", "misplaced", first, facts.last, text)
    text = "It touched the object and did not move it."
    if facts.moved > rubric.OBJECT_APART:
        text = f"It moved the object by {_cm(facts.moved)} and left it {_cm(left)} from the goal."
    return Cause("manipulation", "incomplete_motion", first, facts.last, text)
