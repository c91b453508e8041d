"""The chain over a model that answers nonsense, and over one that is not there: what is said, and the exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bad_robot_behavior import load
from bad_robot_behavior.cli import main
from tests import loopback, small_disk
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


def here(*arguments: object) -> Result:
    """The command in this process, which spares the seconds of its start."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def model_recipe(path: Path, dump: Path, url: str, **changes: object) -> Path:
    prices = {"prompt_price": 2.0, "completion_price": 10.0}
    endpoint = {"base_url": url, "model": "loopback", "max_attempts": 4, **prices} | changes
    reward = {"endpoint": endpoint, "num_frames": 4, "samples": 3, "image_size": 64}
    return write_recipe(path, dump, distill={"endpoint": dict(endpoint)}, reward=reward)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dump(tmp_path_factory.mktemp("larger"), 17)  # two shards


def test_a_dry_run_counts_what_would_be_sent_and_sends_nothing(larger: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    with loopback.serve() as url:
        recipe = model_recipe(tmp_path / "recipe.yaml", larger, url)
        dry = here("build", recipe, "-o", out, "--dry-run", "--json")
        assert dry.exit_code == 0, dry.stderr
        assert loopback.stats(url)["requests"] == 0
        assert not out.exists()
        planned = json.loads(dry.stdout)
        told = here("build", recipe, "-o", out, "--dry-run")
        assert "reward: 34 requests for 102 answers, 0 in the cache; 136 pictures" in told.stdout
        assert "a token is 4 characters" in told.stdout

        built = here("build", recipe, "-o", out, "--json")
        assert built.exit_code == 0, built.stderr
        seen = loopback.stats(url)
        stages = json.loads(built.stdout)["stages"]
        left = json.loads(here("build", recipe, "-o", out, "--dry-run", "--json").stdout)
    assert planned["reward"]["requests"] == stages["reward"]["requests_sent"] == 34
    assert planned["reward"]["answers"] == stages["reward"]["requests_asked"] == 102
    # What the distiller asks about an answer cannot be planned before there is one.
    assert 17 == planned["distill"]["requests"] <= stages["distill"]["requests_sent"] <= 34
    assert seen["requests"] == stages["distill"]["requests_sent"] + 34
    for stage in ("distill", "reward"):
        assert planned[stage]["completion_tokens"] >= stages[stage]["completion_tokens"]
        bound = (2 * planned[stage]["prompt_tokens"] + 10 * planned[stage]["completion_tokens"]) / 1e6
        assert planned[stage]["cost"] == pytest.approx(bound)
    assert {(one["requests"], one["cached"]) for one in left.values()} == {(0, 0)}


def test_a_budget_stops_a_build_which_goes_on_with_a_larger_one(larger: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    with loopback.serve() as url:
        recipe = model_recipe(tmp_path / "recipe.yaml", larger, url)
        stopped = here("build", recipe, "-o", out, "--max-requests", 21)
        assert stopped.exit_code == 1
        assert stopped.stdout == ""
        assert "21 requests have been sent of the 21 that --max-requests allows" in stopped.stderr
        assert "0 of 2 shards are done" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert loopback.stats(url)["requests"] == 21
        again = here("build", recipe, "-o", out, "--max-requests", 21)
        assert again.exit_code == 1
        assert loopback.stats(url)["requests"] == 21
        poor = here("build", recipe, "-o", out, "--max-cost", 0.0001)
        assert "that --max-cost allows" in poor.stderr
        assert loopback.stats(url)["requests"] == 21
        left = json.loads(here("build", recipe, "-o", out, "--dry-run", "--json").stdout)
        done = here("build", recipe, "-o", out, "--max-requests", 1000, "--max-cost", 5)
        assert done.exit_code == 0, done.stderr
        asked = loopback.stats(url)["requests"]
        assert asked >= 21 + sum(one["requests"] for one in left.values())
        straight = here("build", recipe, "-o", tmp_path / "straight")
        assert straight.exit_code == 0, straight.stderr
        assert loopback.stats(url)["requests"] == 2 * asked
    assert hashes(out) == hashes(tmp_path / "straight")


def test_unusable_answers_are_asked_again_and_no_others(larger: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    with loopback.serve() as url:
        port = url.rpartition(":")[2].partition("/")[0]
        recipe = model_recipe(tmp_path / "recipe.yaml", larger, url)
        straight = here("build", recipe, "-o", tmp_path / "straight", "--limit", 2)
        assert straight.exit_code == 0, straight.stderr
        asked = loopback.stats(url)["requests"]
    with loopback.serve(port=port, fault="out-of-range", times=1000, stubborn=True):
        bad = here("build", recipe, "-o", out, "--limit", 2)
        assert bad.exit_code == 1
        assert "reward.no_readable_sample  <- not expected" in bad.stdout
    with loopback.serve(port=port) as url:
        same = here("build", recipe, "-o", out, "--limit", 2)
        assert same.exit_code == 1
        assert loopback.stats(url)["requests"] == 0, "without being told to, nothing is asked again"
        good = here("build", recipe, "-o", out, "--limit", 2, "--ask-again")
        assert good.exit_code == 0, good.stderr
        assert loopback.stats(url)["requests"] == 4, "each rollout's samples; the distiller's answers were good"
        assert asked > 4
        here("build", recipe, "-o", out, "--limit", 2, "--ask-again")
        assert loopback.stats(url)["requests"] == 4
    assert hashes(out) == hashes(tmp_path / "straight")


def test_a_dead_endpoint_is_noticed_at_the_first_shard(larger: Path, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        recipe = model_recipe(tmp_path / "recipe.yaml", larger, url, max_attempts=2)
        down = here("build", recipe, "-o", tmp_path / "release")
    assert down.exit_code == 1
    assert "1 of 2 shards could not be finished" in down.stderr
    assert "asked 2 times" in down.stderr
    assert len(list(tmp_path.glob("release.work/scrub/*"))) == 1, "the second shard was not begun"


def test_score_counts_keeps_to_its_budget_and_asks_again(dump: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    assert here("build", write_recipe(tmp_path / "recipe.yaml", dump), "-o", release).exit_code == 0
    out = tmp_path / "gvl.parquet"
    with loopback.serve() as url:
        base = ("score", release, "--scorer", "gvl", "--base-url", url, "--model", "loopback", "-o", out)
        base += ("--num-frames", 4, "--prompt", "gvl_brief", "--cameras", "all")
        dry = here(*base, "--dry-run")
        assert "gvl: 4 requests for 4 answers, 0 in the cache; 32 pictures" in dry.stdout, dry.stderr
        assert "cost not known" in dry.stdout
        assert not out.exists()
        stopped = here(*base, "--max-requests", 2)
        assert stopped.exit_code == 1
        assert "2 requests have been sent of the 2" in stopped.stderr
        assert not out.exists()
        assert loopback.stats(url)["requests"] == 2
        assert "2 requests for 2 answers, 2 in the cache" in here(*base, "--dry-run").stdout
        done = here(*base)
        assert done.exit_code == 0, done.stderr
        assert loopback.stats(url)["requests"] == 4
        assert "requests_cached 2" in done.stdout
    (parameters,) = set(pq.read_table(out).column("parameters").to_pylist())
    assert json.loads(parameters)["prompt"] == "gvl_brief"
    assert json.loads(parameters)["cameras"] == "all"
    wrong = here(*base, "--prompt", "gvl_rude")
    assert wrong.exit_code == 2
    assert "legal: gvl, gvl_agent" in wrong.stderr


def test_score_over_a_server_that_fails_in_every_way_writes_the_same_bytes(dump: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    assert here("build", write_recipe(tmp_path / "recipe.yaml", dump), "-o", release).exit_code == 0
    base = ("score", release, "--scorer", "gvl", "--model", "loopback", "--num-frames", 4)
    faults = ("none", "mixed", "drop", "half-json", "no-choices")
    for fault in faults:
        with loopback.serve(fault=fault) as url:
            done = here(*base, "--base-url", url, "-o", tmp_path / f"{fault}.parquet")
            assert done.exit_code == 0, done.stderr
            asked = loopback.stats(url)["requests"]
        assert (asked == 4) == (fault == "none")
    rows = {fault: pq.read_table(tmp_path / f"{fault}.parquet").to_pylist() for fault in faults}
    assert all(row["error"] is None for row in rows["none"])
    for fault in faults:
        assert rows[fault] == rows["none"], fault


@small_disk.needed
def test_score_on_a_disk_that_is_full_leaves_no_half_file_and_goes_on(dump: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    assert here("build", write_recipe(tmp_path / "recipe.yaml", dump), "-o", release).exit_code == 0
    with loopback.serve() as url:
        base = ("score", release, "--scorer", "gvl", "--base-url", url, "--model", "loopback", "--num-frames", 4)
        assert here(*base, "-o", tmp_path / "straight.parquet").exit_code == 0
        out = tmp_path / "disk" / "gvl.parquet"
        *failed, last = small_disk.bad_robot(out.parent, tmp_path / "kept", (8, 24, 64, 2000), *base, "-o", out)
    for code, said, why in failed:
        assert (code, said) == (1, ""), why
        assert "no space is left on this disk; free some space" in why
        assert "Traceback" not in why
    assert last[0] == 0, last[2]
    assert sorted(path.suffix for path in (tmp_path / "kept").iterdir()) == [".lock", ".parquet", ".sqlite"]
    assert pq.read_table(tmp_path / "kept" / "gvl.parquet") == pq.read_table(tmp_path / "straight.parquet")
