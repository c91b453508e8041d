"""The chain over a model that answers nonsense, and over one that is not there: what is said, and the exit code."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bad_robot_behavior import load
from tests import loopback
from tests.dumps import hashes, write_dump, write_recipe

SESSIONS = 2


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dump(tmp_path_factory.mktemp("dump"), SESSIONS)


def recipe_over(path: Path, dump: Path, url: str) -> Path:
    endpoint = {"base_url": url, "model": "loopback", "max_attempts": 2}
    reward = {"endpoint": endpoint, "num_frames": 4, "samples": 2, "image_size": 64}
    return write_recipe(path, dump, distill={"endpoint": dict(endpoint)}, reward=reward)


def bad_robot(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bad_robot_behavior", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("fault", ["prose", "null"])
def test_a_model_that_answers_only_nonsense_is_told_in_full(fault: str, dump: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    with loopback.serve(fault=fault, times=1000, stubborn=True) as url:
        done = bad_robot("build", recipe_over(tmp_path / "recipe.yaml", dump, url), "-o", out)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "distill.unusable_answer  <- not expected" in done.stdout
    assert "reward.no_readable_sample  <- not expected" in done.stdout

    release = load(out)
    rows = release.table("rollouts").to_pylist()
    ids = {row["rollout_id"] for row in rows}
    assert len(ids) == 2 * SESSIONS
    assert [(row["critique"], row["rewards"], row["reward"]) for row in rows] == [(None, [], None)] * len(rows)
    rejected = pq.read_table(out / "rejections.parquet").to_pylist()
    told = Counter((row["subject"], row["subject_id"], row["stage"], row["code"]) for row in rejected)
    assert told == Counter(
        [("critique", name, "distill", "distill.unusable_answer") for name in ids]
        + [("reward_curve", name, "reward", "reward.no_readable_sample") for name in ids]
    )
    counts = release.manifest.counts
    assert (counts.rollouts_read, counts.rollouts_packaged, counts.rollouts_rejected) == (len(ids), len(ids), 0)
    assert counts.rejections_by_code == {"distill.unusable_answer": len(ids), "reward.no_readable_sample": len(ids)}
    card = (out / "README.md").read_text()
    assert f"0 of {len(ids)}. Rejections of all kinds: {len(ids)} by `distill.unusable_answer`" in card

    checked = bad_robot("validate", out)
    assert checked.returncode == 0, checked.stdout


def test_a_server_that_is_down_stops_the_build_whole_and_one_that_comes_back_ends_it(
    dump: Path, tmp_path: Path
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    recipe = recipe_over(tmp_path / "recipe.yaml", dump, f"http://127.0.0.1:{port}/v1")
    command = ("build", recipe, "-o", tmp_path / "release")

    down = bad_robot(*command)
    assert down.returncode == 1, down.stdout
    assert down.stdout == ""
    (sentence,) = [line for line in down.stderr.splitlines() if line.strip()]
    assert "cannot be reached" in sentence
    assert "run the same command again" in sentence
    assert "Traceback" not in down.stderr
    assert not (tmp_path / "release").exists()
    assert [path.name for path in tmp_path.rglob(".*") if path.name != ".lock"] == []
    assert list(tmp_path.glob("release.work/scrub/*"))
    assert list(tmp_path.glob("release.work/distill/*")) == []

    with loopback.serve(port=port):
        up = bad_robot(*command)
    assert up.returncode == 0, up.stderr
    with loopback.serve() as url:
        other = recipe_over(tmp_path / "other.yaml", dump, url)
        straight = bad_robot("build", other, "-o", tmp_path / "straight")
    assert straight.returncode == 0, straight.stderr
    assert hashes(tmp_path / "release") == hashes(tmp_path / "straight")
    judged = load(tmp_path / "release").table("rollouts", ["critique", "rewards"]).to_pylist()
    assert all(row["critique"] and row["rewards"] for row in judged)
