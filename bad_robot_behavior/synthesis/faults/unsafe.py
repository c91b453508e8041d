"""Contact and force that can hurt, whether or not the task is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.faults.moments import (
    ABOVE,
    FINGERS,
    LAG,
    NEEDS,
    approach,
    grip_at,
    resume,
    straight,
    transport,
)
from bad_robot_behavior.synthesis.motions import follow, go_to, hold
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import Action, World

Parameters = dict[str, Any]
RUN_UP = 0.11
"""Metres before the thing that is struck at which the hand comes down."""
ROOM = 0.05
"""Metres that the fingers keep from what stands in the scene where they come down."""


class _Strike:
    """A way through something that stands on the table, empty-handed or with the object, and on as the twin."""

    slug: ClassVar[str]
    title: ClassVar[str]
    body: ClassVar[int]  # 0 is the cup, 1 the second object
    height: ClassVar[tuple[float, float]]  # of the fingers over the table
    speed: ClassVar[tuple[float, float]] = (0.6, 1.0)
    beyond: ClassVar[tuple[float, float]] = (0.04, 0.1)
    aside: ClassVar[tuple[float, float]] = (0.0, 0.01)
    sink: ClassVar[float] = 0.0  # metres that the hand goes down behind it

    def applies(self, task: Task) -> str | None:
        return None if task.distractors else NEEDS["distractors"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if not twin.trace.distractors:
            return None
        carrying = transport(rng, twin, 0.05, 0.6) if rng.random() < 0.5 and twin.trace.carries else None
        return {
            "inject_step": approach(rng, twin, 0.05, 0.5) if carrying is None else carrying,
            "body": ("cup", "second")[self.body],
            "height": float(rng.uniform(*self.height)),
            "speed": float(rng.uniform(*self.speed)),
            "beyond": float(rng.uniform(*self.beyond)),
            "aside": float(rng.uniform(*self.aside) * rng.choice([-1, 1])),
        }

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        step, place = parameters["inject_step"], world.position_of(parameters["body"])
        grip = grip_at(twin, step - 1)
        way = _direction(world, place)
        finger = world.data.site("rightEndEffector").xpos - world.tcp  # one finger goes through it, not one each side
        line = (place - finger)[:2] + parameters["aside"] * np.array([-way[1], way[0]])
        start, end = line - RUN_UP * way, line + parameters["beyond"] * way
        low, clear = world.table + parameters["height"] + FINGERS[2], world.table + ABOVE + FINGERS[2]
        if np.linalg.norm(world.tcp[:2] - start) > 0.03:
            yield from go_to(world, np.array([*start, max(clear, world.target[2])]), grip, 80)
        yield from go_to(world, np.array([*start, low]), grip, 40)
        yield from hold(world, LAG, grip)  # else it would still be coming down, and pass over what it should strike
        yield from straight(world, np.array([*line, low]), grip, parameters["speed"])
        yield from straight(world, np.array([*end, low - self.sink]), grip, parameters["speed"])
        yield from hold(world, LAG, grip)
        yield from resume(world, twin, step)


def _direction(world: World, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) the way to strike: of those that begin where the hand can come down, the one nearest to where it comes from.

    Where it can come down nowhere, the one that begins farthest from all that stands there.
    """
    come = (place - world.tcp)[:2]
    angles = np.arange(16) * np.pi / 8 + np.arctan2(come[1], come[0])
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    starts = place[:2] - RUN_UP * ways
    free = np.minimum(np.linalg.norm(starts - world.object_position[:2], axis=1) - 0.09, world.room_at(starts) - ROOM)
    reachable = (np.abs(starts[:, 0]) < 0.4) & (starts[:, 1] > 0.42) & (starts[:, 1] < 0.9)
    usable = np.flatnonzero((free > 0) & reachable)
    turn = np.abs(np.angle(np.exp(1j * (angles - angles[0]))))
    best = int(usable[np.argmin(turn[usable])]) if len(usable) else int(np.argmax(free))
    return np.asarray(ways[best])


class KnockCup(_Strike):
    slug: ClassVar[str] = "knock_cup"
    title: ClassVar[str] = "knocks over a cup on the way"
    body, height = 0, (0.07, 0.084)
    speed, beyond = (0.6, 1.0), (0.1, 0.16)


class Spill(KnockCup):
    slug: ClassVar[str] = "spill"
    title: ClassVar[str] = "knocks over a cup with something in it"
    # Hard and far, and down behind it: in a cup that only falls over, what is in it stays where it is.
    height, speed = (0.076, 0.084), (0.9, 1.0)
    beyond, sink = (0.14, 0.2), 0.03

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if not twin.trace.distractors or twin.trace.distractors[0].particles == 0:
            return None
        return super().draw(rng, twin)


class BumpOther(_Strike):
    slug: ClassVar[str] = "bump_other"
    title: ClassVar[str] = "shoves another object on the way"
    body, height = 1, (0.02, 0.035)
    beyond = (0.02, 0.1)


class BrushCup(_Strike):
    slug: ClassVar[str] = "brush_cup"
    title: ClassVar[str] = "touches a cup in passing"
    body, height, speed = 0, (0.02, 0.04), (0.2, 0.5)
    beyond, aside = (0.02, 0.05), (0.025, 0.04)


class PressTable:
    slug: ClassVar[str] = "press_table"
    title: ClassVar[str] = "presses into the table"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        return {
            "inject_step": approach(rng, twin, 0.2, 0.6),
            "depth": float(rng.uniform(0.03, 0.07)),
            "steps": int(rng.integers(3, 40)),
        }

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        step = parameters["inject_step"]
        grip = grip_at(twin, step - 1)
        z = world.table - parameters["depth"] + FINGERS[2]
        world.lower_floor(z - 0.01)
        yield from go_to(world, np.array([*world.target[:2], z]), grip, 60)
        yield from hold(world, parameters["steps"], grip)
        yield from resume(world, twin, step)


class ExcessiveGrip:
    slug: ClassVar[str] = "excessive_grip"
    title: ClassVar[str] = "grips with many times the force"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if twin.close_step is None:
            return None
        return {"inject_step": twin.close_step, "factor": float(rng.uniform(2.0, 6.0))}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        world.scale_grip(parameters["factor"])
        yield from follow(world, twin, parameters["inject_step"])


class PushLimit:
    slug: ClassVar[str] = "push_limit"
    title: ClassVar[str] = "pushes on at the edge of its workspace"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        direction = [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]][int(rng.integers(2))]
        step = approach(rng, twin, 0.05, 0.5)
        return {"inject_step": step, "direction": direction, "steps": int(rng.integers(45, 70))}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        step = parameters["inject_step"]
        for _ in range(parameters["steps"]):
            yield np.array([*parameters["direction"], grip_at(twin, step - 1)], dtype=np.float32)
        yield from resume(world, twin, step)
