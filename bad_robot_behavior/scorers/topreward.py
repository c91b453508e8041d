"""TOPReward: how likely a model holds it that the beginning of a rollout shows the task done.

Method: Chen et al., "TOPReward" (arXiv 2602.19313). A model without any training for rewards is shown the first
1, 2, ... N frames with the statement that they complete the instruction, and asked whether that is true. The reward of
a beginning is log P("True"), the log-probability that its answer starts with the token `True`.

Scale `log` keeps that: 0 or less, without a lower bound, comparable between rollouts. It is no reward in [-1, 1] and
does not say that it is (kind `log_probability`). Scale `minmax` is the published progress curve,
(r - min) / (max - min) over the beginnings of one rollout: every rollout, failed or not, spans 0 to 1 in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import check_choice
from bad_robot_behavior.scorers.asking import Asking
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.answers import BadAnswer
from bad_robot_behavior.vlm.client import Client, Image

Scale = Literal["log", "minmax"]
TRUE = "True"


class TOPReward(Asking):
    """The scorer `topreward`: log P("True") for each beginning of a rollout (`log`, of kind `log_probability`), or that
    scaled to [0, 1] within the rollout (`minmax`, progress).

    Exact with transformers. An endpoint names its 20 likeliest first tokens only: where `True` is none of them, its
    log-probability is not known and the rollout has an error. A rollout whose beginnings are all alike has no `minmax`.
    """

    name = "topreward"
    max_tokens: ClassVar[int] = 1
    form: ClassVar[str] = "True or False"
    repair: ClassVar[bool] = False  # nothing was said that could be said better
    candidates: ClassVar[tuple[str, ...]] = (TRUE,)
    card: ClassVar[Card] = Card(
        title="TOPReward, log-probability of True",
        runs="model",
        base_model="any vision-language model; published with Qwen3-VL-8B-Instruct",
        weights="Qwen/Qwen3-VL-8B-Instruct, as it is",
        paper="arXiv 2602.19313",
        license="code: MIT; weights: those of the model",
        inputs="the frames up to a moment; the instruction",
        output="log-probabilities, at most 0; or progress in [0, 1] by min and max of the rollout",
        contaminated="unknown",
        evidence="nothing is trained for rewards, and what the model behind it was trained on is not published in full",
        differs=(
            "worded anew unless a prompt_file is given; frames go as pictures, not as a video of 2 fps; as many "
            "beginnings as frames (16), not 15 of up to 64; log-probabilities by default, not min-max; min-max of "
            "equal values is an error and not 1"
        ),
        sources=(
            "huggingface/lerobot src/lerobot/rewards/topreward/ @7427f31",
            "robometer/robometer robometer/evals/baselines/topreward.py @c7f38e2",
            "jcoleharrison/TOPReward README.md and LICENSE @bc61380 (a fork; TOPReward/TOPReward was not to be had)",
        ),
    )

    def __init__(self, client: Client, scale: Scale = "log", **options: Any) -> None:
        """`options` are those of `Asking`. Raises BadRobotError for a scale that there is not."""
        super().__init__(client, **options)
        check_choice("scale", scale, get_args(Scale))
        self.scale: Scale = scale
        self.kind = "log_probability" if scale == "log" else "progress"

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return super().parameters() | {"scale": self.scale}

    def shown(self, clip: Clip, frames: NDArray[np.uint8]) -> list[Sequence[Image]] | str:
        """The first 1, 2, ... N pictures."""
        pictures = self.pictures(frames)
        return [pictures[: t + 1] for t in range(len(pictures))]

    def read(self, text: str) -> float:
        """The log-probability, at most 0. Raises BadAnswer where the server did not say it."""
        try:
            found = msgspec.json.decode(text, type=dict[str, float | None]).get(TRUE)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadAnswer("it holds no log-probabilities") from None
        if found is None:
            raise BadAnswer(f"{TRUE!r} is not among the likeliest first tokens that the server names")
        return found

    def curve(self, answers: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Values (length,). Raises ValueError where scale `minmax` is not defined."""
        if self.scale == "log":
            return answers
        low, high = answers.min(), answers.max()
        if not high > low:
            raise ValueError("all beginnings of the rollout are equally likely, so that min-max is not defined")
        return np.asarray((answers - low) / (high - low))
