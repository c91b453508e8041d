"""load: tables by column, rollouts by row, frames by PyAV; hostile and broken releases are refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bad_robot_behavior
from bad_robot_behavior import load, media
from bad_robot_behavior.builder.loader import open_release
from bad_robot_behavior.builder.reading import inside
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Rollout
from tests.builder.conftest import Python


def change(release: Path, config: str, edit: dict[str, Any], row: int = 0, split: str = "train") -> None:
    """Replace fields of one row of a table in place."""
    path = release / config / f"{split}-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[row] |= edit
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A release that the test may spoil."""
    return Path(shutil.copytree(release, tmp_path / "copy"))


def test_a_release_is_a_collection_of_rollouts(release: Path, rollouts: list[Rollout]) -> None:
    found = load(release)
    assert len(found) == len(rollouts)
    assert sorted(found.rollout_ids) == sorted(rollout.rollout_id for rollout in rollouts)
    assert [row["rollout_id"] for row in found] == found.rollout_ids
    one = found[rollouts[3].rollout_id]
    assert one["score"] == rollouts[3].score
    assert dict(one).keys() == set(one)
    assert one.roles == ("exterior_1",)
    assert rollouts[3].rollout_id in repr(one)
    with pytest.raises(KeyError):
        found["0" * 20]


def test_a_split_narrows_everything(release: Path) -> None:
    test = load(release, split="test")
    assert len(test) == len(list(test)) == 2
    assert test.table("preferences").num_rows == 1
    assert test.table("preferences", split="train").num_rows == 0
    assert load(release).table("preferences", split="train").num_rows == 4
    with pytest.raises(ReleaseError, match="'dev' is no split; legal: train, validation, test"):
        load(release, split="dev")
    with pytest.raises(ReleaseError, match="'dev' is no split"):
        test.table(split="dev")


def test_frames_are_those_of_the_file(release: Path, rollouts: list[Rollout]) -> None:
    original = rollouts[0].videos.exterior_1
    assert original is not None and original.path is not None
    one = load(release)[rollouts[0].rollout_id]
    every = one.frames()
    assert every.shape == (12, 48, 64, 3)
    assert every.dtype == np.uint8
    np.testing.assert_array_equal(every, media.sample(original.path, np.arange(12)))
    np.testing.assert_array_equal(one.frames(role="exterior_1", index=[3, 7]), every[[3, 7]])
    np.testing.assert_array_equal(one.frames(n=3), every[[0, 6, 11]])
    assert one.frames(n=100).shape[0] == 12


def test_frames_that_are_not_there_are_named(release: Path) -> None:
    one = next(iter(load(release)))
    with pytest.raises(ReleaseError, match=r"frames 3 to 12 were asked for; legal: 0 to 11"):
        one.frames(index=[3, 12])
    with pytest.raises(ReleaseError, match="has no video wrist; it has: exterior_1"):
        one.frames(role="wrist")
    with pytest.raises(ReleaseError, match="has no video wrist"):
        load(release).video_bytes(one["rollout_id"], "wrist")
    with pytest.raises(ValueError, match="n or index"):
        one.frames(n=2, index=[1])


def test_tables_give_the_columns_asked_for_in_that_order(release: Path) -> None:
    found = load(release)
    assert found.table(columns=["score", "rollout_id"]).column_names == ["score", "rollout_id"]
    assert found.table("trajectories").num_rows == 0
    assert "state" in found.table("trajectories").column_names
    assert found.table("rejections").num_rows == 0
    with pytest.raises(ReleaseError, match="there is no table 'episodes'; legal: rollouts"):
        found.table("episodes")
    with pytest.raises(ReleaseError, match="table rollouts has no column 'rating'; legal: rollout_id"):
        found.table(columns=["rating"])
    with pytest.raises(ReleaseError, match="table videos has no column 'video'"):
        found.table("videos", columns=["video"])


def test_a_video_is_read_from_a_shard_without_its_neighbours(shards_release: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shards_release, tmp_path / "copy"))
    index = pq.read_table(copy / "videos" / "index.parquet").to_pylist()
    shard = copy / "videos" / "train-00000-of-00001.parquet"
    spoiled = bytearray(len(shard.read_bytes()))  # nothing but the second video is left of the file
    first, size = index[1]["offset"], index[1]["size"]
    spoiled[first : first + size] = shard.read_bytes()[first : first + size]
    shard.write_bytes(spoiled)
    role = index[1]["role"]
    assert load(copy).video_bytes(index[1]["rollout_id"], role) == load(shards_release).video_bytes(
        index[1]["rollout_id"], role
    )
    with pytest.raises(ReleaseError, match="its SHA-256 is not the one in the row"):
        load(copy).video_bytes(index[0]["rollout_id"], role)


def test_a_damaged_index_is_named(shards_release: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shards_release, tmp_path / "copy"))
    path = copy / "videos" / "index.parquet"
    table = pq.read_table(path)
    first = table.to_pylist()[0]
    for edit, message in (
        ({"offset": 10**12}, "is shorter than"),
        ({"shard": 7}, "points at shard 7"),
        ({"role": "wrist"}, "has no video exterior_1"),
    ):
        pq.write_table(pa.Table.from_pylist([first | edit], schema=table.schema), path)
        with pytest.raises(ReleaseError, match=message):
            load(copy).video_bytes(first["rollout_id"], "exterior_1")
    path.unlink()
    with pytest.raises(ReleaseError, match=r"index\.parquet: is missing"):
        load(copy).video_bytes(first["rollout_id"], "exterior_1")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "videos/../../x", "..\\x", "a\0b"])
def test_a_path_that_leaves_the_release_is_refused(copy: Path, path: str) -> None:
    videos = next(iter(load(copy)))["videos"]
    videos["exterior_1"]["path"] = path
    change(copy, "rollouts", {"videos": videos})
    one = next(iter(load(copy)))
    with pytest.raises(ReleaseError, match="lies outside the release"):
        one.frames(n=1)
    with pytest.raises(ReleaseError, match="lies outside the release"):
        one.video_bytes()


def test_a_link_that_leaves_the_release_is_refused(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (release / "v.mp4").symlink_to("../secret.mp4")
    with pytest.raises(ReleaseError, match="is a link that leads out"):
        inside(release, "v.mp4")


def test_a_hub_snapshot_may_link_to_its_blobs_and_nowhere_else(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--me--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "datasets--me--x" / "blobs").mkdir()
    (tmp_path / "datasets--me--x" / "blobs" / "1").write_bytes(b"x")
    (tmp_path / "datasets--me--x" / "secret").write_bytes(b"x")
    (snapshot / "good.mp4").symlink_to("../../blobs/1")
    (snapshot / "bad.mp4").symlink_to("../../secret")
    assert inside(snapshot, "good.mp4").read_bytes() == b"x"
    with pytest.raises(ReleaseError, match="is a link that leads out"):
        inside(snapshot, "bad.mp4")


def test_what_is_no_release_is_told_in_a_sentence(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseError, match=r"is not a release: it has no release\.json"):
        load(tmp_path / "empty")
    (copy / "rollouts" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ReleaseError, match="is not a readable parquet file"):
        len(load(copy))
    for manifest in (b'{"name": 3}', b"\xff\xfe"):
        (copy / "release.json").write_bytes(manifest)
        with pytest.raises(ReleaseError, match=r"is not a valid manifest: .*ownload or build the release again"):
            load(copy)


def test_a_release_without_a_table_or_a_video_is_not_whole(copy: Path) -> None:
    shutil.rmtree(copy / "videos")
    assert len(load(copy).table("preferences")) > 0  # tables can be had alone
    with pytest.raises(ReleaseError, match=r"videos/.* cannot be found; download or build the release again"):
        open_release(copy, videos=True)
    lost = sorted((copy / "preferences").iterdir())
    for path in lost:
        path.unlink()
    with pytest.raises(ReleaseError, match=f"preferences/{lost[0].name} and {len(lost) - 1} more of its files cannot"):
        load(copy)


def test_names_that_lead_nowhere_are_told_in_a_sentence(python: Python, tmp_path: Path) -> None:
    code = """
from pathlib import Path
import bad_robot_behavior as brb
from bad_robot_behavior.builder.finding import installed_file
for name in ("bad-robot-behavior", "some where", "me/not-there", "damaged", "gone"):
    if name in ("damaged", "gone"):
        installed_file(name).parent.mkdir(exist_ok=True, parents=True)
        installed_file(name).write_text("{" if name == "damaged" else '{"path": "/not/there"}')
    try:
        brb.load(name)
    except brb.errors.ReleaseError as error:
        print(error)
"""
    lines = python(code).splitlines()
    assert "run: bad-robot install RELEASE" in lines[0]
    assert lines[1] == "some where: there is no such folder; give that of a release"
    assert "the Hub does not give it" in lines[2]
    assert "is damaged; run bad-robot install again" in lines[3]
    assert "which is gone" in lines[4]
    assert len(lines) == 5


def test_load_is_the_package_s_own(release: Path) -> None:
    assert len(bad_robot_behavior.load(release)) == 10
    assert json.loads((release / "release.json").read_text())["version"] == load(release).manifest.version


def test_rows_that_no_release_has_are_refused(files_release: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(files_release, tmp_path / "copy"))
    videos = next(iter(load(copy)))["videos"]
    for wrong in (None, 0, 10**12):
        videos["exterior_1"]["num_frames"] = wrong
        change(copy, "rollouts", {"videos": videos})
        with pytest.raises(ReleaseError, match=f"num_frames is {wrong}; legal: 1 to"):
            next(iter(load(copy))).frames()
    change(copy, "rollouts", {"videos": None})
    with pytest.raises(ReleaseError, match="has no video None; it has: none"):
        next(iter(load(copy))).frames()
    path = copy / "rollouts" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path, columns=["rollout_id"]), path)
    with pytest.raises(ReleaseError, match="has no column instruction"):
        len(load(copy))
