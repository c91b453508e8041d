"""Where the hand goes, and how it is turned: beside the object, beside the goal, past it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from bad_robot_behavior.synthesis.faults.moments import NEEDS, Floats, approach, inside, transport
from bad_robot_behavior.synthesis.motions import follow, go_to, hold
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import SETTLED, Action, World

Parameters = dict[str, Any]


class Miss:
    slug: ClassVar[str] = "miss"
    title: ClassVar[str] = "goes beside the object"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        # A gripper is lost by 3 cm, a push by more than the width of the hand.
        low, high = (0.035, 0.07) if twin.trace.held.any() else (0.07, 0.13)
        return {"inject_step": approach(rng, twin, 0.1, 0.5), "offset": inside(rng, twin.start, low, high)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        offset = np.array(parameters["offset"])
        yield from follow(
            world, twin, parameters["inject_step"], edit=lambda step, target, grip: (target + offset, grip)
        )


class Misplace:
    slug: ClassVar[str] = "misplace"
    title: ClassVar[str] = "brings the object to a place beside the goal"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else NEEDS["grasps"]

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        step = transport(rng, twin, 0.1, 0.5)
        return None if step is None else {"inject_step": step, "offset": inside(rng, twin.trace.goal, 0.05, 0.14)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        offset = np.array(parameters["offset"])
        yield from follow(
            world, twin, parameters["inject_step"], edit=lambda step, target, grip: (target + offset, grip)
        )


class _Turn(ABC):
    """Turn the hand about an axis of the world while it approaches."""

    slug: ClassVar[str]
    title: ClassVar[str]
    low: ClassVar[float]
    high: ClassVar[float]

    def applies(self, task: Task) -> str | None:
        return None

    @abstractmethod
    def axis(self, rng: np.random.Generator) -> list[float]:
        """A unit vector, (3,)."""

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        angle = float(rng.uniform(self.low, self.high) * rng.choice([-1, 1]))
        return {"inject_step": approach(rng, twin, 0.1, 0.5), "axis": self.axis(rng), "degrees": angle}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        start, axis = parameters["inject_step"], np.array(parameters["axis"])

        def turn(step: int, target: Floats, grip: float) -> tuple[Floats, float]:
            half = np.radians(parameters["degrees"]) * min(1.0, (step - start + 1) / 15) / 2
            world.turn_hand(np.array([np.cos(half), *(np.sin(half) * axis)]))
            return target, grip

        yield from follow(world, twin, start, edit=turn)


class Tilt(_Turn):
    slug: ClassVar[str] = "tilt"
    title: ClassVar[str] = "tilts its hand"
    low, high = 20.0, 45.0

    def axis(self, rng: np.random.Generator) -> list[float]:
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]][int(rng.integers(2))]


class Yaw(_Turn):
    slug: ClassVar[str] = "yaw"
    title: ClassVar[str] = "turns its hand about the vertical"
    low, high = 40.0, 90.0

    def axis(self, rng: np.random.Generator) -> list[float]:
        return [0.0, 0.0, 1.0]


class Overshoot:
    slug: ClassVar[str] = "overshoot"
    title: ClassVar[str] = "goes on past the goal"

    def applies(self, task: Task) -> str | None:
        return None if task.grasps else "the mechanism ends where it is done"

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        step = transport(rng, twin, 0.7, 0.95)
        if step is None:
            return None
        return {"inject_step": step, "beyond": float(rng.uniform(0.08, 0.18)), "returns": bool(rng.random() < 0.5)}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        start = parameters["inject_step"]
        grip = float(twin.trace.action[start, 3])
        way = twin.trace.goal - twin.start
        end = twin.target[start:][
            int(np.argmin(np.linalg.norm(twin.trace.object_position[start:] - world.goal, axis=1)))
        ]
        beyond = end + way / np.linalg.norm(way) * parameters["beyond"]
        beyond = np.clip(beyond, [-0.35, 0.42, 0.06], [0.35, 0.9, 0.35])  # within reach, past the goal all the same
        yield from go_to(world, beyond, grip, 80)
        yield from hold(world, 10, grip)
        if parameters["returns"]:
            yield from go_to(world, end, grip, 80)
            yield from follow(world, twin, min(start + 5, twin.trace.steps))
            yield from hold(world, SETTLED, float(twin.trace.action[-1, 3]))
