"""RoboReward: one score from 1 to 5 for how a rollout ends, asked of each beginning of it.

Method: Lee et al., "RoboReward" (arXiv 2601.00675). The model is shown a video and a rubric and answers `ANSWER: n`. A
curve comes from its answers about the first 1, 2, ... N frames; with `prefixes` false it is asked once, about all of
them, and its answer stands at every frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.scorers.asking import Asking
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.answers import BadAnswer
from bad_robot_behavior.vlm.client import Client, Image

_ANSWER = re.compile(r"ANSWER:\s*([+-]?\d+(?:\.\d+)?)", re.IGNORECASE)


class RoboReward(Asking):
    """The scorer `roboreward`: progress (n - 1) / 4 in [0, 1] for the score n of each beginning of a rollout."""

    name = "roboreward"
    max_tokens: ClassVar[int] = 128
    form: ClassVar[str] = "ANSWER: <score>, with a score of 1, 2, 3, 4 or 5, and nothing else"
    card: ClassVar[Card] = Card(
        title="RoboReward 4B and 8B",
        runs="model",
        base_model="Qwen3-VL-4B-Instruct, Qwen3-VL-8B-Instruct",
        weights="teetone/RoboReward-4B, teetone/RoboReward-8B",
        paper="arXiv 2601.00675",
        license="weights: CC-BY-4.0",
        inputs="the frames up to a moment; the instruction",
        output="progress in [0, 1] in steps of 1/4",
        contaminated="yes",
        evidence="the abstract of its paper says that its training data are built on Open X-Embodiment and RoboArena",
        differs=(
            "worded anew unless a prompt_file is given; frames go as pictures, not as a video; the published score is "
            "for the end of a rollout, the curve asks it of each beginning; an answer that cannot be read is an error "
            "and not 1"
        ),
        sources=(
            "the model cards of teetone/RoboReward-4B and -8B, as mirrored",
            "robometer/robometer robometer/evals/baselines/roboreward.py @c7f38e2",
        ),
    )

    def __init__(self, client: Client, prefixes: bool = True, **options: Any) -> None:
        """`options` are those of `Asking`."""
        super().__init__(client, **options)
        self.prefixes = prefixes

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return super().parameters() | {"prefixes": self.prefixes}

    def shown(self, clip: Clip, frames: NDArray[np.uint8]) -> list[Sequence[Image]] | str:
        """The first 1, 2, ... N pictures, or all of them once."""
        pictures = self.pictures(frames)
        return [pictures[: t + 1] for t in range(len(pictures))] if self.prefixes else [pictures]

    def read(self, text: str) -> float:
        """(n - 1) / 4. Raises BadAnswer where there is not exactly one answer, or one that is not 1 to 5."""
        found = _ANSWER.findall(text)
        if len(found) != 1:
            raise BadAnswer(f"it holds {len(found)} times ANSWER: and a number; there must be one")
        if found[0] not in {"1", "2", "3", "4", "5"}:
            raise BadAnswer("the score is not 1, 2, 3, 4 or 5")
        return (int(found[0]) - 1) / 4

    def curve(self, answers: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Values (length,): the answers themselves, or the only one at every frame."""
        return answers if self.prefixes else np.full(length, answers[0])
