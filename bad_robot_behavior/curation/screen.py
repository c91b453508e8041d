"""The screen stage: every frame of every camera is decoded once, and what cannot be used is turned away by name.

The same pass gives what later stages tell copies by: a hash of the decoded frames, which survives a change of
container, and a perceptual fingerprint, which survives re-encoding and scaling (dHash: the signs of the differences
between neighbours in a 9x8 picture, 64 bits a frame, over 8 evenly spaced frames).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.curation.refusal import Refusal
from bad_robot_behavior.curation.stage import Store, sha256_file
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import ROLES, Rejection, Rollout, Rule, ScreenSettings, Video, reject, rule

__all__ = ["DUPLICATE", "FINGERPRINT_FRAMES", "Duplicates", "Screen", "fingerprint_distance"]

_WHOLE = "One bad camera rejects the whole rollout."
UNDECODABLE = rule(
    "video.undecodable",
    f"Every video must decode to its end without an error. {_WHOLE}",
    cure="Record or copy the file again; where one camera never worked, leave its video out of the rollout.",
)
CHANGED = rule(
    "video.changed",
    f"A video must be the file that the source read: same bytes, same number of frames. {_WHOLE}",
    cure="Do not write to the source's folder during a build; run the build again.",
)
BLACK = rule(
    "video.black",
    f"A video must show something: not all of its frames may be black. {_WHOLE}",
    cure="Leave the video of a covered or dead camera out of the rollout.",
)
FROZEN = rule(
    "video.frozen",
    f"A video must move: not all of its frames may be the same, and one frame alone shows no attempt. {_WHOLE}",
    cure="Leave the video of a camera that hung out of the rollout.",
)
TOO_SHORT = rule(
    "video.too_short",
    f"A video must last at least screen.min_duration_s of file time. {_WHOLE}",
    cure="Leave out rollouts that were broken off at once, or lower screen.min_duration_s in the recipe.",
)
TOO_LONG = rule(
    "video.too_long",
    f"A video must last at most screen.max_duration_s of file time. {_WHOLE}",
    cure="Cut the recording into its rollouts, or raise screen.max_duration_s in the recipe.",
)
VARIABLE_RATE = rule(
    "video.variable_rate",
    f"A video's frames must come at equal steps: frame N at N / fps, give or take 0.1 s or two frames. {_WHOLE}",
    cure="Encode it at a constant rate: ffmpeg -i INPUT -fps_mode cfr OUTPUT.mp4 (before FFmpeg 5.1: -vsync cfr).",
)
NO_VIDEO = rule(
    "rollout.no_video",
    "A rollout needs the video of at least one camera.",
    cure="Add a video, or leave the rollout out.",
)
DUPLICATE = rule(
    "rollout.duplicate",
    "A rollout must not have the same decoded frames, camera by camera, as one before it.",
    cure="Remove one of the copies from the sources.",
)

FINGERPRINT_FRAMES = 8
# Seconds of failures and curves are frames over fps. Labels are no finer than this, and containers round each time.
_MAX_DRIFT_S = 0.1
_MAX_DRIFT_FRAMES = 2.0
_ALGORITHM = 1  # raise it when hash or fingerprint are computed in another way: finished shards are then done again


class _Bad(msgspec.Struct, frozen=True, tag=True):
    """What `Refusal` says, on its way out of the other process."""

    rule: Rule
    detail: str


class _Seen(msgspec.Struct, frozen=True, tag=True):
    raw_sha256: str
    content_sha256: str
    fingerprint: str


class Screen:
    """Stage `screen`: rejects rollouts with unusable videos, fills hashes and fingerprints into the provenance."""

    name: ClassVar[str] = "screen"

    def __init__(self, settings: ScreenSettings) -> None:
        self.settings = settings

    def parameters(self) -> Mapping[str, Any]:
        return {**msgspec.to_builtins(self.settings), "algorithm": _ALGORITHM}

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        """A rollout with its provenance filled, or the first rule that one of its videos breaks, in role order."""
        for rollout in rollouts:
            yield self._screen(rollout)

    def _screen(self, rollout: Rollout) -> Rollout | Rejection:
        seen: list[_Seen] = []
        for role in ROLES:
            video: Video | None = getattr(rollout.videos, role)
            if video is None:
                continue
            try:
                seen.append(_look_contained(video, self.settings))
            except Refusal as bad:
                return reject(rollout, "screen", bad.rule, f"{role}: {bad.reason}")
            except MediaError as error:
                # without the path: a folder's name can be a person's
                return reject(rollout, "screen", UNDECODABLE, f"{role}: broke at {error.where}: {error.reason}")
        if not seen:
            return reject(rollout, "screen", NO_VIDEO, "no camera has a video")
        provenance = msgspec.structs.replace(
            rollout.provenance,
            raw_sha256=tuple(one.raw_sha256 for one in seen),
            content_sha256=tuple(one.content_sha256 for one in seen),
            fingerprint=tuple(one.fingerprint for one in seen),
        )
        return msgspec.structs.replace(rollout, provenance=provenance)


class Duplicates:
    """Tells copies while rollouts pass by, over all shards; holds 32 bytes and an id for each rollout."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def seen(self, rollout: Rollout) -> str | None:
        """Id of the first rollout with the same decoded frames in the same order of cameras; None: this is the first.

        What an injector made is a copy only of another of its kind under the same instruction: a swapped instruction
        or a force that no camera shows leaves the frames as they were. Raises ValueError where it was not screened.
        """
        content = rollout.provenance.content_sha256
        if not content:
            raise ValueError(f"rollout {rollout.rollout_id} has no content_sha256: it was not screened")
        made = rollout.synthetic.injector if rollout.synthetic else None
        parts = [*content, made, rollout.instruction_key] if made else content
        key = hashlib.sha256("".join(parts).encode()).digest()
        first = self._first.setdefault(key, rollout.rollout_id)
        return None if first == rollout.rollout_id else first


def fingerprint_distance(a: str, b: str) -> float:
    """Mean number of differing bits (0 to 64) per frame hash of two fingerprints, frame by frame in order.

    Infinite where the two cannot be compared: either is empty, or they have different numbers of frames. Raises
    ValueError for text that is not made of groups of 16 hex digits.
    """
    for text in (a, b):
        if len(text) % 16:
            raise ValueError(f"a fingerprint has 16 hex digits for each frame, found {len(text)} in all")
    if not a or len(a) != len(b):
        return float("inf")
    return (int(a, 16) ^ int(b, 16)).bit_count() / (len(a) // 16)


def _look_contained(video: Video, settings: ScreenSettings) -> _Seen:
    """As `_look`, in a process of its own: this is where every frame of a stranger's video is decoded first."""
    found = media.contained(__name__, "look", video.path or "", video, settings, returns=_Seen | _Bad)  # type: ignore[arg-type]
    if isinstance(found, _Bad):
        raise Refusal(found.rule, found.detail)
    return found


def look(path: str, video: Video, settings: ScreenSettings) -> _Seen | _Bad:
    """What `_look` tells, as data. `path` is that of the record."""
    try:
        return _look(video, settings)
    except Refusal as bad:
        return _Bad(bad.rule, bad.reason)


def _look(video: Video, settings: ScreenSettings) -> _Seen:
    """Everything this stage wants to know of one video, in one pass over its frames."""
    claimed = video.num_frames / video.fps
    if claimed < settings.min_duration_s:
        raise Refusal(TOO_SHORT, f"{claimed:.3f} s; at least {settings.min_duration_s:g} s are wanted")
    if claimed > settings.max_duration_s:
        raise Refusal(TOO_LONG, f"{claimed:.3f} s; at most {settings.max_duration_s:g} s are wanted")
    if video.path is None:
        raise Refusal(UNDECODABLE, "there is no file")
    wanted = _eight(video.num_frames)
    content = hashlib.sha256()
    prints: dict[int, str] = {}
    first: NDArray[np.int16] | None = None
    black = frozen = True
    start: float | None = None
    drift = 0.0  # the farthest that a frame is from where num_frames and fps put it, in seconds
    count = 0
    for frame in media.decode(video.path):
        if frame.time is not None:  # raw streams have no times, and there is nothing to hold them against
            start = frame.time if start is None else start
            drift = max(drift, abs(frame.time - start - count / video.fps))
        planes = media.planes(frame)
        if count == 0:
            content.update(repr([plane.shape for plane in planes]).encode())
        for plane in planes:
            content.update(plane.tobytes())
        luma = planes[0]
        if black:
            black = _brightness(luma, media.full_range(frame)) < settings.black_luma
        if first is None:
            first = luma.astype(np.int16)
        elif frozen:
            frozen = float(np.abs(luma - first).mean()) < settings.frozen_difference
        if count in wanted:
            prints[count] = _dhash(luma)
        count += 1
        if count > video.num_frames:
            break
    if count != video.num_frames:
        found = "more" if count > video.num_frames else str(count)
        raise Refusal(CHANGED, f"{video.num_frames} frames were counted before, now there are {found}")
    if black:
        raise Refusal(BLACK, f"all {count} frames are darker than {settings.black_luma:g} of 255")
    if frozen:
        raise Refusal(FROZEN, f"all {count} frames are the same" if count > 1 else "there is one frame only")
    if drift > max(_MAX_DRIFT_S, _MAX_DRIFT_FRAMES / video.fps):
        raise Refusal(VARIABLE_RATE, f"a frame is {drift:.3f} s from where {video.fps:g} fps put it")
    raw = sha256_file(Path(video.path))
    if raw != video.sha256:
        raise Refusal(CHANGED, "the bytes are not those that the source read")
    return _Seen(raw, content.hexdigest(), "".join(prints[i] for i in wanted))


def _eight(num_frames: int) -> list[int]:
    """Eight evenly spaced indices, first and last among them; a video of fewer frames repeats some."""
    last = FINGERPRINT_FRAMES - 1
    return [(2 * k * (num_frames - 1) + last) // (2 * last) for k in range(FINGERPRINT_FRAMES)]


def _brightness(luma: NDArray[np.uint8], full_range: bool) -> float:
    """Mean luma on the scale 0 (black) to 255 (white)."""
    mean = float(luma.mean())
    return mean if full_range else (mean - 16) * 255 / 219


def _dhash(luma: NDArray[np.uint8]) -> str:
    """64 bits as 16 hex digits: row by row, is a cell of the 9x8 picture brighter than the one to its right.

    Cells are exact means over areas, in whole numbers, so that every machine gets the same bits; a difference of less
    than one grey level counts as none, so that flat walls do not flip bits with the noise.
    """
    height, width = luma.shape
    cells = _areas(height, 8) @ luma.astype(np.int64) @ _areas(width, 9).T
    bits = (cells[:, :-1] - cells[:, 1:]) > height * width
    return f"{int(''.join('1' if bit else '0' for bit in bits.ravel()), 2):016x}"


def _areas(size: int, cells: int) -> NDArray[np.int64]:
    """(cells, size): how much of each pixel lies in each cell, in 1/cells of a pixel; every row sums to `size`."""
    pixel = np.arange(size, dtype=np.int64) * cells
    cell = np.arange(cells, dtype=np.int64)[:, None] * size
    overlap = np.minimum(pixel + cells, cell + size) - np.maximum(pixel, cell)
    found: NDArray[np.int64] = np.maximum(overlap, 0)
    return found
