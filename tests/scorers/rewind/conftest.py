"""A small network on one thread, and a release of drawn clips in which success, failure and instruction can be seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.schema import RewardCurve, Rollout, Videos
from bad_robot_behavior.scorers.rewind.model import SIZES
from tests.builder.releases import make_release
from tests.factories import make_record, make_rollout

FRAMES = 10
RIGHT, LEFT = "push the yellow block to the right", "push the yellow block to the left"


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setitem(SIZES, "small", {"width": 32, "heads": 2, "layers": 2, "inner": 64})
    yield
    torch.set_num_threads(threads)


def draw(places: list[float], height: int = 20) -> NDArray[np.uint8]:
    """A block that stands at `places`, 0 left to 1 right, one for each frame."""
    frames = np.full((len(places), 48, 64, 3), 90, np.uint8)
    for frame, place in zip(frames, places, strict=True):
        x = round(place * 48)
        frame[height : height + 16, x : x + 16] = (250, 240, 30)
    return frames


def way(instruction: str, outcome: str) -> list[float]:
    """Where the block goes: all the way, or half of it and back."""
    there = list(np.linspace(0, 1, FRAMES))
    if outcome == "failure":
        there = list(np.concatenate([np.linspace(0, 0.5, FRAMES // 2), np.linspace(0.4, 0, FRAMES - FRAMES // 2)]))
    return there if instruction == RIGHT else [1 - place for place in there]


def make(folder: Path, number: int, instruction: str, outcome: str, split: str = "train") -> Rollout:
    height = 4 + 3 * number
    path = folder / f"{number}.mp4"
    media.encode(path, draw(way(instruction, outcome), height), fps=10)
    video = make_record(path, FRAMES)
    rollout = make_rollout(
        path,
        session=f"session-{number}",
        instruction=instruction,
        videos=Videos(exterior_1=video),
        split=split,
        success=outcome == "success",
        outcome=outcome,
        score=1.0 if outcome == "success" else 0.1,
    )
    if outcome == "success":
        return rollout
    moments = (0, 2, 4, 6, 9)
    value = (0.0, 0.25, 0.5, 0.2, -0.3)
    curve = RewardCurve(
        name="simulator_net_progress",
        kind="reward",
        scorer="simulator",
        model=None,
        role="exterior_1",
        frame_index=moments,
        value=value,
        provenance="simulator",
    )
    return msgspec.structs.replace(rollout, rewards=(curve,), reward=value, reward_frame_index=moments)


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, in each two successes and a failure in train; a success of each in test."""
    folder = tmp_path_factory.mktemp("blocks")
    plan = [(RIGHT, "success"), (LEFT, "success"), (RIGHT, "failure"), (LEFT, "failure")] * 2
    rollouts = [make(folder, number, *what) for number, what in enumerate(plan)]
    rollouts.append(make(folder, 8, RIGHT, "success", "test"))
    out = folder / "release"
    make_release(out, rollouts, "files")
    return out


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes() + (folder / "card.json").read_bytes()).hexdigest()
