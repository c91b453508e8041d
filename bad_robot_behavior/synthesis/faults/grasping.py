"""At contact: what goes wrong with taking, keeping and letting go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from bad_robot_behavior.synthesis.faults.moments import NEEDS, transport
from bad_robot_behavior.synthesis.motions import CLOSE, OPEN, follow
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import Action, World

Parameters = dict[str, Any]


class NoGrasp:
    slug: ClassVar[str] = "no_grasp"
    title: ClassVar[str] = "does not close the gripper"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        return None if twin.close_step is None else {"inject_step": twin.close_step}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        yield from follow(world, twin, parameters["inject_step"], edit=lambda step, target, grip: (target, OPEN))


class CloseEarly:
    slug: ClassVar[str] = "close_early"
    title: ClassVar[str] = "closes the gripper before it is at the object"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if twin.close_step is None or twin.close_step < 12:
            return None
        early = int(rng.integers(8, min(25, twin.close_step)))
        return {"inject_step": twin.close_step - early, "early_steps": early}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        until = parameters["inject_step"] + parameters["early_steps"]
        yield from follow(
            world, twin, parameters["inject_step"], until, edit=lambda step, target, grip: (target, CLOSE)
        )
        yield from follow(world, twin, until)


class CloseLate:
    slug: ClassVar[str] = "close_late"
    title: ClassVar[str] = "closes the gripper when it has begun to move on"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if twin.close_step is None or twin.grasp_step is None:
            return None
        late = twin.grasp_step - twin.close_step + int(rng.integers(2, 14))
        return {"inject_step": twin.close_step, "late_steps": late}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        start = parameters["inject_step"]
        until = min(start + parameters["late_steps"], twin.trace.steps)
        yield from follow(world, twin, start, until, edit=lambda step, target, grip: (target, OPEN))
        yield from follow(world, twin, until)


class Slip:
    slug: ClassVar[str] = "slip"
    title: ClassVar[str] = "holds the object too weakly"

    def applies(self, task: Task) -> str | None:
        return None if task.carries else NEEDS["carries"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        step = transport(rng, twin, 0.0, 0.5)
        if step is None:
            return None
        return {"inject_step": step, "friction": float(rng.uniform(0.15, 0.3)), "grip": float(rng.uniform(0.01, 0.04))}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        # Friction alone does nothing: the fingers press so hard that even a tenth of it holds.
        world.scale_friction(parameters["friction"])
        world.scale_grip(parameters["grip"])
        yield from follow(world, twin, parameters["inject_step"])


class Drop:
    slug: ClassVar[str] = "drop"
    title: ClassVar[str] = "opens the gripper on the way"

    def applies(self, task: Task) -> str | None:
        return None if task.carries else NEEDS["carries"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        step = transport(rng, twin, 0.2, 0.9)
        return None if step is None else {"inject_step": step}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        yield from follow(world, twin, parameters["inject_step"], edit=lambda step, target, grip: (target, OPEN))
