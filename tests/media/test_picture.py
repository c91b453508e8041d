"""JPEG files and scaling."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from bad_robot_behavior import media
from tests.media.test_writing import Pixels, pictures, psnr


def read(data: bytes) -> Pixels:
    with av.open(io.BytesIO(data), format="mjpeg") as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63), (1, 1), (240, 320)])
def test_jpeg_is_the_picture(height: int, width: int) -> None:
    picture = pictures(1, height, width)[0]
    data = media.jpeg(picture)
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    assert read(data).shape == picture.shape
    assert psnr(read(data), picture) > 33
    assert media.jpeg(picture) == data
    assert b"Lavc" not in data


def test_jpeg_keeps_black_white_and_colours() -> None:
    for colour in [(0, 0, 0), (255, 255, 255), (200, 30, 30), (20, 160, 40), (30, 40, 220)]:
        picture = np.full((32, 32, 3), colour, np.uint8)
        assert np.abs(read(media.jpeg(picture)).astype(int) - picture).max() <= 3, colour


def test_jpeg_quality_trades_size() -> None:
    picture = pictures(1, 240, 320)[0]
    sizes = [len(media.jpeg(picture, quality=quality)) for quality in (10, 50, 90, 100)]
    assert sizes == sorted(set(sizes))
    for quality in (0, 101):
        with pytest.raises(ValueError, match="legal: 1 to 100"):
            media.jpeg(picture, quality=quality)


def test_jpeg_scales_to_the_longest_side() -> None:
    assert read(media.jpeg(pictures(1, 240, 320)[0], longest_side=80)).shape == (60, 80, 3)
    assert read(media.jpeg(pictures(1, 320, 240)[0], longest_side=80)).shape == (80, 60, 3)


@pytest.mark.parametrize(
    ("height", "width", "side", "shape"), [(100, 200, 50, (25, 50)), (9, 300, 30, (1, 30)), (8, 6, 99, (8, 6))]
)
def test_resize_keeps_the_shape_of_things_and_never_scales_up(
    height: int, width: int, side: int, shape: tuple[int, int]
) -> None:
    assert media.resize(pictures(1, height, width)[0], side).shape == (*shape, 3)


def test_resize_averages() -> None:
    """A board of single black and white pixels becomes grey, not black or white."""
    board = np.kron(np.indices((64, 64)).sum(0)[..., None] % 2, np.ones((1, 1, 3))).astype(np.uint8) * 255
    assert np.abs(media.resize(board, 16).astype(int) - 127).max() <= 3
    with pytest.raises(ValueError, match="at least 1"):
        media.resize(board, 0)
