"""What one random rollout costs to read out of a release, beyond its video: bytes and milliseconds.

Builds a release of 2,000 rollouts with two cameras in each layout, then, in a new process each time, opens it with
`load`, takes one random rollout and reads all its videos. Bytes are what the process asked the kernel for
(`rchar` of /proc/self/io), after all modules are imported; the videos' own size is subtracted. A second, warm read in
the same process shows what the next rollout costs. The last line reads the row group of a shard through pyarrow, which
is what a reader without `videos/index.parquet` has to do.

    python benchmarks/release_access.py --rollouts 2000
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bad_robot_behavior import load, media  # noqa: E402
from bad_robot_behavior.builder.package import write_release  # noqa: E402
from bad_robot_behavior.schema import RewardCurve, Rollout, Videos  # noqa: E402
from tests.builder.releases import VERDICT, make_recipe  # noqa: E402
from tests.factories import make_rollout, make_video  # noqa: E402


def rollouts(videos: list[Path], count: int, steps: int) -> Iterator[Rollout]:
    """Rollouts of two cameras each, with feedback and a curve of `steps` values."""
    records = [media.video(path, "camera") for path in videos]
    rng = random.Random(0)
    for number in range(count):
        session = number // 2
        value = tuple(rng.uniform(-1, 1) for _ in range(steps))
        frames = tuple(range(steps))
        curve = RewardCurve(
            name="chosen",
            kind="reward",
            scorer="gvl",
            model="m",
            role="exterior_1",
            frame_index=frames,
            value=value,
            provenance="sampled",
        )
        rollout = make_rollout(
            videos[0],
            session=f"session-{session}",
            label="AB"[number % 2],
            instruction=f"put object {session} in the cup",
            split=("train", "train", "train", "train", "test")[session % 5],
            feedback=" ".join(rng.choice(("the", "arm", "dropped", "cup", "slowly", "again")) for _ in range(40)),
        )
        pair = Videos(exterior_1=records[number % len(records)], wrist=records[(number + 1) % len(records)])
        yield msgspec.structs.replace(rollout, videos=pair, rewards=(curve,), reward=value, reward_frame_index=frames)


def rchar() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def read(release: Path, seed: int) -> dict[str, float]:
    """Bytes beyond the videos and milliseconds, for the first rollout read and for one more."""
    result: dict[str, float] = {}
    ids = load(release).rollout_ids
    first, second = random.Random(seed).sample(ids, 2)
    found = None
    for name, identity in (("cold", first), ("warm", second)):
        before, start = rchar(), time.perf_counter()
        found = found or load(release)
        one = found[identity]
        size = sum(len(one.video_bytes(role)) for role in one.roles)
        result[f"{name}_ms"] = (time.perf_counter() - start) * 1000
        result[f"{name}_kb"] = (rchar() - before - size) / 1000
        result["video_kb"] = size / 1000
    return result


def row_group(release: Path, seed: int) -> dict[str, float]:
    """The same for one row group of a shard through pyarrow."""
    import pyarrow.parquet as pq

    shard = release / "videos" / "train-00000-of-00001.parquet"
    before, start = rchar(), time.perf_counter()
    file = pq.ParquetFile(shard)
    group = random.Random(seed).randrange(file.num_row_groups)
    data = file.read_row_group(group)["video"][0].as_py()["bytes"]
    took = (time.perf_counter() - start) * 1000
    return {"cold_ms": took, "cold_kb": (rchar() - before - len(data)) / 1000, "video_kb": len(data) / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=200, help="values in each rollout's curve")
    parser.add_argument("--video-kb", type=int, default=100, help="size of each video; the film is padded to it")
    parser.add_argument("--reads", type=int, default=5, help="random rollouts, each in a new process")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        way, release, seed = args.child
        read(Path(release), int(seed) + 1000)  # imports and file caches
        print(json.dumps((read if way == "load" else row_group)(Path(release), int(seed))))
        return
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        videos = [make_video(scratch / f"{i}.mp4", 12, seed=i) for i in range(8)]
        for number, video in enumerate(videos):
            free = max(8, args.video_kb * 1000 - video.stat().st_size - number)
            with video.open("ab") as file:  # a `free` box: still a valid mp4
                file.write(free.to_bytes(4, "big") + b"free" + bytes(free - 8))
        print(f"{args.rollouts} rollouts, 2 videos of {args.video_kb} KB each, curves of {args.steps} values")
        print(f"{'':28}{'MB':>8}{'beyond KB':>11}{'ms':>8}{'warm KB':>10}{'warm ms':>9}")
        for layout in ("files", "shards"):
            out = scratch / layout
            write_release(
                out,
                recipe=make_recipe(layout),
                recipe_sha256="0" * 64,
                rollouts=rollouts(videos, args.rollouts, args.steps),
                rejections=(),
                rollouts_read=args.rollouts,
                licenses=(VERDICT,),
            )
            report("load", layout, out, args.reads)
        report("row_group", "shards, whole row group", scratch / "shards", args.reads)


def report(way: str, label: str, release: Path, reads: int) -> None:
    measured = []
    for seed in range(reads):
        command = [sys.executable, __file__, "--child", way, str(release), str(seed)]
        measured.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    size = sum(path.stat().st_size for path in release.rglob("*") if path.is_file()) / 1e6
    worst = {
        key: max(row[key] for row in measured) if key.endswith("kb") else min(row[key] for row in measured)
        for key in measured[0]
    }
    line = f"{label:28}{size:8.0f}{worst['cold_kb']:11.0f}{worst['cold_ms']:8.1f}"
    if "warm_kb" in worst:
        line += f"{worst['warm_kb']:10.0f}{worst['warm_ms']:9.1f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
