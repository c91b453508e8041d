"""Edits of real videos, with no simulator: each is another order of frames or another instruction, and what follows.

ReWiND (arXiv 2505.10911) rewinds, RoboReward (2601.00675) clips and swaps instructions, Robometer (2603.02115)
reverses; splices, frozen tails and changes of speed stand for a wrong object, a stall and a slow policy.

Only what follows from the edit is labelled: a success that is cut, rewound or asked something else is none; of a
failure that is cut or turned around nothing is known. Progress is the original's own curve in the new order. Where
there is none, a success is taken to progress evenly in time, as ReWiND takes it, and `parameters` say `"progress":
"linear"`; of a failure there is none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema import Failure, Outcome, TaskCategory, instruction_key, taxonomy

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

SHORTEST = 8
"""Frames below which a video is not edited: half of it would be no video."""


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """What an edit needs to know of a rollout; `progress` (num_frames,) in [0, 1] where somebody measured it."""

    rollout_id: str
    instruction: str
    task_category: TaskCategory
    num_frames: int
    fps: float
    success: bool | None
    outcome: Outcome
    score: float | None
    failures: tuple[Failure, ...]
    progress: tuple[float, ...] | None = None


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """An edited rollout: frame i is frame `index[i]` of the original, and from `cut` on of the other one, if any.

    `success` None and `outcome` unknown: it does not follow from the edit.
    """

    name: str
    parameters: dict[str, Any]
    index: Index
    cut: int | None = None
    other: Original | None = None
    instruction: str
    task_category: TaskCategory
    success: bool | None
    outcome: Outcome
    score: float | None = None
    failures: tuple[Failure, ...]
    progress: Floats | None


def rewind(original: Original, other: Original | None, draw: random.Random) -> Edit:
    """Forward to a frame in the second half, then back over at least half of the way."""
    turn = draw.randrange(original.num_frames // 2, original.num_frames)
    back = draw.randint(max(turn // 2, 1), turn)
    index = np.concatenate([np.arange(turn + 1), np.arange(turn - 1, turn - 1 - back, -1)])
    undone = _failure(original, "semantic", "reverted", turn, len(index))
    parameters = {"turn_frame": turn, "frames_back": back}
    return _reordered(original, "rewind", parameters, index, _before(original, turn), undone)


def reverse(original: Original, other: Original | None, draw: random.Random) -> Edit:
    """From the last frame to the first."""
    index = np.arange(original.num_frames)[::-1]
    return _reordered(original, "reverse", {}, index, (), _failure(original, "semantic", "reverted", 0, len(index)))


def freeze(original: Original, other: Original | None, draw: random.Random) -> Edit:
    """The picture stands still from somewhere in the middle on: a robot that stalls."""
    at = _middle(original, draw)
    index = np.minimum(np.arange(original.num_frames), at)
    stall = _failure(original, "no_attempt", "stall", at, original.num_frames)
    return _reordered(original, "freeze", {"frame": at}, index, _before(original, at), stall)


def clip(original: Original, other: Original | None, draw: random.Random) -> Edit:
    """It ends somewhere in the middle."""
    at = _middle(original, draw)
    stopped = _failure(original, "manipulation", "premature_stop", at, at + 1)
    return _reordered(original, "clip", {"last_frame": at}, np.arange(at + 1), _before(original, at), stopped)


def change_speed(original: Original, other: Original | None, draw: random.Random) -> Edit:
    """Played faster or slower. What happens in it stays the same, and so do all labels but their times."""
    factor = draw.choice((0.5, 0.67, 1.5, 2.0))
    count = max(round(original.num_frames / factor), 2)
    index = np.round(np.linspace(0, original.num_frames - 1, count)).astype(np.int64)
    failures = tuple(
        msgspec.structs.replace(
            failure,
            start_s=None if failure.start_s is None else failure.start_s / factor,
            end_s=None if failure.end_s is None else failure.end_s / factor,
        )
        for failure in original.failures
    )
    edit = _reordered(original, "change_speed", {"factor": factor}, index, failures)
    return msgspec.structs.replace(edit, success=original.success, outcome=original.outcome, score=original.score)


def splice(original: Original, other: Original | None, draw: random.Random) -> Edit | None:
    """Its beginning, and then the end of a rollout with another instruction. None without one."""
    if other is None:
        return None
    at = _middle(original, draw)
    start = min(round(at / original.num_frames * other.num_frames), other.num_frames - 2)
    index = np.concatenate([np.arange(at + 1), np.arange(start, other.num_frames)])
    mismatch = _failure(original, "semantic", "instruction_mismatch", at + 1, len(index))
    parameters = {"last_frame": at, "other": other.rollout_id, "other_first_frame": start}
    edit = _reordered(original, "splice", {}, index[: at + 1], (*_before(original, at), mismatch))
    # What the other one shows says nothing of how far this task is.
    told = {"of": original.rollout_id, **parameters}
    return msgspec.structs.replace(edit, parameters=told, index=index, cut=at + 1, other=other, progress=None)


def mismatch(original: Original, other: Original | None, draw: random.Random) -> Edit | None:
    """The whole video under the instruction of another rollout, whose task it does not advance. None without one."""
    if other is None:
        return None
    index = np.arange(original.num_frames)
    failure = _failure(original, "semantic", "instruction_mismatch", 0, len(index))
    return Edit(
        name="mismatch",
        parameters={"of": original.rollout_id, "other": other.rollout_id},
        index=index,
        instruction=other.instruction,
        task_category=other.task_category,
        success=False,
        outcome="failure",
        failures=(failure,),
        progress=np.zeros(len(index)),
    )


EDITS: dict[str, Callable[[Original, Original | None, random.Random], Edit | None]] = {
    "rewind": rewind,
    "reverse": reverse,
    "freeze": freeze,
    "clip": clip,
    "change_speed": change_speed,
    "splice": splice,
    "mismatch": mismatch,
}


def partner(original: Original, others: list[Original], draw: random.Random) -> Original | None:
    """A rollout with another instruction; one of another category, where there is such a one, is surer to be another
    task. None where all have the same instruction."""
    key = instruction_key(original.instruction)
    different = [one for one in others if instruction_key(one.instruction) != key]
    far = [one for one in different if one.task_category != original.task_category]
    return draw.choice(far or different) if different else None


def _reordered(
    original: Original,
    name: str,
    parameters: dict[str, Any],
    index: Index,
    failures: tuple[Failure, ...],
    undone: Failure | None = None,
) -> Edit:
    """The same rollout with its frames in another order, so that a success of it is none any more.

    `undone` is what the edit makes of a success. Where measured progress says that it is complete at the last frame all
    the same, nothing is said.
    """
    whole, how = _progress(original)
    complete = how == "measured" and whole is not None and whole[index[-1]] >= 1
    fails = original.success is True and not complete
    return Edit(
        name=name,
        parameters={"of": original.rollout_id, **parameters} | ({} if how is None else {"progress": how}),
        index=index,
        instruction=original.instruction,
        task_category=original.task_category,
        success=False if fails else None,
        outcome="failure" if fails else "unknown",
        failures=(*failures, undone) if fails and undone is not None else failures,
        progress=None if whole is None else whole[index],
    )


def _progress(original: Original) -> tuple[Floats | None, str | None]:
    """Progress at every frame of the original, and where it is from."""
    if original.progress is not None:
        return np.asarray(original.progress, dtype=np.float64), "measured"
    if original.success:
        return np.arange(1, original.num_frames + 1) / original.num_frames, "linear"
    return None, None


def _middle(original: Original, draw: random.Random) -> int:
    """A frame between 30 and 70 % of the way: a video of a success is taken to end soon after it."""
    return draw.randint(round(0.3 * original.num_frames), round(0.7 * original.num_frames))


def _before(original: Original, frame: int) -> tuple[Failure, ...]:
    """The original's failures that are over by that frame; of one without times it is not known."""
    until = frame / original.fps
    return tuple(failure for failure in original.failures if failure.end_s is not None and failure.end_s <= until)


def _failure(original: Original, category: str, kind: str, start: int, end: int) -> Failure:
    """From frame `start` to before frame `end`."""
    return Failure(
        category=category,
        kind=kind,
        start_s=round(start / original.fps, 6),
        end_s=round(end / original.fps, 6),
        description="The video was edited.",
        annotator="bad-robot edit",
        annotator_type="rule",
        observable=True,
        mapping_version=taxonomy.load().version,
    )
