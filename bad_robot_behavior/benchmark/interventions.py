"""Changed inputs: the same rollouts under a wrong instruction, or shown backwards, through any scorer as it is.

An intervention wraps the rollouts before a scorer sees them and marks the predictions afterwards, so that no scorer
needs to know of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Prediction, Role, instruction_key
from bad_robot_behavior.scorers.run import Watchable


class Intervention(Protocol):
    """A change of the input."""

    def show(self, rollouts: Iterable[Watchable]) -> Iterator[Watchable]:
        """The rollouts as the scorer gets them."""
        ...

    def mark(self, prediction: Prediction) -> Prediction:
        """The prediction as it is stored: with what was changed."""
        ...


class _Seen(Watchable):
    """A rollout with one column or its frames replaced."""

    def __init__(self, rollout: Watchable, instruction: str | None = None, backwards: bool = False) -> None:
        self._rollout, self._instruction, self._backwards = rollout, instruction, backwards

    def __getitem__(self, column: str) -> Any:
        if column == "instruction" and self._instruction is not None:
            return self._instruction
        return self._rollout[column]

    def frames(self, role: Role, *, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        frames = self._rollout.frames(role, index=index)
        return frames[::-1] if self._backwards else frames


class WrongInstruction:
    """Each rollout under the instruction of another task of the release.

    instructions: rollout_id to instruction. The wrong one is drawn by a hash of `seed` and the rollout's own
    normalised instruction, from those that differ from it once normalised; rollouts of one instruction get the same
    wrong one, so that their order among themselves stays comparable. Raises ReleaseError where all are the same.
    """

    def __init__(self, instructions: Mapping[str, str], seed: int = 0) -> None:
        self.seed = seed
        known: dict[str, str] = {}
        for text in instructions.values():
            key = instruction_key(text)
            known[key] = min(known.get(key, text), text)  # whatever the order of the rollouts
        if len(known) < 2:
            raise ReleaseError("a wrong instruction cannot be chosen: all rollouts have the same instruction")
        self._wrong: dict[str, str] = {}
        for key in known:
            others = sorted(known.keys() - {key})
            digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
            self._wrong[key] = known[others[int.from_bytes(digest[:8], "big") % len(others)]]
        self._told = {rollout: self._wrong[instruction_key(text)] for rollout, text in instructions.items()}

    def show(self, rollouts: Iterable[Watchable]) -> Iterator[Watchable]:
        for rollout in rollouts:
            yield _Seen(rollout, instruction=self._told[rollout["rollout_id"]])

    def mark(self, prediction: Prediction) -> Prediction:
        return msgspec.structs.replace(
            _stated(prediction, {"name": "wrong_instruction", "seed": self.seed}),
            instruction=self._told[prediction.rollout_id],
        )


class Reversed:
    """Each rollout with its frames shown last to first. A value is stored with the frame it was given to."""

    def show(self, rollouts: Iterable[Watchable]) -> Iterator[Watchable]:
        for rollout in rollouts:
            yield _Seen(rollout, backwards=True)

    def mark(self, prediction: Prediction) -> Prediction:
        """The k-th value was given to the k-th frame shown, which is the k-th from the end of the video."""
        turned = msgspec.structs.replace(prediction, value=prediction.value[::-1])
        return _stated(turned, {"name": "reversed"})


def _stated(prediction: Prediction, change: dict[str, Any]) -> Prediction:
    parameters = {**json.loads(prediction.parameters), "intervention": change}
    return msgspec.structs.replace(prediction, parameters=json.dumps(parameters, sort_keys=True))
