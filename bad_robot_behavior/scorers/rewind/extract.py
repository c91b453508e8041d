"""Features of whole rollouts: made by several threads, and kept on disk under the hash of what they are of."""

from __future__ import annotations

import hashlib
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bad_robot_behavior import media
from bad_robot_behavior.errors import MediaError, ReleaseError
from bad_robot_behavior.schema import Role
from bad_robot_behavior.scorers.rewind.features import SIDE, FeaturePair, Features, squares
from bad_robot_behavior.scorers.run import pick_role

_AHEAD = 2  # videos that wait for each thread


class Rollout(Protocol):
    """What is needed of a rollout: the columns of its row, and its videos (`builder.loader.LoadedRollout`)."""

    def __getitem__(self, column: str) -> Any: ...

    def video_bytes(self, role: Role | None = None) -> bytes:
        """The file. Raises ReleaseError where its bytes are not those of the row."""
        ...


class Extracted(NamedTuple):
    """A rollout and its features, (L, D) float16 at frames `places` of the video of `role`, or why there are none."""

    rollout: Rollout
    role: Role | None
    places: NDArray[np.int64]
    frames: NDArray[np.float16] | None
    error: str | None


def extract(
    rollouts: Iterable[Rollout],
    features: Features,
    cache: Path,
    *,
    max_frames: int,
    workers: int,
    total: int | None = None,
) -> Iterator[Extracted]:
    """Features of `max_frames` evenly spaced frames (all, where there are fewer) of each rollout, in order.

    Of the first camera there is of exterior_1, exterior_2, wrist. What is in `cache` is not made again; a file there
    that cannot be read is. Half the digits are kept, in the cache or not, so that both give the same numbers.
    """
    with ThreadPoolExecutor(workers) as pool, tqdm(total=total, desc="features", unit="rollout", disable=None) as bar:
        waiting: deque[Future[Extracted]] = deque()
        for rollout in rollouts:
            waiting.append(_start(pool, rollout, features, cache, max_frames))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
                bar.update()
        while waiting:
            yield waiting.popleft().result()
            bar.update()


def pictures(data: bytes, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The frames at `index` of a video file, as the encoders take them. Raises MediaError."""
    return squares(media.sample(data, index))


def _start(
    pool: ThreadPoolExecutor, rollout: Rollout, features: Features, cache: Path, max_frames: int
) -> Future[Extracted]:
    """The file is read here, where the release is; the rest is a thread's."""
    role = pick_role(rollout["videos"])
    if role is None:
        return _done(Extracted(rollout, None, np.zeros(0, np.int64), None, "the rollout has no video"))
    video = rollout["videos"][role]
    index = media.sample_index(int(video["num_frames"]), max_frames)
    path = cache / f"{_key(features.pair, str(video['sha256']), index)}.npz"
    kept = _read(path, (len(index), features.pair.frame_dimension))
    if kept is not None:
        return _done(Extracted(rollout, role, index, kept, None))
    try:
        data = rollout.video_bytes(role)
    except ReleaseError as error:
        return _done(Extracted(rollout, role, index, None, str(error)))
    return pool.submit(_make, rollout, role, data, index, features, path)


def _make(
    rollout: Rollout, role: Role, data: bytes, index: NDArray[np.int64], features: Features, path: Path
) -> Extracted:
    try:
        seen = pictures(data, index)
    except (MediaError, ValueError) as error:
        return Extracted(rollout, role, index, None, f"{role} cannot be decoded: {error}")
    made = features.frames(seen).astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}.{rollout['rollout_id']}.tmp")  # one video may be of two rollouts
    with beside.open("wb") as file:
        np.savez(file, frames=made)
    beside.replace(path)
    return Extracted(rollout, role, index, made, None)


def _done(found: Extracted) -> Future[Extracted]:
    future: Future[Extracted] = Future()
    future.set_result(found)
    return future


def _key(pair: FeaturePair, video: str, index: NDArray[np.int64]) -> str:
    told = msgspec.json.encode([pair.frames, pair.frames_id, pair.frame_dimension, SIDE, video, index.tolist()])
    return hashlib.sha256(told).hexdigest()


def _read(path: Path, shape: tuple[int, int]) -> NDArray[np.float16] | None:
    try:
        with np.load(path, allow_pickle=False) as held:
            frames: NDArray[np.float16] = held["frames"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
    whole = frames.shape == shape and frames.dtype == np.float16 and bool(np.isfinite(frames).all())
    return frames if whole else None
