"""What a release is read with: its manifest, its parquet files row by row, and paths that stay inside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import ReleaseManifest, shorten

MANIFEST = "release.json"
_UNREADABLE = (OSError, pa.ArrowException, RuntimeError)  # Arrow lets some errors of C++ through as the last
_MAX_MANIFEST = 256 << 20  # 200 bytes a file; a release of 100,000 videos has 20 MB


def read_manifest(root: Path) -> ReleaseManifest:
    """The manifest of a release. Raises ReleaseError where the folder has none, or one that is not valid."""
    path = root / MANIFEST
    if path.exists() and (not path.is_file() or path.stat().st_size > _MAX_MANIFEST):
        raise ReleaseError(f"{path}: is not a regular file of at most {_MAX_MANIFEST >> 20} MiB")
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReleaseManifest)
    except OSError as error:
        raise ReleaseError(
            f"{root}: is not a release: {MANIFEST} cannot be read: {error.strerror}. `bad-robot build` makes one"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path}: is not a valid manifest: {error}. Download or build the release again") from error


def parquet_files(folder: Path, splits: Sequence[str]) -> list[Path]:
    """The parquet files of a table, in split order and then in shard order."""
    return [path for split in splits for path in sorted(folder.glob(f"{split}-[0-9]*-of-[0-9]*.parquet"))]


def inside(root: Path, relative: str) -> Path:
    """The file of a release that a row names. Raises ReleaseError for a path that leads out of the release.

    Links are followed, since a Hub snapshot is a folder of links into the `blobs` folder beside it, and into that
    folder only.
    """
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or "\\" in relative or "\0" in relative:
        raise ReleaseError(f"{root}: a row names the file {shorten(relative)}, which lies outside the release")
    path = root.joinpath(*parts.parts)
    resolved, home = path.resolve(), root.resolve()
    legal = [home]
    if home.parent.name == "snapshots":
        legal.append(home.parent.parent / "blobs")
    if not any(resolved.is_relative_to(folder) for folder in legal):
        raise ReleaseError(f"{root}: {shorten(relative)} is a link that leads out of the release")
    return path


def check_bytes(data: bytes, video: Mapping[str, Any], what: str) -> None:
    """Raise ReleaseError where a video's bytes are not those that were packaged."""
    if hashlib.sha256(data).hexdigest() != video["sha256"]:
        raise ReleaseError(f"{what}: its SHA-256 is not the one in the row; download or build the release again")


class RowFile:
    """A parquet file whose rows are read by row group; only the last group read is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # One range at a time as it is needed: pre-buffering reads whole row groups for one column.
            self._file = pq.ParquetFile(path, pre_buffer=False)
        except _UNREADABLE as error:
            raise ReleaseError(f"{path}: is not a readable parquet file: {error}") from error
        self.num_rows: int = self._file.metadata.num_rows
        counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._starts = [sum(counts[:i]) for i in range(len(counts))]
        self._counts = counts
        self._held: tuple[int, pa.Table] | None = None

    @classmethod
    def open(cls, path: Path, root: Path) -> RowFile:
        """Open a file of the release in `root`."""
        inside(root, path.relative_to(root).as_posix())
        return cls(path)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows, only these columns. Raises ReleaseError where one is missing or the file is damaged."""
        self.require(columns)
        try:
            return (
                self._file.read(columns=list(columns), use_threads=False)
                .select(list(columns))
                .replace_schema_metadata()
            )
        except _UNREADABLE as error:
            raise ReleaseError(f"{self.path}: is damaged: {error}") from error

    def require(self, columns: Sequence[str]) -> None:
        """Raise ReleaseError where a column is missing."""
        missing = [name for name in columns if name not in self._file.schema_arrow.names]
        if missing:
            raise ReleaseError(f"{self.path}: has no column {missing[0]}; it was not made by this version")

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in order, one row group in memory."""
        for group in range(len(self._counts)):
            yield from self._group(group).to_pylist()

    def row(self, number: int) -> dict[str, Any]:
        """Row `number` of the file; reads its row group."""
        group = next(i for i in reversed(range(len(self._starts))) if self._starts[i] <= number)
        row: dict[str, Any] = self._group(group).slice(number - self._starts[group], 1).to_pylist()[0]
        return row

    def _group(self, number: int) -> pa.Table:
        if self._held is None or self._held[0] != number:
            try:
                self._held = (number, self._file.read_row_group(number, use_threads=False))
            except _UNREADABLE as error:
                raise ReleaseError(f"{self.path}: is damaged: {error}") from error
        return self._held[1]
