"""Load a release in both ways: `datasets.load_dataset`, and `bad_robot_behavior.load` for decoded frames.

python examples/load.py [RELEASE]
"""

from __future__ import annotations

import sys

from datasets import load_dataset

import bad_robot_behavior


def main(release: str = "bad-robot-behavior") -> None:
    rollouts = load_dataset(release, "rollouts")
    for split, table in rollouts.items():
        failed = sum(success is False for success in table["success"])
        print(f"load_dataset({release!r})[{split!r}]: {len(table)} rollouts, {failed} failed")

    rollout = next(iter(bad_robot_behavior.load(release, split="test")))
    frames = rollout.frames(n=8)
    print(f"{rollout['instruction']!r}, score {rollout['score']}: frames {frames.shape} {frames.dtype}")


if __name__ == "__main__":
    main(*sys.argv[1:])
