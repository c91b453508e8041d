"""What is read from traces before anything is judged: runs of steps, losses of the object, distance from the twin."""

from __future__ import annotations

import dataclasses

import numpy as np

from bad_robot_behavior.synthesis import rubric
from bad_robot_behavior.synthesis.trace import Flags, Floats, Trace


def runs(flags: Flags, gap: int = 0, least: int = 1) -> list[tuple[int, int]]:
    """(first, last) step of each run of true; runs at most `gap` steps apart are one, shorter than `least` are none."""
    steps = np.flatnonzero(flags)
    if not len(steps):
        return []
    cuts = np.flatnonzero(np.diff(steps) > gap + 1)
    first, last = steps[np.r_[0, cuts + 1]], steps[np.r_[cuts, len(steps) - 1]]
    return [(int(a), int(b)) for a, b in zip(first, last, strict=True) if b - a + 1 >= least]


def speed(points: Floats, control_hz: float) -> Floats:
    """(T,) m/s, 0 at the first step."""
    return np.append(0.0, np.linalg.norm(np.diff(points, axis=0), axis=1)) * control_hz


def to_object(trace: Trace) -> Floats:
    """(T,) distance between the fingers and the object."""
    return np.asarray(np.linalg.norm(trace.tcp - trace.object_position, axis=1))


def to_goal(trace: Trace) -> Floats:
    """(T,) distance of the object from its goal."""
    return np.asarray(np.linalg.norm(trace.object_position - trace.goal, axis=1))


def touched(trace: Trace) -> Flags:
    """(T,) the robot touches the task's object."""
    return (trace.forces["grip"] > rubric.TOUCH) | (trace.forces["robot_object"] > rubric.TOUCH)


def moving(trace: Trace) -> Flags:
    """(T,) something that the robot commands moves on: hand, fingers, or the object. What only trembles does not."""
    fingers = _drift(trace.gripper[:, None], trace.control_hz) > rubric.FINGERS_STILL
    hand = _drift(trace.tcp, trace.control_hz) > rubric.STILL
    return np.asarray(hand | fingers | (_drift(trace.object_position, trace.control_hz) > rubric.STILL))


def _drift(points: Floats, control_hz: float) -> Floats:
    """(T,) units a second, over the twenty steps around each step."""
    at = np.arange(len(points))
    before, after = np.maximum(at - 10, 0), np.minimum(at + 10, len(points) - 1)
    way = np.linalg.norm(points[after] - points[before], axis=1)
    return np.asarray(way * control_hz / np.maximum(after - before, 1))


def working_steps(trace: Trace) -> int:
    """How many steps the robot had work to do: up to the first success, else all."""
    return int(np.argmax(trace.success)) + 1 if trace.success.any() else trace.steps


def working_force(twin: Trace) -> float:
    """The largest force that the twin puts on its object: the unit in which too much is told. At least 1 N."""
    return max(1.0, float(twin.forces["grip"].max()), float(twin.forces["robot_object"].max()))


def turned(trace: Trace, other: Floats) -> Floats:
    """(T,) angle in radians between the hand and `other`, (T, 4) or (4,)."""
    return np.asarray(2 * np.arccos(np.clip(np.abs((trace.hand * other).sum(axis=-1)), 0.0, 1.0)))


def turns(trace: Trace) -> list[int]:
    """Steps at which the hand turns back: along some axis it moves against the way that it moved five steps before."""
    way = np.diff(trace.tcp, axis=0) * trace.control_hz
    fast = np.abs(way) > rubric.STILL
    back: Flags = np.any((way[5:] * way[:-5] < 0) & fast[5:] & fast[:-5], axis=1)
    return [start + 3 for start, _ in runs(back, gap=1)]


def closings(trace: Trace, twin: Trace) -> list[int]:
    """Steps at which the gripper has closed, with hysteresis over the range of openings that the twin uses."""
    low, high = float(twin.gripper.min()), float(twin.gripper.max())
    if high - low < 0.1:
        return []
    shut, open_ = low + 0.4 * (high - low), low + 0.6 * (high - low)
    found, is_open = [], bool(trace.gripper[0] > shut)
    for step, opening in enumerate(trace.gripper):
        if is_open and opening < shut:
            found.append(step)
            is_open = False
        elif opening > open_:
            is_open = True
    return found


@dataclasses.dataclass(frozen=True)
class Loss:
    """The end of a hold: let go or lost at `step`, come to rest at `landed`."""

    step: int
    landed: int
    height: float
    """Metres that the object fell."""
    speed: float
    """m/s downwards at its fastest."""
    from_goal: float
    """Distance of the object from the goal when it left the gripper."""


def holds(trace: Trace) -> list[tuple[int, int]]:
    """(first, last) step of each hold: it lasts, or the object moves with it. A contact may flicker for 5 steps."""
    place = trace.object_position
    return [
        (start, end)
        for start, end in runs(trace.held, gap=5, least=5)
        if end - start >= 15 or np.linalg.norm(place[start : end + 1] - place[start], axis=1).max() > rubric.MOVED
    ]


def losses(trace: Trace) -> list[Loss]:
    """Every end of a hold before the end of the rollout."""
    z, found = trace.object_position[:, 2], []
    starts = [start for start, _ in holds(trace)] + [trace.steps]
    for (_, end), following in zip(holds(trace), starts[1:], strict=True):
        if end >= trace.steps - 2:
            continue
        # Contacts end a few steps after the fingers have begun to let go: the fall is seen from just before.
        fall = z[end : max(following, end + 2)]
        top = int(np.argmax(fall[:12]))  # what is thrown upwards rises first
        fall = fall[top:]
        rises = np.flatnonzero(np.diff(fall) > 0.002)  # it bounced, or was carried up again
        fall = fall[: int(rises[0]) + 1] if len(rises) else fall
        landed = int(np.argmax(fall <= fall.min() + 1e-4))
        drop = float(fall[0] - fall.min())
        fastest = float(-np.diff(fall).min(initial=0.0) * trace.control_hz)
        found.append(Loss(end, end + top + landed, drop, max(fastest, 0.0), float(to_goal(trace)[end])))
    return found


def divergence(trace: Trace, twin: Trace) -> Flags:
    """(T,) the state differs from the twin's at the same step by more than a camera would miss.

    After the twin's last step, its last state counts: a success stays where it is.
    """
    at = np.minimum(np.arange(trace.steps), twin.steps - 1)

    def apart(mine: Floats, theirs: Floats) -> Floats:
        return np.asarray(np.linalg.norm(mine - theirs[at], axis=1))

    found: Flags = (
        (apart(trace.tcp, twin.tcp) > rubric.TCP_APART)
        | (apart(trace.object_position, twin.object_position) > rubric.OBJECT_APART)
        | (np.abs(trace.gripper - twin.gripper[at]) > rubric.GRIPPER_APART)
        | (turned(trace, twin.hand[at]) > rubric.HAND_APART)
    )
    for mine, theirs in zip(trace.distractors, twin.distractors, strict=True):
        found |= apart(mine.position, theirs.position) > rubric.OTHER_APART
        found |= mine.spilled != theirs.spilled[at]
    return found


def unlike_twin(trace: Trace, twin: Trace) -> Flags:
    """(T,) hand, object and the others stand, taken together, as they never did in the twin at whatever step.

    So a pause alone shows nothing new, and fingers that close harder or sooner do not either. Within 1.5 times the
    limits of `divergence`, since a slower rollout stands between two steps of its twin.
    """

    def off(mine: Floats, theirs: Floats, limit: float) -> Floats:
        return np.asarray(np.linalg.norm(mine[:, None] - theirs[None], axis=2) / limit)

    worst = off(trace.tcp, twin.tcp, rubric.TCP_APART)
    pairs = [(trace.object_position, twin.object_position, rubric.OBJECT_APART)]
    for other, same in zip(trace.distractors, twin.distractors, strict=True):
        pairs.append((other.position, same.position, rubric.OTHER_APART))
        pairs.append((other.spilled[:, None].astype(float), same.spilled[:, None].astype(float), 0.5))
    for mine, theirs, limit in pairs:
        np.maximum(worst, off(mine, theirs, limit), out=worst)
    found: Flags = worst.min(axis=1) > 1.5
    return found
