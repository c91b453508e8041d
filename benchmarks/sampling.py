"""Sampling 16 frames from each video of a folder: this package against torchcodec.

    pip install torch==2.13.0 torchcodec==0.13.0    (and FFmpeg's libraries: apt-get install ffmpeg)
    python benchmarks/sampling.py ../shared/samples

Both open each file, find its frames exactly (torchcodec: seek_mode="exact"), decode on one thread and give RGB uint8.
The two take turns within each repetition, in alternating order, so that a busy machine is busy for both. The frames
are held to be equal. CPU time is the number to trust where other work shares the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media

Sampler = Callable[[Path, NDArray[np.int64]], NDArray[np.uint8]]


def ours(path: Path, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    return media.sample(path, index)


def torchcodec(path: Path, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
    frames: NDArray[np.uint8] = decoder.get_frames_at(indices=index.tolist()).data.numpy()
    return frames


def run(sampler: Sampler, clips: list[tuple[Path, NDArray[np.int64]]]) -> tuple[float, float]:
    """Wall and CPU seconds for one pass over all clips."""
    wall, cpu = time.perf_counter(), time.process_time()
    for path, index in clips:
        sampler(path, index)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/samples"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    paths = [path for path in sorted(arguments.folder.rglob("*")) if path.suffix in {".mp4", ".mkv"}]
    if not paths:
        sys.exit(f"{arguments.folder}: there is no mp4 or mkv file")

    import torch

    torch.set_num_threads(1)
    clips = [(path, media.sample_index(media.probe(path).num_frames, arguments.frames)) for path in paths]
    unequal = [path for path, index in clips if not np.array_equal(ours(path, index), torchcodec(path, index))]
    assert not unequal, f"frames differ in {unequal}"

    times: dict[str, list[tuple[float, float]]] = {"ours": [], "torchcodec": []}
    samplers: list[tuple[str, Sampler]] = [("ours", ours), ("torchcodec", torchcodec)]
    for repetition in range(arguments.repeat):
        for name, sampler in samplers if repetition % 2 == 0 else reversed(samplers):
            times[name].append(run(sampler, clips))
    print(f"{len(clips)} videos, {arguments.frames} frames each, median of {arguments.repeat}; the frames are equal")
    print(f"{'':12}{'wall s':>10}{'CPU s':>10}")
    wall = {name: statistics.median(pair[0] for pair in found) for name, found in times.items()}
    cpu = {name: statistics.median(pair[1] for pair in found) for name, found in times.items()}
    for name in times:
        print(f"{name:12}{wall[name]:10.3f}{cpu[name]:10.3f}")
    ratios = [wall["ours"] / wall["torchcodec"], cpu["ours"] / cpu["torchcodec"]]
    print(f"{'ratio':12}{ratios[0]:10.2f}{ratios[1]:10.2f}    (below 1: ours takes less time)")


if __name__ == "__main__":
    main()
