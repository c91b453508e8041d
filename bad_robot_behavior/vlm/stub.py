"""A client without a model, for tests and dry runs of one's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bad_robot_behavior.vlm.client import Answer, Request


class StubClient:
    """Answers with what `answer(request)` returns. Keeps every request in `asked`, in order, and what was asked in vain
    in `in_vain`."""

    def __init__(self, answer: Callable[[Request], str | Answer], model: str = "stub") -> None:
        self.model = model
        self.asked: list[Request] = []
        self.in_vain: list[Request] = []
        self._answer = answer

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked.extend(requests)
        answers = [self._answer(request) for request in requests]
        return [Answer(text=answer) if isinstance(answer, str) else answer for answer in answers]

    def unusable(self, requests: Sequence[Request]) -> None:
        """Keep them."""
        self.in_vain.extend(requests)
