"""What it took to ask models about the rollouts of a release, added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from bad_robot_behavior.schema import Asked, ModelUse, Took

Number = TypeVar("Number", int, float)


class AskingTally:
    """Takes the rollouts of a release, those of a session next to each other."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Took] = {}
        self._session = ""
        self._counted: set[tuple[str, str]] = set()

    def add(self, session_id: str, asked: Iterable[Asked]) -> None:
        """Count what was asked about a rollout; what was asked about its whole session only with the first of that."""
        if session_id != self._session:
            self._session = session_id
            self._counted.clear()
        for one in asked:
            key = one.stage, one.model
            if one.rollouts == 1 or key not in self._counted:
                before = [self._sums[key]] if key in self._sums else []
                self._sums[key] = _sum([*before, one])
            if one.rollouts > 1:
                self._counted.add(key)

    def of(self, models: Sequence[ModelUse]) -> tuple[ModelUse, ...]:
        """The models with what each took in all; with nothing, where no rollout says that it was asked."""
        return tuple(msgspec.structs.replace(use, took=self._sums.get((use.stage, use.model))) for use in models)


def _sum(parts: Sequence[Took]) -> Took:
    return Took(
        requests=sum(part.requests for part in parts),
        answers=sum(part.answers for part in parts),
        prompt_tokens=_total([part.prompt_tokens for part in parts]),
        completion_tokens=_total([part.completion_tokens for part in parts]),
        cost=_total([part.cost for part in parts]),
    )


def _total(numbers: Sequence[Number | None]) -> Number | None:
    """The sum, without the last bits of one of fractions; None where one of them is not known."""
    known = [number for number in numbers if number is not None]
    return round(sum(known), 9) if len(known) == len(numbers) else None
