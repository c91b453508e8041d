"""VLAC: how much nearer to the goal the second of two pictures is than the first, as a signed percentage.

Method: "VLAC" (arXiv 2509.15937), its pair-wise critic. Each frame is compared with the one before; the answer is a
critic c in [-100, 100]. The released code (InternRobotics/VLAC evo_vlac/utils/model_utils.py @71acb22,
`critic_to_value_simple` with its default) makes a value of it, from 0 at the first frame:

    v' = v + (100 - v) c / 100        for either sign

A negative critic so weighs most where little has been reached, and takes values below 0; they are cut to [0, 100] here
at every step. Progress is v / 100.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import check_choice
from bad_robot_behavior.scorers.asking import Asking
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.answers import BadAnswer
from bad_robot_behavior.vlm.client import Client, Image

Output = Literal["progress", "critic"]
_NUMBER = re.compile(r"(?:<score>)?\s*([+-]?\d+(?:\.\d+)?)\s*%?\s*(?:</score>)?")


class VLAC(Asking):
    """The scorer `vlac`: progress in [0, 1] per frame, 0 at the first; or (`critic`) c / 100 of each step."""

    name = "vlac"
    min_frames: ClassVar[int] = 2
    max_tokens: ClassVar[int] = 32
    form: ClassVar[str] = "one signed percentage, such as +12 or -30, and nothing else"
    places: ClassVar[int | None] = 2
    card: ClassVar[Card] = Card(
        title="VLAC, pair-wise critic",
        runs="model",
        base_model="InternVL2-2B",
        weights="InternRobotics/VLAC",
        paper="arXiv 2509.15937",
        license="MIT, by its README",
        inputs="pairs of frames that follow each other; the instruction",
        output="progress in [0, 1], or the critic of each step in [-1, 1]",
        contaminated="unknown",
        evidence=(
            "its README says 3000 h of people, 1200 h of public robot data and 15 h of its own, and names none of the "
            "robot data sets"
        ),
        differs=(
            "worded anew unless a prompt_file is given; pictures keep their shape, and are not squeezed to 448 x 448; "
            "no reference rollout, no thinking, no decimals from log-probabilities; values kept in [0, 1]. Weights of "
            "this kind need a server that runs their own code, such as vLLM: transformers here runs none"
        ),
        sources=("InternRobotics/VLAC evo_vlac/utils/model_utils.py, evo_vlac/examples and README.md @71acb22",),
    )

    def __init__(self, client: Client, output: Output = "progress", **options: Any) -> None:
        """`options` are those of `Asking`. Raises BadRobotError for an output that there is not."""
        super().__init__(client, **options)
        check_choice("output", output, get_args(Output))
        self.output: Output = output
        self.kind = "progress" if output == "progress" else "reward"

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return super().parameters() | {"output": self.output}

    def shown(self, clip: Clip, frames: NDArray[np.uint8]) -> list[Sequence[Image]] | str:
        """Each frame after the first, with the one before."""
        pictures = self.pictures(frames)
        return [pictures[t - 1 : t + 1] for t in range(1, len(pictures))]

    def read(self, text: str) -> float:
        """The critic as a share in [-1, 1]. Raises BadAnswer for anything but one number in -100..100."""
        found = _NUMBER.fullmatch(text.strip())
        if found is None:
            raise BadAnswer("it is not one signed number and nothing else")
        percent = float(found[1])
        if abs(percent) > 100:
            raise BadAnswer("the score lies outside -100 to +100")
        return percent / 100

    def curve(self, answers: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Values (length,) from length - 1 critics."""
        return values(answers) if self.output == "progress" else np.concatenate([[0.0], answers])


def values(critics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Progress (N,) in [0, 1] from critics (N - 1,) in [-1, 1] of frames that follow each other."""
    value = [0.0]
    for critic in critics:
        value.append(min(1.0, max(0.0, value[-1] + (1 - value[-1]) * float(critic))))
    return np.array(value)
