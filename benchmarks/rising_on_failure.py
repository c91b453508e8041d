"""How often a curve rises to the end of a rollout that failed, where the truth is known (arXiv 2606.01036, figure 1).

Over a synthetic set: the share of rollouts on which the value-order correlation (VOC) of a curve is above 0.8, with a
95 % interval over scenes, for

- time ramp: the share of the video that has been seen;
- naive progress: how far the success twin was when its hand and fingers were where they are now. It stands for a
  model that has seen nothing but success and watches the robot;
- true reward: the simulator's progress less every penalty so far, at the same frames.

The rollouts stand in groups: clean successes, successes with a violation, failures.

    python benchmarks/rising_on_failure.py SET
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.intervals import estimate
from bad_robot_behavior.benchmark.metrics import Ratio, voc
from bad_robot_behavior.schema.synthetic_file import Episode, Scene
from bad_robot_behavior.synthesis.run import read_scenes

Floats = NDArray[np.float64]
ABOVE = 0.8
CURVES = ("time ramp", "naive progress", "true reward")
GROUPS = ("success", "success with a violation", "failure", "failure, any that a camera shows")
_HAND = 8  # columns of state that say where hand and fingers are: tcp (3), orientation (4), opening (1)
_SCALE = np.array([0.1, 0.1, 0.1, 1, 1, 1, 1, 1])  # metres against quaternions and openings


def curves(folder: Path, scene: Scene, episode: Episode) -> dict[str, Floats]:
    """(frames,) of each curve."""
    mine, twin = (_steps(folder / "scenes" / scene.scene / name) for name in (episode.name, episode.twin))
    at = np.minimum(
        np.arange(-(-(len(mine["reward"]) - 1) // scene.steps_per_frame) + 1) * scene.steps_per_frame,
        len(mine["reward"]) - 1,
    )
    hand = mine["state"][at, :_HAND] / _SCALE
    apart = np.linalg.norm(hand[:, None] - twin["state"][None, :, :_HAND] / _SCALE, axis=2)
    return {
        "time ramp": np.arange(1, len(at) + 1) / len(at),
        "naive progress": (apart.argmin(axis=1) + 1) / len(twin["state"]),
        "true reward": np.round(np.cumsum(mine["reward"])[at], 6),
    }


def _steps(folder: Path) -> dict[str, Floats]:
    with np.load(folder / "steps.npz", allow_pickle=False) as steps:
        return {name: steps[name] for name in ("state", "reward")}


def groups(episode: Episode) -> list[str]:
    if episode.success:
        return ["success" if episode.outcome == "success" else "success with a violation"]
    seen = any(failure.observable for failure in episode.failures)
    return ["failure"] + ["failure, any that a camera shows"] * seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    folder = parser.parse_args().set
    high: dict[tuple[str, str], list[tuple[int, bool]]] = defaultdict(list)
    scenes = 0
    for number, scene in enumerate(read_scenes(folder)):
        scenes = number + 1
        for episode in scene.episodes:
            named = episode if episode.twin else _with_itself(episode)
            for name, value in curves(folder, scene, named).items():
                order = voc(value, np.array([0, len(value)]))[0]
                for group in groups(episode):
                    high[group, name].append((number, bool(order > ABOVE)))
    print(f"share of rollouts with VOC above {ABOVE}; {scenes} scenes, 95 % intervals over them\n")
    print("| rollouts | n | " + " | ".join(CURVES) + " |")
    print("|---|---|" + "---|" * len(CURVES))
    for group in GROUPS:
        cells = []
        for name in CURVES:
            rows = high[group, name]
            ratio = Ratio(numerator=np.zeros(scenes), denominator=np.zeros(scenes))
            for number, above in rows:
                ratio.numerator[number] += above
                ratio.denominator[number] += 1
            ((value, interval),) = estimate([ratio], scenes)
            cells.append(
                "no rollout"
                if value is None
                else f"{value:.2f}" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")
            )
        print(f"| {group} | {len(high[group, CURVES[0]])} | " + " | ".join(cells) + " |")


def _with_itself(episode: Episode) -> Episode:
    import msgspec

    return msgspec.structs.replace(episode, twin=episode.name)


if __name__ == "__main__":
    main()
