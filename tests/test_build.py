"""The chain as a whole: what comes out, that nothing is lost, and that a stop anywhere changes no byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from bad_robot_behavior import load
from bad_robot_behavior.build import build, summary
from bad_robot_behavior.errors import BadRobotError, RecipeError, ReleaseError, SourceError
from bad_robot_behavior.validate import validate
from tests.dumps import hashes, write_dump, write_npz, write_recipe, write_session


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dump(tmp_path_factory.mktemp("dump"), 20)


@pytest.fixture(scope="module")
def recipe(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "recipe.yaml", dump)


@pytest.fixture(scope="module")
def reference(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that was built in one go."""
    out = tmp_path_factory.mktemp("reference") / "release"
    report = build(recipe, out)
    assert report.unexpected_rejections == {}
    return out


def text_of(release: Path) -> str:
    """Every string of a release: tables and text files."""
    parts = []
    for path in sorted(release.rglob("*")):
        if path.suffix == ".parquet":
            parts.append(str(pq.read_table(path).to_pylist()))
        elif path.suffix in {".md", ".json", ".yaml"}:
            parts.append(path.read_text())
    return "\n".join(parts)


def policy(letter: str) -> dict[str, Any]:
    return {"binary_success": 0, "duration": 11, "partial_success": 0.4, "policy_name": f"policy_{letter}"}


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "bad_robot_behavior", *map(str, args)]


def test_a_release_holds_what_was_read(reference: Path) -> None:
    release = load(reference)
    counts = release.manifest.counts
    assert counts.rollouts_read == counts.rollouts_packaged == 40
    assert counts.preferences == 20
    assert counts.trajectories == 40
    rows = release.table("rollouts").to_pylist()
    assert len({row["rollout_id"] for row in rows}) == 40
    assert {row["license"] for row in rows} == {"MIT"}
    assert {row["policy"] for row in rows} == {"policy_a", "policy_b"}
    assert all(row["videos"]["exterior_1"]["capture_hz"] == 15 for row in rows)
    assert set(counts.rollouts_by_split) == {"train", "validation", "test"}
    b = next(row for row in rows if row["policy"] == "policy_b")
    assert {(f["category"], f["kind"]) for f in b["failures"]} >= {("grasp", "slip_or_drop")}
    assert b["failures"][0]["annotator_type"] == "rule"
    assert b["critique"]["text"].startswith("Policy B dropped the marker")


def test_nothing_private_leaves(reference: Path) -> None:
    text = text_of(reference)
    assert "jane.doe" not in text
    assert "example.org" not in text
    assert "<EMAIL_1>" in text


def test_a_release_validates(reference: Path) -> None:
    assert validate(reference) == ("release", [])


def test_workers_and_parts_give_the_same_bytes(recipe: Path, reference: Path, tmp_path: Path) -> None:
    build(recipe, tmp_path / "two", workers=2)
    assert hashes(tmp_path / "two") == hashes(reference)
    for k in range(2):
        part = build(recipe, tmp_path / "parts", part=(k, 2))
        assert part.manifest is None
        assert not (tmp_path / "parts").exists()
    joined = build(recipe, tmp_path / "parts")
    assert joined.shards_reused == joined.shards == 2
    assert hashes(tmp_path / "parts") == hashes(reference)


def test_killed_anywhere_it_resumes_to_the_same_bytes(recipe: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    kills = 0
    for entries in (1, 20, 60, 110, 160, 210):  # further into the build each time, by what lies in its folders
        process = subprocess.Popen(command("build", recipe, "-o", out), stdout=subprocess.DEVNULL)
        while process.poll() is None and sum(len(d) + len(f) for _, d, f in os.walk(tmp_path)) < entries:
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
        assert not out.exists() or hashes(out) == hashes(reference)
    assert kills
    build(recipe, out)
    assert hashes(out) == hashes(reference)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_ctrl_c_says_how_to_go_on(recipe: Path, reference: Path, tmp_path: Path) -> None:
    # A shell has what it starts in the background ignore Ctrl-C, the tests too; children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = tmp_path / "release"
    process = subprocess.Popen(
        command("build", recipe, "-o", out, "--workers", 2), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not list(tmp_path.glob("release.work/screen/*")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Run the same command again" in stderr
    assert "Traceback" not in stderr
    build(recipe, out)
    assert hashes(out) == hashes(reference)


def test_each_bad_rollout_is_a_named_rejection_and_the_rest_goes_on(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 2)
    sessions = dump / "evaluation_sessions"

    truncated = write_session(dump, "truncated", seed=50)
    video = next((truncated / "A_policy_a").glob("*_left.mp4"))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])

    nan = write_session(dump, "nan", seed=51)
    path = next((nan / "B_policy_b").glob("*.npz"))
    write_npz(path, 12, 0)
    rows: Any = np.load(path, allow_pickle=True)["data"]
    rows[3]["action"][2] = np.nan
    np.savez_compressed(path, data=rows)

    a, b = policy("a"), policy("b")
    write_session(dump, "range", seed=52, metadata={"policies": {"A": a | {"partial_success": 1.4}, "B": b}})
    broken = write_session(dump, "yaml", seed=53)
    (broken / "metadata.yaml").write_text("policies: [unclosed")
    write_session(dump, "absent", seed=54, metadata={"preference": "B", "policies": {"A": a, "B": None}})
    write_session(dump, "foreign", seed=55, metadata={"longform_feedback": "La política B tiró la botella."})
    copy = write_session(dump, "copy", seed=56)
    for label in ("A_policy_a", "B_policy_b"):
        for old in (copy / label).glob("*.mp4"):
            twin = next((sessions / "session-0000" / label).glob("*_" + old.name.rsplit("_", 1)[1]))
            old.write_bytes(twin.read_bytes())

    recipe = write_recipe(tmp_path / "recipe.yaml", dump)
    done = subprocess.run(
        command("build", recipe, "-o", tmp_path / "release"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    release = load(tmp_path / "release")
    rejected = pq.read_table(tmp_path / "release" / "rejections.parquet").to_pylist()
    found = {(r["source_ref"].split("/")[0], r["code"].split(".")[1]) for r in rejected}
    names = {name for name, _ in found}
    assert {"truncated", "nan", "range", "yaml", "absent"} <= names
    assert any(r["subject"] == "preference" and r["source_ref"].startswith("session-0000") for r in rejected)
    # Sessions come in the order of their names, so "copy" keeps its rollouts and session-0000 is the duplicate.
    assert ("session-0000", "duplicate") in found
    counts = release.manifest.counts
    assert counts.rollouts_read == counts.rollouts_packaged + counts.rollouts_rejected
    packaged = {row["source_ref"].split("/")[0] for row in release.table("rollouts", ["source_ref"]).to_pylist()}
    assert {"session-0001", "foreign", "truncated", "nan", "range", "copy"} <= packaged
    assert validate(tmp_path / "release") == ("release", [])


def test_expected_rejections_do_not_fail_a_build(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 2)
    path = next((dump / "evaluation_sessions" / "session-0000" / "A_policy_a").glob("*_left.mp4"))
    path.write_bytes(b"")
    first = build(write_recipe(tmp_path / "recipe.yaml", dump), tmp_path / "release")
    assert first.unexpected_rejections == first.rejections_by_code
    assert sum(first.rejections_by_code.values()) == 2, "the rollout, and the preference that needs it"
    recipe = write_recipe(tmp_path / "recipe.yaml", dump, expected_rejections=first.rejections_by_code)
    again = build(recipe, tmp_path / "release")
    assert again.unexpected_rejections == {}
    assert "not expected" not in summary(again)


def test_a_changed_input_is_read_again(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 2)
    recipe = write_recipe(tmp_path / "recipe.yaml", dump)
    build(recipe, tmp_path / "release")
    path = dump / "evaluation_sessions" / "session-0001" / "metadata.yaml"
    data = yaml.safe_load(path.read_text())
    data["language_instruction"] = "wipe the table"
    path.write_text(yaml.safe_dump(data))
    report = build(recipe, tmp_path / "release")
    assert report.shards_reused == 0
    instructions = load(tmp_path / "release").table("rollouts", ["instruction"]).column("instruction").to_pylist()
    assert "wipe the table" in instructions


def test_wrong_recipes_are_said_before_any_work(tmp_path: Path, dump: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        build(tmp_path / "absent.yaml", tmp_path / "release")
    recipe = write_recipe(tmp_path / "recipe.yaml", dump, license={"allow": "MIT"})
    with pytest.raises(RecipeError, match=r"license\.allow"):
        build(recipe, tmp_path / "release")
    recipe = write_recipe(tmp_path / "recipe.yaml", tmp_path / "nowhere")
    with pytest.raises(SourceError, match="nowhere"):
        build(recipe, tmp_path / "release")
    recipe = write_recipe(tmp_path / "recipe.yaml", dump, scrub={"faces": {"detector": "none"}})
    with pytest.raises(RecipeError, match="waived_because"):
        build(recipe, tmp_path / "release")
    recipe = write_recipe(tmp_path / "recipe.yaml", dump, scrub={"pseudonym_key_file": "absent.key"})
    with pytest.raises(BadRobotError):
        build(recipe, tmp_path / "release")
    assert not (tmp_path / "release").exists()
    assert not (tmp_path / "release.work").exists()


def test_nothing_of_others_is_destroyed(tmp_path: Path, dump: Path, reference: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", dump)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "release.json").write_text('{"name": "my project"}')
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(ReleaseError, match="is no release"):
        build(recipe, foreign)
    noted = tmp_path / "noted"
    shutil.copytree(reference, noted)
    (noted / "NOTES.md").write_text("mine")
    with pytest.raises(ReleaseError, match=r"NOTES\.md is not part of the release"):
        build(recipe, noted)
    with pytest.raises(ReleaseError, match="is no folder"):
        build(recipe, recipe)
    with pytest.raises(ReleaseError, match="is no place for a release"):
        build(recipe, Path("/"))
    with pytest.raises(BadRobotError, match=r"holds thesis\.txt, so it is no work folder|holds release\.json"):
        build(recipe, tmp_path / "release", work=foreign)
    with pytest.raises(BadRobotError, match="side by side"):
        build(recipe, tmp_path / "release", work=tmp_path / "release" / "work")
    assert (foreign / "thesis.txt").read_text() == "precious"
    assert not list(tmp_path.glob("*.work")), "it was said before any work"


def test_two_builds_do_not_share_a_work_folder(recipe: Path, tmp_path: Path) -> None:
    first = subprocess.Popen(command("build", recipe, "-o", tmp_path / "release"), stdout=subprocess.DEVNULL)
    while first.poll() is None and not list(tmp_path.glob("release.work/screen/*")):
        time.sleep(0.002)
    with pytest.raises(BadRobotError, match="another build is using it now"):
        build(recipe, tmp_path / "release")
    assert first.wait() == 0


def test_a_tidied_work_folder_is_filled_again(recipe: Path, reference: Path, tmp_path: Path) -> None:
    build(recipe, tmp_path / "release")
    for path in (tmp_path / "release.work" / "files").rglob("*.mp4"):
        path.unlink()
    report = build(recipe, tmp_path / "release")
    assert report.shards_reused == 0
    assert hashes(tmp_path / "release") == hashes(reference)


def test_what_was_ever_in_test_stays_in_test(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 6)
    whole = tmp_path / "whole"
    shutil.copytree(dump, whole)
    build(
        write_recipe(tmp_path / "v1.yaml", dump, split={"train": 0.5, "validation": 0.0, "test": 0.5}), tmp_path / "v1"
    )
    ever = {row["rollout_id"] for row in load(tmp_path / "v1").table("rollouts", split="test").to_pylist()}
    lost = next(p for p in (dump / "evaluation_sessions").iterdir() if in_test(tmp_path / "v1", p.name))
    shutil.rmtree(lost)
    split = {"train": 1.0, "validation": 0.0, "test": 0.0}
    build(write_recipe(tmp_path / "v2.yaml", dump, split=split | {"keep_test": "v1"}), tmp_path / "v2")
    build(write_recipe(tmp_path / "v3.yaml", whole, split=split | {"keep_test": "v2"}), tmp_path / "v3")
    assert {row["rollout_id"] for row in load(tmp_path / "v3").table("rollouts", split="test").to_pylist()} == ever


def in_test(release: Path, session: str) -> bool:
    rows = load(release).table("rollouts", ["source_ref"], split="test").column("source_ref").to_pylist()
    return any(ref.startswith(session) for ref in rows)
