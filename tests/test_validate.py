"""What a build's screen stage would reject is said before a build, for lab folders and dumps alike."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from bad_robot_behavior.build import build
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.validate import validate
from tests.dumps import write_dump, write_recipe
from tests.factories import make_video
from tests.synthetic_sets import write_set


def black(path: Path, num_frames: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(num_frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def write_lab(root: Path, place: str = "s1") -> Path:
    """A lab folder of one session with rollouts A and B; B is black and lies in a folder of its own."""
    make_video(root / place / "A.mp4", seed=1)
    black(root / place / "wrist" / "B.mp4")
    (root / place / "session.yaml").write_text(
        "instruction: go\nrollouts: {A: {video: A.mp4}, B: {videos: {wrist: wrist/B.mp4}}}\n"
    )
    return root


def test_a_black_video_of_a_lab_is_a_defect_of_the_file(tmp_path: Path) -> None:
    root = write_lab(tmp_path / "lab")
    kind, (defect,) = validate(root)
    assert (kind, defect.rule, defect.file) == ("lab folder", "video.black", str(root / "s1" / "wrist" / "B.mp4"))
    assert defect.message == "all 12 frames are darker than 4 of 255"


def test_a_copy_in_a_lab_is_a_defect_of_the_second(tmp_path: Path) -> None:
    root = write_lab(tmp_path / "lab")
    make_video(root / "s1" / "wrist" / "B.mp4", seed=2)
    shutil.copytree(root / "s1", root / "s2")
    _, defects = validate(root)
    assert [(d.rule, d.file) for d in defects] == [
        ("rollout.duplicate", str(root / "s2" / "A.mp4")),
        ("rollout.duplicate", str(root / "s2" / "wrist" / "B.mp4")),
    ]
    assert defects[0].message == "has the same frames as s1/A"


def test_what_cannot_be_read_is_not_said_twice(tmp_path: Path) -> None:
    root = write_lab(tmp_path / "lab")
    (root / "s1" / "wrist" / "B.mp4").write_bytes(b"")
    (root / "lab.yaml").write_text("robott: franka\n")
    assert [d.rule for d in validate(root)[1]] == ["lab.unknown_key", "lab.video_unreadable"]


def test_deep_sessions_and_videos_alone_are_a_lab_folder(tmp_path: Path) -> None:
    root = write_lab(tmp_path / "deep", "2026/05/s1")
    kind, defects = validate(root)
    assert (kind, [d.rule for d in defects]) == ("lab folder", ["video.black"])
    make_video(tmp_path / "alone" / "A.mp4")
    kind, (defect,) = validate(tmp_path / "alone")
    assert (kind, defect.rule) == ("lab folder", "lab.session_missing")
    assert defect.file == str(tmp_path / "alone" / "session.yaml")
    (tmp_path / "thesis" / ".cache").mkdir(parents=True)
    make_video(tmp_path / "thesis" / ".cache" / "A.mp4")
    with pytest.raises(BadRobotError, match="is none of these"):
        validate(tmp_path / "thesis")


def test_a_dump_is_screened_as_a_build_would(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 3, npz=False)
    sessions = dump / "evaluation_sessions"
    left = next((sessions / "session-0001").glob("A_*/*_left.mp4"))
    black(left)
    for name in ("A_policy_a", "B_policy_b"):
        shutil.rmtree(sessions / "session-0002" / name)
        shutil.copytree(sessions / "session-0000" / name, sessions / "session-0002" / name)
    kind, defects = validate(dump)
    assert kind == "RoboArena dump"
    assert [(d.rule, os.path.relpath(d.file, sessions / "session-0002")) for d in defects[1:]] == [
        ("rollout.duplicate", f"A_policy_a/{next((sessions / 'session-0002').glob('A_*/*_left.mp4')).name}"),
        ("rollout.duplicate", f"B_policy_b/{next((sessions / 'session-0002').glob('B_*/*_left.mp4')).name}"),
    ]
    assert (defects[0].rule, defects[0].file) == ("video.black", str(left))
    report = build(write_recipe(tmp_path / "recipe.yaml", dump), tmp_path / "release")
    assert {code: report.rejections_by_code[code] for code in ("video.black", "rollout.duplicate")} == {
        "video.black": 1,
        "rollout.duplicate": 2,
    }


def test_what_is_lost_with_a_session_is_one_defect_and_counted_in_a_build(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 3, npz=False)
    (dump / "evaluation_sessions" / "session-0001" / "metadata.yaml").unlink()
    (defect,) = validate(dump)[1]
    assert (defect.rule, defect.file) == ("roboarena.metadata_missing", f"{dump}/session-0001")
    report = build(write_recipe(tmp_path / "recipe.yaml", dump), tmp_path / "release")
    assert report.manifest is not None
    counts = report.manifest.counts
    assert (counts.rollouts_read, counts.rollouts_packaged, counts.rollouts_rejected) == (6, 4, 2)
    assert report.rejections_by_code == {"roboarena.metadata_missing": 3}


@pytest.mark.rule("recipe.not_ready")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 1.0}, "version"),
        (
            {
                "scrub": {
                    "pseudonym_key_file": "absent.key",
                    "faces": {"detector": "none", "waived_because": "no people"},
                    "names": {"detector": "none", "waived_because": "nobody is named"},
                    "text_on_screen": {"detector": "none", "waived_because": "no letters in it"},
                }
            },
            "",
        ),
        ({"license": {"allow": ["Apache 2"]}}, "Apache 2"),
        ({"split": {"train": 1.0, "validation": 0.0, "test": 0.0, "keep_test": "nowhere"}}, "nowhere"),
        ({"expected_rejections": {"roboarena.nope": 1}}, "roboarena.nope"),
    ],
)
def test_a_recipe_that_cannot_be_built(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 1)
    assert validate(write_recipe(tmp_path / "good.yaml", dump)) == ("recipe", [])
    kind, (defect,) = validate(write_recipe(tmp_path / "recipe.yaml", dump, **changes))
    assert (kind, defect.rule) == ("recipe", "recipe.not_ready")
    assert says in defect.message
    kind, (defect,) = validate(write_recipe(tmp_path / "recipe.yaml", tmp_path / "nowhere"))
    assert "nowhere" in defect.message


def test_a_synthetic_set(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    assert validate(root) == ("synthetic set", [])
    (root / "scenes" / "pick-place-0" / "drop" / "wrist.mp4").unlink()
    _, defects = validate(root)
    assert [defect.rule for defect in defects] == ["synthetic.no_video", "synthetic.pair"]
