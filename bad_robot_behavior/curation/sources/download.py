"""Fetch RoboArena's public dumps from the Hugging Face Hub, pinned to one commit and resumable.

The commit is resolved once and written to `bad-robot-download.json` in the folder before the first byte is fetched, so
a download that is started again goes on with the same revision, whatever was uploaded meanwhile. Files that are there
are not fetched again; one that was cut by a kill is (they have 0.7 MB on average), one whose connection broke goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bad_robot_behavior.errors import DownloadError, SourceError

DEFAULT_DUMP = "RoboArena/DataDump_02-03-2026"
PIN = "bad-robot-download.json"
_SESSIONS = "evaluation_sessions"
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_log = logging.getLogger(__name__)


class Dump(msgspec.Struct, frozen=True):
    """What is known of a public dump; all are MIT. Later dumps hold the sessions of earlier ones."""

    size_gb: float
    sessions: int
    rollouts: int
    revision_prefix: str  # of the commit these numbers were read from


DUMPS: dict[str, Dump] = {
    "RoboArena/DataDump_08-05-2025": Dump(8.1, 796, 4_613, "036d0310"),
    DEFAULT_DUMP: Dump(18.47, 3_284, 9_589, "1e7e7d09"),
    "RoboArena/DataDump_07-17-2026": Dump(21.7, 3_883, 10_783, "7931db81"),
}


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bad-robot-download.json: which dump and commit a folder holds, and whether all that was asked for is there."""

    dump: str
    revision: Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]
    limit: int | None
    complete: bool


def download_roboarena(
    folder: Path, dump: str = DEFAULT_DUMP, revision: str | None = None, limit: int | None = None
) -> Path:
    """Download a dump into `folder` and return it. Started again, it fetches what is missing.

    `revision` is a full commit, a branch or a tag; None takes the commit the folder is pinned to, else the one that
    DUMPS knows, and for a dump that it does not know the newest, and says so.
    `limit` fetches the first sessions only, in the order of their names. HF_ENDPOINT and HF_TOKEN work as everywhere.
    Raises SourceError: no network, no such dump or revision, a known commit that is gone, a folder that holds another
    dump, too little disk space.
    """
    if limit is not None and limit < 1:
        raise SourceError(f"limit is {limit}; it must be at least 1, or None for all sessions")
    pin = _read_pin(folder)
    _check_pin(folder, pin, dump, revision)
    if pin is not None and pin.complete and pin.limit == limit:
        return folder
    commit = _resolve(dump, pin.revision if pin is not None else revision)
    if limit is None:
        _check_space(folder, dump)
    _write_pin(folder, Pin(dump=dump, revision=commit, limit=limit, complete=False))
    _fetch(folder, dump, commit, limit)
    _write_pin(folder, Pin(dump=dump, revision=commit, limit=limit, complete=True))
    return folder


def _check_pin(folder: Path, pin: Pin | None, dump: str, revision: str | None) -> None:
    if pin is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SourceError(f"{folder}: is there and holds no download of ours. Give a new or an empty folder")
        return
    if pin.dump != dump:
        raise SourceError(f"{folder}: holds {pin.dump}, not {dump}. Give another folder")
    if revision is not None and _COMMIT.match(revision) and revision != pin.revision:
        raise SourceError(f"{folder}: is pinned to revision {pin.revision}, not {revision}. Give another folder")


def _resolve(dump: str, revision: str | None) -> str:
    """The commit of a branch or tag; with None, the commit that is known of the dump, else its newest.

    Asks for a commit that is given, too: the answer says within a second whether the Hub can be reached, where a
    listing would be tried again for half a minute.
    """
    from huggingface_hub import HfApi

    with _hub_errors(dump, revision):
        commit = HfApi().dataset_info(dump, revision=revision, timeout=30).sha
    if revision is not None and _COMMIT.match(revision):
        return revision
    if commit is None or not _COMMIT.match(commit):
        raise SourceError(f"{dump}: the Hub named no commit for revision {revision or 'main'}. Try again later")
    known = DUMPS.get(dump)
    if revision is not None:
        return commit
    if known is None:
        _log.warning("%s: no commit of it is known here; fetching the newest, %s, and pinning it", dump, commit)
        return commit
    return commit if commit.startswith(known.revision_prefix) else _older(dump, known, commit)


def _older(dump: str, known: Dump, newest: str) -> str:
    """The commit that is known of a dump to which others were added since."""
    from huggingface_hub import HfApi

    with _hub_errors(dump, newest):
        history = HfApi().list_repo_commits(dump, repo_type="dataset", revision=newest)
    found = [item.commit_id for item in history if item.commit_id.startswith(known.revision_prefix)]
    if not found or not _COMMIT.match(found[0]):
        raise SourceError(
            f"{dump}: is at {newest} now, and the commit {known.revision_prefix}... that is known here is no longer in "
            f"its history. To fetch the newest all the same, pass --revision {newest}"
        )
    _log.warning("%s: is at %s now; fetching %s, which is known here", dump, newest, found[0])
    return found[0]


def _fetch(folder: Path, dump: str, commit: str, limit: int | None) -> None:
    from huggingface_hub import HfApi, snapshot_download

    with _hub_errors(dump, commit):
        patterns = None
        if limit is not None:
            entries = HfApi().list_repo_tree(dump, _SESSIONS, revision=commit, repo_type="dataset")
            sessions = sorted(entry.path for entry in entries if not hasattr(entry, "blob_id"))[:limit]
            patterns = ["*.md", "global_metadata.yaml", *(f"{_glob_escape(path)}/*" for path in sessions)]
        options: dict[str, Any] = {
            "repo_type": "dataset",
            "revision": commit,
            "local_dir": folder,
            "allow_patterns": patterns,
        }
        snapshot_download(dump, **options)
        # Without a network, snapshot_download returns a folder that is there with no more than a log line.
        missing = [file for file in snapshot_download(dump, **options, dry_run=True) if file.will_download]
    if missing:
        raise SourceError(f"{folder}: {len(missing)} files of {dump} did not arrive. Run the same command again")
    _check_hashes(folder, dump)
    for part in (folder / ".cache").rglob("*.incomplete"):
        part.unlink()  # what a killed run has left behind


def _check_hashes(folder: Path, dump: str) -> None:
    """Hold every file to the hash that the Hub stated for it: the client checks its length only.

    The client notes the hash beside each file: SHA-256 of a large file, and of a small one git's SHA-1 of a blob. What
    differs is removed, so that the next run fetches it again.
    """
    notes = folder / ".cache" / "huggingface" / "download"
    wrong = []
    for note in sorted(notes.rglob("*.metadata")):
        path = folder / note.relative_to(notes).with_suffix("")
        stated = note.read_text(encoding="utf-8").splitlines()[1]
        known = len(stated) in (40, 64)
        if known and path.is_file() and stated != _hash_like(path, stated):
            wrong.append(path)
            path.unlink()
            note.unlink()
    if wrong:
        raise SourceError(
            f"{folder}: {len(wrong)} files of {dump} are not those that the Hub states, first {wrong[0].name!r}. "
            "They were removed; run the same command again"
        )


def _hash_like(path: Path, stated: str) -> str:
    """The hash of a file, of the kind that `stated` is."""
    digest = hashlib.sha256() if len(stated) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)  # noqa: S324
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _glob_escape(path: str) -> str:
    """A path as a pattern for the Hub client, which matches with fnmatch."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _check_space(folder: Path, dump: str) -> None:
    known = DUMPS.get(dump)
    if known is None:
        return
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    needed = known.size_gb * 1e9 - there
    free = shutil.disk_usage(place).free
    if free < needed:
        raise SourceError(
            f"{folder}: needs {needed / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free. "
            f"Give a folder on another disk, or --limit for the first of its {known.sessions:,} sessions"
        )


@contextmanager
def _hub_errors(dump: str, revision: str | None) -> Iterator[None]:
    """Turns what the Hub client raises into one sentence."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The HTTP library under the Hub client has changed between its versions; this is the base of its errors.
    transport: type[BaseException] = HfHubHTTPError.__mro__[1]
    try:
        yield
    except SourceError:
        raise
    except HFValidationError as error:
        raise SourceError(f"{dump!r} is not the name of a dataset on the Hub, such as {DEFAULT_DUMP}") from error
    except GatedRepoError as error:
        raise SourceError(f"{dump}: is gated. Ask for access on its page, then set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise SourceError(f"{dump}: is not on the Hub. Known dumps: {', '.join(DUMPS)}") from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{dump}: has no revision {revision}. Leave it out for the newest") from error
    except OfflineModeIsEnabled as error:
        raise SourceError(f"{dump}: cannot be fetched while HF_HUB_OFFLINE is set. Unset it and try again") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise DownloadError(f"{dump}: the Hub answered {status}. Run the same command again later") from error
    except (transport, OSError) as error:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        reason = type(error).__name__
        raise DownloadError(
            f"{dump}: the download from {endpoint} broke off ({reason}). Check the network and the disk, then run the "
            "same command again; it goes on where it stopped"
        ) from error


def _read_pin(folder: Path) -> Pin | None:
    path = folder / PIN
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(data, type=Pin)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: is not what a download writes. Delete it to start anew") from error


def _write_pin(folder: Path, pin: Pin) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{PIN}.part"
        part.write_text(json.dumps(msgspec.to_builtins(pin), indent=2) + "\n", encoding="utf-8")
        part.replace(folder / PIN)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be written: {error.strerror}") from error
