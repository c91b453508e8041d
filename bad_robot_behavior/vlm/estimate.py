"""What a request will take, before it is sent: a rule of thumb, stated so that it can be doubted."""

from __future__ import annotations

import math
import struct

import msgspec

from bad_robot_behavior.vlm.client import Image, Request

CHARACTERS_PER_TOKEN = 4
PIXELS_PER_TOKEN = 750
RULE = (
    f"a token is {CHARACTERS_PER_TOKEN} characters of text or {PIXELS_PER_TOKEN} pixels of a picture; an answer takes "
    "at most its max_tokens"
)
"""Between the published rules of the large services (OpenAI: tiles of 512 pixels; Anthropic: width x height / 750;
Qwen-VL: 28 x 28 pixels a token), which lie within a factor of two of each other at 320 pixels."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one request sends: images, their bytes before base64, tokens by RULE, and the longest answer it allows."""

    images: int
    image_bytes: int
    prompt_tokens: int
    completion_tokens: int


def estimate(request: Request, answers: int = 1) -> Estimate:
    """What a request for so many answers takes."""
    images = [part for message in request.messages for part in message.parts if isinstance(part, Image)]
    texts = [part for message in request.messages for part in message.parts if isinstance(part, str)]
    pixels = [width * height for width, height in map(_size, images)]
    return Estimate(
        images=len(images),
        image_bytes=sum(len(image.data) for image in images),
        prompt_tokens=math.ceil(sum(map(len, texts)) / CHARACTERS_PER_TOKEN)
        + sum(math.ceil(count / PIXELS_PER_TOKEN) for count in pixels),
        completion_tokens=request.max_tokens * answers,
    )


def _size(image: Image) -> tuple[int, int]:
    """Width and height from the head of a PNG or JPEG file; (0, 0) where it is none."""
    data = image.data
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    at = 2  # a JPEG file is a chain of segments: FF, kind, length; C0 to CF but three of them hold the size
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0
