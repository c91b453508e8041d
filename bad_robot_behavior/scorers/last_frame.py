"""A floor for scorers that ask a model: the same model, shown nothing but how a rollout ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.scorers.asking import Asking
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.answers import read_json
from bad_robot_behavior.vlm.client import Client, Image

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"percent": {"type": "number", "minimum": 0, "maximum": 100}},
    "required": ["percent"],
    "additionalProperties": False,
}


class LastFrame(Asking):
    """The scorer `last_frame`: how much of the task is done in the last frame, in [0, 1], at every frame.

    What a model that sees the whole rollout does not do better than this, it does not get from seeing it: a collision
    on the way, a spill out of view by the end, and a slow success look the same here.
    """

    name = "last_frame"
    max_tokens: ClassVar[int] = 256
    form: ClassVar[str] = "one JSON object and nothing else"
    places: ClassVar[int | None] = 1
    json_schema: ClassVar[dict[str, Any] | None] = _SCHEMA
    card: ClassVar[Card] = Card(
        title="floor: last frame only",
        runs="model",
        base_model="any vision-language model",
        inputs="the last frame; the instruction",
        output="progress in [0, 1], the same at every frame",
        contaminated="unknown",
        evidence="nothing is trained here; it depends on the model that is asked",
    )

    def __init__(self, client: Client, num_frames: int = 2, **options: Any) -> None:
        """`options` are those of `Asking`; of `num_frames` frames only the last is shown."""
        super().__init__(client, num_frames, **options)

    def shown(self, clip: Clip, frames: NDArray[np.uint8]) -> list[Sequence[Image]] | str:
        """The last picture."""
        return [self.pictures(frames[-1:])]

    def read(self, text: str) -> float:
        """percent / 100. Raises BadAnswer."""
        return float(read_json(text, _SCHEMA)["percent"]) / 100

    def curve(self, answers: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Values (length,), all the same."""
        return np.full(length, answers[0])
