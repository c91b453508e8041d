"""Planes as the decoder leaves them, and which range their luma has."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from bad_robot_behavior import media


def grey(path: Path, pix_fmt: str, codec: str = "ffv1") -> Path:
    """Four lossless frames of 70x50 pixels, black on the left and white on the right."""
    picture = np.zeros((50, 70, 3), np.uint8)
    picture[:, 35:] = 255
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 70, 50, pix_fmt
        for _ in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "shapes", "white"),
    [
        ("yuv420p", "ffv1", [(50, 70), (25, 35), (25, 35)], 235),
        ("yuv422p", "ffv1", [(50, 70), (50, 35), (50, 35)], 235),
        ("yuv420p10le", "ffv1", [(50, 70)] * 3, 235),
        ("bgr0", "ffv1", [(50, 70)] * 3, 235),
        ("gray", "ffv1", [(50, 70)], 255),
        ("yuvj420p", "mjpeg", [(50, 70), (25, 35), (25, 35)], 255),
    ],
)
def test_planes_are_eight_bit_luma_first_without_padding(
    pix_fmt: str, codec: str, shapes: list[tuple[int, int]], white: int, tmp_path: Path
) -> None:
    found = list(media.decode(grey(tmp_path / "a.mkv", pix_fmt, codec)))
    assert len(found) == 4
    for frame in found:
        planes = media.planes(frame)
        assert [plane.shape for plane in planes] == shapes
        assert all(plane.dtype == np.uint8 for plane in planes)
        assert abs(int(planes[0][25, 60]) - white) <= 2
        assert abs(int(planes[0][25, 5]) - (0 if white == 255 else 16)) <= 2
        assert media.full_range(frame) == (white == 255)


def test_frames_are_upright_rgb_and_come_one_at_a_time(tmp_path: Path) -> None:
    stream = media.frames(grey(tmp_path / "a.mkv", "yuv444p"))
    first = next(stream)
    assert (first.shape, first.dtype) == ((50, 70, 3), np.uint8)
    assert first[25, 60].min() >= 253
    assert first[25, 5].max() <= 2
    assert len(list(stream)) == 3
