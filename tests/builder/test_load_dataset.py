"""`load_dataset` in every way the documentation names, each in a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from bad_robot_behavior.builder.install import install
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Rollout
from tests.builder.conftest import Python
from tests.builder.releases import make_recipe, make_release

LOAD = "import datasets\ndatasets.utils.logging.set_verbosity_error()\nload = datasets.load_dataset\n"


INSTALL = "from pathlib import Path\nfrom bad_robot_behavior.builder.install import install\ninstall(Path({!r}))\n"


def test_a_release_folder_loads_by_its_path_with_every_config(release: Path, python: Python) -> None:
    code = f"""
rows = load({str(release)!r})
print(rows["train"].num_rows, rows["test"].num_rows, rows["test"][0]["score"])
for name in datasets.get_dataset_config_names({str(release)!r}):
    print(name, load({str(release)!r}, name, split="train").num_rows)
"""
    expected = ["8 2 0.8", "rollouts 8", "preferences 4", "demonstrations 12"]
    if (release / "videos" / "index.parquet").exists():
        expected.append("videos 8")
    assert python(LOAD + code).splitlines() == expected


def test_the_bare_name_loads_beside_a_folder_of_that_name(files_release: Path, python: Python) -> None:
    code = "rows = load('bad-robot-behavior')\nprint(rows['train'].num_rows)"
    assert python(LOAD + code, cwd=files_release.parent) == "8\n"


def test_after_install_the_bare_name_loads_from_anywhere_offline(release: Path, python: Python, tmp_path: Path) -> None:
    python(INSTALL.format(str(release)))
    code = """
rows = load("bad-robot-behavior")
print(sorted(rows), rows["train"].num_rows, "score" in rows["train"].column_names)
print(next(iter(load("bad-robot-behavior", split="train", streaming=True)))["score"])
load("bad-robot-behavior", "preferences", split="train").map(lambda row: {"more": 1})  # makes its folder the newest
print(load("bad-robot-behavior")["train"].column_names[0])
import bad_robot_behavior as brb
found = brb.load()
print(next(iter(found)).frames(n=3).shape)
for config in found.manifest.configs:
    loaded, own = load("bad-robot-behavior", config, split="test"), found.table(config, split="test")
    print(config, loaded.num_rows == own.num_rows)
"""
    lines = python(LOAD + code, cwd=tmp_path / "elsewhere").splitlines()
    assert lines[:4] == ["['test', 'train'] 8 True", "0.8", "rollout_id", "(3, 48, 64, 3)"]
    assert len(lines) >= 7
    assert all(line.endswith(" True") for line in lines[4:])


def test_a_newer_install_wins_and_leaves_no_folder_of_an_earlier_one(
    rollouts: list[Rollout], python: Python, tmp_path: Path
) -> None:
    make_release(tmp_path / "one", rollouts)
    make_release(tmp_path / "two", rollouts[2:], recipe=make_recipe(version="1.0.1"))
    make_release(tmp_path / "three", rollouts[4:], recipe=make_recipe(version="1.0.1"))  # the same version, other rows
    rows = "print(load('bad-robot-behavior')['train'].num_rows)\n"
    code = "".join(INSTALL.format(str(tmp_path / name)) + rows for name in ("one", "two", "three", "one"))
    assert python(LOAD + code, cwd=tmp_path / "elsewhere").split() == ["8", "6", "4", "8"]
    cache = tmp_path / "hf" / "datasets" / "bad-robot-behavior"
    folders = sorted(path.parts[-3] for path in cache.glob("*/*/*") if path.is_dir())
    assert folders == ["demonstrations", "preferences", "rollouts"]


@pytest.mark.parametrize("name", ["me/mine", "BadRobot", "..", "a b"])
def test_a_name_that_load_dataset_would_not_find_is_refused(rollouts: list[Rollout], tmp_path: Path, name: str) -> None:
    make_release(tmp_path / "one", rollouts)
    with pytest.raises(ReleaseError, match="cannot be the name"):
        install(tmp_path / "one", name)


def test_a_hub_id_loads_and_streams(release: Path, python: Python, hub: tuple[dict[str, str], Path]) -> None:
    env, log = hub
    code = f"""
from pathlib import Path
import bad_robot_behavior as brb
from bad_robot_behavior.builder.hub import push
print("/datasets/me/failures/commit/" in push(Path({str(release)!r}), "me/failures"))
rows = load("me/failures", split="train", streaming=True, columns=["rollout_id", "score"])
print(sum(1 for row in rows), sorted(next(iter(rows))))
rows = load("me/failures")
print(rows["train"].num_rows, rows["test"][0]["score"])
"""
    assert python(LOAD + code, **env).splitlines() == ["True", "8 ['rollout_id', 'score']", "8 0.8"]
    asked = [line.split()[1] for line in log.read_text().splitlines()]
    assert any(path.startswith("rollouts/train") for path in asked)
    assert not [path for path in asked if path.startswith("videos/")]
    code = """
import bad_robot_behavior as brb
found = brb.load("me/failures")
print(len(found), found[found.rollout_ids[0]].frames(n=2).shape)
"""
    assert python(code, **env) == "10 (2, 48, 64, 3)\n"
    assert python(LOAD + "print(load('me/failures')['train'].num_rows)").split() == ["8"]  # offline, from the cache


def test_columns_are_read_without_a_byte_of_video(release: Path, python: Python, tmp_path: Path) -> None:
    copy = tmp_path / "bad-robot-behavior"
    shutil.copytree(release, copy)
    shutil.rmtree(copy / "videos")
    code = f"""
rows = load({str(copy)!r}, columns=["rollout_id", "score"], split="train")
print(rows.num_rows, rows.column_names)
rows = load({str(copy)!r}, columns=["rollout_id", "score"], split="train", streaming=True)
print(sorted(next(iter(rows))))
import bad_robot_behavior as brb
print(brb.load({str(copy)!r}).table("rollouts", columns=["rollout_id", "reward"]).num_rows)
"""
    assert python(LOAD + code).splitlines() == ["8 ['rollout_id', 'score']", "['rollout_id', 'score']", "10"]


def test_a_release_built_again_at_the_same_path_gives_its_new_rows(
    rollouts: list[Rollout], python: Python, tmp_path: Path
) -> None:
    out = tmp_path / "bad-robot-behavior"
    code = LOAD + f"print([row['score'] for row in load({str(out)!r}, split='test')])"
    make_release(out, rollouts)
    assert python(code) == "[0.8, 0.2]\n"
    changed = [*rollouts[:-1], msgspec.structs.replace(rollouts[-1], score=0.1)]
    make_release(out, changed)
    assert python(code) == "[0.8, 0.1]\n"


def test_videos_in_shards_load_as_videos_without_torch(shards_release: Path, python: Python) -> None:
    code = f"""
import sys
rows = load({str(shards_release)!r}, "videos", split="train").cast_column("video", datasets.Video(decode=False))
print(rows[0]["role"], rows[0]["video"]["bytes"][4:8], "torch" in sys.modules)
"""
    assert python(LOAD + code) == "exterior_1 b'ftyp' False\n"


def test_the_builder_class_builds_a_config(files_release: Path, python: Python) -> None:
    code = f"""
from bad_robot_behavior.builder.dataset import BadRobotBehavior
builder = BadRobotBehavior(config_name="preferences", base_path={str(files_release)!r})
builder.download_and_prepare()
print(builder.as_dataset(split="train").num_rows, sorted(BadRobotBehavior.builder_configs))
"""
    names = ["demonstrations", "preferences", "reward_samples", "rollouts", "trajectories", "videos"]
    assert python(LOAD + code) == f"4 {names}\n"
