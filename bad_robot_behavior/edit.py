"""Edits of real videos, written as a synthetic set: the library side of `bad-robot edit`.

It reads a release or a lab folder and writes what source `synthetic` reads, so that an edited rollout goes through the
same stages as any other: license, scrub, split. Each scene holds an original and what was made of it.
"""

from __future__ import annotations

import functools
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tqdm import tqdm

from bad_robot_behavior import __version__, media
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import ROLES, Role, Rollout, RolloutRow, SourceSettings, Video
from bad_robot_behavior.schema.synthetic_file import FORMAT, Episode, Pair, Scene, SyntheticSet
from bad_robot_behavior.schema.trajectory_file import write_members
from bad_robot_behavior.synthesis.edits import EDITS, SHORTEST, Edit, Original, partner

LABELS = "ABCDEFGH"
ORIGINAL = "original"
_AT_ONCE = 64  # frames in memory
_MEASURED = ("simulator", "human")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was made: how many rollouts by edit, and how many were left alone and why."""

    path: str
    originals: int
    rollouts: dict[str, int]
    left_alone: dict[str, int]


class _Rollout(msgspec.Struct, frozen=True):
    """A rollout and how to get at its videos; these stay on disk."""

    row: RolloutRow
    original: Original
    data: Callable[[Role], media.MediaInput]

    def video(self, role: Role) -> Video | None:
        found: Video | None = getattr(self.row.videos, role)
        return found

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(role for role in ROLES if self.video(role) is not None)


def edit(
    path: Path, out: Path, *, edits: Sequence[str] = tuple(EDITS), seed: int = 0, limit: int | None = None
) -> Report:
    """Edit the rollouts of the release or lab folder at `path` into a synthetic set at `out`, a new folder.

    limit: only the first rollouts are edited; what others lend to them comes from all. The same rollouts, edits and
    seed give the same bytes. The set appears whole or not at all. Raises BadRobotError for an unknown edit, for a path
    that is neither, where `out` is there already, and where nothing can be edited.
    """
    unknown = [name for name in edits if name not in EDITS]
    if unknown or not edits:
        raise BadRobotError(f"there is no edit {', '.join(unknown) or 'given'}; edits: {', '.join(EDITS)}")
    if out.exists():
        raise BadRobotError(f"{out}: is there already; give the path of a new folder")
    made: Counter[str] = Counter()
    left: Counter[str] = Counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.part-"))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            every = list(_read(path, Path(scratch)))
            rollouts = every[:limit]
            others = [one.original for one in every]
            by_id = {one.original.rollout_id: one for one in every}
            for one in tqdm(rollouts, desc="edit", unit="rollout", disable=None):
                if one.original.num_frames < SHORTEST:
                    left[f"shorter than {SHORTEST} frames"] += 1
                    continue
                _edit_one(part, one, others, by_id, edits, seed, made, left)
        if not made:
            why = "; ".join(f"{count} x {reason}" for reason, count in sorted(left.items())) or "it holds no rollout"
            raise BadRobotError(f"{path}: nothing could be edited: {why}")
        arguments = {"edits": list(edits), "seed": seed, "limit": limit}
        _write_json(part / "synthetic.json", _set(arguments))
        part.chmod(0o755)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Report(path=str(out), originals=len(rollouts), rollouts=dict(made), left_alone=dict(left))


def summary(report: Report) -> str:
    lines = [f"originals: {report.originals}"]
    lines += [f"{name}: {count}" for name, count in report.rollouts.items()]
    lines += [f"left alone: {count} x {why}" for why, count in report.left_alone.items()]
    return "\n".join([*lines, f"set: {report.path}"])


def _edit_one(
    part: Path,
    one: _Rollout,
    others: list[Original],
    by_id: dict[str, _Rollout],
    edits: Sequence[str],
    seed: int,
    made: Counter[str],
    left: Counter[str],
) -> None:
    """The scene of one rollout, and one more where its instruction was swapped."""
    same: list[Edit] = []
    for name in edits:
        draw = random.Random(f"{seed}/{one.original.rollout_id}/{name}")
        other = partner(one.original, others, draw)
        done = EDITS[name](one.original, other, draw)
        if done is None or (done.other is not None and not set(one.roles) & set(by_id[done.other.rollout_id].roles)):
            left[f"{name}: there is no rollout with another instruction and the same camera"] += 1
            continue
        made[name] += 1
        if done.instruction == one.original.instruction:
            same.append(done)
        else:
            _write_scene(part, f"edit-{one.original.rollout_id}-{name}", one, [done], by_id, seed)
    if same:
        _write_scene(part, f"edit-{one.original.rollout_id}", one, [_as_it_is(one.original), *same], by_id, seed)


def _as_it_is(original: Original) -> Edit:
    progress = original.progress
    return Edit(
        name=ORIGINAL,
        parameters={"of": original.rollout_id},
        index=np.arange(original.num_frames),
        instruction=original.instruction,
        task_category=original.task_category,
        success=original.success,
        outcome=original.outcome,
        score=original.score,
        failures=original.failures,
        progress=None if progress is None else np.asarray(progress),
    )


def _write_scene(part: Path, name: str, one: _Rollout, made: list[Edit], by_id: dict[str, _Rollout], seed: int) -> None:
    folder, row = part / "scenes" / name, one.row
    first = one.video(one.roles[0])
    assert first is not None  # noqa: S101 - a role is listed where there is a video
    episodes = []
    for label, done in zip(LABELS, made, strict=False):
        place = folder / done.name
        place.mkdir(parents=True)
        cameras = one.roles
        if done.other is not None:
            cameras = tuple(role for role in one.roles if role in by_id[done.other.rollout_id].roles)
        for role in cameras:
            _write_video(place / f"{role}.mp4", role, one, done, by_id)
        if done.progress is not None:
            write_members(place / "steps.npz", {"progress": np.round(done.progress, 6)})
        episodes.append(_episode(label, done, cameras, twin=made[0].name))
    scene = Scene(
        scene=name,
        task="edit",
        seed=seed,
        instruction=made[0].instruction,
        task_category=made[0].task_category,
        evaluator=None,
        feedback=None,
        license=row.license,
        license_evidence=row.license_evidence,
        attribution=row.attribution,
        robot=row.robot,
        control_hz=first.capture_hz or first.fps,
        steps_per_frame=1,
        fps=first.fps,
        episodes=tuple(episodes),
        pairs=tuple(_pairs(made)),
    )
    _write_json(folder / "scene.json", scene)


def _episode(label: str, done: Edit, cameras: tuple[Role, ...], twin: str) -> Episode:
    injected = done.name != ORIGINAL
    return Episode(
        name=done.name,
        label=label,
        fault=done.name if injected else None,
        parameters=done.parameters,
        twin=twin if injected and twin == ORIGINAL else None,
        num_steps=len(done.index),
        inject_step=None,
        onset_step=None,
        failure_step=None,
        success=done.success,
        outcome=done.outcome,
        score=done.score,
        failures=done.failures,
        events=(),
        cameras=cameras,
    )


def _pairs(made: list[Edit]) -> Iterator[Pair]:
    """A success is better than what was spoilt of it; of anything else nothing is known."""
    if made[0].name == ORIGINAL and made[0].success:
        for done in made[1:]:
            if done.success is False:
                yield Pair(
                    a=ORIGINAL,
                    b=done.name,
                    preference="a",
                    feedback="Policy A is the video as it was recorded; the other was made of it by an edit.",
                )


def _write_video(path: Path, role: Role, one: _Rollout, done: Edit, by_id: dict[str, _Rollout]) -> None:
    video, source = one.video(role), one.data(role)
    assert video is not None  # noqa: S101 - as above
    if done.cut is None and np.array_equal(done.index, np.arange(video.num_frames)):
        media.remux(source, path)  # the same pictures, none encoded again
        return

    def frames() -> Iterator[Any]:
        yield from _frames(source, video, done.index[: done.cut])
        if done.cut is not None and done.other is not None:
            other = by_id[done.other.rollout_id]
            theirs = other.video(role)
            assert theirs is not None  # noqa: S101 - cameras are those that both have
            for picture in _frames(other.data(role), theirs, done.index[done.cut :]):
                yield _fitted(picture, video.height, video.width)

    media.encode(path, frames(), video.fps)


def _frames(source: media.MediaInput, video: Video, index: Any) -> Iterator[Any]:
    """Frames in any order. Views of a rollout may differ by a frame; the last one stands for what is beyond."""
    at = np.minimum(index, video.num_frames - 1)
    for start in range(0, len(at), _AT_ONCE):
        yield from media.sample(source, at[start : start + _AT_ONCE])


def _fitted(picture: Any, height: int, width: int) -> Any:
    """The picture at that size: scaled down where it is larger, with black around it where its shape is another."""
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(height / picture.shape[0], width / picture.shape[1], 1.0)
    small = media.resize(picture, max(int(max(picture.shape[:2]) * scale), 1))[:height, :width]
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def _read(path: Path, scratch: Path) -> Iterator[_Rollout]:
    """The rollouts of a release, or those of a lab folder that have no defect."""
    if (path / "release.json").is_file():
        from bad_robot_behavior.builder.loader import load

        release = load(path)
        for loaded in release:
            row = msgspec.convert(dict(loaded), RolloutRow, strict=False)
            yield _rollout(row, functools.partial(release.video_bytes, row.rollout_id))
        return
    from bad_robot_behavior.curation.sources.folder import Folder, is_lab_folder
    from bad_robot_behavior.curation.stage import Store

    if (path / "synthetic.json").is_file():
        raise BadRobotError(
            f"{path}: is a synthetic set, whose rollouts have no ids yet; build a release of it with a recipe of kind "
            "synthetic, such as recipes/synthetic.yaml, and edit that"
        )
    if not path.is_dir() or not is_lab_folder(path):
        raise BadRobotError(f"{path}: is neither a release (release.json) nor a lab folder (session.yaml); give one")
    source = Folder(SourceSettings(name="lab", kind="folder", path=str(path)), path)
    for session in source.sessions():
        for item in source.read(session, Store(scratch)):
            if isinstance(item, Rollout):
                yield _rollout(item, functools.partial(_file, item))


def _file(row: RolloutRow, role: Role) -> str:
    return str(getattr(row.videos, role).path)


def _rollout(row: RolloutRow, data: Callable[[Role], media.MediaInput]) -> _Rollout:
    video = next(v for role in ROLES if (v := getattr(row.videos, role)) is not None)
    curve = next((c for c in row.rewards if c.kind == "progress" and c.provenance in _MEASURED), None)
    progress = None
    if curve is not None:
        frames = np.arange(video.num_frames)
        progress = tuple(float(v) for v in np.interp(frames, curve.frame_index, curve.value))
    original = Original(
        rollout_id=row.rollout_id,
        instruction=row.instruction,
        task_category=row.task_category,
        num_frames=video.num_frames,
        fps=video.fps,
        success=row.success,
        outcome=row.outcome,
        score=row.score,
        failures=row.failures,
        progress=progress,
    )
    return _Rollout(row, original, data)


def _set(arguments: dict[str, Any]) -> SyntheticSet:
    return SyntheticSet(
        format=FORMAT,  # type: ignore[arg-type]
        origin="edit",
        generator=f"bad-robot-behavior {__version__}, edits",
        renderer="none",
        robot=None,
        license=None,
        attribution=None,
        tie_band=0.0,
        arguments=arguments,
    )


def _write_json(path: Path, record: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
