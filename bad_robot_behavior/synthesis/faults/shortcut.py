"""What looks done and is not: dragged, shoved, left a little short, let go at the goal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from bad_robot_behavior.synthesis import measure
from bad_robot_behavior.synthesis.faults.moments import (
    ABOVE,
    FINGERS,
    NEEDS,
    Floats,
    approach,
    grip_at,
    straight,
    track,
)
from bad_robot_behavior.synthesis.motions import CLOSE, OPEN, follow, go_to, hold, towards
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import Action, World

Parameters = dict[str, Any]
SLOWLY = 12
"""Steps of the twin's way for which a hand that means to stop is slow."""


class Drag:
    slug: ClassVar[str] = "drag"
    title: ClassVar[str] = "drags the object over the table and does not lift it"

    def applies(self, task: Task) -> str | None:
        return None if task.carries else NEEDS["carries"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        return None if twin.grasp_step is None else {"inject_step": twin.grasp_step}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        low = float(twin.target[parameters["inject_step"] - 1, 2])

        def dragged(step: int, target: Floats, grip: float) -> tuple[Floats, float]:
            return np.array([*target[:2], min(low, float(target[2]))]), grip

        yield from follow(world, twin, parameters["inject_step"], edit=dragged)


class Shove:
    slug: ClassVar[str] = "shove"
    title: ClassVar[str] = "shoves the object with a closed gripper"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        step = approach(rng, twin, 0.05, 0.4)
        return {"inject_step": step, "speed": float(rng.uniform(0.3, 0.8)), "short": float(rng.uniform(0.0, 0.04))}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        thing, way = world.object_position, (world.goal - world.object_position)[:2]
        far = float(np.linalg.norm(way))
        way = way / max(far, 1e-6)
        z = float(thing[2] + FINGERS[2])
        behind = thing[:2] - 0.09 * way
        until = thing[:2] + (far - 0.03 - parameters["short"]) * way
        yield from go_to(world, np.array([*behind, world.table + ABOVE]), CLOSE, 80)
        yield from go_to(world, np.array([*behind, z]), CLOSE, 40)
        yield from straight(world, np.array([*until, z]), CLOSE, parameters["speed"])
        yield from hold(world, 15, CLOSE)


class Almost:
    slug: ClassVar[str] = "almost"
    title: ClassVar[str] = "stops a little short of the goal and acts as if it were done"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        """So short of where success begins that it is hard to see."""
        left, share = measure.to_goal(twin.trace), float(rng.uniform(0.05, 0.15))
        done = twin.success_step or twin.trace.steps - 1
        stop_at = float(left[done] + share * max(np.linalg.norm(twin.start - twin.trace.goal) - left[done], 0.0))
        near = int(np.argmax(left[: done + 1] <= stop_at))
        return {"inject_step": max(near - SLOWLY, 0), "metres_left": stop_at}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        step, last = parameters["inject_step"], twin.trace.steps - 1
        # Half as fast, so that it can stop there: at full speed it would slide on into the goal, or past it.
        while step < last and np.linalg.norm(world.object_position - world.goal) > parameters["metres_left"]:
            step += 0.5
            yield towards(world, track(twin, step), grip_at(twin, int(step)))
        # The gripper does what the twin's does at the goal; then the arm rests.
        place = world.tcp + FINGERS  # the hand lags behind what it was told
        yield from follow(world, twin, int(step), edit=lambda _, target, grip: (place, grip))
        yield from hold(world, 10, float(twin.trace.action[-1, 3]))


class LetGo:
    slug: ClassVar[str] = "let_go"
    title: ClassVar[str] = "lets go of what it should hold at the goal"

    def applies(self, task: Task) -> str | None:
        return None if task.strict.held else "nothing has to be held at the end"

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        if twin.success_step is None:
            return None
        last = twin.trace.steps - 1
        return {
            "inject_step": min(twin.success_step + int(rng.integers(0, 9)), last),
            "steps": int(rng.integers(20, 40)),
        }

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        yield from hold(world, parameters["steps"], OPEN)
