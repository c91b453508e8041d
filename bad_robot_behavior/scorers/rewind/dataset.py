"""Clips for training ReWiND: which frames, what progress, which text, drawn for a whole batch at once.

As published (arXiv 2505.10911; rewind-reward/ReWiND at ea5dd3b, dataset.py), for a rollout of L frames:

    forward   s in 0..L-3, e in s+3..L: frames s..e-1, progress (1..n) / (L-s)
    rewound   s in 0..L//2, e in L//2..L with e-s >= 3, then back over k-1 frames, k in 2..n, with their progress
    a clip of fewer than LENGTH frames repeats its last one and that one's progress; a longer one is thinned out evenly
    mismatched text: with probability MISMATCHED another task's instruction, and progress 0

All bounds are inclusive. Two traps of the published code are closed: a rollout of fewer than 3 frames has no clip
(there, a forward one raises and a rewound one is looked for for ever), and a text is only called mismatched where its
normalised instruction is another one.

Ours are the failures. A rollout with a dense curve p gives forward clips whose progress is counted from what was
reached before the clip, as a success's is: (p(t) - p(s-1)) / (1 - p(s-1)), in [0, 1]; for p = (t+1) / L this is the
published (t+1-s) / (L-s). With a binary label its progress is 0 throughout.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError

LENGTH = 16
MIN_FRAMES = 3
REWIND_RATIO = 0.8
MISMATCHED = 0.2

Vectors: TypeAlias = NDArray[np.float32]
Index: TypeAlias = NDArray[np.int64]


class Trajectory(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One rollout as it is trained on. frames: (L, D) features; text: (T,) of its instruction; progress: (L,) in
    [0, 1]; rewindable: whether it is a success, of which rewound clips can be made."""

    rollout_id: str
    instruction_key: str
    frames: NDArray[np.floating]
    text: Vectors
    progress: NDArray[np.float64]
    rewindable: bool


class Batch(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """B clips and as many in-batch negatives. frames: (B, LENGTH), rows of `Pool.frames`; text: (B,), rows of
    `Pool.texts`; progress: (B, LENGTH) in [0, 1]. other: (B,), the text that clip i does not fulfil, -1 where the
    batch has none."""

    frames: Index
    text: Index
    progress: Vectors
    other: Index


class Pool:
    """All rollouts that are trained on, their frames in one array, so that a batch is a few gathers.

    Raises BadRobotError where there are none, or one has fewer than MIN_FRAMES frames.
    """

    def __init__(self, trajectories: list[Trajectory]) -> None:
        if not trajectories:
            raise BadRobotError("there is no rollout to train on")
        short = [t.rollout_id for t in trajectories if len(t.frames) < MIN_FRAMES]
        if short:
            raise BadRobotError(f"rollout {short[0]} has fewer than {MIN_FRAMES} frames: no clip can be cut from it")
        self.frames = np.concatenate([t.frames for t in trajectories])
        self.lengths = np.array([len(t.frames) for t in trajectories], np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        # before[f]: what was reached before frame f; a rollout starts at 0
        self.progress = np.concatenate([t.progress for t in trajectories])
        self.before = np.concatenate([np.concatenate(([0.0], t.progress[:-1])) for t in trajectories])
        self.rewindable = np.array([t.rewindable for t in trajectories])
        keys = sorted({t.instruction_key for t in trajectories})
        self.keys = np.array([keys.index(t.instruction_key) for t in trajectories], np.int64)
        self.num_keys = len(keys)
        # one text a rollout: those of one task may be worded differently
        self.texts = np.stack([t.text for t in trajectories]).astype(np.float32)

    def draw(self, size: int, rng: np.random.Generator) -> Batch:
        """A batch of `size` clips, of rollouts drawn evenly, with replacement."""
        row = rng.integers(0, len(self.lengths), size)
        clips = cut(self.lengths[row], self.rewindable[row] & (rng.random(size) < REWIND_RATIO), rng)
        frames = self.starts[row][:, None] + positions(clips)
        base = self.before[self.starts[row] + clips.first]
        # a curve that was at 1 before the clip has nothing left to gain; the floor only keeps 0 / 0 out
        left = np.maximum(1 - base, 1e-6)
        progress = np.clip((self.progress[frames] - base[:, None]) / left[:, None], 0, 1)
        text = row.copy()
        if self.num_keys > 1:
            wrong = np.flatnonzero(rng.random(size) < MISMATCHED)
            text[wrong] = self._of_other_tasks(self.keys[row[wrong]], rng)
            progress[wrong] = 0
        return Batch(frames=frames, text=text, progress=progress.astype(np.float32), other=self._others(row, rng))

    def _of_other_tasks(self, keys: Index, rng: np.random.Generator) -> Index:
        """For each task a rollout of another one, drawn evenly from all of those."""
        order = np.argsort(self.keys, kind="stable")
        first = np.searchsorted(self.keys[order], keys, "left")
        own = np.searchsorted(self.keys[order], keys, "right") - first
        drawn = rng.integers(0, len(order) - own)
        return order[np.where(drawn < first, drawn, drawn + own)]

    def _others(self, row: Index, rng: np.random.Generator) -> Index:
        """For each clip the text of another clip in the batch whose task is another, -1 where that cannot be.

        The batch is ordered by task and turned by the size of its largest group: no clip then meets its own, unless
        that group is more than half of the batch.
        """
        shuffled = rng.permutation(len(row))
        order = shuffled[np.argsort(self.keys[row[shuffled]], kind="stable")]
        largest = int(np.bincount(self.keys[row]).max())
        other = np.empty_like(row)
        other[order] = row[np.roll(order, -largest)]
        return np.where(self.keys[other] == self.keys[row], -1, other)


class Cut(NamedTuple):
    """B clips: frames first..end-1 of a rollout, and back over `back` of them."""

    first: Index
    end: Index
    back: Index


def cut(lengths: Index, rewound: NDArray[np.bool_], rng: np.random.Generator) -> Cut:
    """Where clips of rollouts of `lengths` frames, of MIN_FRAMES or more, begin, end and turn, as published."""
    forward = rng.integers(0, lengths - 2)
    first, end = rng.integers(0, lengths // 2 + 1), rng.integers(lengths // 2, lengths + 1)
    while (again := np.flatnonzero(end - first < MIN_FRAMES)).size:  # it ends: 0..L is always legal
        first[again] = rng.integers(0, lengths[again] // 2 + 1)
        end[again] = rng.integers(lengths[again] // 2, lengths[again] + 1)
    back = rng.integers(2, end - first + 1) - 1
    until = rng.integers(forward + 3, lengths + 1)
    return Cut(np.where(rewound, first, forward), np.where(rewound, end, until), np.where(rewound, back, 0))


def positions(clips: Cut) -> Index:
    """(B, LENGTH): the frames of clips, brought to one length."""
    shown = (clips.end - clips.first)[:, None]
    step = resampled(clips.end - clips.first + clips.back)
    return clips.first[:, None] + np.where(step < shown, step, 2 * (shown - 1) - step)


def resampled(lengths: Index) -> Index:
    """(B, LENGTH): which of `length` frames are taken: thinned out evenly, first and last among them, or all and the
    last one again."""
    step = np.arange(LENGTH)
    longest = lengths[:, None] - 1
    return np.where(longest >= LENGTH, step * longest // (LENGTH - 1), np.minimum(step, longest))
