"""The .npz in which state and action arrays travel from a source to packaging: numbers and text, no objects.

Members: `state` (T, Ds) and `action` (T, Da) float32; `state_columns` and `action_columns`, each a JSON list of
{"name", "unit"} as a text scalar.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema.records import Column

Array = NDArray[np.float32]


class Arrays(msgspec.Struct, frozen=True):
    """What such a file holds: state (T, Ds) and action (T, Da) float32, and a name and unit for each column."""

    state: Array
    action: Array
    state_columns: tuple[Column, ...]
    action_columns: tuple[Column, ...]


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write the file; the same values give the same bytes."""
    write_members(path, members_of(arrays))


def members_of(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """What the file holds, by member."""
    return {
        "state": np.ascontiguousarray(arrays.state, np.float32),
        "action": np.ascontiguousarray(arrays.action, np.float32),
        "state_columns": np.array(_to_json(arrays.state_columns)),
        "action_columns": np.array(_to_json(arrays.action_columns)),
    }


def write_members(path: Path, members: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz of arrays without objects; the same values give the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in members.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, so that the bytes do not hold the time
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, file.getvalue(), compresslevel=6)


def read_arrays(path: Path) -> Arrays:
    """Read what `write_arrays` wrote. Nothing is unpickled. Raises ValueError where the file is anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            members = {name: file[name] for name in ("state", "action", "state_columns", "action_columns")}
        columns = {
            name: msgspec.json.decode(str(members[f"{name}_columns"]), type=tuple[Column, ...])
            for name in ("state", "action")
        }
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise ValueError(f"{path}: is not a trajectory file: {error}") from error
    for name in ("state", "action"):
        if members[name].dtype != np.float32 or members[name].ndim != 2:
            raise ValueError(f"{path}: {name} is {members[name].dtype} of {members[name].ndim} axes, not float32 of 2")
        if members[name].shape[1] != len(columns[name]):
            raise ValueError(
                f"{path}: {name} has {members[name].shape[1]} columns, of which {len(columns[name])} have a name"
            )
    return Arrays(members["state"], members["action"], columns["state"], columns["action"])


def _to_json(columns: Sequence[Column]) -> str:
    return msgspec.json.encode(columns).decode()
