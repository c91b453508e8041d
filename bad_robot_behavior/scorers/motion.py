"""A floor that is blind to the instruction: how much of a rollout's motion is over."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card, floor
from bad_robot_behavior.scorers.scorer import Clip, Curve


class Motion:
    """The scorer `motion`: the share of a rollout's motion that has happened by each frame, from 0 to 1.

    The motion between two sampled frames is the mean absolute difference of their pixels (uint8 RGB). The instruction
    is never looked at, so that a rollout gets the same curve under every one. It rises or stays on every rollout, and
    ends at 1; how high its mean is says how early things moved. A rollout in which no pixel changes has no curve.
    """

    name = "motion"
    kind: CurveKind = "progress"
    needs_frames = True
    card: Card = floor("floor: blind to the instruction", "all frames", "progress in [0, 1], never falling")

    def __init__(self, num_frames: int = 30) -> None:
        self.num_frames = num_frames

    def parameters(self) -> dict[str, Any]:
        return {}

    def score(self, clips: list[Clip]) -> list[Curve]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Curve:
        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: motion needs the frames of the clip")
        so_far = motion(clip.frames)
        if so_far[-1] == 0:
            return Curve(value=None, error="no pixel changes between the sampled frames")
        return Curve(value=so_far / so_far[-1])


def motion(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Motion (N,) up to each frame of (N, H, W, 3), 0 at the first, in grey levels a pixel."""
    steps = [np.abs(after.astype(np.int16) - before).mean() for before, after in itertools.pairwise(frames)]
    return np.cumsum([0.0, *steps])
