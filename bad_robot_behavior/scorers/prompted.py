"""What scorers have in common that show frames to a model beside a prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.vlm.client import Client, Image
from bad_robot_behavior.vlm.prompts import Prompt

JPEG_QUALITY = 85


class Prompted:
    """A model, a prompt, and how the frames are shown: `image_size` is the longer side in pixels."""

    name: str

    def __init__(
        self, client: Client, prompt: Prompt, *, num_frames: int, image_size: int, temperature: float, seed: int
    ) -> None:
        self.client = client
        self.prompt = prompt
        self.num_frames = num_frames
        self.image_size = image_size
        self.temperature = temperature
        self.seed = seed

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return {
            "scorer": self.name,
            "model": self.client.model,
            "num_frames": self.num_frames,
            "image_size": self.image_size,
            "jpeg_quality": JPEG_QUALITY,
            "temperature": self.temperature,
            "seed": self.seed,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
        }

    def pictures(self, frames: NDArray[np.uint8]) -> tuple[Image, ...]:
        """Frames (N, H, W, 3) as they are sent."""
        return tuple(Image(media.jpeg(frame, self.image_size, JPEG_QUALITY), "image/jpeg") for frame in frames)
