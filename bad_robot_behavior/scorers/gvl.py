"""GVL: a vision-language model says how far a task has got in each of a rollout's frames, shown in random order.

Method: Ma et al., "Vision Language Models are In-Context Value Learners" (arXiv 2411.04549). The first frame is shown
apart and declared to be 0 %; the others are shuffled, because a model that sees them in order answers with a rising
line whatever happens in them. One answer holds one number for each frame, and is put back into order here. The wording
of the prompt is ours (vlm/prompts/gvl.txt).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.scorer import Clip, Curve
from bad_robot_behavior.vlm.answers import BadAnswer, ask_checked, read_json
from bad_robot_behavior.vlm.client import Client, Image, Message, Request
from bad_robot_behavior.vlm.prompts import read_prompt

_JPEG_QUALITY = 85
_TOKENS_PER_FRAME = 100
_SPARE_TOKENS = 500


class EncodedClip(msgspec.Struct, frozen=True, kw_only=True):
    """A clip as it is sent: JPEG pictures, a hundredth of the size of the frames. pictures[0] is the anchor."""

    rollout_id: str
    instruction: str
    pictures: tuple[Image, ...]


class GVL:
    """The scorer `gvl`: progress in [0, 1] per frame, value = percent / 100, 0 at the first frame.

    Deterministic but for the model: the order of the frames and the seed sent with a request come from
    (seed, rollout_id, sample), so a request that is made again is found in the cache. An answer that breaks the schema,
    counts wrongly, names a frame twice or leaves 0..100 is asked once more, then recorded as the curve's `error`; it is
    never rescaled, padded or cut.
    """

    name = "gvl"
    kind: CurveKind = "progress"
    needs_frames = True

    def __init__(
        self,
        client: Client,
        num_frames: int = 30,
        image_size: int = 320,
        temperature: float = 0.0,
        seed: int = 0,
        prompt: str = "gvl",
    ) -> None:
        """`image_size` is the longer side in pixels; `prompt` names a file of vlm/prompts."""
        self.client = client
        self.num_frames = num_frames
        self.image_size = image_size
        self.temperature = temperature
        self.seed = seed
        self.prompt = read_prompt(prompt)

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return {
            "scorer": self.name,
            "model": self.client.model,
            "num_frames": self.num_frames,
            "image_size": self.image_size,
            "jpeg_quality": _JPEG_QUALITY,
            "temperature": self.temperature,
            "seed": self.seed,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
        }

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip. Raises EndpointError where the endpoint does not answer."""
        return [curves[0] for curves in self.sample_encoded([self.encode(clip) for clip in clips], 1)]

    def sample(self, clip: Clip, samples: int) -> list[Curve]:
        """`samples` curves of one clip, each from its own order of the frames and its own seed. The frames are encoded
        once. Raises EndpointError where the endpoint does not answer."""
        return self.sample_encoded([self.encode(clip)], samples)[0]

    def encode(self, clip: Clip) -> EncodedClip:
        """The clip with its frames as JPEG. Raises ValueError for a clip without frames."""
        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: GVL needs the frames of the clip")
        pictures = tuple(
            Image(media.jpeg(frame, self.image_size, _JPEG_QUALITY), "image/jpeg") for frame in clip.frames
        )
        return EncodedClip(rollout_id=clip.rollout_id, instruction=clip.instruction, pictures=pictures)

    def sample_encoded(self, clips: Sequence[EncodedClip], samples: int) -> list[list[Curve]]:
        """For each clip `samples` curves, all asked for at once. Raises EndpointError as `sample` does."""
        orders: list[list[int]] = []
        requests: list[Request] = []
        for clip in clips:
            for number in range(samples):
                order, seed = self._shuffle(clip, number)
                if order:
                    orders.append(order)
                    requests.append(self._request(clip, order, seed))
        checked = iter(ask_checked(self.client, requests, lambda i, text: _read(text, orders[i])))
        curves: list[list[Curve]] = []
        for clip in clips:
            if len(clip.pictures) < 2:
                curves.append([Curve(value=None, error="the clip has fewer than 2 frames")] * samples)
                continue
            found = [next(checked) for _ in range(samples)]
            curves.append([Curve(value=result.value, error=result.error) for result in found])
        return curves

    def _shuffle(self, clip: EncodedClip, sample: int) -> tuple[list[int], int]:
        """The order in which pictures 1.. are shown, and the request's seed (31 bits)."""
        digest = hashlib.sha256(f"gvl\x1f{self.seed}\x1f{clip.rollout_id}\x1f{sample}".encode()).digest()
        order = list(range(1, len(clip.pictures)))
        random.Random(digest).shuffle(order)
        return order, int.from_bytes(digest[:4], "big") >> 1

    def _request(self, clip: EncodedClip, order: list[int], seed: int) -> Request:
        count = len(order)
        instruction = " ".join(clip.instruction.split()).replace('"', "'")
        parts: list[str | Image] = [self.prompt.fill("anchor", instruction=instruction), clip.pictures[0]]
        parts.append(self.prompt.fill("frames", count=count))
        for number, place in enumerate(order, start=1):
            parts += [self.prompt.fill("frame", number=number), clip.pictures[place]]
        parts.append(self.prompt.fill("question", count=count, instruction=instruction))
        return Request(
            model=self.client.model,
            messages=(Message("system", (self.prompt.fill("system"),)), Message("user", tuple(parts))),
            temperature=self.temperature,
            max_tokens=_SPARE_TOKENS + _TOKENS_PER_FRAME * count,
            seed=seed,
            json_schema=_schema(count),
        )


def _schema(count: int) -> dict[str, Any]:
    entry = {
        "type": "object",
        "properties": {
            "frame": {"type": "integer", "minimum": 1, "maximum": count},
            "seen": {"type": "string"},
            "percent": {"type": "number", "minimum": 0, "maximum": 100},
        },
        "required": ["frame", "seen", "percent"],
        "additionalProperties": False,
    }
    frames = {"type": "array", "items": entry, "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "properties": {"frames": frames},
        "required": ["frames"],
        "additionalProperties": False,
    }


def _read(text: str, order: list[int]) -> NDArray[np.float64]:
    """Values in the order of time, (len(order) + 1,) in [0, 1], from an answer about pictures shown in `order`."""
    entries = read_json(text, _schema(len(order)))["frames"]
    # JSON Schema counts 3.0 as an integer, so the number is made one before it is used as a place.
    percents = {int(entry["frame"]): float(entry["percent"]) for entry in entries}
    if len(percents) != len(order):
        raise BadAnswer("a picture's number occurs twice, so another has no percentage")
    value = np.zeros(len(order) + 1)
    for number, place in enumerate(order, start=1):
        value[place] = percents[number] / 100
    return value
