"""How many faces are masked and how often a robot is, beside deface's own command line in the same run.

    python benchmarks/faces.py FOLDER --robots 0      composites: ten minutes on two free cores
    python benchmarks/faces.py FOLDER --clips 0       robots: a quarter of an hour

FOLDER holds the sample videos: `faces` with people, the others with robots (benchmarks/face_tracks.py says which).

Composites: clips of 40 frames, 4 faces each, of six sizes. A face-frame is masked when 90 % of the face's box, drawn by
hand, has the mask's colour in the video that comes out. deface is run as `deface VIDEO --replacewith solid`, its other
settings untouched, ours as the scrub stage runs it; each reads a file and writes one. Seconds are of processor time on
all cores, which other work on the machine changes little; what deface takes to start is taken off.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from face_tracks import FRAMES, SIZES, Clip, Pixels, clips, robot_videos  # noqa: E402

from bad_robot_behavior import media  # noqa: E402
from bad_robot_behavior.curation.scrub.pictures import Pictures  # noqa: E402
from bad_robot_behavior.curation.scrub.tracks import MASK, paint  # noqa: E402
from bad_robot_behavior.schema import FacesSettings, TextOnScreenSettings  # noqa: E402

NO_TEXT = TextOnScreenSettings(detector="none", waived_because="it is measured elsewhere")
COLOURS = {"ours": MASK, "deface": (0, 0, 0)}
ENOUGH, NEAR = 0.9, 24
EACH = 4
"""Clips or videos after which the table so far is printed."""


class Ours:
    """This package, as the scrub stage runs it."""

    def __init__(self) -> None:
        self._pictures = Pictures(FacesSettings(), NO_TEXT)

    def __call__(self, source: Path, out: Path) -> float:
        """Seconds of processor time for looking through a video and writing it with what it found masked."""
        started = time.process_time()
        fps = media.probe(source).fps
        masks = self._pictures(source, fps, lambda _: ()).masks or {}
        if masks:
            drawn = (paint(f, masks[i]) if i in masks else f for i, f in enumerate(media.frames(source)))
            media.encode(out, drawn, fps)
        else:
            media.remux(source, out)
        return time.process_time() - started


def deface(source: Path, out: Path) -> float:
    """As `Ours`, with what the program takes to start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(Path(sys.executable).with_name("deface")), str(source), "-o", str(out), "--replacewith", "solid"]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--clips", type=int, default=52)
    parser.add_argument("--robots", type=int, help="only so many videos of robots")
    parser.add_argument("--frames", type=int, help="only the first so many frames of each video of robots")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    ours = Ours()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        media.encode(place / "one.mp4", [np.full((64, 64, 3), 99, np.uint8)], 10.0)
        starting = min(deface(place / "one.mp4", place / "out.mp4") for _ in range(3))
        ours(place / "one.mp4", place / "out.mp4")
        print(f"deface takes {starting:.1f} s to start, which is taken off its seconds\n", flush=True)
        if options.clips:
            composites(ours, starting, place, clips(options.samples, options.clips, options.seed))
        videos = robot_videos(options.samples)[: options.robots]
        if videos:
            robots(ours, starting, place, videos, options.frames)


def composites(ours: Ours, starting: float, place: Path, made: Iterable[Clip]) -> None:
    hits: dict[str, dict[int, list[bool]]] = {name: defaultdict(list) for name in COLOURS}
    seconds: dict[str, list[float]] = {name: [] for name in COLOURS}
    tracks = number = 0
    for number, clip in enumerate(made, 1):
        source = place / "clip.mp4"
        media.encode(source, clip.frames, clip.fps)
        for name in sorted(COLOURS, reverse=bool(number % 2)):
            out = place / f"{name}.mp4"
            out.unlink(missing_ok=True)
            took = ours(source, out) if name == "ours" else deface(source, out) - starting
            seconds[name].append(took)
            share(clip, written(out, clip.frames[0]), name, hits[name])
        tracks += sum(bool(track.boxes) for track in clip.tracks)
        if number % EACH == 0:
            table(number, tracks, hits, seconds)
    if number % EACH:
        table(number, tracks, hits, seconds)


def table(whole: int, tracks: int, hits: dict[str, dict[int, list[bool]]], seconds: dict[str, list[float]]) -> None:
    """What there is so far."""
    print(f"composites: {whole} clips of {FRAMES} frames, {tracks} tracks; share of face-frames masked")
    print("| height of the face | face-frames | ours | deface |\n|---|---|---|---|")
    for size in SIZES:
        rates = [f"{100 * np.mean(hits[name][size]):.1f} %" for name in ("ours", "deface")]
        print(f"| {size} px | {len(hits['ours'][size]):,} | {rates[0]} | {rates[1]} |")
    for least in (16, 24):
        both = [np.mean([h for s in SIZES if s >= least for h in hits[name][s]]) for name in ("ours", "deface")]
        print(f"| {least} px and more | | {100 * both[0]:.1f} % | {100 * both[1]:.1f} % |")
    middle = {name: statistics.median(took) for name, took in seconds.items()}
    total = {name: sum(took) for name, took in seconds.items()}
    print(f"seconds a clip, median: ours {middle['ours']:.2f}, deface {middle['deface']:.2f}; all clips together")
    print(
        f"ours {total['ours']:.0f}, deface {total['deface']:.0f}: {total['deface'] / total['ours']:.1f} times\n",
        flush=True,
    )


def share(clip: Clip, out: list[Pixels], name: str, hits: dict[int, list[bool]]) -> None:
    """Note for each face-frame whether the face is covered in the video that came out."""
    for track in clip.tracks:
        for index, box in track.boxes.items():
            x1, y1, x2, y2 = (max(0, round(side)) for side in box)
            hits[track.size].append(bool(covered(out[index], name)[y1:y2, x1:x2].mean() >= ENOUGH))


def written(path: Path, like: Pixels) -> list[Pixels]:
    """The frames of a video, as large as those that it was made of: deface scales to multiples of 16 pixels."""
    size = like.shape[1::-1]
    return [
        f if f.shape == like.shape else np.asarray(Image.fromarray(f).resize(size, Image.Resampling.NEAREST))
        for f in media.frames(path)
    ]


def covered(frame: Pixels, name: str) -> NDArray[np.bool_]:
    """Which pixels (H, W) have the colour of the mask, as far as a video keeps colours."""
    return np.asarray((np.abs(frame.astype(int) - COLOURS[name]) <= NEAR).all(axis=2))


def robots(ours: Ours, starting: float, place: Path, videos: list[Path], limit: int | None) -> None:
    frames, masked = 0, dict.fromkeys(COLOURS, 0)
    seconds = dict.fromkeys(COLOURS, 0.0)
    where: dict[str, list[str]] = {name: [] for name in COLOURS}
    for number, path in enumerate(videos, 1):
        source = path
        if limit is not None:
            source = place / "robot.mp4"
            kept = [frame for i, frame in enumerate(media.frames(path)) if i < limit]
            media.encode(source, kept, media.probe(path).fps)
        given = list(media.frames(source))
        frames += len(given)
        for name in COLOURS:
            out = place / f"{name}.mp4"
            out.unlink(missing_ok=True)
            seconds[name] += ours(source, out) if name == "ours" else deface(source, out) - starting
            hit = sum(
                int((covered(after, name) & (np.abs(after.astype(int) - before).max(axis=2) > 2 * NEAR)).sum() >= 40)
                for before, after in zip(given, written(out, given[0]), strict=False)
            )
            masked[name] += hit
            where[name] += [f"{path.stem} {hit}"] if hit else []
        if number % EACH == 0 or number == len(videos):
            print(f"videos of robots: {number}, {frames:,} frames; frames with a mask")
            for name in COLOURS:
                listed = f" ({', '.join(where[name])})" if where[name] else ""
                rate = 1000 * masked[name] / frames
                print(f"{name}: {masked[name]}, {rate:.1f} in 1,000{listed}; {seconds[name]:.0f} s", flush=True)


if __name__ == "__main__":
    main()
