"""Reading a release: tables by column, rollouts by row, frames decoded by PyAV. No torch, no network for a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bad_robot_behavior.builder.features import (
    CONFIGS,
    DEFAULT_CONFIG,
    REJECTION_SCHEMA,
    SPLITS,
    TABLES,
    VIDEO_CONFIG,
    VIDEO_SCHEMA,
    arrow_schema,
)
from bad_robot_behavior.builder.reading import MANIFEST, RowFile, check_bytes, inside, parquet_files, read_manifest
from bad_robot_behavior.builder.shards import VideoIndex
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import ROLES, ReleaseManifest

DEFAULT_NAME = "bad-robot-behavior"
_MAX_VIDEO = 1 << 30  # bytes; as in media, which reading a table need not load


def load(release: str | Path = DEFAULT_NAME, split: str | None = None) -> Release:
    """A release: a folder, else an installed release of that name, else a dataset on the Hub (`owner/name`,
    or `owner/name@revision` to hold to a commit).

    split: train, validation or test; None: all. Raises ReleaseError where none of these is a release, and for a release
    that lacks a table.
    """
    folder = Path(release)
    if not folder.is_dir():
        from bad_robot_behavior.builder.finding import find_release

        folder = find_release(str(release))
    return open_release(folder, split)


def open_release(folder: Path, split: str | None = None, *, videos: bool = False) -> Release:
    """The release in a folder. Raises ReleaseError where there is none, for a manifest that is not valid, and where a
    table that it lists is not there: without it there would seem to be no such rows. videos: they must be there too."""
    release = Release(folder, split)
    listed = [entry.path for entry in release.manifest.files]
    tables = [path for path in listed if path.endswith(".parquet") and not path.startswith(f"{VIDEO_CONFIG}/")]
    missing = [path for path in (listed if videos else tables) if not inside(folder, path).is_file()]
    if missing:
        others = f" and {len(missing) - 1} more of its files" if len(missing) > 1 else ""
        raise ReleaseError(f"{folder}: {missing[0]}{others} cannot be found; download or build the release again")
    return release


class LoadedRollout(Mapping[str, Any]):
    """One row of table `rollouts` as a mapping (`rollout["score"]`), with its videos within reach."""

    def __init__(self, release: Release, row: dict[str, Any]) -> None:
        self._release = release
        self._row = row

    def __getitem__(self, key: str) -> Any:
        return self._row[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __repr__(self) -> str:
        return f"LoadedRollout({self['rollout_id']}, {self['instruction']!r}, score={self['score']})"

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have a video, in the order exterior_1, exterior_2, wrist."""
        return tuple(role for role in ROLES if (self["videos"] or {}).get(role) is not None)

    def frames(
        self, role: str | None = None, n: int | None = None, index: Sequence[int] | NDArray[np.int64] | None = None
    ) -> NDArray[np.uint8]:
        """Decoded frames, (N, H, W, 3) uint8 RGB.

        role: the camera; None: the first that is there. n: so many evenly spaced frames (all where the video has
        fewer); index: exactly these; neither: every frame. Raises ReleaseError for a role without video and for
        an index beyond the video, MediaError where the video cannot be decoded.
        """
        from bad_robot_behavior import media

        video = self._video(role)
        total = video["num_frames"]
        if not isinstance(total, int) or not 1 <= total <= media.MAX_FRAMES:
            raise ReleaseError(
                f"rollout {self['rollout_id']}: num_frames is {total}; legal: 1 to {media.MAX_FRAMES}. "
                "`bad-robot validate` tells what else is wrong with this release"
            )
        if n is not None and index is not None:
            raise ValueError("give n or index, not both")
        if index is None:
            wanted = media.sample_index(total, total if n is None else n)
        else:
            wanted = np.asarray(index, dtype=np.int64)
            if wanted.size and (wanted.min() < 0 or wanted.max() >= total):
                raise ReleaseError(
                    f"rollout {self['rollout_id']}: frames {wanted.min()} to {wanted.max()} were asked for; "
                    f"legal: 0 to {total - 1}"
                )
        if video["path"] is not None:
            return media.sample(inside(self._release.path, video["path"]), wanted)
        return media.sample(self._release.video_bytes(self["rollout_id"], role or self.roles[0]), wanted)

    def video_bytes(self, role: str | None = None) -> bytes:
        """The mp4 file of a camera; None: the first that is there."""
        self._video(role)
        return self._release.video_bytes(self["rollout_id"], role or self.roles[0])

    def _video(self, role: str | None) -> dict[str, Any]:
        role = role or next(iter(self.roles), None)
        if role not in self.roles:
            raise ReleaseError(
                f"rollout {self['rollout_id']} has no video {role}; it has: {', '.join(self.roles) or 'none'}"
            )
        video: dict[str, Any] = self["videos"][role]
        return video


class Release:
    """A release on disk. Cheap to make: each file is opened when it is first needed, and then kept open for reading.

    path: its folder; split: the one it is narrowed to, or None.
    """

    def __init__(self, path: Path, split: str | None = None) -> None:
        if not (path / MANIFEST).is_file():
            raise ReleaseError(f"{path}: is not a release: it has no {MANIFEST}. `bad-robot build` makes one")
        if split is not None and split not in SPLITS:
            raise ReleaseError(f"{split!r} is no split; legal: {', '.join(SPLITS)}")
        self.path = path
        self.split = split

    @cached_property
    def manifest(self) -> ReleaseManifest:
        """release.json. Raises ReleaseError where it is not valid."""
        return read_manifest(self.path)

    def table(
        self, config: str = DEFAULT_CONFIG, columns: Sequence[str] | None = None, split: str | None = None
    ) -> pa.Table:
        """A table, or only some of its columns. Never reads a video: config `videos` gives rollout_id and role.

        config: rollouts, preferences, trajectories, demonstrations, reward_samples, videos or rejections.
        split: narrows it further.
        A config that this release has no rows of gives an empty table. Raises ReleaseError for unknown names.
        """
        schema = _schema(config)
        if columns is None:
            columns = [name for name in schema.names if name != "video"]
        unknown = [name for name in columns if name not in schema.names or name == "video"]
        if unknown:
            legal = ", ".join(name for name in schema.names if name != "video")
            raise ReleaseError(f"table {config} has no column {unknown[0]!r}; legal: {legal}")
        wanted = pa.schema([schema.field(name) for name in columns])
        if config == "rejections":
            files = [self.path / "rejections.parquet"]
        else:
            files = parquet_files(self.path / config, self._splits(split))
        tables = [RowFile.open(path, self.path).read(columns) for path in files]
        return pa.concat_tables([wanted.empty_table(), *tables]) if tables else wanted.empty_table()

    def __len__(self) -> int:
        return sum(file.num_rows for file in self._files)

    def __iter__(self) -> Iterator[LoadedRollout]:
        for file in self._files:
            for row in file.rows():
                yield LoadedRollout(self, row)

    def __getitem__(self, rollout_id: str) -> LoadedRollout:
        """The rollout with this id; reads one row group. Raises KeyError where the release (or split) has none."""
        number, row = self._places[rollout_id]
        return LoadedRollout(self, self._files[number].row(row))

    @property
    def rollout_ids(self) -> list[str]:
        """All ids in the order of the release."""
        return list(self._places)

    def video_bytes(self, rollout_id: str, role: str, checked: bool = True) -> bytes:
        """The mp4 file of one camera of one rollout, its SHA-256 checked against the row unless `checked` is False.

        Raises KeyError for an unknown id, ReleaseError where the rollout has no such video, where `Video.path` leaves
        the release, or where the bytes are not those that were packaged.
        """
        rollout = self[rollout_id]
        video = rollout._video(role)
        if video["path"] is not None:
            path = inside(self.path, video["path"])
            if path.exists() and (not path.is_file() or path.stat().st_size > _MAX_VIDEO):
                raise ReleaseError(f"{path}: is not a regular file of at most {_MAX_VIDEO >> 30} GiB")
            try:
                data = path.read_bytes()
            except OSError as error:
                raise ReleaseError(f"{path}: cannot be read: {error.strerror}") from error
        else:
            data = self._video_index.read(rollout_id, role)
        if checked:
            check_bytes(data, video, f"{self.path}: video {role} of rollout {rollout_id}")
        return data

    @cached_property
    def _files(self) -> list[RowFile]:
        files = [
            RowFile.open(path, self.path) for path in parquet_files(self.path / DEFAULT_CONFIG, self._splits(None))
        ]
        for file in files:
            file.require(("rollout_id", "instruction", "score", "videos"))
        return files

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        return {
            rollout_id: (number, row)
            for number, file in enumerate(self._files)
            for row, rollout_id in enumerate(file.read(["rollout_id"])["rollout_id"].to_pylist())
        }

    @cached_property
    def _video_index(self) -> VideoIndex:
        return VideoIndex(self.path)

    def _splits(self, split: str | None) -> tuple[str, ...]:
        if split is not None and split not in SPLITS:
            raise ReleaseError(f"{split!r} is no split; legal: {', '.join(SPLITS)}")
        return tuple(name for name in SPLITS if name == (split or name) == (self.split or name))


def _schema(config: str) -> pa.Schema:
    if config in TABLES:
        return arrow_schema(TABLES[config])
    if config == VIDEO_CONFIG:
        return VIDEO_SCHEMA
    if config == "rejections":
        return REJECTION_SCHEMA
    raise ReleaseError(f"there is no table {config!r}; legal: {', '.join((*CONFIGS, 'rejections'))}")
