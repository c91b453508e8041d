"""States and actions of a rollout: what must hold of them, and how a DROID robot logs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import Column, Rule, rule
from bad_robot_behavior.schema.trajectory_file import Array, Arrays, write_arrays

SHAPE = rule(
    "trajectory.shape",
    "State and action must be (T, D) arrays of one T with a name for each column; a DROID step has "
    "cartesian_position (6), joint_position (7), gripper_position (1) and action (8).",
    cure="Export the steps again with all keys, and with the same number of values in every step.",
)
NOT_FINITE = rule(
    "trajectory.not_finite",
    "States and actions must be finite numbers.",
    cure="Find out why the logger wrote NaN or infinity; leave the file out if the values are lost.",
)

_STEP = (("cartesian_position", 6), ("joint_position", 7), ("gripper_position", 1), ("action", 8))
_CARTESIAN = (("x", "m"), ("y", "m"), ("z", "m"), ("roll", "rad"), ("pitch", "rad"), ("yaw", "rad"))

DROID_STATE: tuple[Column, ...] = (
    *(Column(name=f"cartesian_{axis}", unit=unit) for axis, unit in _CARTESIAN),
    *(Column(name=f"joint_position_{i}", unit="rad") for i in range(1, 8)),
    Column(name="gripper_position", unit=None),  # 0 open, larger is closed
)


class TrajectoryError(SourceError):
    """States and actions that break a rule: `rule` says which, `reason` how."""

    def __init__(self, rule: Rule, reason: str) -> None:
        self.rule = rule
        self.reason = reason
        super().__init__(f"{reason}. {rule.cure} [{rule.id}]")


def droid_action(action_space: str | None) -> tuple[Column, ...]:
    """The columns of a DROID action: seven joints and the gripper. `action_space` is joint_position, joint_velocity
    (sent as a fraction in [-1, 1] of the arm's limit) or None where the source does not say."""
    unit = "rad" if action_space == "joint_position" else None
    joints = (Column(name=f"{action_space or 'joint'}_{i}", unit=unit) for i in range(1, 8))
    return (*joints, Column(name="gripper_position", unit=None))


def droid_steps(data: Any) -> tuple[Array, Array]:
    """State (T, 14) and action (T, 8) from a list with one dict a step, as the RoboArena client logs it.

    Raises TrajectoryError (trajectory.shape, trajectory.not_finite).
    """
    if not isinstance(data, list) or not data:
        raise TrajectoryError(SHAPE, "the steps are not a list of at least one step")
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name, _ in _STEP}
    for index, step in enumerate(data):
        if not isinstance(step, Mapping):
            raise TrajectoryError(SHAPE, f"step {index} is not a dict")
        for name, size in _STEP:
            parts[name].append(_row(step, name, size, index))
    arrays = {name: np.stack(rows) for name, rows in parts.items()}
    state = np.concatenate([arrays[name] for name, _ in _STEP[:3]], axis=1).astype(np.float32)
    action = arrays["action"].astype(np.float32)
    _check_finite(state, action)
    return state, action


def _row(step: Mapping[str, Any], name: str, size: int, index: int) -> NDArray[np.float64]:
    if name not in step:
        raise TrajectoryError(SHAPE, f"step {index} has no {name}")
    try:
        row = np.asarray(step[name])
    except ValueError as error:  # lists of unequal length
        raise TrajectoryError(SHAPE, f"{name} of step {index} is not a row of numbers") from error
    if row.dtype.kind not in "fiu":
        raise TrajectoryError(SHAPE, f"{name} of step {index} is not a row of numbers")
    if row.size != size or row.ndim > 1:  # a gripper position may be a bare number
        raise TrajectoryError(SHAPE, f"{name} of step {index} has shape {row.shape}, not ({size},)")
    return row.reshape(size).astype(np.float64)


def _check_finite(state: Array, action: Array) -> None:
    for name, array in (("state", state), ("action", action)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            raise TrajectoryError(
                NOT_FINITE, f"{name} has {len(bad)} values that are not finite, first at {bad[0].tolist()}"
            )


def write_trajectory(store: Store, arrays: Arrays) -> Path:
    """Check the arrays and store them as `schema.trajectory_file` says.

    Raises TrajectoryError (trajectory.shape, trajectory.not_finite).
    """
    _check(arrays.state, arrays.action, arrays.state_columns, arrays.action_columns)
    return store.add(lambda path: write_arrays(path, arrays), ".npz")


def _check(state: Array, action: Array, state_columns: Sequence[Column], action_columns: Sequence[Column]) -> None:
    for name, array, columns in (("state", state, state_columns), ("action", action, action_columns)):
        if array.ndim != 2 or array.shape[1] != len(columns):
            raise TrajectoryError(SHAPE, f"{name} has shape {array.shape}, not (T, {len(columns)}) as its columns")
    if len(state) != len(action) or not len(state):
        raise TrajectoryError(SHAPE, f"state has {len(state)} steps and action {len(action)}; both need the same T > 0")
    _check_finite(state, action)
