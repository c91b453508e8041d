"""Made-up traces of a pick and place and of a push: what goes wrong in a test is put in on purpose."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np

from bad_robot_behavior.synthesis.trace import Contact, Distractor, Trace

REACH, CLOSE, LIFT, CARRY, REST = 30, 40, 50, 80, 90
START, GOAL, HOME = np.array([0.0, 0.6, 0.02]), np.array([0.2, 0.7, 0.15]), np.array([-0.1, 0.5, 0.2])
GRIP = 400.0


def line(a: Any, b: Any, steps: int) -> Any:
    return np.linspace(a, b, steps + 1)[1:]


def still(count: int, place: Any) -> Any:
    return np.tile(np.asarray(place, dtype=float), (count, 1))


def other(steps: int, name: str = "red cup", **changes: Any) -> Distractor:
    values: dict[str, Any] = {
        "name": name,
        "position": still(steps, [0.1, 0.8, 0.03]),
        "upright": np.ones(steps),
        "spilled": np.zeros(steps, dtype=np.int64),
        "particles": 6,
    }
    return Distractor(**values | changes)


def pick_place(**changes: Any) -> Trace:
    """Reach, close, lift, carry to the goal, hold there: 90 steps, a success that touches nothing else."""
    above = START + np.array([0, 0, 0.1])
    tcp = np.concatenate(
        [
            line(HOME, START, REACH),
            still(CLOSE - REACH, START),
            line(START, above, LIFT - CLOSE),
            line(above, GOAL, CARRY - LIFT),
            still(REST - CARRY, GOAL),
        ]
    )
    held = np.arange(REST) >= CLOSE - 2
    gripper = np.interp(np.arange(REST), [0, REACH, CLOSE - 2], [1.0, 1.0, 0.4])
    thing = np.where(held[:, None], tcp, START)
    success = np.arange(REST) >= CARRY
    forces = {kind: np.zeros(REST) for kind in get_args(Contact)}
    forces["grip"] = np.where(held, GRIP, 0.0)
    forces["object_table"] = np.where(held, 0.0, 5.0)
    way = np.linalg.norm(thing - GOAL, axis=1) / np.linalg.norm(START - GOAL)
    values: dict[str, Any] = {
        "control_hz": 80.0,
        "action": np.zeros((REST, 4), dtype=np.float32),
        "tcp": tcp,
        "gripper": gripper,
        "hand": still(REST, [0, 1, 0, 1]) / np.sqrt(2),
        "object_position": thing,
        "object_upright": np.ones(REST),
        "goal": GOAL,
        "held": held,
        "carries": True,
        "wrong_object": np.zeros(REST, dtype=bool),
        "forces": forces,
        "distractors": (other(REST), other(REST, "blue block", position=still(REST, [-0.2, 0.8, 0.02]), particles=0)),
        "progress": np.where(success, 1.0, np.clip(1 - way, 0, 0.99)),
        "success": success,
        "limit": np.zeros(REST, dtype=bool),
        "height_of_table": 0.0,
        "max_steps": 400,
    }
    return Trace(**values | changes)


def push(to: Any = (0.0, 0.8, 0.02), **changes: Any) -> Trace:
    """Nothing is held: the hand comes to the object and moves it straight to `to`, by default the goal."""
    goal, touch = np.array([0.0, 0.8, 0.02]), REACH
    behind = np.array([0.0, -0.05, 0.0])
    place = np.concatenate([still(touch, START), line(START, np.asarray(to), REST - touch)])
    tcp = np.concatenate([line(HOME, START + behind, touch), place[touch:] + behind])
    success = np.linalg.norm(place - goal, axis=1) < 0.02
    forces = {kind: np.zeros(REST) for kind in get_args(Contact)}
    forces["robot_object"] = np.where(np.arange(REST) >= touch, 50.0, 0.0)
    values: dict[str, Any] = {
        "tcp": tcp,
        "object_position": place,
        "gripper": np.zeros(REST),
        "goal": goal,
        "held": np.zeros(REST, dtype=bool),
        "carries": False,
        "forces": forces,
        "success": success,
        "progress": np.where(success, 1.0, np.clip(1 - np.linalg.norm(place - goal, axis=1) / 0.2, 0, 0.99)),
    }
    return pick_place(**values | changes)


def with_force(trace: Trace, kind: Contact, start: int, end: int, newtons: float) -> Trace:
    """The same with a force of that class over steps start to end, both included."""
    forces = {name: force.copy() for name, force in trace.forces.items()}
    forces[kind][start : end + 1] = newtons
    return dataclasses.replace(trace, forces=forces)


def with_distractor(trace: Trace, **changes: Any) -> Trace:
    """The same with the first distractor changed."""
    first = dataclasses.replace(trace.distractors[0], **changes)
    return dataclasses.replace(trace, distractors=(first, *trace.distractors[1:]))
