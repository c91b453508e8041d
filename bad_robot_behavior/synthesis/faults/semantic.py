"""Competent motion to the wrong end: another object, another action, another order, a step left out, undone again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from bad_robot_behavior.synthesis.faults.moments import NEEDS, Floats, approach
from bad_robot_behavior.synthesis.motions import CLOSE, OPEN, closed_loop, go_to, hold, towards
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import Action, World

Parameters = dict[str, Any]


class WrongObject:
    slug: ClassVar[str] = "wrong_object"
    title: ClassVar[str] = "takes another object for the one it is told to take"

    def applies(self, task: Task) -> str | None:
        return NEEDS["grasps"] if not task.grasps else None if task.distractors else NEEDS["distractors"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if not twin.trace.distractors:
            return None
        return {"inject_step": approach(rng, twin, 0.05, 0.4), "body": "second"}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        def mistake(seen: Floats) -> Floats:
            seen[4:7] = world.position_of(parameters["body"])
            return seen

        steps = twin.trace.steps - parameters["inject_step"] + 20
        yield from closed_loop(world, observe=mistake, steps=steps, to_success=False)


class WrongAction:
    slug: ClassVar[str] = "wrong_action"
    title: ClassVar[str] = "does the contrary"

    def applies(self, task: Task) -> str | None:
        return None if task.opposite else "the scene has no contrary task"

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        return {"inject_step": approach(rng, twin, 0.05, 0.6)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        steps = twin.trace.steps - parameters["inject_step"] + 40
        yield from closed_loop(world, task=world.task.opposite, steps=steps, to_success=False)


class WrongSequence:
    slug: ClassVar[str] = "wrong_sequence"
    title: ClassVar[str] = "goes to the goal first and to the object then"

    def applies(self, task: Task) -> str | None:
        return None if task.carries else NEEDS["carries"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        return {"inject_step": approach(rng, twin, 0.05, 0.4), "finishes": bool(rng.random() < 0.3)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        yield from go_to(world, twin.target[-1], OPEN, 80)
        yield from hold(world, 8, CLOSE)
        yield from hold(world, 8, OPEN)
        # The time that the twin took is over when it has come to the object, unless it may go on.
        steps = 200 if parameters["finishes"] else (twin.grasp_step or twin.trace.steps) + 30
        yield from closed_loop(world, steps=steps)


class MissingStep:
    slug: ClassVar[str] = "missing_step"
    title: ClassVar[str] = "goes to the goal without the object"

    def applies(self, task: Task) -> str | None:
        return None if task.carries else NEEDS["carries"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        return {"inject_step": approach(rng, twin, 0.05, 0.4)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        yield from go_to(world, twin.target[-1], OPEN, 80)
        yield from hold(world, 10, CLOSE)
        yield from hold(world, 10, float(twin.trace.action[-1, 3]))


class Undo:
    slug: ClassVar[str] = "undo"
    title: ClassVar[str] = "takes back what it has done"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else "a push cannot be taken back along its own way"

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if twin.success_step is None:
            return None
        return {"inject_step": min(twin.success_step + int(rng.integers(3, 9)), twin.trace.steps - 1)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        for step in range(parameters["inject_step"] - 1, (twin.close_step or 1) - 1, -1):
            yield towards(world, twin.target[step], float(twin.trace.action[step, 3]))


class Wander:
    slug: ClassVar[str] = "wander"
    title: ClassVar[str] = "moves about and makes for nothing"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        low, high = np.array([-0.3, 0.45, 0.2]), np.array([0.3, 0.75, 0.35])
        points = [[float(value) for value in rng.uniform(low, high)] for _ in range(4)]
        return {"inject_step": approach(rng, twin, 0.0, 0.3), "points": points}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        for point in parameters["points"]:
            yield from go_to(world, np.array(point), OPEN, 40, speed=0.7)
