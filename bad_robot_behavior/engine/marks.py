"""Atomic output folders with a completion mark.

A folder is written beside its place and renamed into it as the last step, so a folder that exists is whole. The mark
inside holds the key of everything that decided its content; a run with another key writes it anew.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "complete.json"


def is_complete(folder: Path, key: str) -> bool:
    """True where `folder` is whole and was made with `key`."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # No mark, or one that a full disk or a crash cut short: the folder is made again.
        return False
    return isinstance(mark, dict) and mark.get("key") == key


@contextmanager
def writing(folder: Path, key: str) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends well, and vanishes when it does not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".part-{folder.name}-"))
    try:
        yield part
        (part / MARK).write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        if folder.exists():
            # Stale: made with another key. A kill between these two lines leaves no folder, and it is made again.
            shutil.rmtree(folder)
        try:
            part.rename(folder)
        except OSError:
            # Another process made the same folder meanwhile. The same key means the same bytes, so theirs will do.
            if not is_complete(folder, key):
                raise
    finally:
        if part.exists():
            shutil.rmtree(part, ignore_errors=True)
