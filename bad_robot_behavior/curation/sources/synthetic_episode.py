"""One episode of a synthetic set: its videos, its states and actions, and the simulator's curves, checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.curation.refusal import Refusal
from bad_robot_behavior.curation.sources.roboarena_session import UNREADABLE_VIDEO
from bad_robot_behavior.curation.sources.safe_npz import Limits, NpzError, read_npz
from bad_robot_behavior.curation.sources.trajectory import TrajectoryError, write_trajectory
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import ROLES, Column, CurveKind, RewardCurve, Role, Video, Videos, rule
from bad_robot_behavior.schema.checks import failure_checks
from bad_robot_behavior.schema.synthetic_file import Episode, Scene, frames_of
from bad_robot_behavior.schema.trajectory_file import Arrays

LEAVES_SET = rule(
    "synthetic.leaves_set",
    "No file or folder of a synthetic set may lie outside it, by a link or otherwise.",
    cure="Copy the files into the set instead of linking to them.",
)
NO_VIDEO = rule(
    "synthetic.no_video",
    "An episode must have the video of each camera that scene.json names, as a regular file <camera>.mp4.",
    cure="Remove the scene's folder and run the command that made the set again.",
)
FRAME_COUNT = rule(
    "synthetic.frame_count",
    "A video must have as many frames as the episode's steps give: one for step 0, one every steps_per_frame steps, "
    "and one for the last step.",
    cure="Remove the scene's folder and run the command that made the set again.",
)
STEPS = rule(
    "synthetic.steps",
    "steps.npz must hold num_steps finite values of each curve: progress in [0, 1], penalty not below 0, reward "
    "in [-1, 1]; of state and action as many rows.",
    cure="Remove the scene's folder and run the command that made the set again.",
)
LABELS = rule(
    "synthetic.labels",
    "The labels of an episode must not contradict each other: outcome and success, success and score, failures and "
    "taxonomy, times and length.",
    cure="Correct the label that is wrong; what does not follow from physics or from the edit is null.",
)

_TABLES = ("state", "action", "state_columns", "action_columns")
_SERIES = ("progress", "penalty", "reward")
_LIMITS = Limits(size_bytes=1 << 28)
Floats = NDArray[np.float64]
Origin = Literal["simulator", "edit"]


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of an episode. `chosen` is the curve that becomes the rollout's `reward`."""

    videos: Videos
    trajectory: str | None
    curves: tuple[RewardCurve, ...]
    chosen: RewardCurve | None


def inside(root: Path, path: Path) -> Path:
    """`path`, which lies in `root`. Raises Refusal (synthetic.leaves_set) where it or a link on its way leads out."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise Refusal(LEAVES_SET, "a file or folder is a link that leads out of the set")
    return path


def read_episode(folder: Path, scene: Scene, episode: Episode, origin: Origin, store: Store) -> Read:
    """The files of an episode, whose folder is known to lie in the set. Raises Refusal."""
    _check_labels(scene, episode)
    frames = frames_of(episode.num_steps, scene.steps_per_frame)
    videos = {role: _video(folder, role, scene, frames) for role in sorted(set(episode.cameras))}
    members = _members(folder)
    missing = sorted({*_TABLES[:1], *_SERIES} - members.keys()) if origin == "simulator" else []
    if missing:
        raise Refusal(STEPS, f"steps.npz is missing, or has no {missing[0]}; a simulator knows it of every step")
    series = {name: _series(members[name], name, episode.num_steps) for name in _SERIES if name in members}
    index = np.minimum(np.arange(frames) * scene.steps_per_frame, episode.num_steps - 1)
    role = next(role for role in ROLES if role in videos)
    curves = tuple(_curves(series, index, role, origin))
    return Read(
        videos=Videos(**videos),
        trajectory=_trajectory(members, episode.num_steps, store),
        curves=curves,
        chosen=curves[-1] if curves else None,
    )


def _check_labels(scene: Scene, episode: Episode) -> None:
    """Only what cannot both be true, or names something that is not there."""
    if episode.success is True and (episode.outcome == "failure" or episode.score == 0):
        raise Refusal(LABELS, "success is true beside outcome failure or score 0")
    if episode.success is False and (episode.outcome.startswith("success") or episode.score == 1):
        raise Refusal(LABELS, "success is false beside an outcome of success or score 1")
    for failure in episode.failures:
        for finding in failure_checks(msgspec.to_builtins(failure)):
            raise Refusal(LABELS, f"a failure: {finding.field} {finding.message}")
        # A player that stands on the last frame shows up to one frame more than the frames' own time.
        end = (frames_of(episode.num_steps, scene.steps_per_frame) + 1) / scene.fps
        if max(failure.start_s or 0, failure.end_s or 0) > end:
            raise Refusal(LABELS, f"a failure lies after the end of the video, which is at {end:.2f} s")
    steps = (episode.inject_step, episode.onset_step, episode.failure_step)
    if any(step is not None and step >= episode.num_steps for step in steps):
        raise Refusal(LABELS, "inject_step, onset_step or failure_step is not a step of the episode")
    if episode.inject_step is not None and episode.onset_step is not None and episode.onset_step < episode.inject_step:
        raise Refusal(LABELS, "onset_step is before inject_step")


def _video(folder: Path, role: Role, scene: Scene, frames: int) -> Video:
    path = inside(folder, folder / f"{role}.mp4")
    if not path.is_file():
        raise Refusal(NO_VIDEO, f"there is no file {role}.mp4")
    try:
        found = media.strange_video(path, role, scene.control_hz / scene.steps_per_frame)
    except MediaError as error:
        raise Refusal(UNREADABLE_VIDEO, f"{role}.mp4: broke at {error.where}") from error
    if found.num_frames != frames:
        raise Refusal(FRAME_COUNT, f"{role}.mp4 has {found.num_frames} frames where the steps give {frames}")
    return found


def _members(folder: Path) -> dict[str, Any]:
    path = inside(folder, folder / "steps.npz")
    if not path.exists() and not path.is_symlink():
        return {}
    if not path.is_file():
        raise Refusal(STEPS, "steps.npz is not a regular file")
    try:
        members = read_npz(path, _LIMITS)
    except NpzError as error:
        raise Refusal(error.rule, f"steps.npz: {error.reason}") from error
    if not set(members) <= {*_TABLES, *_SERIES}:
        raise Refusal(STEPS, f"steps.npz has arrays other than {', '.join((*_TABLES, *_SERIES))}")
    return members


def _series(array: Any, name: str, num_steps: int) -> Floats:
    """One value a step, in the range of its kind."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != (num_steps,):
        raise Refusal(STEPS, f"{name} is not an array of {num_steps} numbers, one a step")
    values = array.astype(np.float64)
    low, high = {"progress": (0.0, 1.0), "penalty": (0.0, np.inf), "reward": (-1.0, 1.0)}[name]
    if not np.isfinite(values).all() or values.min() < low or values.max() > high:
        raise Refusal(STEPS, f"{name} has values that are not finite numbers from {low:g} to {high:g}")
    return values


def _curves(series: dict[str, Floats], index: NDArray[np.int64], role: Role, origin: Origin) -> Iterable[RewardCurve]:
    """At every frame: progress; the reward of the steps since the frame before; and all reward so far.

    All reward so far is progress less every penalty until then, which is what a model of progress should have said. It
    comes last and is the chosen one. The two of kind reward are clipped to [-1, 1], their range.
    """
    if "progress" in series:
        yield _curve("progress", "progress", role, series["progress"][index], origin)
    if "reward" in series:
        so_far = np.cumsum(series["reward"])[index]
        yield _curve("step_reward", "reward", role, np.clip(np.diff(so_far, prepend=0.0), -1, 1), origin)
        yield _curve("net_progress", "reward", role, np.clip(so_far, -1, 1), origin)


def _curve(name: str, kind: CurveKind, role: Role, values: Floats, origin: Origin) -> RewardCurve:
    return RewardCurve(
        name=f"{origin}_{name}",
        kind=kind,
        scorer=origin,
        model=None,
        role=role,
        frame_index=tuple(range(len(values))),
        value=tuple(round(float(value), 6) for value in values),
        provenance=origin,
    )


def _trajectory(members: dict[str, Any], num_steps: int, store: Store) -> str | None:
    present = [name for name in _TABLES if name in members]
    if not present:
        return None
    if len(present) < len(_TABLES):
        raise Refusal(STEPS, f"steps.npz has {', '.join(present)} and not all of {', '.join(_TABLES)}")
    tables = {name: members[name] for name in ("state", "action")}
    for name, table in tables.items():
        if not isinstance(table, np.ndarray) or table.dtype != np.float32 or table.ndim != 2 or len(table) != num_steps:
            raise Refusal(STEPS, f"{name} is not a float32 table of {num_steps} rows")
    columns = [_columns(members[name]) for name in ("state_columns", "action_columns")]
    try:
        return str(write_trajectory(store, Arrays(tables["state"], tables["action"], *columns)))
    except TrajectoryError as error:
        raise Refusal(error.rule, f"steps.npz: {error.reason}") from error


def _columns(text: Any) -> tuple[Column, ...]:
    if not isinstance(text, np.ndarray) or text.dtype.kind != "U" or text.shape != ():
        raise Refusal(STEPS, "the names of columns are not one JSON text")
    try:
        return msgspec.json.decode(str(text), type=tuple[Column, ...])
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refusal(STEPS, "the names of columns are not a JSON list of name and unit") from error
