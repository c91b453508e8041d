"""Parquet files of one table, written as rows come: bounded memory, `{split}-00000-of-000NN.parquet` at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class SplitWriter:
    """The parquet files of one table and one split.

    Rows are held until there are `group_rows` of them or they weigh `group_bytes`, then they become one row group. A
    file that has grown past `file_bytes`, or holds `file_groups` row groups, is closed and a new one begun. Files carry
    their final names after `close`, when their number is known; `finished(path, number)` is called when a file is
    complete, under its temporary name.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        schema: pa.Schema,
        *,
        group_rows: int,
        group_bytes: int,
        file_bytes: int,
        file_groups: int | None = None,
        finished: Callable[[Path, int], None] | None = None,
    ) -> None:
        self.folder = folder
        self.split = split
        self.schema = schema
        self.group_rows = group_rows
        self.group_bytes = group_bytes
        self.file_bytes = file_bytes
        self.file_groups = file_groups
        self.finished = finished
        self.rows = 0
        self._pending: list[dict[str, Any]] = []
        self._pending_bytes = 0
        self._parts: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._groups = 0

    def add(self, row: dict[str, Any], weight: int = 0) -> None:
        """Take one row; `weight` is its size in bytes where it is not small."""
        if self._pending and self._pending_bytes + weight > self.group_bytes:
            self._flush()
        self._pending.append(row)
        self._pending_bytes += weight
        self.rows += 1
        if len(self._pending) >= self.group_rows:
            self._flush()

    def close(self) -> list[Path]:
        """Write what is held and name the files; returns them in order."""
        self._flush()
        self._close_part()
        total = len(self._parts)
        named = []
        for number, part in enumerate(self._parts):
            name = self.folder / f"{self.split}-{number:05d}-of-{total:05d}.parquet"
            part.replace(name)
            named.append(name)
        return named

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f".{self.split}-{len(self._parts):05d}.part"
            self._parts.append(part)
            self._writer = open_writer(part, self.schema)
            self._groups = 0
        self._writer.write_table(pa.Table.from_pylist(self._pending, schema=self.schema))
        self._groups += 1
        self._pending = []
        self._pending_bytes = 0
        if self._parts[-1].stat().st_size >= self.file_bytes or self._groups == self.file_groups:
            self._close_part()

    def _close_part(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if self.finished is not None:
                self.finished(self._parts[-1], len(self._parts) - 1)


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A parquet writer whose bytes depend on the rows alone. Video bytes are left as they are: they do not compress,
    and stored plainly each file stands in one piece (see `shards.py`)."""
    compression: Any = "zstd"
    dictionary: Any = True
    statistics: Any = True
    if "video" in schema.names:
        compression = {"rollout_id": "zstd", "role": "zstd", "video.bytes": "none", "video.path": "zstd"}
        dictionary = statistics = ["rollout_id", "role"]  # the least and greatest mp4 of a group tell nobody anything
    return pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        compression=compression,
        use_dictionary=dictionary,
        write_statistics=statistics,
        data_page_version="1.0",
    )


def write_rows(writer: pq.ParquetWriter, schema: pa.Schema, rows: Iterable[dict[str, Any]], group_rows: int) -> None:
    """Write rows in groups of `group_rows`."""
    iterator = iter(rows)
    while group := list(islice(iterator, group_rows)):
        writer.write_table(pa.Table.from_pylist(group, schema=schema))
