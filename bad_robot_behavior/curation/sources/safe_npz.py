"""Read .npz files of strangers, object arrays included, without running what is in them.

RoboArena stores a rollout's steps as `np.savez_compressed(data=[dict, ...])`: an object array, so a pickle. numpy opens
that only with `allow_pickle=True`, which runs any code that the file asks for; here `safe_pickle` reads it.
Format: numpy/lib/format.py (.npy versions 1.0 and 2.0 in a zip archive).
"""

from __future__ import annotations

import ast
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bad_robot_behavior.curation.refusal import Refusal
from bad_robot_behavior.curation.sources.safe_pickle import (
    FOREIGN_OBJECT,
    TOO_LARGE,
    UNREADABLE,
    Limits,
    array_from_bytes,
    checked_shape,
    load_object_array,
)
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import Rule
from bad_robot_behavior.schema.archive import more_entries_than

__all__ = ["FOREIGN_OBJECT", "TOO_LARGE", "UNREADABLE", "Limits", "NpzError", "read_npz"]

_DESCR = re.compile(r"^[<>|=](?:f[248]|[iu][1248]|b1|[US]\d{1,6})$")
_MAX_HEADER = 10_000  # as numpy: literal_eval of a longer text can exhaust the stack


class NpzError(SourceError):
    """An .npz file that is broken, too large, or holds more than plain data. `rule` is the one that was broken."""

    def __init__(self, path: Path, rule: Rule, reason: str) -> None:
        self.path = path
        self.rule = rule
        self.reason = reason
        super().__init__(f"{path}: {reason}. {rule.cure} [{rule.id}]")


def read_npz(path: Path, limits: Limits | None = None) -> dict[str, Any]:
    """The members of an .npz by name, without `.npy`.

    A numeric or text array comes as a read-only numpy array. An object array of one dimension comes as a list, one of
    no dimension as its one value; what is inside them is plain Python data and numpy arrays and scalars.
    Raises NpzError (npz.unreadable, npz.foreign_object, npz.too_large).
    """
    limits = limits or Limits()
    try:
        return {name: _read_npy(data, limits) for name, data in _members(path, limits)}
    except Refusal as error:
        raise NpzError(path, error.rule, error.reason) from None


def _members(path: Path, limits: Limits) -> list[tuple[str, bytes]]:
    try:
        _check_size(path, limits)
        if more_entries_than(path, limits.members):
            raise Refusal(TOO_LARGE, f"the archive has more than {limits.members} members")
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_members(infos, limits)
            return [(info.filename.removesuffix(".npy"), _unpack(archive, info)) for info in infos]
    except OSError as error:
        raise Refusal(UNREADABLE, f"cannot be read: {error.strerror or type(error).__name__}") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, ValueError, struct.error) as error:
        raise Refusal(UNREADABLE, "is not a whole zip archive") from error
    except (NotImplementedError, RuntimeError) as error:
        raise Refusal(UNREADABLE, "the archive is encrypted or packed in a way that numpy does not write") from error


def _check_size(path: Path, limits: Limits) -> None:
    if not path.is_file():  # opening a pipe would wait for ever
        raise Refusal(UNREADABLE, "there is no regular file")
    if path.stat().st_size > limits.size_bytes:
        raise Refusal(TOO_LARGE, f"the file has more than {limits.size_bytes:,} bytes")


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """What a member holds, as far as it says that it does. Not `archive.read`: that unpacks up to 1 GiB at a time of a
    member that holds more than it says, and then throws it away."""
    with archive.open(info) as file:
        data = file.read(info.file_size)
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise Refusal(UNREADABLE, "a member does not hold what the archive says of it")
    return data


def _check_members(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(infos) > limits.members:
        raise Refusal(TOO_LARGE, f"the archive has {len(infos)} members, more than {limits.members}")
    # No more than file_size bytes of a member are unpacked, so the sum of these is what is read.
    if sum(info.file_size for info in infos) > limits.size_bytes:
        raise Refusal(TOO_LARGE, f"the members unpack to more than {limits.size_bytes:,} bytes")
    if len({info.filename for info in infos}) != len(infos):
        raise Refusal(UNREADABLE, "the archive has two members of one name")
    for info in infos:
        if not info.filename.endswith(".npy"):
            raise Refusal(UNREADABLE, "the archive has a member that is not .npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal(UNREADABLE, "the archive is packed in a way that numpy does not write")


def _read_npy(data: bytes, limits: Limits) -> Any:
    header, body = _read_header(data)
    if set(header) != {"descr", "fortran_order", "shape"}:
        raise Refusal(UNREADABLE, "a member has a .npy header with other keys than it should")
    descr = header["descr"]
    if descr == "|O":
        return load_object_array(body, limits)
    if not isinstance(descr, str) or not _DESCR.match(descr):
        raise Refusal(FOREIGN_OBJECT, "a member has a dtype other than numbers, text and objects")
    return array_from_bytes(body, np.dtype(descr), checked_shape(header["shape"]), header["fortran_order"] is True)


def _read_header(data: bytes) -> tuple[dict[Any, Any], bytes]:
    """The header of a .npy 1.0 or 2.0, and what follows. numpy's own reader also repairs headers of Python 2, by way
    of a tokenizer with many ways to fail; those are not read here."""
    size = {b"\x01\x00": "<H", b"\x02\x00": "<I"}.get(data[6:8])
    if data[:6] != b"\x93NUMPY" or size is None:
        raise Refusal(UNREADABLE, "a member is not .npy of version 1.0 or 2.0")
    try:
        (length,) = struct.unpack_from(size, data, 8)
        start = 8 + struct.calcsize(size)
        if length > _MAX_HEADER or start + length > len(data):
            raise Refusal(UNREADABLE, "a member has a .npy header that is cut or too long")
        header = ast.literal_eval(data[start : start + length].decode("latin1").strip())
    except (struct.error, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise Refusal(UNREADABLE, "a member has no valid .npy header") from error
    if not isinstance(header, dict):
        raise Refusal(UNREADABLE, "a member has no valid .npy header")
    return header, data[start + length :]
