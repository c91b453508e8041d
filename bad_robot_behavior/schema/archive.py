"""Counting the entries of a zip archive before anything believes its directory (PKWARE APPNOTE.TXT, 4.3.12)."""

from __future__ import annotations

from pathlib import Path

_ENTRY = b"PK\x01\x02"
_BLOCK = 1 << 20


def more_entries_than(path: Path, limit: int) -> bool:
    """Whether the directory can have more than `limit` entries. Raises OSError where the file cannot be read.

    zipfile makes an object of about 1 KB of each entry before anyone can count them. Every entry takes its signature,
    so there are no more entries than these. Packed bytes hold one by chance in each 4 GiB, so twice as many are let by.
    """
    count, last = 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            count += (last + block).count(_ENTRY)
            last = block[-len(_ENTRY) + 1 :]
            if count > 2 * limit:
                return True
    return False
