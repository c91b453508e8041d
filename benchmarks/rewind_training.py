"""Training ReWiND and feeding it, against what one would write from the paper, side by side.

    python benchmarks/rewind_training.py RELEASE --device cpu --size small --batch 64

Steps: a plain loop draws each clip by itself in a torch DataLoader, as the published code does, shows the network the
batch and then the in-batch negatives, and updates with plain Adam in float32; network and batch are the same, and both
draw in the process that trains. Clips: 16 frames of each video, 224 x 224, by PyAV in a DataLoader, each decoded from
the start until its last frame is there, against `extract.pictures` in threads; as many workers.

The two take turns within each repetition, in alternating order. CPU seconds, of children too, are what to trust where
other work shares the machine; on a GPU look at the wall.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from bad_robot_behavior import load, media
from bad_robot_behavior.scorers.rewind.dataset import LENGTH, MISMATCHED, REWIND_RATIO, Pool, Trajectory
from bad_robot_behavior.scorers.rewind.extract import pictures
from bad_robot_behavior.scorers.rewind.features import SIDE
from bad_robot_behavior.scorers.rewind.judge import Dimensions
from bad_robot_behavior.scorers.rewind.model import SIZES, Network
from bad_robot_behavior.scorers.rewind.training import Settings, Trainer


class Clips(torch.utils.data.Dataset):  # type: ignore[misc]
    """The published sampling, one clip at a time."""

    def __init__(self, trajectories: list[Trajectory], seed: int) -> None:
        self.trajectories = [(t.frames.astype(np.float32), t.text, t.instruction_key) for t in trajectories]
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, _: int) -> tuple[Any, Any, Any]:
        rng = self.rng
        frames, text, key = self.trajectories[rng.integers(len(self.trajectories))]
        length = len(frames)
        if rng.random() < REWIND_RATIO:
            while True:
                first, end = rng.integers(0, length // 2 + 1), rng.integers(length // 2, length + 1)
                if end - first >= 3:
                    break
            back = rng.integers(2, end - first + 1)
        else:
            first = rng.integers(0, length - 2)
            end, back = rng.integers(first + 3, length + 1), 1
        clip = frames[first:end]
        progress = np.arange(1, end - first + 1, dtype=np.float32) / (length - first)
        clip = np.concatenate([clip, clip[::-1][1:back]])
        progress = np.concatenate([progress, progress[::-1][1:back]])
        if len(clip) < LENGTH:
            missing = LENGTH - len(clip)
            clip = np.concatenate([clip, np.repeat(clip[-1:], missing, axis=0)])
            progress = np.concatenate([progress, np.repeat(progress[-1:], missing)])
        else:
            at = np.linspace(0, len(clip) - 1, LENGTH).astype(int)
            clip, progress = clip[at], progress[at]
        if rng.random() < MISMATCHED:
            while True:
                _, text, other = self.trajectories[rng.integers(len(self.trajectories))]
                if other != key:
                    break
            progress = np.zeros_like(progress)
        return torch.from_numpy(clip), torch.from_numpy(text), torch.from_numpy(progress)


def plain_steps(
    trajectories: list[Trajectory], dimensions: Dimensions, batch: int, device: str
) -> Callable[[int], None]:
    network = Network(dimensions).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=1e-4, foreach=False, fused=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300_000, 1e-5)
    stream = iter(torch.utils.data.DataLoader(Clips(trajectories, 0), batch_size=batch))

    def run(steps: int) -> None:
        for _ in range(steps):
            frames, text, progress = (part.to(device) for part in next(stream))
            own = network(frames, text)
            other = network(frames, text.roll(1, 0))
            loss = ((own - progress)[:, 1:] ** 2).mean() + (other[:, 1:] ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            loss.item()  # it is logged

    return run


def our_steps(
    trajectories: list[Trajectory], dimensions: Dimensions, settings: Settings, device: str
) -> Callable[[int], None]:
    trainer = Trainer(Pool(trajectories), dimensions, settings, device)
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:
        for number in range(steps):
            trainer.step(trainer.pool.draw(settings.batch, rng), number)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


class Videos(torch.utils.data.Dataset):  # type: ignore[misc]
    """The obvious way: PyAV, one clip an item."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Any:
        with av.open(str(self.paths[number])) as container:
            wanted = media.sample_index(container.streams.video[0].frames, LENGTH).tolist()
            found = {}
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    found[index] = frame.reformat(SIDE, SIDE, format="rgb24", interpolation="AREA").to_ndarray()
                if index == wanted[-1]:
                    break
        return torch.from_numpy(np.stack([found[index] for index in wanted]))


def obvious_clips(paths: list[Path], workers: int) -> int:
    loader = torch.utils.data.DataLoader(Videos(paths), batch_size=None, num_workers=workers)
    return sum(len(clip) > 0 for clip in loader)


def our_clips(paths: list[Path], lengths: list[int], workers: int) -> int:
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        for path, length in zip(paths, lengths, strict=True):
            waiting.append(pool.submit(pictures, path.read_bytes(), media.sample_index(length, LENGTH)))
            if len(waiting) > 2 * workers:
                done += len(waiting.popleft().result()) > 0
        done += sum(len(future.result()) > 0 for future in waiting)
    return done


def cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def compare(what: str, amount: int, ours: Callable[[], Any], plain: Callable[[], Any], repeat: int) -> None:
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    runs = [("ours", ours), ("plain", plain)]
    for repetition in range(repeat + 1):
        for name, run in runs if repetition % 2 == 0 else reversed(runs):
            wall, spent = time.perf_counter(), cpu()
            run()
            if repetition:  # the first warms up
                taken[name].append((time.perf_counter() - wall, cpu() - spent))
    middle = {name: [statistics.median(pair[k] for pair in found) for k in (0, 1)] for name, found in taken.items()}
    print(f"{what}, median of {repeat}")
    for name, (wall, spent) in middle.items():
        print(f"  {name:6} {amount / wall:9.1f} a wall second {amount / spent:9.1f} a CPU second")
    ratios = [statistics.median(p[k] / o[k] for o, p in zip(*taken.values(), strict=True)) for k in (0, 1)]
    print(f"  ours is {ratios[0]:.2f} times as fast by the wall, {ratios[1]:.2f} by CPU time (pairwise median)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rng = np.random.default_rng(0)
    trajectories = [
        Trajectory(
            rollout_id=f"{number:020x}",
            instruction_key=f"task {number % 10}",
            frames=rng.normal(size=(64, 2880)).astype(np.float16),
            text=rng.normal(size=384).astype(np.float32),
            progress=np.arange(1, 65) / 64,
            rewindable=True,
        )
        for number in range(given.rollouts)
    ]
    dimensions = Dimensions(frame=2880, text=384, **SIZES[given.size])
    settings = Settings(batch=given.batch, size=given.size)
    ours = our_steps(trajectories, dimensions, settings, given.device)
    plain = plain_steps(trajectories, dimensions, given.batch, given.device)
    title = f"steps of {given.batch} clips, {given.size} network, {given.device}, {given.threads} threads"
    compare(title, given.steps, lambda: ours(given.steps), lambda: plain(given.steps), given.repeat)

    release = load(given.release)
    videos = [rollout["videos"][rollout.roles[0]] for rollout in release]
    paths, lengths = [release.path / video["path"] for video in videos], [video["num_frames"] for video in videos]
    for path, length in zip(paths[:3], lengths[:3], strict=True):  # the same moments, the same pixels but for rounding
        seen = pictures(path.read_bytes(), media.sample_index(length, LENGTH)).astype(int)
        shown = Videos([path])[0].numpy().astype(int)
        assert seen.shape == shown.shape
        assert np.abs(seen - shown).mean() < 2, f"{path}: the frames differ"
    compare(
        f"clips of {LENGTH} frames, {len(paths)} videos, {given.workers} workers",
        len(paths),
        lambda: our_clips(paths, lengths, given.workers),
        lambda: obvious_clips(paths, given.workers),
        given.repeat,
    )


if __name__ == "__main__":
    main()
