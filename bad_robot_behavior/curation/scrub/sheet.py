"""Contact sheets: every masked frame of a video in small, beside what is under its masks, for a person to look at.

They show faces, so they go into the work folder and never into a release.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.curation.scrub.changes import apart
from bad_robot_behavior.curation.scrub.tracks import Masks, Pixels, paint

HEIGHT = 96
"""Pixels of a tile: left the masked frame, at most twice as wide as high, right what its masks cover."""
_FRAME, _UNDER = 2 * HEIGHT, HEIGHT
_ACROSS, _DOWN = 5, 40
_GAP, _PAPER = 4, 255


class Sheet:
    """Collects the masked frames of one video and writes them as pages `<name>_1.jpg`, `<name>_2.jpg`, ..."""

    def __init__(self, folder: Path, name: str, masks: Masks) -> None:
        self._folder, self._name, self._masks = folder, name, masks
        self._tiles: list[Pixels] = []
        self._pages = 0

    def drawn(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """The frames of the video with their masks filled in, each as it comes, once it is on the sheet."""
        for index, frame in enumerate(frames):
            boxes = self._masks.get(index)
            if boxes is None:
                yield frame
                continue
            masked = paint(frame, boxes)
            self._tiles.append(_tile(frame, masked, boxes))
            if len(self._tiles) == _ACROSS * _DOWN:
                self._write()
            yield masked
        if self._tiles:
            self._write()

    def _write(self) -> None:
        self._pages += 1
        across = min(_ACROSS, len(self._tiles))
        rows = []
        for first in range(0, len(self._tiles), across):
            row = self._tiles[first : first + across]
            row += [np.full_like(row[0], _PAPER)] * (across - len(row))
            rows.append(np.hstack(row))
        self._tiles = []
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / f"{self._name}_{self._pages}.jpg"
        part = place.with_name(f".part-{place.name}")
        part.write_bytes(media.jpeg(np.vstack(rows)))
        part.replace(place)


def _tile(frame: Pixels, masked: Pixels, boxes: NDArray[np.float32]) -> Pixels:
    """Both in one picture, uint8 (HEIGHT + gap, frame + under + gaps, 3): what is under masks apart from each other
    stands side by side and below each other."""
    tile = np.full((HEIGHT + _GAP, _FRAME + _UNDER + 2 * _GAP, 3), _PAPER, np.uint8)
    _put(tile, masked, 0, 0, _FRAME, HEIGHT)
    height, width = frame.shape[:2]
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1).astype(int)
    inside = [tuple(map(int, c)) for c in corners.clip(0, (width, height, width, height)) if (c[2:] > c[:2]).all()]
    places = [
        rect for rect in apart([(a, b, c, d) for a, b, c, d in inside]) if rect[0] < rect[2] and rect[1] < rect[3]
    ]
    side = int(np.ceil(np.sqrt(max(1, len(places)))))
    cell = _UNDER // side
    for number, (x1, y1, x2, y2) in enumerate(places):
        row, column = divmod(number, side)
        _put(tile, frame[y1:y2, x1:x2], _FRAME + _GAP + column * cell, row * cell, cell, cell)
    return tile


def _put(tile: Pixels, picture: Pixels, left: int, top: int, width: int, height: int) -> None:
    """Fit a picture into a place of the tile."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    tile[top : top + h, left : left + w] = media.stretch(picture, w, h)
