"""Pieces of motion that faults are put together from. Each is an iterator of actions, to be used with `yield from`.

An iterator reads the world when its next action is asked for, so that it answers to what has happened meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.simulator import expert
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import METRES_PER_ACTION, Action, World

Floats = NDArray[np.float64]
OPEN, CLOSE = -1.0, 1.0
_ARRIVED = 0.005


def towards(world: World, target: Floats, grip: float, speed: float = 1.0) -> Action:
    """The action that moves the hand's target towards `target` (3,), at most `speed` (in [0, 1]) of the top speed."""
    delta = np.clip((target - world.target) / METRES_PER_ACTION, -speed, speed)
    return np.array([*delta, grip], dtype=np.float32)


def hold(world: World, steps: int, grip: float) -> Iterator[Action]:
    """Stand still."""
    for _ in range(steps):
        yield np.array([0, 0, 0, grip], dtype=np.float32)


def go_to(world: World, target: Floats, grip: float, steps: int, speed: float = 1.0) -> Iterator[Action]:
    """Move the hand's target to `target` (3,), until the hand is told to be there or `steps` are over."""
    for _ in range(steps):
        if np.linalg.norm(target - world.target) < _ARRIVED:
            return
        yield towards(world, target, grip, speed)


def follow(
    world: World,
    twin: Twin,
    start: int,
    stop: int | None = None,
    edit: Callable[[int, Floats, float], tuple[Floats, float]] | None = None,
) -> Iterator[Action]:
    """The twin's track from step `start` up to and without `stop` (None: its end).

    `edit(step, target, grip)` gives the target and grip to have in place of the twin's at that step.
    """
    for step in range(start, twin.trace.steps if stop is None else stop):
        target, grip = twin.target[step], float(twin.trace.action[step, 3])
        if edit is not None:
            target, grip = edit(step, target, grip)
        yield towards(world, target, grip)


def closed_loop(
    world: World,
    task: str | None = None,
    observe: Callable[[Floats], Floats] | None = None,
    steps: int | None = None,
    to_success: bool = True,
) -> Iterator[Action]:
    """A scripted expert acts on the state as it is; `task` names another task's expert.

    `observe` changes a copy of the observation (39,) before the expert sees it: [0:3] hand, [3] gripper opening, [4:7]
    object, [7:11] its orientation, [-3:] goal. It goes on until success has settled (not where `to_success` is False),
    `steps` are over, or the world's limit is reached.
    """
    policy: Any = expert(task or world.task.name)
    taken = 0
    while (steps is None or taken < steps) and not (to_success and world.finished):
        seen = world.observation if observe is None else observe(world.observation.copy())
        yield np.clip(policy.get_action(seen), -1, 1)
        taken += 1
