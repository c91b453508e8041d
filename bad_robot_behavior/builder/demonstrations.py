"""Failed rollouts as in-context examples, at three levels: text; text and frames; text, frames and dense curve.

The levels are those of the ladder in arXiv 2606.01036: what a reward model gains from a failure it is shown depends on
how much of it is shown. Nothing is made up here: a level that lacks its ingredients is left out. The dense curve is one
that is known to be low where it should be (`schema.curves`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bad_robot_behavior.schema import ROLES, CurveKind, Demonstration, RewardCurve, Role, Rollout, stable_id
from bad_robot_behavior.schema.curves import low_where_it_failed


def demonstrations(rollout: Rollout, num_frames: int) -> Iterator[Demonstration]:
    """The levels that one rollout can stand for; none where it did not fail or nobody said why in general words.

    A rollout failed where `success` is False, or its score lies below 1 and failures are known. Level `text_video`
    points at the frames of the chosen reward curve, or else at `num_frames` evenly spaced ones of the first camera.
    """
    failed = rollout.success is False or (rollout.score is not None and rollout.score < 1 and bool(rollout.failures))
    if not failed or rollout.critique is None or rollout.critique.general is None:
        return
    yield _demonstration(rollout, "text")
    curve = _chosen_curve(rollout)
    role = curve.role if curve is not None else _first_role(rollout)
    video = getattr(rollout.videos, role) if role is not None else None
    if role is None or video is None:
        return
    if curve is not None:
        frames = curve.frame_index
    else:
        count = min(num_frames, video.num_frames)
        frames = tuple(int(i) for i in np.linspace(0, video.num_frames - 1, count).round())
    yield _demonstration(rollout, "text_video", role=role, frame_index=frames)
    if curve is not None and low_where_it_failed(curve.provenance, curve.preferred):
        yield _demonstration(
            rollout, "text_video_dense", role=role, frame_index=frames, value=curve.value, kind=curve.kind
        )


def _demonstration(
    rollout: Rollout,
    level: str,
    role: Role | None = None,
    frame_index: tuple[int, ...] | None = None,
    value: tuple[float, ...] | None = None,
    kind: CurveKind | None = None,
) -> Demonstration:
    assert rollout.critique is not None and rollout.critique.general is not None  # noqa: S101 - checked by the caller
    return Demonstration(
        demonstration_id=stable_id("demonstration", rollout.rollout_id, level),
        rollout_id=rollout.rollout_id,
        session_id=rollout.session_id,
        split=rollout.split,
        level=level,  # type: ignore[arg-type]
        task_category=rollout.task_category,
        instruction=rollout.instruction,
        instruction_key=rollout.instruction_key,
        text=rollout.critique.general,
        role=role,
        frame_index=frame_index,
        value=value,
        kind=kind,
    )


def _chosen_curve(rollout: Rollout) -> RewardCurve | None:
    """The curve that column `reward` repeats, which alone knows the camera it was made from."""
    for curve in rollout.rewards:
        if curve.value == rollout.reward and curve.frame_index == rollout.reward_frame_index:
            return curve
    return None


def _first_role(rollout: Rollout) -> Role | None:
    for role in ROLES:
        if getattr(rollout.videos, role) is not None:
            return role
    return None
