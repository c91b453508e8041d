"""Scorers that see nothing: what a reward model must beat before its numbers mean anything.

None of them looks at a frame. `Random` is chance, `Constant` shows what ties are worth, `TimeRamp` is a perfect VOC
without judgement, and `Duration` is all that the length of a recording gives away.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card, floor
from bad_robot_behavior.scorers.scorer import Clip, Curve

NUM_FRAMES = 30
HALF_TIME_S = 60.0


class Random:
    """Independent uniform values in [0, 1), seeded by `seed` and the rollout's id, whatever the batch."""

    name = "random"
    kind: CurveKind = "progress"
    needs_frames = False
    num_frames = NUM_FRAMES
    card: Card = floor("floor: chance", "nothing", "uniform values in [0, 1)")

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def parameters(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def score(self, clips: list[Clip]) -> list[Curve]:
        return [Curve(value=self._rng(clip).random(len(clip.frame_index))) for clip in clips]

    def _rng(self, clip: Clip) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}/{clip.rollout_id}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


class Constant:
    """0.5 at every frame: all rollouts tie, so strict accuracy is 0 and accuracy with half ties 0.5."""

    name = "constant"
    kind: CurveKind = "progress"
    needs_frames = False
    num_frames = NUM_FRAMES
    card: Card = floor("floor: all rollouts tie", "nothing", "0.5 everywhere")

    def parameters(self) -> dict[str, Any]:
        return {"value": 0.5}

    def score(self, clips: list[Clip]) -> list[Curve]:
        return [Curve(value=np.full(len(clip.frame_index), 0.5)) for clip in clips]


class TimeRamp:
    """From 0 at the first sampled frame to 1 at the last, in equal steps: VOC is 1 on every rollout, failed or not.

    The ramp counts sampled frames and not seconds, so all returns are equal. A clip of one frame gets 0.5, the mean of
    every other ramp.
    """

    name = "time_ramp"
    kind: CurveKind = "progress"
    needs_frames = False
    num_frames = NUM_FRAMES
    card: Card = floor("floor: time alone", "the number of frames", "from 0 to 1 in equal steps")

    def parameters(self) -> dict[str, Any]:
        return {}

    def score(self, clips: list[Clip]) -> list[Curve]:
        return [Curve(value=_ramp(len(clip.frame_index))) for clip in clips]


def _ramp(length: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.linspace(0.0, 1.0, length) if length > 1 else np.full(length, 0.5)


class Duration:
    """-d / (d + 60) at every frame, for a video of d seconds of file time: in (-1, 0], and shorter is better.

    A policy that succeeds stops early and one that fails runs to its limit, so length alone orders some pairs right.
    """

    name = "duration"
    kind: CurveKind = "reward"
    needs_frames = False
    num_frames = NUM_FRAMES
    card: Card = floor("floor: length alone", "the length of the video", "-d / (d + 60 s), in (-1, 0]")

    def parameters(self) -> dict[str, Any]:
        return {"half_time_s": HALF_TIME_S}

    def score(self, clips: list[Clip]) -> list[Curve]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Curve:
        seconds = clip.num_frames / clip.fps
        return Curve(value=np.full(len(clip.frame_index), -seconds / (seconds + HALF_TIME_S)))
