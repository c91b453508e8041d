"""The template of a lab folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bad_robot_behavior.curation.sources.folder import Folder, check
from bad_robot_behavior.curation.sources.init import TEMPLATE, write_template
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Rollout, SourceSettings
from tests.factories import make_video


def test_the_template_validates_once_its_videos_are_there(tmp_path: Path) -> None:
    paths = write_template(tmp_path / "deep" / "lab")
    root = tmp_path / "deep" / "lab"
    assert sorted(paths) == sorted(path for path in root.rglob("*") if path.is_file())
    assert {d.rule for d in check(root)} == {"lab.file_missing", "lab.consent_unfilled", "lab.consent_refused"}
    fill_in(root)
    assert {d.rule for d in check(root)} == {"lab.file_missing"}
    for seed, name in enumerate("AB"):
        make_video(root / "session-001" / f"{name}.mp4", seed=seed)
    assert check(root) == []
    source = Folder(SourceSettings(name="lab", kind="folder", path="."), root)
    items = list(source.read("session-001", Store(tmp_path / "store")))
    assert [isinstance(item, Rollout) for item in items] == [True, True]


def test_every_commented_line_of_the_template_is_legal(tmp_path: Path) -> None:
    """Take the comment marks away, as a lab does, and nothing but what is written twice on purpose is wrong."""
    root = tmp_path / "lab"
    write_template(root)
    fill_in(root)
    names = ("A.mp4", "A_right.mp4", "A_wrist.mp4", "B.mp4")
    for seed, name in enumerate(names):
        make_video(root / "session-001" / name, seed=seed)
    lab = uncomment((root / "lab.yaml").read_text())
    assert set(yaml.safe_load(lab)) >= {"site", "robot", "evaluator", "license", "capture_hz", "cameras"}
    (root / "lab.yaml").write_text(lab)
    lines = uncomment((root / "session-001" / "session.yaml").read_text()).splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith(("video: A.mp4", "trajectory"))]
    (root / "session-001" / "session.yaml").write_text("".join(kept))
    assert [str(d) for d in check(root)] == []


def fill_in(root: Path) -> None:
    """Fill in consent.yaml as a lab does."""
    text = (root / "consent.yaml").read_text().replace("people: not_asked", "people: all_agreed")
    text = text.replace("rights: not_asked", "rights: ours").replace('date: "..."', "date: 2026-11-25")
    (root / "consent.yaml").write_text(text.replace('"..."', "Karin Brandt"))


def uncomment(text: str) -> str:
    """The text with the comment mark taken from each line that is YAML behind it."""
    made = []
    for line in text.splitlines():
        bare = line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line
        key = bare.strip().removeprefix("- ").split(":")[0]
        made.append(bare if key.isidentifier() and not bare.strip().startswith("feedback") else line)
    return "\n".join(made) + "\n"


@pytest.mark.parametrize("name", TEMPLATE)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(BadRobotError, match="is there already"):
        write_template(tmp_path)
    assert [p.read_text() for p in tmp_path.rglob("*") if p.is_file()] == ["mine"]


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("mine")
    with pytest.raises(BadRobotError, match="is a file"):
        write_template(tmp_path / "lab")
