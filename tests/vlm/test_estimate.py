from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.vlm.client import Image, Message, Request
from bad_robot_behavior.vlm.estimate import estimate


@pytest.mark.parametrize(("height", "width"), [(240, 320), (1, 1), (321, 7)])
def test_tokens_follow_the_stated_rule(height: int, width: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    png = io.BytesIO()
    PIL.Image.fromarray(pixels).save(png, "PNG")
    jpeg = io.BytesIO()
    PIL.Image.fromarray(pixels).save(jpeg, "JPEG", exif=b"Exif\0\0" + bytes(3000))
    pictures = (
        Image(media.jpeg(pixels), "image/jpeg"),
        Image(jpeg.getvalue(), "image/jpeg"),
        Image(png.getvalue(), "image/png"),
    )
    request = Request(model="m", messages=(Message("user", ("x" * 41, *pictures)),), max_tokens=50)
    found = estimate(request, answers=4)
    assert found.prompt_tokens == 11 + 3 * -(-height * width // 750)
    assert found.completion_tokens == 200
    assert found.images == 3
    assert found.image_bytes == sum(len(picture.data) for picture in pictures)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\x89PNG\r\n\x1a\n", b"GIF89a" * 9])
def test_what_is_no_picture_counts_nothing(data: bytes) -> None:
    request = Request(model="m", messages=(Message("user", (Image(data, "image/jpeg"),)),))
    assert estimate(request).prompt_tokens == 0
