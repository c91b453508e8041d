"""Rollouts per second into a release: packets copied (what this package does) against decoded and encoded again.

Every clip is one rollout. The first way strips each file by copying its packets and packages the result; the second
decodes every frame and encodes it with libx264 at its default settings, as converters to training formats do, and
packages that. Both end in a release of the same rollouts; the ways take turns, and the best of `--rounds` counts.

    python benchmarks/packaging_speed.py --videos FOLDER_OF_MP4_FILES

Without --videos, clips are drawn in the shape of RoboArena's: 200 frames of 512x288 each. Wall and CPU time are given:
on a busy machine CPU time is the one to trust.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import msgspec

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bad_robot_behavior import media  # noqa: E402
from bad_robot_behavior.schema import Video, Videos  # noqa: E402
from tests.builder.releases import make_release  # noqa: E402
from tests.factories import make_rollout, make_video  # noqa: E402


def copy_packets(raw: Video, target: Path) -> Video:
    media.remux(str(raw.path), target)
    return media.remuxed(raw, target)


def encode_again(raw: Video, target: Path) -> Video:
    with av.open(str(raw.path)) as given, av.open(str(target), "w") as written:
        video = given.streams.video[0]
        video.thread_type = "AUTO"
        rate = video.average_rate or Fraction(30)
        stream = written.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for frame in given.decode(video):
            written.mux(stream.encode(frame.reformat(format="yuv420p")))
        written.mux(stream.encode(None))
    return media.video(target, raw.camera)


def build(clips: list[Video], clean: Callable[[Video, Path], Video], folder: Path, layout: str) -> tuple[float, float]:
    """Wall and CPU seconds from raw clips, as their source has recorded them, to a release."""
    folder.mkdir()
    wall, cpu = time.perf_counter(), time.process_time()
    rollouts = []
    for number, clip in enumerate(clips):
        target = folder / f"{number}.mp4"
        cleaned = clean(clip, target)
        rollout = make_rollout(target, session=f"s{number}", split="train")
        rollouts.append(msgspec.structs.replace(rollout, videos=Videos(exterior_1=cleaned)))
    make_release(folder / "release", rollouts, layout)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder with mp4 files, searched to its depth")
    parser.add_argument("--clips", type=int, default=20, help="how many clips at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layout", choices=["files", "shards"], default="files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if args.videos is None:
            clips = [make_video(scratch / f"raw-{i}.mp4", 200, (512, 288), seed=i) for i in range(args.clips)]
        else:
            clips = sorted(args.videos.rglob("*.mp4"))[: args.clips]
        if not clips:
            parser.error(f"there is no mp4 file in {args.videos}")
        raw = [media.video(clip, "left") for clip in clips]
        best: dict[str, tuple[float, float]] = {}
        ways = {"packets copied": copy_packets, "decoded and encoded": encode_again}
        for turn in range(args.rounds):
            for way, clean in ways.items():
                took = build(raw, clean, scratch / f"{turn}-{clean.__name__}", args.layout)
                best[way] = min(best.get(way, took), took, key=lambda pair: pair[1])
    size = sum(clip.stat().st_size for clip in clips) / 1e6 if args.videos else None
    print(f"{len(clips)} clips" + (f", {size:.1f} MB" if size is not None else "") + f", layout {args.layout}")
    print(f"{'':22}{'rollouts/s':>12}{'rollouts/CPU s':>16}")
    for way, (wall, cpu) in best.items():
        print(f"{way:22}{len(clips) / wall:12.1f}{len(clips) / cpu:16.1f}")
    fast, slow = best.values()
    print(f"{'ratio':22}{slow[0] / fast[0]:12.1f}{slow[1] / fast[1]:16.1f}")


if __name__ == "__main__":
    main()
