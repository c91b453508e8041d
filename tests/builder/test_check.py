"""One spoiled release for each rule; a release in order has no defect (see test_package)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bad_robot_behavior import load
from bad_robot_behavior.builder.check import check
from bad_robot_behavior.builder.loader import LoadedRollout
from bad_robot_behavior.errors import ReleaseError
from tests.builder.test_loader import change
from tests.schema.rows import took


@pytest.fixture
def copy(files_release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(files_release, tmp_path / "copy"))


def rules(release: Path) -> set[str]:
    return {defect.rule for defect in check(release)}


def edit_manifest(release: Path, edit: dict[str, Any]) -> None:
    path = release / "release.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))


def edit_counts(release: Path, **edit: Any) -> None:
    counts = json.loads((release / "release.json").read_text())["counts"]
    edit_manifest(release, {"counts": counts | edit})


def first(release: Path) -> LoadedRollout:
    return next(iter(load(release)))


def edit_video(release: Path, **edit: Any) -> None:
    videos = first(release)["videos"]
    videos["exterior_1"] |= edit
    change(release, "rollouts", {"videos": videos})


def test_a_folder_without_manifest_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="is not a release"):
        check(tmp_path)


@pytest.mark.rule("release.manifest_invalid")
def test_a_manifest_with_a_wrong_type(copy: Path) -> None:
    edit_manifest(copy, {"version": 1})
    assert rules(copy) == {"release.manifest_invalid"}


@pytest.mark.rule("release.file_missing")
def test_a_file_that_is_gone(copy: Path) -> None:
    (copy / "LICENSES.md").unlink()
    assert rules(copy) == {"release.file_missing"}
    shutil.rmtree(copy / "preferences")
    assert "release.count_wrong" in rules(copy)


@pytest.mark.rule("release.file_changed")
def test_a_file_that_was_edited(copy: Path) -> None:
    (copy / "LICENSES.md").write_text("all rights given")
    assert rules(copy) == {"release.file_changed"}


@pytest.mark.rule("release.file_unlisted")
def test_a_file_that_nobody_accounts_for(copy: Path) -> None:
    (copy / ".gitattributes").write_text("* lfs")
    (copy / ".cache" / "huggingface").mkdir(parents=True)
    (copy / ".cache" / "huggingface" / "x").write_text("")
    assert rules(copy) == set()
    (copy / "videos" / "names.txt").write_text("Jane")
    assert rules(copy) == {"release.file_unlisted"}


@pytest.mark.rule("release.table_unreadable")
@pytest.mark.parametrize("table", ["rollouts/train-00000-of-00001.parquet", "rejections.parquet"])
def test_a_table_that_is_cut_off(copy: Path, table: str) -> None:
    data = (copy / table).read_bytes()
    (copy / table).write_bytes(data[: len(data) // 2])
    assert "release.table_unreadable" in rules(copy)


@pytest.mark.rule("release.count_wrong")
@pytest.mark.parametrize("field", ["sessions", "preferences", "trajectories", "demonstrations", "videos"])
def test_a_count_that_the_tables_do_not_bear_out(copy: Path, field: str) -> None:
    edit_counts(copy, **{field: 99})
    assert rules(copy) == {"release.count_wrong"}


@pytest.mark.rule("release.count_wrong")
def test_a_sum_of_what_was_asked_that_the_tables_do_not_bear_out(copy: Path) -> None:
    use = {"stage": "reward", "model": "m", "prompt_sha256": None, "parameters": {}}
    edit_manifest(copy, {"models": [use]})
    assert rules(copy) == set()
    edit_manifest(copy, {"models": [use | {"took": took()}]})
    assert [defect.field for defect in check(copy)] == ["models[0].took"]


@pytest.mark.rule("release.count_identity")
def test_rollouts_that_vanished(copy: Path) -> None:
    edit_counts(copy, rollouts_read=11)
    assert rules(copy) == {"release.count_identity"}


@pytest.mark.rule("release.video_missing")
def test_a_video_that_is_gone(copy: Path) -> None:
    (copy / first(copy)["videos"]["exterior_1"]["path"]).unlink()
    assert rules(copy) == {"release.file_missing", "release.video_missing"}


@pytest.mark.rule("release.video_outside")
def test_a_video_path_that_leaves_the_release(copy: Path) -> None:
    edit_video(copy, path="../../secret.mp4")
    assert "release.video_outside" in rules(copy)


@pytest.mark.rule("release.video_frames")
def test_a_video_with_other_frames_than_told(copy: Path) -> None:
    edit_video(copy, num_frames=13)
    assert rules(copy) == {"release.file_changed", "release.video_frames"}


@pytest.mark.rule("release.video_changed")
def test_a_video_that_is_not_the_one_packaged(copy: Path) -> None:
    edit_video(copy, sha256="0" * 64)
    assert rules(copy) == {"release.file_changed", "release.video_changed"}


@pytest.mark.rule("release.unknown_rollout")
def test_a_preference_for_a_rollout_that_is_not_there(copy: Path) -> None:
    change(copy, "preferences", {"rollout_b": "0" * 20})
    assert "release.unknown_rollout" in rules(copy)


@pytest.mark.rule("release.split_column")
def test_a_row_in_the_file_of_another_split(copy: Path) -> None:
    change(copy, "rollouts", {"split": "test"})
    assert rules(copy) == {"release.file_changed", "release.split_column"}


@pytest.mark.rule("release.session_leak")
def test_a_session_on_both_sides(copy: Path) -> None:
    change(copy, "rollouts", {"session_id": first(copy)["session_id"]}, split="test")
    assert "release.session_leak" in rules(copy)


@pytest.mark.rule("release.instruction_leak")
def test_an_instruction_on_both_sides(copy: Path) -> None:
    edit = {key: first(copy)[key] for key in ("instruction", "instruction_key")}
    change(copy, "rollouts", edit, split="test")
    assert rules(copy) == {"release.file_changed", "release.instruction_leak"}


@pytest.mark.rule("release.video_leak")
def test_a_video_on_both_sides(copy: Path) -> None:
    provenance = dict(first(copy)["provenance"]) | {"fingerprint": ["0123456789abcdef" * 8]}
    change(copy, "rollouts", {"provenance": provenance})
    near = provenance | {"fingerprint": ["0123456789abcdee" * 8]}
    change(copy, "rollouts", {"provenance": near}, split="test")
    assert rules(copy) == {"release.file_changed", "release.video_leak"}


@pytest.mark.rule("release.twin_leak")
def test_a_twin_on_the_other_side(copy: Path) -> None:
    parameters = json.dumps({"twin": first(copy)["rollout_id"]})
    synthetic = {"generator": "test", "injector": None, "parameters": parameters, "seed": 1}
    change(copy, "rollouts", {"synthetic": synthetic}, split="test")
    assert rules(copy) == {"release.file_changed", "release.twin_leak"}


def test_rows_are_held_to_their_contract(copy: Path) -> None:
    change(copy, "rollouts", {"score": 1.5})
    defects = [defect for defect in check(copy) if defect.rule.startswith("schema.")]
    assert [(defect.file, defect.row, defect.field) for defect in defects] == [
        ("rollouts/train-00000-of-00001.parquet", 0, "score")
    ]


def test_an_id_that_stands_twice(copy: Path) -> None:
    change(copy, "preferences", {"pair_id": load(copy).table("preferences")["pair_id"][1].as_py()})
    assert "schema.duplicate_id" in rules(copy)


def test_a_truncated_shard_is_told_and_not_raised(shards_release: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shards_release, tmp_path / "copy"))
    shard = copy / "videos" / "test-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    assert {"release.file_changed", "release.video_missing"} <= rules(copy)
    (copy / "videos" / "index.parquet").unlink()
    assert {"release.file_missing", "release.video_missing"} <= rules(copy)
