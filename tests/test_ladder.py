"""The ladder against a simulated judge: finds what was put in, nothing where nothing was, resumes, and would be fooled
by demonstrations of the same session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from datasets import load_dataset

from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.benchmark.arms import ARMS, Plan, failures, make_plan
from bad_robot_behavior.benchmark.ladder import compare, table
from bad_robot_behavior.benchmark.quality import measure
from bad_robot_behavior.benchmark.results import Number
from bad_robot_behavior.build import build
from bad_robot_behavior.builder.check import check
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import BadRobotError, EndpointError, PredictionsError
from bad_robot_behavior.ladder import Judge, dry_run, ladder, read_arms, run_plan
from bad_robot_behavior.schema import EndpointSettings, RewardQuality
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Answer, Image, Request
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.stub import StubClient
from tests import judge, loopback, small_disk
from tests.dumps import hashes, write_recipe
from tests.worlds import Index, recipe_changes, write_world

SESSIONS = 60
BIAS, NOISE = 0.8, 0.1
OPTIONS: dict[str, Any] = {"num_frames": 5, "image_size": 64}
KNOWN: judge.Gains = {"dense": {"simple": 1.0, "complex": 1.0}}
DENSE = ("none", "text_video_dense")


class World(NamedTuple):
    release: Release
    index: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A release whose rewards were distilled out of the judge, over HTTP."""
    root = tmp_path_factory.mktemp("world")
    index = write_world(root / "dump", SESSIONS, seed=2, kinds=1).save(root / "index.npz")
    with judge.serve(index, bias=BIAS, noise=NOISE) as url:
        changes = recipe_changes(url, num_frames=5, samples=10)
        build(write_recipe(root / "recipe.yaml", root / "dump", **changes), root / "release")
    yield World(load(root / "release"), index)


def simulated(world: World, **settings: Any) -> judge.Judge:
    return judge.Judge(Index.load(world.index), **({"bias": BIAS, "noise": NOISE, "gains": {}} | settings))


def gains_found(world: World, one: judge.Judge, arms: tuple[str, ...], plan: Plan, out: Path) -> Any:
    return run_plan(world.release, plan, arms, out, StubClient(one.answer), draws=300, **OPTIONS)


def near(found: Number, put: float) -> bool:
    """Within four standard errors, an interval being as wide: one in 20 lies outside its own interval by chance."""
    assert found.value is not None
    assert found.interval is not None
    return abs(found.value - put) < found.interval[1] - found.interval[0]


def test_selection_recovers_agreement_and_the_report_says_by_how_much(world: World) -> None:
    quality = msgspec.json.decode((world.release.path / "reward_quality.json").read_bytes(), type=RewardQuality)
    pooled = quality.agreement[0]
    assert (pooled.category, pooled.pairs, quality.samples) == ("pooled", SESSIONS, 10)
    first, kept, beyond = pooled.first.value, pooled.kept.value, pooled.beyond_control.value
    assert first is not None
    assert kept is not None
    assert beyond is not None
    assert kept > first + 0.2
    assert 0 < beyond < 0.2, "ten answers agree with nearly any choice"
    assert measure(world.release) == quality, "made anew from the tables it is the same"


def test_an_effect_is_found_where_it_was_put_in_and_nowhere_else(world: World, tmp_path: Path) -> None:
    arms = ("none", "none_again", "text_video", "text_video_dense", "shuffled_dense")
    plan = make_plan(world.release, "test", read_arms(arms))
    one = simulated(world, gains=KNOWN)
    results = gains_found(world, one, arms, plan, tmp_path)
    truth = judge.PutIn(world.release, one, plan, OPTIONS["num_frames"])
    none = truth.accuracies(ARMS["none"])
    for arm in arms[1:]:
        put = float((truth.accuracies(ARMS[arm]) - none).mean())
        found = results.gain(arm).gain
        assert near(found, put), arm
        assert (put > 0.1) == (arm == "text_video_dense")
        assert found.interval is not None
        assert found.interval[0] > 0 or arm != "text_video_dense"


def test_a_leak_would_fake_an_effect_that_the_plan_does_not_let_in(world: World, tmp_path: Path) -> None:
    copies = simulated(world, recall=True)
    honest = make_plan(world.release, "test", read_arms(DENSE))
    nothing = gains_found(world, copies, DENSE, honest, tmp_path / "honest").gain("text_video_dense").gain
    assert near(nothing, 0.0)
    demos = failures(world.release, "test", honest.frames)
    leaking = msgspec.structs.replace(
        honest,
        shown={"failure": {demo.session_id: (demo.rollout_id,) for demo in demos}},
        demos={"failure": {demo.rollout_id: demo for demo in demos}},
    )
    faked = gains_found(world, copies, DENSE, leaking, tmp_path / "leak").gain("text_video_dense").gain
    assert faked.interval is not None
    assert faked.interval[0] > 0


def test_intervals_hold_what_was_put_in(world: World, tmp_path: Path) -> None:
    plan = make_plan(world.release, "test", read_arms(DENSE))
    held = 0
    for seed in range(4):
        one = simulated(world, gains=KNOWN, seed=seed)
        truth = judge.PutIn(world.release, one, plan, OPTIONS["num_frames"])
        put = float((truth.accuracies(ARMS["text_video_dense"]) - truth.accuracies(ARMS["none"])).mean())
        found = gains_found(world, one, DENSE, plan, tmp_path).gain("text_video_dense").gain
        assert found.interval is not None
        assert near(found, put)
        held += found.interval[0] <= put <= found.interval[1]
    assert held >= 2, "of 4; benchmarks/ladder_recovery.py counts over many"


def test_over_http_it_resumes_and_a_second_run_asks_nothing(world: World, tmp_path: Path) -> None:
    def run(out: Path, url: str, **changes: Any) -> OpenAIClient:
        settings = EndpointSettings(base_url=url, model="judge", max_attempts=2)
        client = OpenAIClient(settings, Cache(tmp_path / "cache.sqlite"), backoff_s=0.01)
        ladder(world.release.path, out, client, arms=DENSE, limit=10, draws=50, **(OPTIONS | changes))
        return client

    with judge.serve(world.index, die_at=12) as url, pytest.raises(EndpointError):
        run(tmp_path / "first", url)
    kept = len(Cache(tmp_path / "cache.sqlite"))
    assert 0 < kept < 20
    with judge.serve(world.index) as url:
        client = run(tmp_path / "first", url)
        assert client.counters["requests_sent"] == 20 - kept
        again = run(tmp_path / "second", url)
    assert again.counters["requests_cached"] == again.counters["requests_asked"] == 20
    assert again.counters["requests_sent"] == 0
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [
        "ladder.json", "ladder.txt", "none.parquet", "plan.json", "text_video_dense.parquet"
    ]  # fmt: skip


def test_a_judge_that_fails_in_every_way_and_a_full_disk_change_no_byte(world: World, tmp_path: Path) -> None:
    common = ["ladder", str(world.release.path), "--model", "judge", "--limit", "8", "--draws", "50"]
    common += ["--num-frames", "5", "--image-size", "64", "--arms", "none_again,text_video_dense"]
    results = ("ladder.json", "ladder.txt", "plan.json", *(f"{arm}.parquet" for arm in (*DENSE, "none_again")))
    for name, faults in (("straight", {}), ("failing", {"fault": "mixed"})):
        with judge.serve(world.index, **faults) as url:
            done = CliRunner().invoke(main, [*common, "--base-url", url, "-o", str(tmp_path / name)])
            assert done.exit_code == 0, done.output
            assert (loopback.stats(url)["requests"] > 24) == (name == "failing")
    if small_disk.possible():
        with judge.serve(world.index) as url:
            out, kept = tmp_path / "disk" / "out", tmp_path / "kept"
            runs = small_disk.bad_robot(out.parent, kept, (24, 120, 4000), *common, "--base-url", url, "-o", out)
        assert [code for code, _, _ in runs] == [1, 1, 0], runs
        assert all("no space is left on this disk; free some" in why for _, _, why in runs[:-1])
        (kept / "out").rename(tmp_path / "filled")
    made = [folder for folder in (tmp_path / "failing", tmp_path / "filled") if folder.exists()]
    for name in results:
        for folder in made:
            assert (folder / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), (folder, name)


def test_every_arm_shows_what_it_says_and_frames_are_decoded_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = StubClient(lambda request: Answer(text=None, lack="refused", error="no"))
    decoded: list[Any] = []
    from bad_robot_behavior.builder.loader import LoadedRollout

    frames = LoadedRollout.frames
    monkeypatch.setattr(
        LoadedRollout, "frames", lambda self, *a, **k: decoded.append(self["rollout_id"]) or frames(self, *a, **k)
    )
    plan = make_plan(world.release, "test", ARMS.values())
    rollouts = [rollout for rollout, _ in zip(load(world.release.path, "test"), range(4), strict=False)]
    Judge(world.release, plan, list(ARMS.values()), client, **OPTIONS).run(rollouts)
    assert len(decoded) == len(set(decoded)), "each rollout and each demonstration once, whatever the number of arms"
    asked = client.asked[: len(ARMS)]
    own = OPTIONS["num_frames"]
    for request in client.asked:
        said, pictures = text(request), sum(isinstance(p, Image) for p in request.messages[1].parts) - own
        shows = ("Known from other attempts" in said, pictures, said.count("stood at"), "in the order of time" in said)
        assert shows in {
            (False, 0, 0, False),  # none, none_again
            (True, 0, 0, False),  # text
            (False, own, 0, False),  # text_video
            (False, own, own, False),  # text_video_dense, shuffled_dense
            (False, 8, 8, False),  # positive: frames of its own
            (False, 0, 0, True),  # text_dense
        }
    assert len(asked) == len({text(r) + str(r.seed) for r in asked})


def text(request: Request) -> str:
    return "\n".join(part for part in request.messages[1].parts if isinstance(part, str))


def test_a_rollout_without_an_answer_leaves_its_pairs_out_of_that_arm_alone(world: World, tmp_path: Path) -> None:
    one = simulated(world)
    lost = load(world.release.path, "test").rollout_ids[:2]

    def answer(request: Request) -> str:
        return "no" if "another attempt" in text(request) and "stood at" in text(request) else one.answer(request)

    plan = make_plan(world.release, "test", read_arms(("none", "text_video", "text_video_dense")))
    arms = ("none", "text_video", "text_video_dense")
    results = run_plan(world.release, plan, arms, tmp_path, StubClient(answer), draws=50, **OPTIONS)
    assert results.gain("text_video_dense").gain.value is None
    assert (results.gain("text_video_dense").answered, results.gain("text_video_dense").shared) == (0, 0)
    assert results.gain("text_video").shared == results.gain("none").pairs > len(lost)
    assert results.errors["text_video_dense"] == len(load(world.release.path, "test"))
    assert "text_video_dense: " in table(results).splitlines()[-1]


def test_the_gain_is_the_difference_over_shared_pairs(world: World, tmp_path: Path) -> None:
    plan = make_plan(world.release, "test", read_arms(DENSE))
    run_plan(world.release, plan, DENSE, tmp_path, StubClient(simulated(world).answer), draws=50, **OPTIONS)
    read = {name: predictions.read(tmp_path / f"{name}.parquet") for name in DENSE}
    found = compare(world.release, plan, read, draws=50)
    mean = {
        name: {r: item.value[item.offset[i] : item.offset[i + 1]].mean() for i, r in enumerate(item.rollout_id)}
        for name, item in read.items()
    }
    right: dict[str, list[bool]] = {name: [] for name in DENSE}
    for row in world.release.table("preferences", split="test").to_pylist():
        better, worse = (row["rollout_a"], row["rollout_b"])[:: 1 if row["preference"] == "a" else -1]
        for name in DENSE:
            right[name].append(mean[name][better] > mean[name][worse])
    accuracy = {name: np.mean(rows) for name, rows in right.items()}
    assert found.gain("none").accuracy.value == pytest.approx(accuracy["none"])
    assert found.gain("text_video_dense").accuracy.value == pytest.approx(accuracy["text_video_dense"])
    assert found.gain("text_video_dense").gain.value == pytest.approx(accuracy["text_video_dense"] - accuracy["none"])
    assert found.gain("none").gain.value is None
    with pytest.raises(PredictionsError, match="arm none"):
        compare(world.release, plan, {"text_video_dense": read["text_video_dense"]})


def test_a_dry_run_counts_and_sends_nothing(world: World, tmp_path: Path) -> None:
    with loopback.serve() as url:
        client = OpenAIClient(EndpointSettings(base_url=url, model="m"), Cache(tmp_path / "c.sqlite"))
        cost = dry_run(world.release.path, client, arms=DENSE, limit=6, **OPTIONS)
        assert (cost.requests, cost.images) == (12, 6 * 5 + 6 * 10)
        assert loopback.stats(url)["requests"] == 0


def test_unknown_arms_are_named() -> None:
    with pytest.raises(BadRobotError, match="no arm 'dense'; legal: none, "):
        read_arms(["dense"])
    assert [arm.name for arm in read_arms(["positive"])] == ["none", "positive"]


def test_plan_is_kept_beside_the_results(world: World, tmp_path: Path) -> None:
    plan = make_plan(world.release, "test", read_arms(DENSE))
    run_plan(world.release, plan, DENSE, tmp_path, StubClient(simulated(world).answer), draws=50, limit=2, **OPTIONS)
    assert msgspec.json.decode((tmp_path / "plan.json").read_bytes(), type=Plan) == plan
    stated = predictions.read(tmp_path / "text_video_dense.parquet").parameters
    assert (stated["scorer"], stated["examples"], stated["arm"]["name"]) == (
        "gvl text_video_dense",
        1,
        "text_video_dense",
    )
    assert len(stated["plan_sha256"]) == 64
    assert json.loads((tmp_path / "ladder.json").read_text())["errors"] == {"none": 0, "text_video_dense": 0}


def test_a_release_with_samples_is_valid_and_loads_without_this_package(world: World, tmp_path: Path) -> None:
    assert check(world.release.path) == []
    samples = load_dataset(str(world.release.path), "reward_samples", cache_dir=str(tmp_path))
    rows = [row for split in samples.values() for row in split]
    assert len(rows) == 2 * SESSIONS * 10 == world.release.manifest.counts.reward_samples
    kept = [row for row in rows if row["verdict"] == "kept"]
    rollouts = {row["rollout_id"]: row for row in world.release.table("rollouts").to_pylist()}
    for row in kept:
        assert row["value"] == pytest.approx(rollouts[row["rollout_id"]]["reward"])
    demos = [row for row in world.release.table("demonstrations").to_pylist() if row["level"] == "text_video_dense"]
    rejected = {row["rollout_id"] for row in kept if not row["preferred"]}
    assert {row["rollout_id"] for row in demos} == rejected
    card = (world.release.path / "README.md").read_text()
    assert "| pooled | 60 | 60 | " in card
    assert "| reward_samples | 1,200 |" in card


def test_the_command_runs_resumes_and_says_what_is_wrong(world: World, tmp_path: Path) -> None:
    with judge.serve(world.index) as url:
        place = ["--base-url", url, "--model", "judge", "-o", str(tmp_path / "out"), "--limit", "8", "--draws", "50"]
        command = ["ladder", str(world.release.path), *place, "--num-frames", "5", "--image-size", "64"]
        command += ["--arms", "none_again,text_video_dense"]
        dry = CliRunner().invoke(main, [*command, "--dry-run"])
        assert dry.exit_code == 0, dry.output
        assert "ladder: 24 requests" in dry.output
        planned = json.loads(CliRunner().invoke(main, [*command, "--dry-run", "--json"]).stdout)
        assert planned["ladder"]["requests"] == 24
        assert loopback.stats(url)["requests"] == 0
        stopped = CliRunner().invoke(main, [*command, "--max-requests", "7"])
        assert stopped.exit_code == 1
        assert "7 requests have been sent of the 7 that --max-requests allows" in stopped.stderr
        assert "with a higher limit to go on" in stopped.stderr
        assert loopback.stats(url)["requests"] == 7
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert "by human preference, complex" in done.output
        assert "requests_asked 24, requests_cached 7, requests_sent 17" in done.output
        sent = loopback.stats(url)["requests"]
        again = CliRunner().invoke(main, [*command, "--json"])
        assert json.loads(again.stdout)["rollouts"] > 8
        assert loopback.stats(url)["requests"] == sent == 24
    assert CliRunner().invoke(main, [*command, "--arms", "dense"]).exit_code == 2
    assert CliRunner().invoke(main, ["ladder", str(world.release.path), "-o", str(tmp_path)]).exit_code == 2
    evaluated = CliRunner().invoke(
        main,
        ["evaluate", str(world.release.path), *map(str, sorted((tmp_path / "out").glob("*.parquet"))), "--draws", "20"],
    )
    assert evaluated.exit_code == 0, evaluated.output
    assert "gvl text_video_dense (judge)" in evaluated.output
