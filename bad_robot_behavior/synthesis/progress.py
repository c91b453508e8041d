"""Progress in [0, 1] at every step of a trace, from the stages of its task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.tasks import Stages, Task
from bad_robot_behavior.synthesis.trace import Trace

Floats = NDArray[np.float64]

LIFTED = 0.01
"""Metres above where it stood at which an object that is held counts as lifted."""
_SHORT_OF_SUCCESS = 0.99


def progress(task: Task, trace: Trace, moved: Floats, start: Floats, start_tcp: Floats, start_moved: Floats) -> Floats:
    """(T,) progress of a trace, 1 only where there is success.

    `moved` (T, 3) is the point that has to come to the goal; `start`, `start_tcp`, `start_moved` (3,) are where the
    object, the gripper and that point were before the first step.

    It is a weighted sum of stages. Reaching and grasping never fall: the gripper was there. Placing can fall. In a task
    that carries, the way to the goal counts as far as the object was held on it, or fell by itself; what it was
    shoved counts nothing.
    """
    stages = task.stages
    total = stages.reach * _reach(stages, trace, start, start_tcp)
    height = trace.object_position[:, 2] - start[2]
    lifted = np.maximum.accumulate(trace.held * np.clip(height / LIFTED, 0, 1))
    total = total + stages.grasp * np.maximum.accumulate(trace.held * (1 + np.clip(height / stages.lift, 0, 1)) / 2)
    along = slice(None) if stages.axis is None else ["xyz".index(stages.axis)]
    goal = trace.goal[along]
    place = _nearness(_distance(moved[:, along], goal), _distance(start_moved[along], goal), stages.rest)
    if task.tool:
        gap = _nearness(_distance(trace.object_position, moved), _distance(start, start_moved), stages.apply_rest)
        total = total + stages.apply * np.maximum.accumulate(gap * lifted)
        place = place * lifted
    elif task.carries:
        place = _carried(place * lifted, trace)
    total = total + stages.place * place
    measured: Floats = np.where(trace.success, 1.0, np.minimum(total, _SHORT_OF_SUCCESS))
    return measured


def _reach(stages: Stages, trace: Trace, start: Floats, start_tcp: Floats) -> Floats:
    reach = _nearness(_distance(trace.tcp, trace.object_position), _distance(start_tcp, start), stages.near)
    reach = np.maximum.accumulate(reach)
    if stages.via is not None:
        offset = np.array(stages.via)
        via = _nearness(_distance(trace.tcp, trace.object_position + offset), _distance(start_tcp, start + offset), 0)
        reach = (np.maximum.accumulate(via) + reach) / 2
    return reach


def _carried(place: Floats, trace: Trace) -> Floats:
    """What of the way counts: it grows only while the object is held, or while the robot does not touch it."""
    free = trace.held | ((trace.forces["grip"] == 0) & (trace.forces["robot_object"] == 0))
    earned = np.zeros_like(place)
    before = 0.0
    for step, (now, counts) in enumerate(zip(place, free, strict=True)):
        earned[step] = before = now if counts else min(now, before)
    return earned


def _nearness(distance: Floats, at_start: Floats, rest: float) -> Floats:
    """1 where the distance is `rest` or less, 0 where it is that at the start or more."""
    near: Floats = np.clip((at_start - distance) / max(float(at_start) - rest, 1e-6), 0, 1)
    return near


def _distance(some: Floats, other: Floats) -> Floats:
    distance: Floats = np.linalg.norm(some - other, axis=-1)
    return distance
