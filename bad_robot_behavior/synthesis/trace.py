"""What physics said of one simulated rollout, step by step: all that the truth is told from.

The world fills a trace while it steps; `truth` reads it beside the trace of the success twin. Neither the fault's name
nor its parameters are in it, so no label can come from them. The one thing more that `truth` is told is the step of
injection: nothing counts as a failure before it, and it says nothing of what comes after.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Array = NDArray[Any]

Contact = Literal[
    "robot_table",
    "robot_fixture",  # walls, shelf, bin, or a mechanism that is no part of this task
    "robot_distractor",
    "robot_object",  # pads excluded: those are `grip`
    "object_table",
    "object_fixture",
    "object_distractor",  # the hit may come from what the robot carries
    "grip",  # gripper pads on the object (or on the handle)
]


@dataclasses.dataclass(frozen=True)
class Distractor:
    """One object in the scene that is no part of the task, over T control steps."""

    name: str
    """What an evaluator would call it, such as `red cup`."""
    position: Floats
    """(T, 3) metres."""
    upright: Floats
    """(T,) cosine between the object's own axis and the vertical: 1 stands, 0 lies."""
    spilled: NDArray[np.int64]
    """(T,) how many particles are out of it; 0 where it holds none."""
    particles: int
    """How many it held at the start."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """One rollout of T control steps. Row t is the state after step t; lengths in metres, forces in newtons.

    Forces are the peak of the normal force over all physics substeps of a control step, summed over the contacts of
    that class at a substep; 0 where nothing touched.
    """

    control_hz: float
    """80 in Meta-World."""
    action: NDArray[np.float32]
    """(T, 4) dx, dy, dz, gripper, each in [-1, 1]."""
    tcp: Floats
    """(T, 3) the point between the fingers."""
    gripper: Floats
    """(T,) opening: 0 closed, 1 open."""
    hand: Floats
    """(T, 4) orientation of the hand as a unit quaternion w, x, y, z."""
    object_position: Floats
    """(T, 3) of the task's object, or of the point of the mechanism that the task moves (handle, button)."""
    object_upright: Floats
    """(T,) as in Distractor."""
    goal: Floats
    """(3,) where that point should come to."""
    held: Flags
    """(T,) both pads press the object, and it moves with the gripper. False throughout where nothing is carried."""
    carries: bool
    """The task asks for the object to be lifted, so that shoving it to the goal is not doing the task."""
    wrong_object: Flags
    """(T,) the gripper holds a distractor."""
    forces: dict[Contact, Floats]
    """(T,) for every Contact."""
    distractors: tuple[Distractor, ...]
    progress: Floats
    """(T,) in [0, 1], from the task's stages; 1 only where `success` holds."""
    success: Flags
    """(T,) strict: the task's own condition, and held or released as the instruction says."""
    limit: Flags
    """(T,) the gripper stands at the edge of its workspace and is told to go further."""
    height_of_table: float
    """z of the surface on which objects stand."""
    max_steps: int
    """The limit that the task gives a policy; T == max_steps without success is a timeout."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.action)
