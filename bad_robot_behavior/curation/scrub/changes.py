"""Which parts of a picture are not what they were when they were last looked at.

A detector that saw some pixels once says the same of them again, so only what has changed since needs another look. A
camera that stands still beside a robot shows the same wall in nine of ten parts of every frame.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import require

Pixels: TypeAlias = NDArray[np.uint8]
Rect: TypeAlias = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels."""

CELL = 4
"""Pixels: the picture is compared in the means of squares of this side, which evens out the noise of a camera."""
LEVEL = 6
"""A square has changed when its mean luma (0 to 255) did by this much: more than noise, less than a face on a wall."""
MARGIN = 40
"""Pixels around a change that are looked at with it: a detector wants to see what a face stands in front of."""
MOST = 0.6
"""Where more than this part of the picture has changed, all of it is looked at."""


class Changes:
    """Remembers what each part of one video's picture was when it was last looked at."""

    def __init__(self) -> None:
        self._cv2: Any = require("cv2", "privacy")
        self._known: NDArray[np.int16] | None = None

    def __call__(self, frame: Pixels) -> list[Rect]:
        """Rectangles of an RGB frame (H, W, 3) that hold all changes since they were last given out; the whole of the
        first frame. They do not overlap. What is given out counts as looked at."""
        height, width = frame.shape[:2]
        size = (max(1, width // CELL), max(1, height // CELL))
        luma = self._cv2.cvtColor(frame, self._cv2.COLOR_RGB2GRAY)
        cells = self._cv2.resize(luma, size, interpolation=self._cv2.INTER_AREA).astype(np.int16)
        if self._known is None:
            self._known = cells
            return [(0, 0, width, height)]
        changed = np.abs(cells - self._known) >= LEVEL
        if not changed.any():
            return []
        side = 2 * -(-MARGIN // CELL) + 1
        grown = self._cv2.dilate(changed.astype(np.uint8), np.ones((side, side), np.uint8))
        count, _, stats, _ = self._cv2.connectedComponentsWithStats(grown, connectivity=8)
        rects = apart([(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in stats[1:count]])
        if sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rects) > MOST * size[0] * size[1]:
            rects = [(0, 0, *size)]
        for x1, y1, x2, y2 in rects:
            self._known[y1:y2, x1:x2] = cells[y1:y2, x1:x2]
        across, down = width / size[0], height / size[1]
        return [
            (int(x1 * across), int(y1 * down), int(np.ceil(x2 * across)), int(np.ceil(y2 * down)))
            for x1, y1, x2, y2 in rects
        ]


def apart(rects: list[Rect]) -> list[Rect]:
    """Rectangles that overlap are made one, until none do."""
    done: list[Rect] = []
    open_ = list(rects)
    while open_:
        one = open_.pop()
        meets = [r for r in done if r[0] < one[2] and one[0] < r[2] and r[1] < one[3] and one[1] < r[3]]
        if not meets:
            done.append(one)
            continue
        done = [r for r in done if r not in meets]
        every = np.array([one, *meets])
        x1, y1 = every[:, :2].min(axis=0)
        x2, y2 = every[:, 2:].max(axis=0)
        open_.append((int(x1), int(y1), int(x2), int(y2)))
    return sorted(done)


def is_within(box: NDArray[np.float32], rect: Rect) -> bool:
    """Does the rectangle hold the whole box?"""
    return bool(rect[0] <= box[0] and rect[1] <= box[1] and box[2] <= rect[2] and box[3] <= rect[3])
