"""The contracts of curation: what a source and a stage are, and where they put files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bad_robot_behavior.schema import Rejection, Rollout


class Store:
    """Files made by stages, named by the hash of their content.

    A file appears whole or not at all, the same content has the same path whatever run made it, and a run that is
    killed leaves nothing that a later one could mistake for a result.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, write: Callable[[Path], None], suffix: str) -> Path:
        """Call `write(path)` on a temporary path, then move the file to its content's place and return that."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.root, prefix=".part-", suffix=suffix)
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            digest = sha256_file(part)
            place = self.root / digest[:2] / f"{digest}{suffix}"
            place.parent.mkdir(exist_ok=True)
            part.chmod(0o644)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        return place


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in 1 MiB blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Source(Protocol):
    """Where rollouts come from: one adapter a format."""

    name: str
    """Name in the recipe; goes into ids, so it must not change between builds."""

    def sessions(self) -> list[str]:
        """References of all sessions in a fixed order. Cheap: lists, does not read. Raises SourceError."""
        ...

    def files(self, session: str) -> list[Path]:
        """The raw files that `read(session)` may look at. A change of one makes what was made of them stale."""
        ...

    def read(self, session: str, store: Store) -> Iterator[Rollout | Rejection]:
        """The rollouts of one session, or why one of them (or the whole session) cannot be had."""
        ...


class Stage(Protocol):
    """One step from raw to curated rollouts. Rollouts of a session arrive next to each other, and none is lost.

    For each one that comes in, exactly one rollout or one rejection of subject `rollout` comes out, in the same order.
    Rejections of parts (subject `critique`, `reward_curve`) come beside these, for rollouts that go on without them.
    """

    name: ClassVar[str]

    def parameters(self) -> Mapping[str, Any]:
        """All that decides the output beside the input, as JSON. Hashed into the completion mark; holds no secrets."""
        ...

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]: ...
