"""The state and action arrays of a rollout, from the .npz in which a stage left them to a row of `trajectories`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Rollout


def read_trajectory(path: Path, rollout: Rollout) -> dict[str, Any]:
    """A row of table `trajectories`: state and action as lists of float32 arrays, their columns with name and unit.

    The .npz holds `state` (T, D) and `action` (T, D), and for each of them `<array>_columns` (D, 2), texts: name and
    unit, the unit empty where unknown. Nothing is unpickled. Raises ReleaseError where the file is anything else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("state", "action", "state_columns", "action_columns")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"{path}: is not a trajectory file: {error}") from error
    row: dict[str, Any] = {"rollout_id": rollout.rollout_id, "split": rollout.split}
    for name in ("state", "action"):
        values, columns = arrays[name], arrays[f"{name}_columns"]
        if values.ndim != 2 or columns.shape != (values.shape[1], 2):
            raise ReleaseError(
                f"{path}: {name} has shape {values.shape} and {name}_columns {columns.shape}; legal: (T, D) and (D, 2)"
            )
        row[name] = list(values.astype(np.float32))
        row[f"{name}_columns"] = [{"name": str(column), "unit": str(unit) or None} for column, unit in columns]
    return row
