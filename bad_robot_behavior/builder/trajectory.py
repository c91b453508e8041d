"""The state and action arrays of a rollout, from the file in which its source left them to a row of `trajectories`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Rollout
from bad_robot_behavior.schema.trajectory_file import read_arrays


def read_trajectory(path: Path, rollout: Rollout) -> dict[str, Any]:
    """A row of table `trajectories`: state and action as lists of float32 arrays, their columns with name and unit.

    Raises ReleaseError where the file is not one that a source left.
    """
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise ReleaseError(f"{error}. Delete the work folder and build again") from error
    return {
        "rollout_id": rollout.rollout_id,
        "split": rollout.split,
        "state": list(arrays.state),
        "action": list(arrays.action),
        "state_columns": msgspec.to_builtins(arrays.state_columns),
        "action_columns": msgspec.to_builtins(arrays.action_columns),
    }
