"""Where each video lies inside the shards of config `videos`, so that one can be read without its neighbours.

A parquet reader can read no less than a row group, ten videos or so. But the writer stores video bytes uncompressed
and plainly encoded, so each mp4 stands in the file in one piece; `videos/index.parquet` says where. Any other reader
can ignore the index: the shards are ordinary parquet.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from bad_robot_behavior.builder.features import VIDEO_CONFIG
from bad_robot_behavior.builder.reading import RowFile, inside, parquet_files
from bad_robot_behavior.errors import ReleaseError

INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("rollout_id", pa.string()),
        ("role", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),  # number of the file among those of its split
        ("offset", pa.int64()),  # of the first byte of the mp4 in that file
        ("size", pa.int64()),
    ]
)
_BYTES = "video.bytes"


class Written(NamedTuple):
    """One video as it went into a shard."""

    rollout_id: str
    role: str
    size: int
    sha256: str


def locate(shard: Path, written: list[Written]) -> Iterator[tuple[Written, int]]:
    """The offset of each video in a finished shard; `written` are its rows in order.

    Each is looked for by its length prefix in the column chunks of the video column, and its hash is checked.
    """
    metadata = pq.read_metadata(shard)
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    column, row = names.index(_BYTES), 0
    with shard.open("rb") as file:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunk = group.column(column)
            file.seek(chunk.data_page_offset)
            region = memoryview(file.read(chunk.total_compressed_size))
            start = 0
            for video in written[row : row + group.num_rows]:
                found = _find(region, video, start)
                yield video, chunk.data_page_offset + found
                start = found + video.size
            row += group.num_rows


def _find(region: memoryview, video: Written, start: int) -> int:
    data, prefix = region.obj, struct.pack("<I", video.size)
    assert isinstance(data, bytes)  # noqa: S101 - it came from file.read
    place = data.find(prefix, start)
    while place >= 0:
        first = place + len(prefix)
        if hashlib.sha256(region[first : first + video.size]).hexdigest() == video.sha256:
            return first
        place = data.find(prefix, place + 1)
    raise ReleaseError(
        f"rollout {video.rollout_id}: its video {video.role} is not plainly stored in its shard; this version of "
        "pyarrow encodes it otherwise, which is a bug to report"
    )


class VideoIndex:
    """Reads single videos out of the shards of a release."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, rollout_id: str, role: str) -> bytes:
        """The mp4 of one camera. Raises ReleaseError where the index or the shard lacks it."""
        place = self._places.get((rollout_id, role))
        if place is None:
            raise ReleaseError(f"{self.root}: {VIDEO_CONFIG}/{INDEX} has no video {role} of rollout {rollout_id}")
        split, shard, offset, size = place
        files = parquet_files(self.root / VIDEO_CONFIG, (split,))
        if not 0 <= shard < len(files) or offset < 0 or size < 0:
            raise ReleaseError(f"{self.root}: {VIDEO_CONFIG}/{INDEX} points at shard {shard} of {split}, not there")
        path = inside(self.root, files[shard].relative_to(self.root).as_posix())
        if offset + size > path.stat().st_size:
            raise ReleaseError(f"{path}: is shorter than {VIDEO_CONFIG}/{INDEX} says; download the release again")
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    @cached_property
    def _places(self) -> dict[tuple[str, str], tuple[str, int, int, int]]:
        path = self.root / VIDEO_CONFIG / INDEX
        if not path.is_file():
            raise ReleaseError(f"{path}: is missing; download or build the release again")
        columns: list[list[Any]] = [
            column.to_pylist() for column in RowFile.open(path, self.root).read(INDEX_SCHEMA.names)
        ]
        return {(row[0], row[1]): (row[2], row[3], row[4], row[5]) for row in zip(*columns, strict=True)}
