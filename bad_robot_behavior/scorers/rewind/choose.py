"""Which rollouts ReWiND is trained on, and what progress each of their frames is said to have."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema.curves import low_where_it_failed
from bad_robot_behavior.scorers.rewind.dataset import MIN_FRAMES, Trajectory, Vectors
from bad_robot_behavior.scorers.rewind.extract import Extracted
from bad_robot_behavior.scorers.rewind.features import Features

Failures = Literal["none", "binary", "dense"]

SUCCESSES = ("success", "success_suboptimal")
FAILURES = ("failure", "success_side_effect")
"""A success that broke something on the way counts as a failure here: it is not what progress should lead to. One that
was done badly is a success, but where its dense curve is known and asked for, it is learnt from that."""


class Chosen(NamedTuple):
    """left_out: why rollouts are not among the trajectories, and how many; sha256: of all that a training sees."""

    trajectories: list[Trajectory]
    left_out: dict[str, int]
    synthetic: int
    sha256: str


def choose(extracted: Iterable[Extracted], features: Features, failures: Failures) -> Chosen:
    """The trajectories of a training.

    Successes progress evenly in time, as published. failures: `none` leaves out rollouts that failed or broke
    something; `binary` gives them progress 0; `dense` their reward curve, cut off below 0, and leaves out those that
    have no curve which is known to be low where it should be (a simulator's, a human's, an edit's, or the sample kept
    of a rollout that a human rejected).
    """
    left_out: Counter[str] = Counter()
    texts: dict[str, Vectors] = {}
    trajectories = []
    synthetic = 0
    digest = hashlib.sha256()
    for found in extracted:
        rollout = found.rollout
        progress = _progress(found, failures)
        if found.frames is None:
            left_out["video cannot be used"] += 1
        elif isinstance(progress, str):
            left_out[progress] += 1
        else:
            told = str(rollout["instruction"])
            if told not in texts:
                texts[told] = features.text(told)
            one = Trajectory(
                rollout_id=rollout["rollout_id"],
                instruction_key=rollout["instruction_key"],
                frames=found.frames,
                text=texts[told],
                progress=progress,
                rewindable=rollout["outcome"] in SUCCESSES and not _is_told(rollout, failures),
            )
            trajectories.append(one)
            synthetic += rollout["synthetic"] is not None
            for part in (one.rollout_id, told, one.frames.tobytes(), progress.tobytes(), one.rewindable):
                digest.update(hashlib.sha256(part if isinstance(part, bytes) else str(part).encode()).digest())
    return Chosen(trajectories, dict(sorted(left_out.items())), synthetic, digest.hexdigest())


def _progress(found: Extracted, failures: Failures) -> NDArray[np.float64] | str:
    """(L,) in [0, 1], or why the rollout is left out."""
    outcome = found.rollout["outcome"]
    length = len(found.places)
    if length < MIN_FRAMES:
        return f"fewer than {MIN_FRAMES} frames"
    if outcome in SUCCESSES and not _is_told(found.rollout, failures):
        return np.arange(1, length + 1) / length
    if outcome not in SUCCESSES + FAILURES:
        return "outcome is unknown"
    if failures == "none":
        return "failures are not asked for"
    if failures == "binary":
        return np.zeros(length)
    curve = dense_curve(found.rollout)
    if curve is None:
        return "failure without a dense curve"
    videos = found.rollout["videos"]
    # the curve may be of another camera, with another number of frames: moments are compared, not indices
    at: NDArray[np.float64] = found.places / max(1, videos[found.role]["num_frames"] - 1)
    known = np.asarray(curve["frame_index"]) / max(1, videos[curve["role"]]["num_frames"] - 1)
    value: NDArray[np.float64] = np.interp(at, known, np.asarray(curve["value"], np.float64))
    return value.clip(0, 1)


def _is_told(rollout: Any, failures: Failures) -> bool:
    """Whether a success is learnt from its dense curve, as failures are, and never rewound."""
    return failures == "dense" and rollout["outcome"] == "success_suboptimal" and dense_curve(rollout) is not None


def dense_curve(rollout: Any) -> Any | None:
    """The rollout's chosen reward curve, a row of `rewards`, where a failure can be learnt from it."""
    for curve in rollout["rewards"] or ():
        chosen = curve["value"] == rollout["reward"] and curve["frame_index"] == rollout["reward_frame_index"]
        if chosen and low_where_it_failed(curve["provenance"], curve["preferred"]):
            return curve
    return None
