"""Clips as published: bounds, turns, lengths, progress; and the two traps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind.dataset import LENGTH, Cut, Pool, Trajectory, cut, positions


def trajectory(number: int, length: int, key: str, *, progress: list[float] | None = None) -> Trajectory:
    """Frames whose one feature is their number in the rollout; a failure where `progress` is given."""
    return Trajectory(
        rollout_id=f"{number:020x}",
        instruction_key=key,
        frames=np.arange(length, dtype=np.float16)[:, None],
        text=np.full(3, number, np.float32),
        progress=np.arange(1, length + 1) / length if progress is None else np.array(progress),
        rewindable=progress is None,
    )


def published(first: int, end: int, back: int) -> list[int]:
    """The published code in plain words: k = back + 1."""
    clip = list(range(first, end))
    clip += clip[::-1][1 : back + 1]
    if len(clip) < LENGTH:
        return clip + [clip[-1]] * (LENGTH - len(clip))
    # numpy's linspace as whole numbers; the nudge is for those that it puts a hair below one
    return [clip[int(i)] for i in np.linspace(0, len(clip) - 1, LENGTH) + 1e-9]


@given(st.integers(0, 40), st.integers(3, 90), st.data())
def test_positions_are_those_of_the_published_code(first: int, shown: int, data: st.DataObject) -> None:
    back = data.draw(st.integers(0, shown - 1))
    made = positions(Cut(np.array([first]), np.array([first + shown]), np.array([back])))
    assert made.tolist() == [published(first, first + shown, back)]


@pytest.mark.parametrize("length", [3, 4, 7])
def test_all_published_bounds_occur_and_no_others(length: int) -> None:
    rng = np.random.default_rng(0)
    count = 20_000
    forward = cut(np.full(count, length), np.zeros(count, bool), rng)
    legal = {(s, e, 0) for s in range(length - 2) for e in range(s + 3, length + 1)}
    assert set(zip(*(part.tolist() for part in forward), strict=True)) == legal
    rewound = cut(np.full(count, length), np.ones(count, bool), rng)
    half = length // 2
    legal = {
        (s, e, k - 1)
        for s in range(half + 1)
        for e in range(half, length + 1)
        if e - s >= 3
        for k in range(2, e - s + 1)
    }
    assert set(zip(*(part.tolist() for part in rewound), strict=True)) == legal


@pytest.mark.parametrize("progress", [None, [0.1, 0.3, 0.6, 0.6, 0.2, 0.2, 0.0, 0.4, 1.0, 0.9]])
def test_progress_counts_from_what_was_reached_before_the_clip(progress: list[float] | None) -> None:
    length = 10
    pool = Pool([trajectory(0, length, "only", progress=progress)])
    batch = pool.draw(2000, np.random.default_rng(1))
    first = batch.frames[:, :1]
    assert (pool.frames[batch.frames][..., 0] == batch.frames).all()
    if progress is None:
        expected = (batch.frames + 1 - first) / (length - first)  # (1..n) / (L-s), rewound ones too
    else:
        curve = np.array([0, *progress])
        before = curve[first]
        expected = np.clip((curve[batch.frames + 1] - before) / np.maximum(1 - before, 1e-6), 0, 1)
        assert (np.diff(batch.frames) >= 0).all()  # a failure is never rewound
    np.testing.assert_allclose(batch.progress, expected, atol=1e-6)
    turned = (np.diff(batch.frames) < 0).any(axis=1).mean()
    assert turned == pytest.approx(0.8 if progress is None else 0.0, abs=0.03)


def test_a_mismatched_text_is_of_another_task_and_means_no_progress() -> None:
    # rollouts 0 and 1 are of one task in two wordings: neither is a mismatch of the other
    keys = ["push", "push", "pull", "lift", "lift", "lift"]
    pool = Pool([trajectory(i, 5 + i, key) for i, key in enumerate(keys)])
    batch = pool.draw(5000, np.random.default_rng(2))
    row = np.searchsorted(pool.starts, batch.frames[:, 0], "right") - 1
    mismatched = pool.keys[batch.text] != pool.keys[row]
    assert mismatched.mean() == pytest.approx(0.2, abs=0.02)
    assert (batch.progress[mismatched] == 0).all()
    assert (batch.progress[~mismatched] > 0).all()
    assert (batch.text[~mismatched] == row[~mismatched]).all()
    for task in set(keys):  # drawn evenly from all that are of another task
        own = keys.index(task)
        drawn = batch.text[mismatched & (pool.keys[row] == pool.keys[own])]
        assert set(drawn.tolist()) == {i for i, key in enumerate(keys) if key != task}


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=12), st.integers(0, 5))
def test_in_batch_negatives_are_of_another_task_wherever_that_can_be(keys: list[str], seed: int) -> None:
    pool = Pool([trajectory(i, 4, key) for i, key in enumerate(keys)])
    batch = pool.draw(9, np.random.default_rng(seed))
    row = np.searchsorted(pool.starts, batch.frames[:, 0], "right") - 1
    counts = batch.other >= 0
    assert (pool.keys[batch.other[counts]] != pool.keys[row[counts]]).all()
    assert set(batch.other[counts]) <= set(row)
    largest = np.bincount(pool.keys[row]).max()
    assert counts.sum() == min(9, 2 * (9 - largest))


def test_too_short_rollouts_and_no_rollouts_are_refused() -> None:
    with pytest.raises(BadRobotError, match="fewer than 3 frames"):
        Pool([trajectory(0, 9, "a"), trajectory(1, 2, "b")])
    with pytest.raises(BadRobotError, match="no rollout to train on"):
        Pool([])
