"""The files that a session.yaml names: kept inside its folder, opened, and held against what is said of them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import msgspec
import numpy as np

from bad_robot_behavior import media
from bad_robot_behavior.curation.sources.lab_yaml import At, Findings, printable, read_yaml
from bad_robot_behavior.curation.sources.safe_npz import NpzError, read_npz
from bad_robot_behavior.curation.sources.session_file import (
    FAILURE_SPAN,
    PREFERENCE_ROLLOUT,
    Contents,
    LabFile,
    PreferenceEntry,
    RolloutEntry,
    SessionFile,
    Views,
    read_session,
)
from bad_robot_behavior.curation.sources.trajectory import NOT_FINITE, write_trajectory
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import Column, Defect, Video, Videos, rule, shorten
from bad_robot_behavior.schema.trajectory_file import Arrays

SESSION_MISSING = rule(
    "lab.session_missing",
    "A folder with mp4 files must have a session.yaml, or lie inside the folder of a session.",
    cure="Write the session.yaml (exactly this name), or move the files.",
)
SESSION_NAME = rule(
    "lab.session_name", "A session folder's name must be printable text.", cure="Rename the folder; letters will do."
)
OUTSIDE = rule(
    "lab.path_outside",
    "Everything that a session names must lie inside its folder.",
    cure="Copy the file into the session's folder and name it by a relative path; links out of it are refused.",
)
FILE_MISSING = rule(
    "lab.file_missing", "A file that is named must be there.", cure="Copy it there, or correct the name (case counts)."
)
FILE_TYPE = rule(
    "lab.file_type",
    "Videos must be .mp4 files and trajectories .npz files.",
    cure="Convert the video: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4",
)
FILE_SHARED = rule(
    "lab.file_shared",
    "A file must belong to one rollout and one camera.",
    cure="Name the right file; which of the two is wrong cannot be known here.",
)
UNUSED_VIDEO = rule(
    "lab.unused_video",
    "An mp4 in a session's folder must belong to a rollout or stand under `unused`.",
    cure="Add the rollout, name the camera, or list the file under `unused`.",
)
VIDEO_UNREADABLE = rule(
    "lab.video_unreadable", "A video must be whole and readable.", cure="Record or copy the file again."
)
TRAJECTORY = rule(
    "lab.trajectory",
    "A trajectory must hold `state` (T, D) and `action` (T, D) with numbers, and one name for each column if any.",
    cure="np.savez_compressed(path, state=..., action=..., state_columns=[...], action_columns=[...])",
)

_COLUMN = re.compile(r"^(?P<name>.*?\S)(?: *\[(?P<unit>[^\[\]]+)\])?$")


class LoadedRollout(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout whose files are all there."""

    entry: RolloutEntry
    videos: Videos
    trajectory: str | None
    num_steps: int | None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A session whose session.yaml could be read. `None` stands for what has defects."""

    header: SessionFile
    defaults: LabFile  # the fields that lab.yaml and session.yaml share, the session's first
    rollouts: dict[str, LoadedRollout | None]
    preferences: tuple[PreferenceEntry | None, ...]
    strays: list[tuple[str, Defect]]  # mp4 files that belong to no rollout


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told of a session that is refused: its labels, or else its mp4 files; and how many preferences."""

    labels: tuple[str, ...]
    videos: tuple[str, ...]  # paths inside the session's folder, printable
    preferences: int


def load(lab_folder: Path, folder: Path, lab: LabFile, findings: Findings, store: Store | None) -> Loaded | None:
    """One session with its files opened; every defect goes into `findings`. None: it cannot be used as a whole.

    With a store, trajectories are written to it; without one they are only checked.
    """
    if not _check_folder(lab_folder, folder, findings):
        return None
    contents = read_session(folder / "session.yaml", findings)
    if contents is None:
        return None
    defaults = _merge(contents.header, lab)
    named: dict[Path, list[At]] = defaultdict(list)
    paths: dict[str, dict[str, Path]] = {}
    for label, entry in contents.rollouts.items():
        if entry is not None:
            paths[label] = _paths(folder, entry, ("rollouts", label), findings, named)
    # A name here that fits no file does no harm: a file that should have been meant is reported as unused itself.
    unused = {_real(path) for name in contents.header.unused if (path := inside(folder, name, (), Findings("")))}
    for real, places in named.items():
        count = len(places) + (real in unused)
        for at in places if count > 1 else ():
            findings.add(FILE_SHARED, at, f"is named {count} times in this session.yaml")
    accounted = set(named) | unused | _mentioned(folder, contents)
    rollouts: dict[str, LoadedRollout | None] = {}
    for label, entry in contents.rollouts.items():
        at = ("rollouts", label)
        if entry is None or findings.under(*at):
            rollouts[label] = None
        else:
            rollouts[label] = _load_rollout(entry, paths[label], defaults, at, findings, store)
    return Loaded(
        header=contents.header,
        defaults=defaults,
        rollouts=rollouts,
        preferences=_usable(contents.preferences, rollouts, findings),
        strays=_strays(folder, accounted),
    )


def remains(lab_folder: Path, folder: Path) -> Remains:
    """What is lost with a session that cannot be used as a whole. Nothing is looked up behind a link."""
    if _links(lab_folder, folder):
        return Remains(labels=(), videos=(), preferences=0)
    data = read_yaml(folder / "session.yaml", Findings("session.yaml")) or {}
    labels = data.get("rollouts")
    listed = data.get("preferences")
    short = data.get("preference") is not None
    known = tuple(str(label) for label in labels) if isinstance(labels, dict) else ()
    return Remains(
        labels=known,
        videos=() if known else tuple(name for name, _ in _strays(folder, set())),
        preferences=1 if short else len(listed) if isinstance(listed, list) else 0,
    )


def mp4_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """The mp4 files among the names of a folder, hidden ones left out, sorted."""
    return [folder / name for name in sorted(names) if name.lower().endswith(".mp4") and not name.startswith(".")]


def inside(folder: Path, name: str, at: At, findings: Findings) -> Path | None:
    """The regular file that a session names, or None: outside its folder (also by a link), or not there."""
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        findings.add(OUTSIDE, at, "leads out of the session's folder", shorten(name), "a relative path without ..")
        return None
    path = folder / name
    try:
        real = path.resolve()
        if not real.is_relative_to(folder.resolve()):
            findings.add(OUTSIDE, at, "is a link out of the session's folder", shorten(name), "a file, not a link")
            return None
        if real.is_file():
            return path
    except (OSError, RuntimeError, ValueError):
        pass  # a loop of links, a name too long, a NUL: all of them name no file
    hint = "; write / instead of \\" if "\\" in name else ""
    findings.add(FILE_MISSING, at, f"is not a file of the session's folder{hint}", shorten(name))
    return None


def _real(path: Path) -> Path:
    """The file behind a path; the path itself where links lead in a circle (Python up to 3.12 raises there)."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _check_folder(lab_folder: Path, folder: Path, findings: Findings) -> bool:
    relative = folder.relative_to(lab_folder)
    if _links(lab_folder, folder):
        findings.add(OUTSIDE, (), "the session's folder or its session.yaml is a link", legal="real folders and files")
    elif printable(str(relative)) != str(relative):
        findings.add(SESSION_NAME, (), "the folder's name has characters that cannot be printed")
    elif not (folder / "session.yaml").exists():
        findings.add(SESSION_MISSING, (), "is missing beside mp4 files")
    return not findings.found


def _links(lab_folder: Path, folder: Path) -> bool:
    """Whether a session's folder, one on the way to it, or its session.yaml is a link."""
    parts = folder.relative_to(lab_folder).parts
    steps = [lab_folder.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    return any(step.is_symlink() for step in (*steps, folder / "session.yaml"))


def _merge(header: SessionFile, lab: LabFile) -> LabFile:
    stated = {f.name: getattr(header, f.name) for f in msgspec.structs.fields(LabFile)}
    return msgspec.structs.replace(lab, **{name: value for name, value in stated.items() if value is not None})


def _paths(
    folder: Path, entry: RolloutEntry, at: At, findings: Findings, named: dict[Path, list[At]]
) -> dict[str, Path]:
    """Path by role, and under `trajectory`. Notes each in `named`."""
    wanted: dict[str, tuple[At, str]] = {}
    if entry.video is not None:
        wanted["exterior_1"] = ((*at, "video"), entry.video)
    for role, name in msgspec.structs.asdict(entry.videos or Views()).items():
        if name is not None:
            wanted[role] = ((*at, "videos", role), name)
    if entry.trajectory is not None:
        wanted["trajectory"] = ((*at, "trajectory"), entry.trajectory)
    found: dict[str, Path] = {}
    for role, (where, name) in wanted.items():
        suffix = ".npz" if role == "trajectory" else ".mp4"
        path = inside(folder, name, where, findings)
        if path is None:
            continue
        named[_real(path)].append(where)
        if path.suffix.lower() != suffix:
            findings.add(FILE_TYPE, where, f"is not a {suffix} file", shorten(name), f"a name that ends in {suffix}")
        found[role] = path
    return found


def _load_rollout(
    entry: RolloutEntry, paths: dict[str, Path], lab: LabFile, at: At, findings: Findings, store: Store | None
) -> LoadedRollout | None:
    videos: dict[str, Video] = {}
    cameras = lab.cameras or Views()
    for role, path in paths.items():
        if role == "trajectory":
            continue
        try:
            videos[role] = media.strange_video(path, getattr(cameras, role) or role, lab.capture_hz)
        except MediaError as error:
            where = (*at, "video") if entry.video is not None else (*at, "videos", role)
            findings.add(VIDEO_UNREADABLE, where, f"broke at {error.where}", shorten(error.reason))
    _check_spans(entry, list(videos.values()), at, findings)
    trajectory, num_steps = None, None
    if "trajectory" in paths:
        arrays = _read_trajectory(paths["trajectory"], (*at, "trajectory"), findings)
        if arrays is not None:
            num_steps = len(arrays.action)
            trajectory = None if store is None else str(write_trajectory(store, arrays))
    if findings.under(*at):
        return None
    return LoadedRollout(entry=entry, videos=Videos(**videos), trajectory=trajectory, num_steps=num_steps)


def _check_spans(entry: RolloutEntry, videos: list[Video], at: At, findings: Findings) -> None:
    if not videos:
        return
    # A player that stands on the last frame shows up to one frame more than the frames' own time.
    end = max((video.num_frames + 1) / video.fps for video in videos)
    for i, failure in enumerate(entry.failures):
        for name, value in (("start_s", failure.start_s), ("end_s", failure.end_s)):
            if value is not None and value > end:
                message = "is after the end of the video"
                findings.add(FAILURE_SPAN, (*at, "failures", i, name), message, f"{value:g}", f"at most {end:.2f}")


def _read_trajectory(path: Path, at: At, findings: Findings) -> Arrays | None:
    try:
        members = read_npz(path)
    except NpzError as error:
        findings.add(error.rule, at, error.reason)
        return None
    legal = "state, action, state_columns, action_columns"
    if not {"state", "action"} <= set(members) <= set(legal.split(", ")):
        findings.add(TRAJECTORY, at, "has other arrays than it should", shorten(sorted(members)), legal)
        return None
    made: dict[str, Any] = {}
    for name in ("state", "action"):
        array = members[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or array.ndim != 2 or 0 in array.shape:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            findings.add(TRAJECTORY, at, f"{name} is not a (T, D) array of numbers", found, "T and D above 0")
            return None
        with np.errstate(over="ignore"):
            made[name] = array.astype(np.float32)
        if not np.isfinite(made[name]).all():
            row, column = (int(n) for n in np.argwhere(~np.isfinite(made[name]))[0])
            message = f"{name}[{row}, {column}] is not a finite number in float32"
            findings.add(NOT_FINITE, at, message, shorten(float(array[row, column])))
            return None
        columns = _columns(members.get(f"{name}_columns"), name, array.shape[1])
        if columns is None:
            message = f"{name}_columns is not a list of {array.shape[1]} different names"
            findings.add(TRAJECTORY, at, message, legal="text such as: joint_1 [rad]")
            return None
        made[f"{name}_columns"] = columns
    if len(made["state"]) != len(made["action"]):
        found = f"{len(made['state'])} and {len(made['action'])}"
        findings.add(TRAJECTORY, at, "state and action have different numbers of rows", found, "the same T")
        return None
    return Arrays(**made)


def _columns(given: Any, name: str, count: int) -> tuple[Column, ...] | None:
    """Columns from texts like `joint_1 [rad]`; named by position, with no unit, where none are given."""
    if given is None:
        return tuple(Column(name=f"{name}_{i}", unit=None) for i in range(count))
    texts = [str(item) for item in given] if isinstance(given, np.ndarray) and given.dtype.kind == "U" else []
    matches = [_COLUMN.match(text) for text in texts if text.isprintable()]
    made = tuple(Column(name=m["name"], unit=m["unit"]) for m in matches if m)
    return made if len(made) == count and len({column.name for column in made}) == count else None


def _usable(
    preferences: tuple[PreferenceEntry | None, ...], rollouts: dict[str, LoadedRollout | None], findings: Findings
) -> tuple[PreferenceEntry | None, ...]:
    """The preferences without those whose rollouts have defects."""
    made: list[PreferenceEntry | None] = []
    for i, entry in enumerate(preferences):
        bad = [label for label in ((entry.a, entry.b) if entry else ()) if rollouts[label] is None]
        if bad:
            at: At = ("preferences", i) if ("preferences", i) in findings.lines else ("preference",)
            findings.add(PREFERENCE_ROLLOUT, at, f"judges rollout {printable(bad[0])}, which has defects")
        made.append(None if bad else entry)
    return tuple(made)


def _mentioned(folder: Path, contents: Contents) -> set[Path]:
    """The files of rollouts that cannot be read: they are accounted for by their rollout's rejection."""
    found: set[Path] = set()
    for label, raw in contents.header.rollouts.items():
        if contents.rollouts[str(label)] is None and isinstance(raw, dict):
            views = raw.get("videos")
            names = [raw.get("video"), *(views.values() if isinstance(views, dict) else ())]
            quiet = Findings("")
            paths = [inside(folder, name, (), quiet) for name in names if isinstance(name, str)]
            found |= {_real(path) for path in paths if path is not None}
    return found


def _strays(folder: Path, named: set[Path]) -> list[tuple[str, Defect]]:
    found: list[tuple[str, Defect]] = []
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and not (here / n / "session.yaml").exists())
        for path in mp4_files(here, files):
            if _real(path) not in named:
                name = printable(path.relative_to(folder).as_posix())
                defect = Defect(rule=UNUSED_VIDEO.id, file=name, message="belongs to no rollout of session.yaml")
                found.append((name, defect))
    return found
