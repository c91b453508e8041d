"""Boxes on single frames linked to tracks through time, and what to cover on which frame because of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = NDArray[np.float32]
"""Corners (4,) x1, y1, x2, y2 in pixels."""
Found: TypeAlias = tuple[int, NDArray[np.float32]]
"""A frame that was looked at, and what was found: (N, 4 + K), corners and K scores in [0, 1]."""
Masks: TypeAlias = Mapping[int, NDArray[np.float32]]
"""Frame index to the boxes (N, 4) to cover; frames with nothing to cover are left out."""

MASK = (128, 128, 128)
"""What covers a face: one grey. Nothing of what was there can be computed back."""


class Track(msgspec.Struct, frozen=True):
    """One thing followed through time: frame indices in order, and for each the box (4,) and its scores (K,)."""

    frames: list[int]
    boxes: list[Box]
    scores: list[NDArray[np.float32]]


class Follower:
    """Links the boxes of frames in order to tracks; one may be lost for `reach` frames."""

    def __init__(self, reach: int) -> None:
        self.tracks: list[Track] = []
        self._reach = reach
        self._live: list[Track] = []

    def see(self, index: int, boxes: NDArray[np.float32]) -> list[Track]:
        """The track that each box (N, 4 + K) of a frame now ends; the first score says whose turn it is."""
        self._live = [track for track in self._live if index - track.frames[-1] <= self._reach + 1]
        free = list(self._live)
        ended: dict[int, Track] = {}
        for row in np.argsort(-boxes[:, 4], kind="stable"):
            box = boxes[row]
            near = [(_distance(track, box, index), number) for number, track in enumerate(free)]
            best = min(near, default=(np.inf, 0))
            if np.isfinite(best[0]):
                track = free.pop(best[1])
            else:
                track = Track([], [], [])
                self.tracks.append(track)
                self._live.append(track)
            track.frames.append(index)
            track.boxes.append(box[:4])
            track.scores.append(box[4:])
            ended[int(row)] = track
        return [ended[row] for row in range(len(boxes))]


def follow(found: Iterable[Found], reach: int) -> list[Track]:
    """The tracks of all frames."""
    follower = Follower(reach)
    for index, boxes in found:
        follower.see(index, boxes)
    return follower.tracks


def _distance(track: Track, box: Box, index: int) -> float:
    """Pixels between the middles of a box and the last one of a track; infinite where they cannot be one face: sizes
    that differ by more than a factor of two, or further apart than the face's longer side, a little more after a gap.
    """
    last = track.boxes[-1]
    side = max(last[2] - last[0], last[3] - last[1]), max(box[2] - box[0], box[3] - box[1])
    distance = float(np.hypot(*((last[:2] + last[2:]) / 2 - (box[:2] + box[2:4]) / 2)))
    reach = max(side) * min(3.0, 1 + (index - track.frames[-1] - 1) / 2)
    return distance if max(side) <= 2 * min(side) and distance <= reach else np.inf


def cover(tracks: Iterable[Track], num_frames: int, window: int, padding: float) -> Masks:
    """What to mask on each frame: the padded boxes of all frames up to `window` frames before and after it; where a
    track has a gap, the hull of its two ends stands in it.

    `padding` is the part of a box's size added on each side. A face that was seen on one frame only is masked on
    2 * window + 1 frames, so a face that comes, goes or flickers shows on no frame near one where it was seen.
    """
    united: dict[int, list[Box]] = {}
    for track in tracks:
        padded = [_pad(box, padding) for box in track.boxes]
        spans = [(index, index, box) for index, box in zip(track.frames, padded, strict=True)]
        for (first, one), (second, other) in itertools.pairwise(zip(track.frames, padded, strict=True)):
            if second - first > 1:
                hull = np.concatenate([np.minimum(one[:2], other[:2]), np.maximum(one[2:], other[2:])])
                spans.append((first + 1, second - 1, hull))
        for start, end, box in spans:
            for near in range(max(0, start - window), min(num_frames, end + window + 1)):
                united.setdefault(near, []).append(box)
    return {index: np.unique(np.stack(boxes), axis=0) for index, boxes in sorted(united.items())}


def together(one: Masks, other: Masks) -> Masks:
    """Both masks on every frame."""
    frames = sorted({*one, *other})
    return {i: np.concatenate([masks[i] for masks in (one, other) if i in masks]) for i in frames}


def _pad(box: Box, padding: float) -> Box:
    margin = padding * (box[2:] - box[:2])
    return np.concatenate([box[:2] - margin, box[2:] + margin]).astype(np.float32)


def paint(frame: Pixels, boxes: NDArray[np.float32]) -> Pixels:
    """A copy of a frame (H, W, 3) with boxes (N, 4) filled in, to whole pixels outwards."""
    height, width = frame.shape[:2]
    covered = frame.copy()
    for x1, y1, x2, y2 in boxes:
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        covered[top : max(0, min(height, int(np.ceil(y2)))), left : max(0, min(width, int(np.ceil(x2))))] = MASK
    return covered
