"""Text in the picture: name tags, monitors, terminals. Read on sampled frames; where the finders of personal data find
something in what was read, its line is covered for as long as it stands there.

The reader is PP-OCR (Du et al. 2020, arXiv 2009.09941, Apache-2.0) with the weights inside the package `rapidocr`, run
by onnxruntime on one CPU core.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.curation.scrub.changes import Changes, Rect, is_within
from bad_robot_behavior.curation.scrub.text import Found
from bad_robot_behavior.curation.scrub.tracks import Masks, Pixels, cover, follow
from bad_robot_behavior.errors import require
from bad_robot_behavior.schema import TextOnScreenSettings

Line: TypeAlias = tuple[NDArray[np.float32], str]
"""Box (5,) x1, y1, x2, y2 in pixels and score in [0, 1], and what was read there."""

_ENLARGED = 2
"""Letters of 8 pixels are read at twice their size, and not at their own."""
_LONGEST = 2000
"""Pixels of the longer side after enlarging, above which a picture is not enlarged: it bounds time and memory."""
_PADDING = 0.15
_SILENT = {"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1}


class Reader:
    """Reads the lines of text in a picture. Raises MissingExtraError when made where the extra is not installed.

    The networks are loaded with the first picture (2 s). An instance is not for use from two threads.
    """

    def __init__(self, min_score: float) -> None:
        self._rapidocr = require("rapidocr", "privacy")
        self._cv2 = require("cv2", "privacy")
        self._min_score = min_score
        self._engine: Any = None

    @property
    def version(self) -> str:
        return ", ".join(f"{name} {metadata.version(name)}" for name in ("rapidocr", "onnxruntime"))

    def __call__(self, picture: Pixels) -> list[Line]:
        """The lines in an RGB picture (H, W, 3), as far as the reader is sure of them."""
        if self._engine is None:
            # its own enlarging to 736 pixels takes no account of how large the letters are
            fixed = {"Det.limit_type": "max", "Det.limit_side_len": _LONGEST, "Global.text_score": self._min_score}
            self._engine = self._rapidocr.RapidOCR(params=_SILENT | fixed)
        height, width = picture.shape[:2]
        scale = _ENLARGED if _ENLARGED * max(height, width) <= _LONGEST else 1
        if scale > 1:
            size = (width * scale, height * scale)
            picture = self._cv2.resize(picture, size, interpolation=self._cv2.INTER_CUBIC)
        read = self._engine(np.ascontiguousarray(picture[:, :, ::-1]))  # it takes BGR, as OpenCV does
        if read.boxes is None:
            return []
        lines: list[Line] = []
        for corners, words, score in zip(read.boxes, read.txts, read.scores, strict=True):
            corners = np.asarray(corners, np.float32) / scale
            lines.append((np.array([*corners.min(axis=0), *corners.max(axis=0), score], np.float32), words))
        return lines


class ScreenText:
    """Looks for personal data in the pictures of one video. Give it every frame in order, then ask for the masks."""

    def __init__(
        self, reader: Reader, settings: TextOnScreenSettings, fps: float, find: Callable[[str], tuple[Found, ...]]
    ) -> None:
        """`fps`: of file time. `find`: what is personal in a text."""
        self._read, self._find = reader, find
        self._every = max(1, round(settings.every_s * fps))
        self._changes = Changes()
        self._standing: list[tuple[NDArray[np.float32], tuple[Found, ...]]] = []
        self._seen: list[tuple[int, NDArray[np.float32]]] = []
        self.found: list[Found] = []
        """What was found, each value once."""

    def see(self, index: int, frame: Pixels) -> None:
        if index % self._every:
            return
        for rect in self._changes(frame):
            self._look(frame, rect)
        boxes = [box for box, personal in self._standing if personal]
        self._seen.append((index, np.stack(boxes) if boxes else np.empty((0, 5), np.float32)))

    def masks(self, num_frames: int) -> Masks:
        """What to cover: from the look before the first that found it to the look after the last."""
        return cover(follow(self._seen, 2 * self._every), num_frames, self._every, _PADDING)

    def _look(self, frame: Pixels, rect: Rect) -> None:
        x1, y1, x2, y2 = rect
        self._standing = [line for line in self._standing if not is_within(line[0], rect)]
        for box, words in self._read(frame[y1:y2, x1:x2]):
            personal = self._find(words)
            self.found += [found for found in personal if found not in self.found]
            self._standing.append((box + np.array([x1, y1, x1, y1, 0], np.float32), personal))
