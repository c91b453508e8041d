"""write_release: what goes in comes out, in the same bytes each time, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from bad_robot_behavior import load
from bad_robot_behavior.builder.check import check
from bad_robot_behavior.builder.features import arrow_schema
from bad_robot_behavior.builder.reading import read_manifest
from bad_robot_behavior.builder.videos import choose_layout
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Column, Detector, Privacy, Rejection, Rollout, RolloutRow
from bad_robot_behavior.schema.trajectory_file import Arrays, write_arrays
from tests.builder.conftest import ROOT
from tests.builder.releases import make_recipe, make_release

LAYOUTS = ("files", "shards")


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rejection(rollout: Rollout, subject: str = "rollout", code: str = "screen.black") -> Rejection:
    return Rejection(
        subject=subject,  # type: ignore[arg-type]
        subject_id=rollout.rollout_id,
        session_id=rollout.session_id,
        source=rollout.source,
        source_ref=rollout.source_ref,
        stage="screen",
        code=code,
        detail="all frames are black",
    )


def test_a_release_is_clean_and_its_manifest_tells_the_truth(release: Path, rollouts: list[Rollout]) -> None:
    assert check(release) == []
    manifest = read_manifest(release)
    files = {file.path: file.sha256 for file in manifest.files}
    assert files == {name: digest for name, digest in contents(release).items() if name != "release.json"}
    assert manifest.counts.rollouts_packaged == len(rollouts) == 10
    assert manifest.counts.preferences == manifest.counts.sessions == 5
    assert manifest.counts.rollouts_by_split == {"train": 8, "test": 2}
    assert {"README.md", "croissant.json", "LICENSES.md", "CHANGELOG.md", "taxonomy.yaml"} <= files.keys()
    assert "schema/rollout.schema.json" in files
    assert pq.read_table(release / "rejections.parquet").num_rows == 0


def test_rows_are_the_rollouts_that_went_in(release: Path, rollouts: list[Rollout]) -> None:
    rows = [msgspec.convert(dict(row), RolloutRow) for row in load(release)]
    by_split = sorted(rollouts, key=lambda rollout: rollout.split != "train")
    for row, rollout in zip(rows, by_split, strict=True):
        for field in RolloutRow.__struct_fields__:
            if field != "videos":
                assert getattr(row, field) == getattr(rollout, field)
        packaged, original = row.videos.exterior_1, rollout.videos.exterior_1
        assert packaged is not None and original is not None and original.path is not None
        assert msgspec.structs.replace(packaged, path=original.path) == original
        assert load(release).video_bytes(row.rollout_id, "exterior_1") == Path(original.path).read_bytes()


def test_no_path_of_this_machine_is_in_a_release(release: Path, rollouts: list[Rollout]) -> None:
    video = rollouts[0].videos.exterior_1
    assert video is not None and video.path is not None
    folder = str(Path(video.path).parent).encode()
    for path in release.rglob("*"):
        assert not path.is_file() or folder not in path.read_bytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_input_gives_the_same_bytes(rollouts: list[Rollout], tmp_path: Path, layout: str) -> None:
    make_release(tmp_path / "one", rollouts, layout)
    make_release(tmp_path / "deeper" / "two", rollouts, layout)
    assert contents(tmp_path / "one") == contents(tmp_path / "deeper" / "two")


def test_auto_means_files_up_to_2000_rollouts() -> None:
    assert choose_layout("auto", 2000) == "files"
    assert choose_layout("auto", 2001) == "shards"
    assert choose_layout("shards", 1) == "shards"
    assert choose_layout("files", 10**6) == "files"


def test_small_shards_and_row_groups_are_many_files(rollouts: list[Rollout], tmp_path: Path) -> None:
    recipe = make_recipe("shards", row_group_size=3, shard_size_mb=1)
    make_release(tmp_path / "out", rollouts, recipe=recipe)
    metadata = pq.read_metadata(tmp_path / "out" / "videos" / "train-00000-of-00001.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 2]
    assert check(tmp_path / "out") == []


def test_videos_past_the_shard_size_go_into_more_shards(rollouts: list[Rollout], tmp_path: Path) -> None:
    grown = []
    for number, rollout in enumerate(rollouts):
        video = rollout.videos.exterior_1
        assert video is not None and video.path is not None
        path = tmp_path / f"{number}.mp4"  # a free box of 400 KB behind the film: still a valid mp4
        path.write_bytes(Path(video.path).read_bytes() + (400_008).to_bytes(4, "big") + b"free" + bytes(400_000))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        video = msgspec.structs.replace(video, path=str(path), sha256=digest, size_bytes=path.stat().st_size)
        grown.append(msgspec.structs.replace(rollout, videos=msgspec.structs.replace(rollout.videos, exterior_1=video)))
    make_release(tmp_path / "out", grown, recipe=make_recipe("shards", row_group_size=2, shard_size_mb=1))
    names = sorted(path.name for path in (tmp_path / "out" / "videos").glob("train-*"))
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert check(tmp_path / "out") == []


@pytest.mark.rule("package.partner_rejected")
def test_a_preference_without_its_partner_is_rejected(rollouts: list[Rollout], tmp_path: Path) -> None:
    kept = [rollout for rollout in rollouts if rollout is not rollouts[1]]
    manifest = make_release(tmp_path / "out", kept, rejections=[rejection(rollouts[1])], rollouts_read=len(rollouts))
    assert manifest.counts.preferences == 4
    assert manifest.counts.rejections_by_code == {"package.partner_rejected": 1, "screen.black": 1}
    table = pq.read_table(tmp_path / "out" / "rejections.parquet")
    assert table.schema.equals(arrow_schema(Rejection))
    rows = table.to_pylist()
    assert [row["subject"] for row in rows] == ["rollout", "preference"]
    assert rows[1]["subject_id"] == rollouts[0].session.preferences[0].pair_id
    assert check(tmp_path / "out") == []


def test_rollouts_lost_on_the_way_stop_the_release(rollouts: list[Rollout], tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="12 rollouts were read, but 10 came to packaging and 1 were rejected"):
        make_release(tmp_path / "out", rollouts, rejections=[rejection(rollouts[0])], rollouts_read=12)
    assert list(tmp_path.iterdir()) == []


def test_a_release_of_nothing_is_refused(rollouts: list[Rollout], tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"no rollout is left to package: 1 read, all rejected \(screen.black 1\)"):
        make_release(tmp_path / "out", [], rejections=[rejection(rollouts[0])], rollouts_read=1)


def test_stages_that_break_their_word_are_named(rollouts: list[Rollout], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ReleaseError, match="came in two parts"):
        make_release(out, [rollouts[0], rollouts[2], rollouts[1]])
    with pytest.raises(ReleaseError, match="came twice"):
        make_release(out, [rollouts[0], rollouts[0]])
    with pytest.raises(ReleaseError, match="every rollout needs a split"):
        make_release(out, [msgspec.structs.replace(rollouts[0], split=None)])
    with pytest.raises(ReleaseError, match="a session is never divided"):
        make_release(out, [rollouts[0], msgspec.structs.replace(rollouts[1], split="test")])
    with pytest.raises(ReleaseError, match="the file changed after it was scrubbed"):
        video = msgspec.structs.replace(rollouts[0].videos.exterior_1, sha256="0" * 64)
        videos = msgspec.structs.replace(rollouts[0].videos, exterior_1=video)
        make_release(out, [msgspec.structs.replace(rollouts[0], videos=videos)])
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_release_is_replaced_and_anything_else_is_not(rollouts: list[Rollout], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    make_release(out, rollouts)
    make_release(out, rollouts[2:])
    assert len(load(out)) == 8
    assert list(tmp_path.iterdir()) == [out]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ReleaseError, match="is no release; move it away"):
        make_release(tmp_path / "thesis", rollouts)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReleaseError, match="is no folder"):
        make_release(tmp_path / "file", rollouts)


def test_trajectories_become_a_table(rollouts: list[Rollout], tmp_path: Path) -> None:
    state = np.arange(14, dtype=np.float32).reshape(7, 2) / 10
    columns = (Column(name="x", unit="m"), Column(name="grip", unit=None))
    write_arrays(tmp_path / "t.npz", Arrays(state, state[:, :1], columns, columns[:1]))
    moved = [msgspec.structs.replace(rollouts[0], trajectory=str(tmp_path / "t.npz")), *rollouts[1:]]
    manifest = make_release(tmp_path / "out", moved)
    assert manifest.counts.trajectories == 1
    row = load(tmp_path / "out").table("trajectories").to_pylist()[0]
    np.testing.assert_array_equal(np.array(row["state"], dtype=np.float32), state)
    assert row["state_columns"] == [{"name": "x", "unit": "m"}, {"name": "grip", "unit": None}]
    assert check(tmp_path / "out") == []


def test_a_trajectory_that_is_none_is_named(rollouts: list[Rollout], tmp_path: Path) -> None:
    bad = tmp_path / "t.npz"
    np.savez(bad, state=np.array([object()]))
    with pytest.raises(ReleaseError, match="is not a trajectory file"):
        make_release(tmp_path / "out", [msgspec.structs.replace(rollouts[0], trajectory=str(bad))])


def test_a_detector_that_did_not_run_is_told(rollouts: list[Rollout], tmp_path: Path) -> None:
    waived = Detector(name="faces", version=None, ran=False, reason="rendered scenes hold no people")
    privacy = Privacy(
        faces_found=None,
        frames_masked=None,
        text_redactions=0,
        audio_removed=False,
        metadata_removed=True,
        detectors=(waived,),
        verdict="not_fully_checked",
    )
    told = [msgspec.structs.replace(rollout, privacy=privacy) for rollout in rollouts]
    manifest = make_release(tmp_path / "out", told)
    assert manifest.waived_detectors == (waived,)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "did NOT run" in card
    assert "- faces: rendered scenes hold no people" in card


def test_the_manifest_names_no_folder_or_address_of_the_builder(rollouts: list[Rollout], tmp_path: Path) -> None:
    from bad_robot_behavior.schema import EndpointSettings, RewardSettings, SourceSettings

    recipe = msgspec.structs.replace(
        make_recipe(),
        sources=(SourceSettings(name="lab", kind="folder", path="/home/jane.doe/lab"),),
        reward=RewardSettings(endpoint=EndpointSettings(base_url="http://gpu7.secret.example:8000/v1", model="m")),
    )
    make_release(tmp_path / "out", rollouts, recipe=recipe)
    text = (tmp_path / "out" / "release.json").read_text()
    assert "jane.doe" not in text
    assert "gpu7" not in text
    assert json.loads(text)["recipe"]["reward"]["endpoint"]["model"] == "m"


KILLED = """
import sys, time
from pathlib import Path
from tests.builder.releases import make_release, make_rollouts
rollouts = make_rollouts(Path(sys.argv[1]), sessions=3)
class Slow(list):
    def __iter__(self):
        yield from rollouts[:3]
        print("half", flush=True)
        time.sleep(600)
make_release(Path(sys.argv[2]), Slow(rollouts), sys.argv[3])
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_kill_leaves_no_half_release(tmp_path: Path, layout: str) -> None:
    from tests.builder.releases import make_rollouts

    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "videos"), str(out), layout]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        with pytest.raises(ReleaseError, match="another process is writing this release now"):
            make_release(out, make_rollouts(tmp_path / "videos", sessions=3), layout)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert (tmp_path / ".out.bad-robot-part").is_dir()
    rollouts = make_rollouts(tmp_path / "videos", sessions=3)
    make_release(out, rollouts, layout)
    make_release(tmp_path / "fresh", rollouts, layout)
    assert contents(out) == contents(tmp_path / "fresh")
    assert not (tmp_path / ".out.bad-robot-part").exists()
