"""Answers by the hash of their request, so that a restarted build pays for nothing twice."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bad_robot_behavior.errors import BadRobotError, DiskFullError, naming_disk
from bad_robot_behavior.vlm.client import Answer, Image, Message, Request

_VERSION = 1
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}  # the second is about the index of the log beside the file
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


def request_key(request: Request) -> str:
    """SHA-256 (hex) of everything that decides the answer: model, parameters, messages and image bytes."""
    payload = [
        request.model,
        request.temperature,
        request.max_tokens,
        request.seed,
        request.json_schema,
        _hashed(request.messages),
    ]
    if request.candidates:  # only then, so that the keys of all other requests stay as they are
        payload.append(request.candidates)
    return hashlib.sha256(msgspec.json.encode(payload, order="deterministic")).hexdigest()


@functools.lru_cache(maxsize=1)  # samples of one question follow each other, and share a quarter of a megabyte
def _hashed(messages: tuple[Message, ...]) -> list[Any]:
    """The messages with hashes for pictures."""
    return [
        [
            message.role,
            [
                ["image", part.media_type, _digest(part)] if isinstance(part, Image) else ["text", part]
                for part in message.parts
            ],
        ]
        for message in messages
    ]


@functools.lru_cache(maxsize=1024)  # a request is looked up, sent and stored; other samples show the same pictures
def _digest(image: Image) -> str:
    return hashlib.sha256(image.data).hexdigest()


class Cache:
    """A SQLite file of good answers. Several processes and threads may use one file at the same time.

    A file that is corrupt, or was made by another version, is moved aside with a warning and a new one begun. What
    cannot be written (disk full, read-only folder) is warned of once: the answer in hand is still good. Where the file
    cannot be opened or read, BadRobotError says so. Requests and keys are not stored, only the hash of a request and
    the text of its answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[int, sqlite3.Connection] = {}  # by process: a connection must not cross a fork
        self._lock = threading.Lock()
        self._warned = False

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def get(self, request: Request) -> Answer | None:
        """The stored answer, with `cached` set, or None."""
        key = request_key(request)
        query = "SELECT text, prompt_tokens, completion_tokens FROM answers WHERE key = ?"
        row = self.read(lambda database: database.execute(query, (key,)).fetchone())
        if row is None:
            return None
        text, prompt_tokens, completion_tokens = row
        return Answer(text=text, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cached=True)

    def put(self, request: Request, answer: Answer) -> None:
        """Store a good answer at once. Raises ValueError for an answer without text: a fault must be asked again."""
        if answer.text is None:
            raise ValueError("an answer without text is never stored")
        row = (request_key(request), answer.text, answer.prompt_tokens, answer.completion_tokens)
        self.write(lambda database: database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row))

    def mark_unusable(self, requests: Sequence[Request]) -> None:
        """Remember that what was answered to these could not be used, for `forget_unusable`."""
        rows = [(request_key(request),) for request in requests]
        self.write(lambda database: database.executemany("INSERT OR IGNORE INTO unusable VALUES (?)", rows))

    def forget_unusable(self) -> int:
        """Drop the answers that were marked, so that they are asked for anew; how many there were."""

        def forget(database: sqlite3.Connection) -> int:
            with transaction(database):
                gone = database.execute("DELETE FROM answers WHERE key IN (SELECT key FROM unusable)").rowcount
                database.execute("DELETE FROM unusable")
            return gone

        return self.read(forget)

    def read(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """What `action` finds in the file. Raises BadRobotError where the file cannot be opened or read, DiskFullError
        where that needs room that is not there."""
        try:
            with naming_disk(self.path):
                return self._do(action)
        except (sqlite3.OperationalError, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) in _FULL:
                raise DiskFullError(self.path) from error
            raise BadRobotError(
                f"{self.path}: the cache of model answers cannot be used: {error}. Free some space there, or see that "
                "the folder may be written, and run the same command again"
            ) from error

    def write(self, action: Callable[[sqlite3.Connection], object]) -> None:
        """Change the file; where that cannot be, warn once and go on."""
        try:
            self._do(action)
        except (sqlite3.OperationalError, OSError) as error:
            if not self._warned:
                _LOG.warning("%s: answers are not being stored: %s", self.path, error)
                self._warned = True

    def __len__(self) -> int:
        count: int = self.read(lambda database: database.execute("SELECT count(*) FROM answers").fetchone())[0]
        return count

    def close(self) -> None:
        """Close this process's connection; the next use opens it again."""
        database = self._open.pop(os.getpid(), None)
        if database is not None:
            database.close()

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return action(self._connection())
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _CORRUPT:
                    raise
                self._replace(str(error))
                return action(self._connection())

    def _connection(self) -> sqlite3.Connection:
        database = self._open.get(os.getpid())
        if database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if (problem := _problem(self.path)) is not None:
                    self._move_aside(problem)
                database = self._open[os.getpid()] = _connect(self.path)
        return database

    def _replace(self, problem: str) -> None:
        self.close()
        with self._locked():
            # Another process may have put a good file here since; a page deep inside may also be bad though the
            # head reads well, so the whole file is checked before it is moved.
            if _problem(self.path, thorough=True) is not None:
                self._move_aside(problem)

    def _move_aside(self, problem: str) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.unusable-{number}")).exists():
            number += 1
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        _LOG.warning("%s: is not a usable cache (%s); moved to %s, a new one is begun", self.path, problem, aside.name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self.path.with_name(self.path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _problem(path: Path, thorough: bool = False) -> str | None:
    """Why the file cannot be used as a cache, or None.

    One that is not there or holds nothing can: a disk that was full when it was begun leaves such a file."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                return None
            if (version := database.execute("PRAGMA user_version").fetchone()[0]) != _VERSION:
                return f"version {version}, not {_VERSION}"
            database.execute("SELECT key, text, prompt_tokens, completion_tokens FROM answers LIMIT 1").fetchone()
            if thorough and (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                return str(found)
    except sqlite3.OperationalError as error:
        # A column that is not there makes it another program's file; a file that cannot be opened is for the caller.
        if "no such" not in str(error):
            raise
        return str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    with transaction(database):
        database.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER,"
            " completion_tokens INTEGER) WITHOUT ROWID"
        )
        database.execute("CREATE TABLE IF NOT EXISTS unusable (key TEXT PRIMARY KEY) WITHOUT ROWID")
        database.execute("CREATE TABLE IF NOT EXISTS spent (name TEXT PRIMARY KEY, amount REAL NOT NULL) WITHOUT ROWID")
        database.execute(f"PRAGMA user_version = {_VERSION}")
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nobody else in between."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
