"""Does the ladder find what was put in, and nothing where nothing was? A simulated judge of known quality answers.

    python benchmarks/ladder_recovery.py --sessions 320

The judge (tests/judge.py) sits behind a real server, decodes the pictures it is sent and knows the true progress of
every frame. It overrates failures, and is cured of that to a set degree by an example of the same kind of failure.
What every arm should gain follows from the truth and these settings alone (`put in`); what the ladder finds stands
beside it.
Four worlds: an effect as in arXiv 2606.01036; none; none, with a judge that copies numbers it has just been shown; and
that judge with demonstrations of the same session, which the ladder never draws. Last, over many seeds without the
server in between: how often the 95 % interval holds what was put in. This verifies the protocol. It says nothing of any
real model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.benchmark.arms import ARMS, Plan, failures, make_plan
from bad_robot_behavior.benchmark.ladder import compare
from bad_robot_behavior.build import build
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.ladder import Judge as Ladder
from bad_robot_behavior.ladder import read_arms, run_plan
from bad_robot_behavior.schema import EndpointSettings, RewardQuality
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.stub import StubClient
from tests import judge
from tests.dumps import write_recipe
from tests.worlds import Index, recipe_changes, write_world

SUBSET = 30  # sessions of a run whose interval is tried
FRAMES = 6
OPTIONS: dict[str, Any] = {"num_frames": FRAMES, "image_size": 64}
BIAS, NOISE = 0.6, 0.08
EFFECT: judge.Gains = {"video": {"simple": 0.8}, "dense": {"simple": 0.8, "complex": 0.9}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=320)
    parser.add_argument("--coverage", type=int, default=12, help="seeds of the judge for the coverage of intervals")
    parser.add_argument("--only-coverage", action="store_true", help="leave the four ladders over HTTP out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        index = write_world(root / "dump", options.sessions).save(root / "index.npz")
        release = built(root, index)
        if not options.only_coverage:
            ladders(release, root, index)
        print("\ncoverage of text_video_dense, pooled, sessions a run:", SUBSET)
        print("world       intervals  put in  held it  excludes zero  width")
        for name, gains in (("effect", EFFECT), ("no effect", {})):
            coverage(release, root, index, name, gains, options.coverage)


def ladders(release: Release, root: Path, index: Path) -> None:
    run(release, root, index, "effect as in the paper", EFFECT, tuple(ARMS))
    run(release, root, index, "no effect", {}, tuple(ARMS))
    arms = ("none", "text_video_dense")
    plan = run(release, root, index, "no effect, a judge that copies numbers it was shown", {}, arms, recall=True)
    run(release, root, index, "the same, demonstrations leak", {}, arms, leak(release, plan), recall=True)


def built(root: Path, index: Path) -> Release:
    """The release, its rewards distilled out of the same judge, and what that came to."""
    start = time.perf_counter()
    with judge.serve(index, bias=BIAS, noise=NOISE) as url:
        build(
            write_recipe(root / "recipe.yaml", root / "dump", **recipe_changes(url, num_frames=FRAMES)),
            root / "release",
        )
    release = load(root / "release")
    quality = msgspec.json.decode((release.path / "reward_quality.json").read_bytes(), type=RewardQuality)
    counts, took = release.manifest.counts, time.perf_counter() - start
    print(f"release: {counts.rollouts_packaged} rollouts in {counts.sessions} sessions, {took:.0f} s")
    print("selection  pairs  first sample         kept                 by a coin            beyond it")
    for row in quality.agreement:
        if row.category in {"pooled", "simple", "complex"}:
            cells = []
            for share in (row.first, row.kept, row.control, row.beyond_control):
                assert share.interval is not None
                cells.append(f"{share.value:.3f} [{share.interval[0]:.2f}, {share.interval[1]:.2f}]")
            print(f"{row.category:9}  {row.pairs:5}  " + "   ".join(cells))
    print(f"noise floor of one round of answers: {quality.noise_floor:.3f}")
    return release


def run(
    release: Release,
    root: Path,
    index: Path,
    name: str,
    gains: judge.Gains,
    arms: tuple[str, ...],
    plan: Plan | None = None,
    **flags: Any,
) -> Plan:
    """One ladder over HTTP, beside what was put in; the plan is the ladder's own where none is given."""
    start = time.perf_counter()
    plan = plan or make_plan(release, "test", read_arms(arms))
    with judge.serve(index, bias=BIAS, noise=NOISE, gains=gains, **flags) as url:
        client = OpenAIClient(EndpointSettings(base_url=url, model="judge", concurrency=16))
        results = run_plan(release, plan, arms, root / "ladder", client, **OPTIONS)
    took = time.perf_counter() - start
    print(f"\n{name}: {results.rollouts} rollouts, {client.counters['requests_sent']} requests, {took:.0f} s")
    truth = judge.PutIn(release, made(index, gains), plan, FRAMES)
    none = truth.accuracies(ARMS["none"])
    print("arm               group    pairs  put in  found")
    for arm in read_arms(arms):
        for group in ("pooled", "simple", "complex"):
            use = np.ones(len(none), bool) if group == "pooled" else truth.groups == group
            row = results.gain(arm.name, group)
            put = truth.accuracies(arm) - none if arm.name != "none" else none
            found = row.gain if arm.name != "none" else row.accuracy
            assert found.value is not None
            assert found.interval is not None
            low, high = found.interval
            outside = "" if low <= put[use].mean() <= high else "  put in lies outside"
            print(
                f"{arm.name:16}  {group:7}  {row.shared:5}  {put[use].mean():+.3f}  "
                f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]{outside}"
            )
    return plan


def leak(release: Release, plan: Plan) -> Plan:
    """The plan with the demonstration of the very session, which the ladder never draws."""
    demos = failures(release, plan.split, plan.frames)
    return msgspec.structs.replace(
        plan,
        shown={"failure": {demo.session_id: (demo.rollout_id,) for demo in demos}},
        demos={"failure": {demo.rollout_id: demo for demo in demos}},
    )


def coverage(release: Release, root: Path, index: Path, name: str, gains: judge.Gains, seeds: int) -> None:
    """How often the interval of text_video_dense holds what was put in, over random parts of 30 sessions."""
    arms = ("none", "text_video_dense")
    plan = make_plan(release, "test", read_arms(arms))
    held = sure = total = 0
    widths = []
    one = made(index, gains)
    truth = judge.PutIn(release, one, plan, FRAMES)
    for seed in range(seeds):
        one.seed = seed
        put = float((truth.accuracies(ARMS[arms[1]]) - truth.accuracies(ARMS["none"])).mean())
        rows = Ladder(release, plan, read_arms(arms), StubClient(one.answer), **OPTIONS).run(load(release.path, "test"))
        sessions = sorted(set(truth.sessions))
        np.random.default_rng(seed).shuffle(sessions)
        for start in range(0, len(sessions) - SUBSET + 1, SUBSET):
            chosen = set(sessions[start : start + SUBSET])
            read = {}
            for arm, predicted in rows.items():
                kept = [row for row in predicted if truth.session[row.rollout_id] in chosen]
                predictions.write(root / f"{arm}.parquet", kept, predictions.describe(release))
                read[arm] = predictions.read(root / f"{arm}.parquet")
            gain = compare(release, plan, read, draws=500, seed=seed).gain(arms[1]).gain
            assert gain.interval is not None
            total += 1
            held += gain.interval[0] <= put <= gain.interval[1]
            sure += not gain.interval[0] <= 0 <= gain.interval[1]
            widths.append(gain.interval[1] - gain.interval[0])
    print(
        f"{name:10}  {total:9}  {put:+.3f}  {held / total:8.1%}  {sure / total:13.1%}  {np.mean(widths):.3f}",
        flush=True,
    )


def made(index: Path, gains: judge.Gains) -> judge.Judge:
    return judge.Judge(Index.load(index), bias=BIAS, noise=NOISE, gains=gains)


if __name__ == "__main__":
    main()
