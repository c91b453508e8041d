"""Results files: the same bytes each time, scored again to the same numbers, and every way to be wrong is named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bad_robot_behavior.benchmark import results_file
from bad_robot_behavior.benchmark.predictions import Predictions, read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.results_file import check, write
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import PredictionsError
from bad_robot_behavior.score import score
from bad_robot_behavior.validate import validate
from tests.benchmark.conftest import write_curves


def curves(release: Release, path: Path, top: float, **fields: Any) -> Predictions:
    return read(write_curves(release, path, lambda row: [0.0, top if row["success"] else 0.4], **fields), release)


@pytest.fixture
def results(twins: Release, tmp_path: Path) -> Path:
    """The results file of a scorer with a reversed run."""
    score(twins.path, "random", tmp_path / "mine.parquet", seed=3)
    score(twins.path, "random", tmp_path / "back.parquet", seed=3, intervention="reversed")
    files = [read(tmp_path / f"{name}.parquet", twins) for name in ("mine", "back")]
    [path] = write(tmp_path / "results", twins, files, draws=20)
    return path


def rules(path: Path, release: Release | None = None) -> list[str]:
    return [defect.rule for defect in check(path, release)[1]]


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], **options: Any) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change results.json."""

    def inside(members: dict[str, bytes]) -> None:
        said = json.loads(members["results.json"])
        change(said)
        members["results.json"] = json.dumps(said).encode()

    rewrite(path, inside)


def test_scored_again_without_the_model_it_gives_the_same_numbers(results: Path, twins: Release) -> None:
    said, defects = check(results, twins)
    assert defects == []
    assert said is not None
    assert results.name == "mine.results.zip"
    assert sorted(said.predictions) == ["predictions.parquet", "reversed.parquet"]
    [own] = [item for item in said.results.scorers if not item.floor]
    assert own.interventions == ("reversed",)
    with zipfile.ZipFile(results) as archive:
        assert json.loads(archive.read("results.json"))["format"] == "bad-robot-results-1"
    assert validate(results, twins.path) == ("results file", [])
    assert rules(results) == []


def test_each_scorer_has_a_file_and_the_bytes_are_the_same(twins: Release, tmp_path: Path) -> None:
    one = curves(twins, tmp_path / "one.parquet", 0.9)
    two = curves(twins, tmp_path / "two.parquet", 0.1, model="other")
    first = write(tmp_path / "a", twins, [one, two], draws=10)
    second = write(tmp_path / "b", twins, [one, two], draws=10)
    assert [path.name for path in first] == ["one.results.zip", "two.results.zip"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    (tmp_path / "c").mkdir()
    same = curves(twins, tmp_path / "c" / "one.parquet", 0.2, model="third")
    with pytest.raises(PredictionsError, match=r"another file is called one\.results\.zip"):
        write(tmp_path / "d", twins, [one, same], draws=10)
    assert not (tmp_path / "d").exists()


@pytest.mark.rule("results.unreadable")
@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.pop("results.json"),
        lambda members: members.update({"../evil": b"x"}),
        lambda members: members.update({"results.json": b"{"}),
        lambda members: members.update({"results.json": b"[" * 100_000}),
        lambda members: members.update({"results.json": b'{"format": "another"}'}),
    ],
)
def test_unreadable(results: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    rewrite(results, change)
    assert rules(results) == ["results.unreadable"]


@pytest.mark.rule("results.unreadable")
def test_unreadable_bytes_compression_size_and_missing_numbers(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = results.read_bytes()
    for damaged in (b"", b"PK\x03\x04 not", good[:-30], good[: len(good) // 2]):
        results.write_bytes(damaged)
        assert rules(results) == ["results.unreadable"]
    results.write_bytes(good)
    rewrite(results, lambda members: None, compression=zipfile.ZIP_DEFLATED)
    assert rules(results) == ["results.unreadable"]
    results.write_bytes(good)
    edit(results, lambda said: said["results"]["tasks"][0].update(measures=[]))
    assert "has no number of scorer" in str(check(results)[1][0])
    results.write_bytes(good)
    edit(results, lambda said: said["results"]["release"].pop("data_sha256"))
    assert rules(results) == ["results.unreadable"]
    results.write_bytes(good)
    monkeypatch.setattr(results_file, "MAX_BYTES", 100)
    assert rules(results) == ["results.unreadable"]
    assert rules(tmp_path / "gone.results.zip") == ["results.unreadable"]


@pytest.mark.rule("results.changed")
def test_predictions_that_were_exchanged(results: Path, twins: Release, tmp_path: Path) -> None:
    better = curves(twins, tmp_path / "better.parquet", 0.9)
    assert better.path is not None
    data = better.path.read_bytes()
    rewrite(results, lambda members: members.update({"predictions.parquet": data}))
    assert rules(results, twins) == ["results.changed"]
    rewrite(results, lambda members: members.pop("predictions.parquet"))
    assert rules(results) == ["results.changed"]


@pytest.mark.rule("results.wrong_numbers")
def test_numbers_that_do_not_come_from_the_predictions(results: Path, twins: Release) -> None:
    def flatter(said: dict[str, Any]) -> None:
        row = said["results"]["tasks"][4]["measures"][0]
        assert row["metric"] == "strict"
        row["value"] = 0.99

    edit(results, flatter)
    assert rules(results) == []  # nobody can tell without the release
    [defect] = check(results, twins)[1]
    assert defect.rule == "results.wrong_numbers"
    assert "violation_pairs strict" in str(defect.value)


@pytest.mark.rule("results.other_release")
def test_numbers_over_another_release(results: Path, twins: Release, release: Release, tmp_path: Path) -> None:
    foreign = curves(release, tmp_path / "p.parquet", 0.9)

    def exchange(said: dict[str, Any]) -> None:
        said["results"]["release"]["version"] = "9.9.9"

    edit(results, exchange)
    assert rules(results) == ["results.other_release"]
    [path] = write(tmp_path / "others", release, [foreign], draws=10)
    assert rules(path, release) == []
    with pytest.raises(PredictionsError, match="not in the release"):
        evaluate(twins, [foreign])
    assert set(rules(path, twins)) <= {"results.predictions", "results.other_release"}
    assert rules(path, twins)


@pytest.mark.rule("results.predictions")
def test_predictions_with_defects_inside(results: Path, twins: Release) -> None:
    import hashlib

    broken = b"PAR1 not"

    def spoil(members: dict[str, bytes]) -> None:
        said = json.loads(members["results.json"])
        members["reversed.parquet"] = broken
        said["predictions"]["reversed.parquet"] = hashlib.sha256(broken).hexdigest()
        members["results.json"] = json.dumps(said).encode()

    rewrite(results, spoil)
    assert rules(results, twins) == ["results.predictions"]


@pytest.mark.rule("results.other_task")
def test_a_task_of_another_version_or_too_few(results: Path) -> None:
    good = results.read_bytes()
    edit(results, lambda said: said["results"]["tasks"][0]["task"].update(version="0.9.0"))
    assert rules(results) == ["results.other_task"]
    results.write_bytes(good)
    edit(results, lambda said: said["results"]["tasks"].pop())
    assert rules(results) == ["results.other_task"]


@pytest.mark.rule("results.other_split")
def test_numbers_over_other_rollouts(twins: Release, tmp_path: Path) -> None:
    one = curves(twins, tmp_path / "one.parquet", 0.9)
    [path] = write(tmp_path / "a", twins, [one], split="all", draws=10)
    assert rules(path, twins) == ["results.other_split"]
    own = dict.fromkeys(twins.rollout_ids, "test")
    [path] = write(tmp_path / "b", twins, [one], splits=own, draws=10)
    assert rules(path, twins) == ["results.other_split"]


def test_a_relabelled_release_is_another_one(results: Path, twins: Release, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(twins.path, tmp_path / "copy"))
    manifest = json.loads((copy / "release.json").read_text())
    for file in manifest["files"]:
        if file["path"].startswith("rollouts/"):
            file["sha256"] = "0" * 64
    (copy / "release.json").write_text(json.dumps(manifest))
    assert rules(results, load(copy)) == ["results.other_release"]
