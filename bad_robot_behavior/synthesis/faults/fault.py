"""The contract of a fault.

```
class Hesitation:
    slug, title = "hesitation", "stops and starts again"

    def applies(self, task):  # None, or why it cannot bite
        return None

    def draw(self, rng, twin):
        return {"inject_step": int(rng.integers(10, twin.trace.steps - 10)), "pause": int(rng.integers(20, 60))}

    def act(self, world, twin, parameters):
        step = parameters["inject_step"]
        yield from hold(world, parameters["pause"], grip=float(twin.trace.action[step, 3]))
        yield from follow(world, twin, step)
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.tasks import Task

if TYPE_CHECKING:
    from bad_robot_behavior.synthesis.twin import Twin
    from bad_robot_behavior.synthesis.world import World


class Fault(Protocol):
    """One way to go wrong. It says what is done, never what comes of it: labels are told from the trace."""

    slug: ClassVar[str]
    """Name on disk, such as `no_grasp`."""
    title: ClassVar[str]
    """For people: `does not close the gripper`."""

    def applies(self, task: Task) -> str | None:
        """None where it can bite in this task; else the reason why it cannot."""
        ...

    def draw(self, rng: np.random.Generator, twin: Twin) -> dict[str, Any] | None:
        """Parameters that JSON can hold, among them `inject_step` (0 <= inject_step < twin.trace.steps); None where
        this twin has no moment for it, such as no grasp, or no distractor in its scene."""
        ...

    def act(self, world: World, twin: Twin, parameters: dict[str, Any]) -> Iterator[NDArray[Any]]:
        """Actions (4,) from step `inject_step` on. The world is then in the twin's state after step inject_step - 1;
        the fault may change it by its methods (scale_grip, turn_hand, ...) before or between actions. The rollout ends
        where the iterator does, or at the task's limit."""
        ...
