"""The files that a session.yaml names, and those that it forgets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior.curation.sources.folder import check
from bad_robot_behavior.schema import Rejection, SourceSettings
from tests.labs import GOOD, Lab, save


@pytest.mark.rule("lab.session_missing")
def test_videos_without_a_session(lab: Lab) -> None:
    (lab.session / "session.yaml").rename(lab.session / "session.yml")
    lab.assert_broken("lab.session_missing", "session")


@pytest.mark.rule("lab.session_name")
def test_a_folder_name_that_is_not_text(lab: Lab) -> None:
    lab.session.rename(lab.root / "s\udcff1")
    defect = lab.assert_broken("lab.session_name", "session")
    defect.file.encode("utf-8")


@pytest.mark.rule("lab.path_outside")
@pytest.mark.parametrize(
    "name", ["../B.mp4", "{root}/s1/B.mp4", "x/../B.mp4", "..\\B.mp4", "C:\\B.mp4", "\\\\host\\B.mp4", "link.mp4"]
)
def test_a_path_that_leaves_the_folder(lab: Lab, name: str) -> None:
    (lab.root / "B.mp4.txt").write_bytes((lab.session / "B.mp4").read_bytes())
    (lab.session / "link.mp4").symlink_to(lab.root / "B.mp4.txt")
    lab.rollout(video=name.format(root=lab.root)).assert_broken("lab.path_outside", "rollout", "rollouts.B.video")


def test_a_session_that_is_a_link(lab: Lab) -> None:
    outside = lab.tmp / "outside"
    shutil.move(lab.session, outside)
    lab.session.symlink_to(outside)
    lab.assert_broken("lab.path_outside", "session")


def test_a_session_file_that_is_a_link(lab: Lab) -> None:
    (lab.session / "session.yaml").rename(lab.tmp / "session.yaml")
    (lab.session / "session.yaml").symlink_to(lab.tmp / "session.yaml")
    lab.assert_broken("lab.path_outside", "session")


@pytest.mark.rule("lab.file_missing")
@pytest.mark.parametrize("name", ["b.mp4", "C.mp4", "x" * 300 + ".mp4", "loop.mp4", "folder.mp4", "sub\\B.mp4"])
def test_a_file_that_is_not_there(lab: Lab, name: str) -> None:
    (lab.session / "loop.mp4").symlink_to("loop.mp4")
    (lab.session / "folder.mp4").mkdir()
    lab.rollout(video=name).assert_broken("lab.file_missing", "rollout", "rollouts.B.video")


@pytest.mark.rule("lab.file_type")
def test_a_video_that_is_no_mp4(lab: Lab) -> None:
    shutil.copyfile(lab.session / "B.mp4", lab.session / "B.avi")
    lab.rollout(video="B.avi").assert_broken("lab.file_type", "rollout", "rollouts.B.video")


@pytest.mark.rule("lab.file_shared")
def test_a_file_that_two_rollouts_name(lab: Lab) -> None:
    lab.write(rollouts=GOOD["rollouts"] | {"C": {"video": "B.mp4"}}, preference=None)
    lab.assert_broken("lab.file_shared", "rollout", "rollouts.B.video")
    assert set(lab.rollouts()) == {"A"}
    lab.rollout(video=..., videos={"exterior_1": "B.mp4", "wrist": "./B.mp4"})
    lab.assert_broken("lab.file_shared", "rollout", "rollouts.B.videos.exterior_1")


@pytest.mark.rule("lab.unused_video")
def test_a_video_that_no_rollout_names(lab: Lab, clips: Path) -> None:
    (lab.session / "more").mkdir()
    shutil.copyfile(clips / "C.mp4", lab.session / "more" / "C.mp4")
    lab.assert_broken("lab.unused_video", "rollout")
    assert set(lab.rollouts()) == {"A", "B"}
    assert check(lab.write(unused=["more/C.mp4", "gone.mp4"]).root) == []
    lab.write(unused=["more/C.mp4", "B.mp4"]).assert_broken("lab.file_shared", "rollout", "rollouts.B.video")


def test_the_video_of_a_broken_rollout_counts_once(lab: Lab) -> None:
    rejections = [i for i in lab.rollout(score="high").read() if isinstance(i, Rejection)]
    assert [(r.subject, r.code) for r in rejections] == [
        ("rollout", "lab.wrong_type"),
        ("preference", "lab.preference_rollout"),
    ]


@pytest.mark.rule("lab.video_unreadable")
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"not a video" * 50])
def test_a_video_that_is_broken(lab: Lab, damage: Callable[[bytes], bytes]) -> None:
    path = lab.session / "B.mp4"
    path.write_bytes(damage(path.read_bytes()))
    lab.assert_broken("lab.video_unreadable", "rollout", "rollouts.B.video")


@pytest.mark.rule("lab.trajectory")
@pytest.mark.parametrize(
    "arrays",
    [
        {"state": None},
        {"reward": np.zeros(5)},
        {"state": np.zeros(5)},
        {"state": np.zeros((0, 2)), "action": np.zeros((0, 3))},
        {"state": np.array([["a", "b"]])},
        {"state": np.zeros((4, 2))},
        {"state_columns": ["x"]},
        {"state_columns": ["x", "x"]},
        {"action_columns": np.zeros(3)},
    ],
)
def test_a_trajectory_of_the_wrong_form(lab: Lab, arrays: dict[str, Any]) -> None:
    save(lab.session / "B.npz", **arrays)
    lab.rollout(trajectory="B.npz").assert_broken("lab.trajectory", "rollout", "rollouts.B.trajectory")


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"action": np.full((5, 3), np.nan)}, "trajectory.not_finite"),
        ({"action": np.full((5, 3), 1e300)}, "trajectory.not_finite"),
        ({"state": np.array([[SourceSettings]], dtype=object)}, "npz.foreign_object"),
    ],
)
def test_a_trajectory_with_bad_values(lab: Lab, arrays: dict[str, Any], code: str) -> None:
    save(lab.session / "B.npz", **arrays)
    lab.rollout(trajectory="B.npz").assert_broken(code, "rollout", "rollouts.B.trajectory")


def test_a_trajectory_that_is_no_archive(lab: Lab) -> None:
    (lab.session / "B.npz").write_bytes(b"PK\x03\x04 nothing")
    lab.rollout(trajectory="B.npz").assert_broken("npz.unreadable", "rollout", "rollouts.B.trajectory")
