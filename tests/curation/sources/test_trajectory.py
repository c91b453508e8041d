"""States and actions: what a DROID robot logs, and the plain file they are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior.curation.sources.trajectory import (
    DROID_STATE,
    TrajectoryError,
    droid_action,
    droid_steps,
    write_trajectory,
)
from bad_robot_behavior.curation.stage import Store, sha256_file
from bad_robot_behavior.schema import Column
from bad_robot_behavior.schema.trajectory_file import Arrays, read_arrays


def step(**changes: Any) -> dict[str, Any]:
    values = {
        "cartesian_position": np.arange(6.0),
        "joint_position": list(range(7)),
        "gripper_position": 0.25,
        "action": np.full(8, -1, np.float32),
    }
    return values | changes


def test_steps_to_arrays_and_back(tmp_path: Path) -> None:
    state, action = droid_steps([step(), step(gripper_position=np.array([0.75]))])
    assert state.shape == (2, 14) and action.shape == (2, 8)
    assert state.dtype == action.dtype == np.float32
    assert state[:, 13].tolist() == [0.25, 0.75]
    path = write_trajectory(Store(tmp_path), Arrays(state, action, DROID_STATE, droid_action("joint_position")))
    found = read_arrays(path)
    np.testing.assert_array_equal(found.state, state)
    np.testing.assert_array_equal(found.action, action)
    assert found.state_columns == DROID_STATE
    assert found.action_columns[0] == Column(name="joint_position_1", unit="rad")
    with np.load(path, allow_pickle=False) as plain:  # any reader can open it
        assert plain["state"].shape == (2, 14)


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [
        write_trajectory(Store(tmp_path / name), Arrays(*droid_steps([step()] * 3), DROID_STATE, droid_action(None)))
        for name in ("one", "two")
    ]
    assert sha256_file(paths[0]) == sha256_file(paths[1])
    assert paths[0].name == paths[1].name


def test_an_unknown_action_space_has_no_unit() -> None:
    assert [column.unit for column in droid_action(None)] == [None] * 8
    assert droid_action("joint_velocity")[0].name == "joint_velocity_1"


@pytest.mark.rule("trajectory.shape")
@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        np.zeros((3, 8)),
        ["step"],
        [step(), {"action": np.zeros(8)}],
        [step(action=np.zeros(7))],
        [step(action=np.zeros((2, 4)))],
        [step(joint_position=["a"] * 7)],
        [step(joint_position=[[1], [2, 3]])],
        [step(gripper_position=None)],
    ],
)
def test_steps_of_the_wrong_shape(data: Any) -> None:
    with pytest.raises(TrajectoryError) as caught:
        droid_steps(data)
    assert caught.value.rule.id == "trajectory.shape"


@pytest.mark.rule("trajectory.not_finite")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])  # 1e300 is no float32
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_values_that_are_not_finite(value: float) -> None:
    with pytest.raises(TrajectoryError, match=r"action has 1 values .* first at \[1, 2\]") as caught:
        droid_steps([step(), step(action=[0, 0, value, 0, 0, 0, 0, 0])])
    assert caught.value.rule.id == "trajectory.not_finite"


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    columns = (Column(name="x", unit="m"),)
    for state, action in (
        (np.zeros((2, 1)), np.zeros((3, 1))),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros((0, 1)),) * 2,
    ):
        with pytest.raises(TrajectoryError):
            write_trajectory(Store(tmp_path), Arrays(state, action, columns, columns))
    assert not list(tmp_path.rglob("*.npz"))
