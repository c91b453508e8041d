"""When: too slow, with pauses, not to the end, never within the time that is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from bad_robot_behavior.synthesis.faults.moments import grip_at, track
from bad_robot_behavior.synthesis.motions import follow, hold, towards
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import Action, World

Parameters = dict[str, Any]


class EarlyStop:
    slug: ClassVar[str] = "early_stop"
    title: ClassVar[str] = "stops before it is done"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        done = twin.success_step or twin.trace.steps
        return {"inject_step": int(rng.uniform(0.15, 0.95) * done), "steps": int(rng.integers(20, 60))}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        yield from hold(world, parameters["steps"], grip_at(twin, parameters["inject_step"] - 1))


class Slow:
    slug: ClassVar[str] = "slow"
    title: ClassVar[str] = "moves slowly"
    low, high = 2.5, 4.5

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        share = rng.uniform(0.02, 0.3)
        return {
            "inject_step": int(share * (twin.success_step or twin.trace.steps)),
            "factor": float(rng.uniform(self.low, self.high)),
        }

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        start, last = parameters["inject_step"], twin.trace.steps - 1
        for time in np.arange(start, last, 1 / parameters["factor"]):
            yield towards(world, track(twin, time), grip_at(twin, int(time)))
        yield from hold(world, 12, grip_at(twin, last))


class Timeout(Slow):
    slug: ClassVar[str] = "timeout"
    title: ClassVar[str] = "is so slow that its time runs out"

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        share, limit = rng.uniform(0.02, 0.3), twin.trace.max_steps
        done = twin.success_step or twin.trace.steps
        step = int(share * done)
        # At the limit it has come this far on what was left of its way.
        reached = rng.uniform(0.6, 0.95) * (done - step)
        return {"inject_step": step, "factor": float((limit - step) / max(reached, 1.0))}


class Hesitation:
    slug: ClassVar[str] = "hesitation"
    title: ClassVar[str] = "stops and goes on, again and again"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> Parameters | None:
        done = (twin.success_step or twin.trace.steps) - 2
        number = int(rng.integers(1, 4))
        steps = sorted({int(step) for step in rng.uniform(0.15, 0.95, number) * done})
        return {"inject_step": steps[0], "at": steps, "pause": [int(n) for n in rng.integers(35, 90, len(steps))]}

    def act(self, world: World, twin: Twin, parameters: Parameters) -> Iterator[Action]:
        steps = parameters["at"]
        for step, pause, following in zip(steps, parameters["pause"], [*steps[1:], twin.trace.steps], strict=True):
            yield from hold(world, pause, grip_at(twin, step - 1))
            yield from follow(world, twin, step, following)
