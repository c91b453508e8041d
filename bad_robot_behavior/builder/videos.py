"""How a release carries its videos: as mp4 files, or as bytes in parquet shards."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from bad_robot_behavior.builder.features import VIDEO_CONFIG, VIDEO_SCHEMA
from bad_robot_behavior.builder.shards import INDEX, INDEX_SCHEMA, Written, locate
from bad_robot_behavior.builder.tables import SplitWriter, open_writer
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import ROLES, PackageSettings, Role, RolloutRow, Video

FILES_LIMIT = 2000
"""Rollouts up to which `videos: auto` means mp4 files; docs/release.md has the measurements."""

FOLDER_LIMIT = 10_000
"""Files in one folder at most: the Hub refuses more."""

GROUP_BYTES = 4 << 20
"""Video bytes in one row group at most, unless a single video is larger: bounds memory for readers and writers."""

FILE_GROUPS = 100
"""Row groups in one shard at most, or as many as its size may need where that is large: a writer keeps some kilobytes
of each until the shard is closed."""


class VideoWriter(Protocol):
    """Takes a rollout's clean video file; returns what `Video.path` says of it in the release."""

    def add(self, rollout_id: str, role: Role, split: str, source: Path, video: Video) -> str | None: ...

    def close(self) -> None: ...


def choose_layout(setting: str, rollouts: int) -> Literal["files", "shards"]:
    """`files` or `shards`, as the recipe says or, for `auto`, by the number of rollouts."""
    if setting == "auto":
        return "files" if rollouts <= FILES_LIMIT else "shards"
    return "shards" if setting == "shards" else "files"


def video_writer(layout: str, root: Path, settings: PackageSettings) -> VideoWriter:
    """The writer of a layout, for a release in `root`."""
    return VideoFiles(root) if layout == "files" else VideoShards(root, settings)


def views(rollout: RolloutRow) -> Iterator[tuple[Role, Video]]:
    """The videos of a rollout in role order."""
    for role in ROLES:
        video = getattr(rollout.videos, role)
        if video is not None:
            yield role, video


class VideoFiles:
    """`videos/<split>/<rollout_id>_<role>.mp4`; from the 10,001st of a split on, `<split>-00001/` and so on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count: dict[str, int] = {}

    def add(self, rollout_id: str, role: Role, split: str, source: Path, video: Video) -> str:
        number = self._count.get(split, 0)
        self._count[split] = number + 1
        folder, part = split, number // FOLDER_LIMIT
        if part:
            folder = f"{split}-{part:05d}"
        relative = f"{VIDEO_CONFIG}/{folder}/{rollout_id}_{role}.mp4"
        target = self.root / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_hash(source, _digest(source), video)
        try:
            os.link(source, target)  # same disk: no bytes are copied
        except OSError:
            shutil.copyfile(source, target)
        return relative

    def close(self) -> None:
        pass  # every file stands on its own


class VideoShards:
    """Config `videos`: rows of (rollout_id, role, video) in `videos/{split}-00000-of-000NN.parquet`, with an index."""

    def __init__(self, root: Path, settings: PackageSettings) -> None:
        self.folder = root / VIDEO_CONFIG
        self.settings = settings
        self._file_bytes = settings.shard_size_mb * 1_000_000
        self._splits: dict[str, SplitWriter] = {}
        self._written: dict[str, list[Written]] = {}  # by split: what the shard now being written holds
        self._index: pq.ParquetWriter | None = None

    def add(self, rollout_id: str, role: Role, split: str, source: Path, video: Video) -> None:
        data = source.read_bytes()
        _check_hash(source, hashlib.sha256(data).hexdigest(), video)
        if split not in self._splits:
            self._written[split] = []
            self._splits[split] = SplitWriter(
                self.folder,
                split,
                VIDEO_SCHEMA,
                group_rows=self.settings.row_group_size,
                group_bytes=GROUP_BYTES,
                file_bytes=self._file_bytes,
                file_groups=max(FILE_GROUPS, self._file_bytes // GROUP_BYTES),
                finished=lambda path, number: self._add_to_index(split, path, number),
            )
        self._written[split].append(Written(rollout_id, role, len(data), video.sha256))
        row = {"rollout_id": rollout_id, "role": role, "video": {"bytes": data, "path": f"{rollout_id}_{role}.mp4"}}
        self._splits[split].add(row, weight=len(data))

    def close(self) -> None:
        for writer in self._splits.values():
            writer.close()
        if self._index is not None:
            self._index.close()

    def _add_to_index(self, split: str, shard: Path, number: int) -> None:
        total = pq.read_metadata(shard).num_rows
        written = self._written[split]
        written, self._written[split] = written[:total], written[total:]  # the last row may wait for the next shard
        rows = [
            {
                "rollout_id": video.rollout_id,
                "role": video.role,
                "split": split,
                "shard": number,
                "offset": offset,
                "size": video.size,
            }
            for video, offset in locate(shard, written)
        ]
        if self._index is None:
            self._index = open_writer(self.folder / INDEX, INDEX_SCHEMA)
        self._index.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_hash(path: Path, digest: str, video: Video) -> None:
    if digest != video.sha256:
        raise ReleaseError(
            f"{path}: its SHA-256 is {digest}, but its record says {video.sha256}; the file changed after it was "
            "scrubbed. Delete the build's work folder and build again"
        )
