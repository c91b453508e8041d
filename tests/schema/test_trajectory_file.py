"""The trajectory file: what was written comes back, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior.schema import Column
from bad_robot_behavior.schema.trajectory_file import Arrays, read_arrays, write_arrays

COLUMN = '[{"name": "x", "unit": "m"}]'


def test_there_and_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(5, 2)).astype(np.float32), rng.normal(size=(5, 1)).astype(np.float32)
    columns = (Column(name="x", unit="m"), Column(name="griper, \u00fc", unit=None))
    for name in ("one.npz", "two.npz"):
        write_arrays(tmp_path / name, Arrays(state, action, columns, columns[:1]))
    found = read_arrays(tmp_path / "one.npz")
    np.testing.assert_array_equal(found.state, state)
    np.testing.assert_array_equal(found.action, action)
    assert (found.state_columns, found.action_columns) == (columns, columns[:1])
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"state": np.zeros((2, 1), np.float32)}, "action"),
        ({"state": [{}]}, "allow_pickle"),
        ({"state": np.zeros((2, 1))}, "float64"),
        ({"state": np.zeros(2, np.float32)}, "1 axes"),
        ({"state": np.zeros((2, 2), np.float32)}, "2 columns, of which 1"),
        ({"state_columns": "{"}, "not a trajectory file"),
        ({"state_columns": '[{"name": 1}]'}, "not a trajectory file"),
    ],
)
def test_anything_else_is_refused(members: dict[str, object], reason: str, tmp_path: Path) -> None:
    whole: dict[str, object] = {"state": np.zeros((2, 1), np.float32), "state_columns": COLUMN}
    if len(members) != 1 or reason != "action":
        whole |= {"action": np.zeros((2, 1), np.float32), "action_columns": COLUMN}
    np.savez(tmp_path / "x.npz", **(whole | members))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        read_arrays(tmp_path / "x.npz")


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"x\.npz"):
        read_arrays(tmp_path / "x.npz")
