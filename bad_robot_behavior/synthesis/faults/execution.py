"""Done badly, whatever comes of it: shaking, trying again, going a long way round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from bad_robot_behavior.synthesis.faults.moments import FINGERS, NEEDS, Floats, approach, grip_at, resume, transport
from bad_robot_behavior.synthesis.motions import CLOSE, OPEN, follow, go_to, hold
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import Action, World

Parameters = dict[str, Any]


class Jitter:
    slug: ClassVar[str] = "jitter"
    title: ClassVar[str] = "shakes"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        angle = rng.uniform(0, np.pi)
        return {
            "inject_step": approach(rng, twin, 0.1, 0.6),
            "amplitude": float(rng.uniform(0.05, 0.09)),
            "half_period": int(rng.integers(7, 12)),
            "direction": [float(np.cos(angle)), float(np.sin(angle)), 0.0],
        }

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        start, half = parameters["inject_step"], parameters["half_period"]
        shake = np.array(parameters["direction"]) * parameters["amplitude"]

        def shaken(step: int, target: Floats, grip: float) -> tuple[Floats, float]:
            return target + shake * (1 if (step - start) // half % 2 == 0 else -1), grip

        quiet = twin.success_step or twin.trace.steps
        yield from follow(world, twin, start, quiet, edit=shaken)
        yield from follow(world, twin, quiet)


class Regrasp:
    slug: ClassVar[str] = "regrasp"
    title: ClassVar[str] = "opens and closes its gripper on the object again and again"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if twin.grasp_step is None:
            return None
        return {"inject_step": twin.grasp_step, "times": int(rng.integers(1, 4)), "steps": int(rng.integers(10, 18))}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        offset = world.tcp - world.object_position + FINGERS
        for _ in range(parameters["times"]):
            yield from hold(world, parameters["steps"], OPEN)
            yield from go_to(world, world.object_position + offset, OPEN, 20)
            yield from hold(world, parameters["steps"], CLOSE)
        yield from follow(world, twin, parameters["inject_step"])


class Detour:
    slug: ClassVar[str] = "detour"
    title: ClassVar[str] = "goes a long way round"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        carrying = transport(rng, twin) if rng.random() < 0.5 and twin.trace.held.any() else None
        step = approach(rng, twin) if carrying is None else carrying
        way = rng.uniform([-0.25, -0.15, 0.08], [0.25, 0.1, 0.22])
        return {"inject_step": step, "offset": [float(value) for value in way]}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        step = parameters["inject_step"]
        aim = np.clip(world.target + np.array(parameters["offset"]), [-0.4, 0.42, 0.1], [0.4, 0.9, 0.45])
        yield from go_to(world, aim, grip_at(twin, step - 1), 60)
        yield from resume(world, twin, step)
