"""What the loopback server answers to the scorers that ask for one number about some pictures, each in its format.

It sees how far a picture's task has got as the rest of the server does (`progress`: 0 to 1), and answers what a model
that is never wrong would say by the published definition of its number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

Progress = Callable[[bytes], float]


def answer(text: str, pictures: list[bytes], progress: Progress, outside: bool = False) -> str | None:
    """The answer to a question of these words about these pictures; None for any other question. outside: a number
    just outside its range."""
    if "<score>+NN%</score>" in text and len(pictures) == 8:
        hop = relative(progress(pictures[2]), progress(pictures[5]))
        return "<score>+101%</score>" if outside else f"<score>{round(100 * hop):+d}%</score>"
    if "ANSWER: <score>" in text:
        return "ANSWER: 6" if outside else f"ANSWER: {1 + round(4 * progress(pictures[-1]))}"
    if text.rstrip().endswith("</task> <score>") and len(pictures) == 2:
        before, after = map(progress, pictures)
        return "+101" if outside else f"{round(100 * (after - before) / (1 - before)):+d}"
    if '{"percent": <0 to 100>}' in text and len(pictures) == 1:
        return json.dumps({"percent": 101 if outside else round(100 * progress(pictures[0]))})
    return None


def relative(before: float, after: float) -> float:
    """A hop in [-1, 1]: what was gained of what was missing, or lost of what was reached."""
    if after >= before:
        return (after - before) / (1 - before) if before < 1 else 0.0
    return (after - before) / before


def likelihoods(pictures: list[bytes], progress: Progress, unlikely: bool = False) -> dict[str, Any]:
    """The `logprobs` of a choice whose first token is True with probability `progress` of the last picture, else False.
    unlikely: True is not among the tokens that are named."""
    true = min(max(progress(pictures[-1]), 1e-3), 1 - 1e-3)
    named = [{"token": "False", "logprob": math.log(1 - true)}]
    named += [] if unlikely else [{"token": "True", "logprob": math.log(true)}]
    named.sort(key=lambda token: -float(token["logprob"]))
    return {"content": [named[0] | {"top_logprobs": named}]}
