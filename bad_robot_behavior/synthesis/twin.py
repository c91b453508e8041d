"""The success twin: the expert's rollout from which a fault departs, with the steps at which its phases begin."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.trace import Trace


@dataclasses.dataclass(frozen=True)
class Twin:
    """`target` is (T, 3): where the hand was told to be after each step (not the tcp). `start` is where the object was
    before the first step, `start_tcp` where the gripper was. The steps below are None where there is no such phase."""

    trace: Trace
    target: NDArray[np.float64]
    start: NDArray[np.float64]
    start_tcp: NDArray[np.float64]

    @functools.cached_property
    def close_step(self) -> int | None:
        """First step whose action closes the gripper."""
        return _first(self.trace.action[:, 3] > 0)

    @functools.cached_property
    def touch_step(self) -> int | None:
        """First contact of the robot with what it handles."""
        return _first((self.trace.forces["grip"] > 0) | (self.trace.forces["robot_object"] > 0))

    @functools.cached_property
    def grasp_step(self) -> int | None:
        """First step at which the object is held."""
        return _first(self.trace.held)

    @functools.cached_property
    def lift_step(self) -> int | None:
        """First step at which the held object is 1 cm above where it stood."""
        return _first(self.trace.held & (self.trace.object_position[:, 2] > self.start[2] + 0.01))

    @functools.cached_property
    def move_step(self) -> int | None:
        """First step at which the object is 1 cm from where it was."""
        return _first(np.linalg.norm(self.trace.object_position - self.start, axis=1) > 0.01)

    @functools.cached_property
    def success_step(self) -> int | None:
        """First step of strict success."""
        return _first(self.trace.success)


def _first(flags: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(flags)
    return int(found[0]) if len(found) else None
