"""Progress in [0, 1] at every step of a trace, from the stages of its task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.trace import Trace

Floats = NDArray[np.float64]


def progress(task: Task, trace: Trace, start: Floats, start_tcp: Floats) -> Floats:
    """(T,) progress. `start` and `start_tcp` (3,) are where the object and the gripper were before the first step.

    Reaching counts by how near the gripper came, grasping by how long and high the object was carried, placing by how
    much of the way to the goal the object has made. In a task that carries, placing counts only once the object was
    lifted, so that a shove to the goal earns nothing. 1 stands only where there is success.
    """
    stages = task.stages
    reach0 = max(float(np.linalg.norm(start - start_tcp)), 1e-6)
    reach = 1 - np.linalg.norm(trace.object_position - trace.tcp, axis=1) / reach0
    reach = np.maximum.accumulate(np.clip(reach, 0, 1))
    height = np.clip((trace.object_position[:, 2] - start[2]) / 0.02, 0, 1)
    lifted = np.logical_or.accumulate(trace.held & (height >= 1))
    place0 = max(float(np.linalg.norm(start - trace.goal)), 1e-6)
    place = np.clip(1 - np.linalg.norm(trace.object_position - trace.goal, axis=1) / place0, 0, 1)
    gate = lifted if trace.carries else np.ones_like(lifted)
    grasp = np.where(lifted, 1.0, trace.held * (0.5 + 0.5 * height))
    total = stages.reach * reach + stages.grasp * grasp + stages.place * place * gate
    measured: Floats = np.where(trace.success, 1.0, np.minimum(total, 0.99))
    return measured
