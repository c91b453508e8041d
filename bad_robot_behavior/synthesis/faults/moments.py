"""When a fault begins, and how the robot finds back to what its twin does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.motions import follow, go_to, towards
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import METRES_PER_ACTION, Action, World

Floats = NDArray[np.float64]

FINGERS = np.array([0.0, 0.0, 0.045])
"""From the point between the fingers to the one by which the hand is moved."""
LAG = 8
"""Steps by which the hand is behind where it is told to be."""
ABOVE = 0.15
"""Metres over the table at which the hand is clear of what stands on it."""
_NO_GRASP = "the expert grasps nothing here"
_NO_LIFT = "nothing is carried here"
_ALONE = "the scene has no room for other objects"
NEEDS = {"grasps": _NO_GRASP, "carries": _NO_LIFT, "distractors": _ALONE}
"""Why a task without that property rules a fault out."""


def approach(rng: np.random.Generator, twin: Twin, low: float = 0.2, high: float = 0.7) -> int:
    """A step on the way to the object, between these shares of it."""
    until = twin.touch_step or _moves(twin) or twin.trace.steps
    return int(rng.uniform(low, high) * until)


def _moves(twin: Twin) -> int | None:
    place = twin.trace.object_position
    far = np.flatnonzero(np.linalg.norm(place - place[0], axis=1) > 0.01)
    return int(far[0]) if len(far) else None


def transport(rng: np.random.Generator, twin: Twin, low: float = 0.1, high: float = 0.8) -> int | None:
    """A step at which the object is on its way, between these shares of it; None where that is too short."""
    start, end = twin.lift_step or _moves(twin), twin.success_step
    if start is None or end is None or end - start < 5:
        return None
    return start + max(1, int(rng.uniform(low, high) * (end - start)))


def track(twin: Twin, time: float) -> Floats:
    """(3,) where the twin's hand was told to be at a time in steps, before its last one."""
    step = int(time)
    here, following = twin.target[step], twin.target[min(step + 1, twin.trace.steps - 1)]
    return np.asarray(here + (time - step) * (following - here))


def grip_at(twin: Twin, step: int) -> float:
    """What the twin tells its gripper at that step."""
    return float(twin.trace.action[min(step, twin.trace.steps - 1), 3])


def straight(world: World, end: Floats, grip: float, speed: float = 1.0) -> Iterator[Action]:
    """In a straight line to `end` (3,), which `go_to` does not keep to: each axis has a top speed of its own."""
    start = world.target
    length = float(np.linalg.norm(end - start))
    for share in np.linspace(0, 1, int(length / (METRES_PER_ACTION * speed)) + 2)[1:]:
        yield towards(world, start + share * (end - start), grip)


def resume(world: World, twin: Twin, step: int) -> Iterator[Action]:
    """Back to where the twin was told to be before `step`, over what stands on the table, and on as the twin did."""
    grip, back = grip_at(twin, step), twin.target[max(step - 1, 0)]
    clear = max(float(back[2]), world.table + ABOVE) if np.linalg.norm(world.target - back) > 0.05 else back[2]
    yield from go_to(world, np.array([*world.target[:2], max(clear, world.target[2])]), grip, 40)
    yield from go_to(world, np.array([*back[:2], max(clear, back[2])]), grip, 80)
    yield from go_to(world, back, grip, 40)
    yield from follow(world, twin, step)


def inside(rng: np.random.Generator, place: Floats, low: float, high: float) -> list[float]:
    """An offset x, y, 0 of a length between low and high metres that leads to a place on the table."""
    for _ in range(50):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(low, high)
        x, y = length * np.cos(angle), length * np.sin(angle)
        if abs(place[0] + x) < 0.35 and 0.45 < place[1] + y < 0.85:
            break
    return [float(x), float(y), 0.0]
