"""The question that GVL asks, from its prompt files, and the reading of the answer to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.vlm.answers import BadAnswer, read_json
from bad_robot_behavior.vlm.client import Image, Message
from bad_robot_behavior.vlm.prompts import Prompt, read_prompt

EXTRAS = read_prompt("gvl_extras")
"""What only some questions need: several cameras, examples. The same words for every phrasing."""

Parts = list[str | Image]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """Another attempt, shown before the one that is judged, with as much of it as is to be shown (arXiv 2606.01036).

    pictures: JPEG, in the order of time; value: progress in [0, 1] for each of them, or (without pictures) for as many
    moments as there are. An example of text alone, without an instruction, is something known of many attempts.
    Raises ValueError where pictures and value are not of one length.
    """

    instruction: str | None = None
    text: str | None = None
    pictures: tuple[Image, ...] = ()
    value: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.pictures and self.value is not None and len(self.pictures) != len(self.value):
            raise ValueError(f"an example has {len(self.pictures)} pictures and {len(self.value)} values")


class EncodedClip(msgspec.Struct, frozen=True, kw_only=True):
    """A clip as it is sent: JPEG pictures, a hundredth of the size of the frames. pictures[0] is the anchor.

    others: the same moments seen by further cameras, each as long as `pictures`.
    """

    rollout_id: str
    instruction: str
    pictures: tuple[Image, ...]
    others: tuple[tuple[Image, ...], ...] = ()
    examples: tuple[Example, ...] = ()


def ask_about(clip: EncodedClip, order: Sequence[int], chance: random.Random, prompt: Prompt) -> tuple[Message, ...]:
    """The messages of one question: examples, the anchor at 0 %, then the moments `order` (places in clip.pictures).

    `chance` shuffles the pictures of examples. Order of parts after GVL, arXiv 2411.04549.
    """
    count = len(order)
    instruction = _quotable(clip.instruction)
    parts: Parts = []
    for example in clip.examples:
        parts += _show(example, chance)
    if clip.examples:
        parts.append(EXTRAS.fill("examples_end"))
    cameras = (clip.pictures, *clip.others)
    if len(cameras) > 1:
        parts.append(EXTRAS.fill("cameras", cameras=len(cameras)))
    parts.append(prompt.fill("anchor", instruction=instruction))
    parts += [pictures[0] for pictures in cameras]
    parts.append(prompt.fill("frames", count=count))
    for number, place in enumerate(order, start=1):
        parts.append(prompt.fill("frame", number=number))
        parts += [pictures[place] for pictures in cameras]
    parts.append(prompt.fill("question", count=count, instruction=instruction))
    return Message("system", (prompt.fill("system"),)), Message("user", tuple(parts))


def _show(example: Example, chance: random.Random) -> Parts:
    if example.instruction is None:
        return [EXTRAS.fill("known", text=_quotable(example.text or ""))]
    parts: Parts = [EXTRAS.fill("example", instruction=_quotable(example.instruction))]
    if example.text is not None:
        parts.append(EXTRAS.fill("example_text", text=_quotable(example.text)))
    if example.pictures:
        parts.append(EXTRAS.fill("example_frames", count=len(example.pictures)))
        order = list(range(len(example.pictures)))
        chance.shuffle(order)
        for place in order:
            if example.value is None:
                parts.append(EXTRAS.fill("example_frame"))
            else:
                parts.append(EXTRAS.fill("example_frame_percent", percent=_percent(example.value[place])))
            parts.append(example.pictures[place])
    elif example.value is not None:
        percents = ", ".join(_percent(value) for value in example.value)
        parts.append(EXTRAS.fill("example_percents", percents=percents))
    return parts


def answer_schema(count: int) -> dict[str, Any]:
    """What the answer about `count` pictures looks like."""
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


def read_answer(text: str, order: Sequence[int]) -> NDArray[np.float64]:
    """Values in the order of time, (len(order) + 1,) in [0, 1], from an answer about moments shown in `order`.

    Raises BadAnswer where it does not give one percentage in 0..100 for each; nothing is rescaled, padded or cut.
    """
    entries = read_json(text, answer_schema(len(order)))["frames"]
    # JSON Schema counts 3.0 as an integer, so the number is made one before it is used as a place.
    percents = {int(entry["frame"]): float(entry["percent"]) for entry in entries}
    if len(percents) != len(order):
        raise BadAnswer("a picture's number occurs twice, so another has no percentage")
    value = np.zeros(len(order) + 1)
    for number, place in enumerate(order, start=1):
        value[place] = percents[number] / 100
    return value


def _quotable(text: str) -> str:
    """On one line and without quotes, so that no text can end the quotation it stands in."""
    return " ".join(text.split()).replace('"', "'")


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"
