"""RoboArena (arXiv 2506.18123): real DROID rollouts with human scores and A/B preferences, as its public dumps lie.

    <dump>/global_metadata.yaml
           evaluation_sessions/<uuid>/metadata.yaml
                                      <LETTER>_<policy>/<policy>_<time>_video_{left,right,wrist}.mp4, ..._npz_file.npz

This module knows the dump's folders; `roboarena_metadata` knows metadata.yaml, `roboarena_session` makes rollouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from bad_robot_behavior.curation.refusal import Refusal, rejection
from bad_robot_behavior.curation.sources.lab_yaml import printable
from bad_robot_behavior.curation.sources.roboarena_metadata import (
    Metadata,
    check_printable,
    read_mapping,
    read_metadata,
    remains,
)
from bad_robot_behavior.curation.sources.roboarena_session import SessionReader
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import Rejection, Rollout, SourceSettings, Synthetic, rule, session_id
from bad_robot_behavior.schema.plain_yaml import YamlError, read_yaml

LEAVES_DUMP = rule(
    "roboarena.leaves_dump",
    "No file or folder of a dump may lie outside it, by a link or otherwise.",
    cure="Copy the files into the dump instead of linking to them.",
)
EMPTY_SESSION = rule(
    "roboarena.empty_session", "A session must have at least one rollout.", cure="Download the session again."
)
ROBOT = "DROID Franka Panda"
_FOLDER = re.compile(r"^([A-Z])_(.+)$")
_SHAPE = (
    "A RoboArena dump holds evaluation_sessions/<id>/metadata.yaml and a folder for each rollout; "
    "bad-robot download roboarena gets one"
)


class RoboArena:
    """A RoboArena dump, or any folder in its layout. Implements `curation.stage.Source`."""

    def __init__(self, settings: SourceSettings, folder: Path) -> None:
        self.name = settings.name
        self._settings = settings
        self._folder = folder

    def sessions(self) -> list[str]:
        """Names of the session folders, sorted; what cannot be printed of one is escaped. Raises SourceError where the
        folder is no dump."""
        if not self._folder.is_dir():
            raise SourceError(f"{self._folder}: is not a folder. {_SHAPE}")
        root = self._folder / "evaluation_sessions"
        if not root.is_dir():
            raise SourceError(f"{self._folder}: has no folder evaluation_sessions. {_SHAPE}")
        names = sorted(printable(path.name) for path in root.iterdir() if path.is_dir())
        if not names:
            raise SourceError(f"{root}: holds no session. {_SHAPE}")
        if len(set(names)) < len(names):
            raise SourceError(
                f"{root}: two sessions have one name once their control characters are escaped. Rename one"
            )
        _ = self.action_spaces  # a broken global_metadata.yaml is said here, not in the middle of a build
        return names

    def files(self, session: str) -> list[Path]:
        """Every file of the session's folder, and the dump's own metadata."""
        folder = self._place(session)
        found = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
        shared = self._folder / "global_metadata.yaml"
        return sorted(found) + [shared] * shared.is_file()

    def read(self, session: str, store: Store) -> Iterator[Rollout | Rejection]:
        """The rollouts of one session in the order of their letters, and what cannot be had of it.

        A session that is refused as a whole gives a rejection for itself, and one for each rollout and preference that
        is known to be lost with it.
        Raises SourceError where `session` is not the name of a folder of this dump.
        """
        folder = self._place(session)
        if session in {"", ".", ".."} or Path(session).name != session or not folder.is_dir():
            raise SourceError(f"{self._folder}: has no session {session!r}; sessions() lists them")
        folders: dict[str, list[Path]] = {}
        data: dict[Any, Any] = {}
        try:
            self.check_inside(folder)
            folders = _policy_folders(folder)
            self.check_inside(folder / "metadata.yaml")
            data = read_mapping(folder / "metadata.yaml")
            check_printable(folder, "session")
            metadata = _read_any(data, folders)
        except Refusal as refusal:
            count = sum(len(paths) for paths in folders.values())
            reason = f"{refusal.reason}; folders of rollouts: {count}" if count else refusal.reason
            whole = session_id(self.name, session)
            yield rejection(self.name, session, "session", whole, session, refusal.rule.id, reason)
            lettered = {letter: paths for letter, paths in folders.items() if _FOLDER.match(paths[0].name)}
            yield from SessionReader(self, session, remains(data), lettered, store).refuse(refusal)
            return
        yield from SessionReader(self, session, metadata, folders, store).read()

    def _place(self, session: str) -> Path:
        """The folder that `sessions` calls by this name."""
        root = self._folder / "evaluation_sessions"
        place = root / session
        if place.is_dir():
            return place
        return next((path for path in root.iterdir() if printable(path.name) == session), place)

    @cached_property
    def action_spaces(self) -> dict[str, str]:
        """Policy name to joint_velocity or joint_position, as global_metadata.yaml has it; empty without that file.

        Raises SourceError where the file is there and cannot be read.
        """
        path = self._folder / "global_metadata.yaml"
        if not path.exists():
            return {}
        try:
            self.check_inside(path)
            data = read_yaml(path)
        except Refusal as refusal:
            raise SourceError(f"{path}: {refusal.reason}. {refusal.rule.cure} [{refusal.rule.id}]") from None
        except (OSError, YamlError) as error:
            raise SourceError(f"{path}: cannot be read as plain YAML: {error}. Download it again") from error
        index = data.get("policy_index") if isinstance(data, dict) else None
        spaces = {}
        for policy, facts in (index if isinstance(index, dict) else {}).items():
            space = facts.get("action_space") if isinstance(facts, dict) else None
            if space in ("joint_velocity", "joint_position"):
                spaces[str(policy)] = str(space)
        return spaces

    @property
    def robot(self) -> str:
        return self._settings.robot or ROBOT

    @property
    def synthetic(self) -> Synthetic | None:
        generator = self._settings.synthetic_generator
        if generator is None:
            return None
        return Synthetic(generator=generator, injector=None, parameters="{}", seed=None)

    def check_inside(self, path: Path) -> None:
        """Raises Refusal (roboarena.leaves_dump)."""
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise Refusal(LEAVES_DUMP, "a file or folder is a link that leads out of the dump")


def _read_any(data: dict[Any, Any], folders: dict[str, list[Path]]) -> Metadata:
    metadata = read_metadata(data)
    if not metadata.policies and not folders:
        raise Refusal(EMPTY_SESSION, "policies is empty")
    return metadata


def _policy_folders(session: Path) -> dict[str, list[Path]]:
    """The folders of a session by letter; one that bears no letter stands under its own name."""
    folders: dict[str, list[Path]] = {}
    for path in sorted(session.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            match = _FOLDER.match(path.name)
            folders.setdefault(match[1] if match else printable(path.name), []).append(path)
    return folders
