"""A release folder appears whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bad_robot_behavior.builder.reading import MANIFEST, read_manifest
from bad_robot_behavior.errors import ReleaseError, naming_disk

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def release_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write a release into, renamed to `out` at the end, removed where something fails.

    What a killed run left there is removed first. An earlier release at `out` is swapped out in one step. Raises
    ReleaseError where `out` is a file or a folder that is no release, or where another process is writing it now;
    DiskFullError where there is no room.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow a link that the user chose to have
    check_target(out)
    part = out.with_name(f".{out.name}.bad-robot-part")  # a name that nobody else gives to a folder of theirs
    try:
        with naming_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            with _locked(part):
                try:
                    yield part
                    check_target(out)
                    _move(part, out)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise ReleaseError(f"{out}: cannot be written: {error.strerror or error}{place}") from error


def check_target(out: Path) -> None:
    """Raise ReleaseError where a release written to `out` would destroy anything but an earlier release."""
    out = Path(os.path.abspath(out))  # noqa: PTH100 - as above
    if not out.name:
        raise ReleaseError(f"{out}: is no place for a release; give the path of a new folder")
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise ReleaseError(f"{out}: is there already and is no folder; give the path of a new folder")
    if not any(out.iterdir()):
        return
    try:
        manifest = read_manifest(out)
    except ReleaseError as error:
        raise ReleaseError(f"{out}: is there already and is no release; move it away or give another folder") from error
    own = {file.path for file in manifest.files} | {MANIFEST}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if not path.is_dir() and name not in own:
            raise ReleaseError(f"{out}: {name} is not part of the release there and would be lost; move it away")


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Make the folder `part` new and hold its lock, which the kernel drops when the process ends."""
    part.mkdir(exist_ok=True)
    handle = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReleaseError(f"{part}: another process is writing this release now; wait for it to end") from error
        for left in part.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
        yield
    finally:
        os.close(handle)


def _move(part: Path, out: Path) -> None:
    if not out.exists() or not any(out.iterdir()):
        part.replace(out)  # POSIX: also replaces an empty folder, in one step
        return
    if _exchange(part, out):
        return  # `part` is now the earlier release, which the caller removes
    old = part.with_name(f"{part.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    out.replace(old)
    part.replace(out)
    shutil.rmtree(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
