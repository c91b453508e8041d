"""What scorers have in common that put many short questions about pictures to a model."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.prompted import Prompted
from bad_robot_behavior.scorers.scorer import Clip, Curve, ScorerKind
from bad_robot_behavior.vlm.answers import Checked, ask_checked
from bad_robot_behavior.vlm.client import Client, Image, Message, Request, all_usage
from bad_robot_behavior.vlm.prompts import Prompt, read_prompt, read_prompt_file

_PLACE = re.compile(r"(<images?>)")


class Asking(Prompted, ABC):
    """A scorer whose curve comes from one number for each of some questions; a question is a prompt and pictures.

    A subclass says which pictures each question shows (`shown`), how its answer is read (`read`), and what curve the
    numbers make (`curve`). All questions of all clips are asked at once, equal ones once. A rollout with one answer
    that cannot be used, after one repair request where `repair` allows it, has no curve but an error. Deterministic but
    for the model: the seed that is sent comes from (seed, rollout_id).
    """

    kind: ScorerKind = "progress"
    needs_frames: ClassVar[bool] = True
    min_frames: ClassVar[int] = 1
    """Of a clip; one with fewer has no curve."""
    max_tokens: ClassVar[int]
    form: ClassVar[str]
    """What an answer is to be, in words: said to the model where its answer was none."""
    repair: ClassVar[bool] = True
    places: ClassVar[int | None] = None
    """How many pictures a question shows, each at an `<image>` of the prompt; None: any number, at its `<images>`."""
    candidates: ClassVar[tuple[str, ...]] = ()
    json_schema: ClassVar[dict[str, Any] | None] = None

    def __init__(
        self,
        client: Client,
        num_frames: int = 16,
        image_size: int = 448,
        temperature: float = 0.0,
        seed: int = 0,
        prompt_file: str | Path | None = None,
    ) -> None:
        """`image_size` is the longer side in pixels. `prompt_file`: another wording, such as the one that a model was
        trained on. Raises BadRobotError for one that has not the places for the pictures."""
        prompt = read_prompt(self.name) if prompt_file is None else read_prompt_file(Path(prompt_file))
        super().__init__(
            client, prompt, num_frames=num_frames, image_size=image_size, temperature=temperature, seed=seed
        )
        _check(self.prompt, self.places)

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip. Raises EndpointError where the endpoint does not answer."""
        asked = [self._ask_about(clip) for clip in clips]
        requests = [request for questions in asked if not isinstance(questions, str) for request in questions]
        answers = ask_checked(
            self.client, requests, lambda i, text: self.read(text), form=self.form, repair=self.repair
        )
        stream = iter(answers)
        return [
            Curve(value=None, error=questions)
            if isinstance(questions, str)
            else self._curve([next(stream) for _ in questions], len(clip.frame_index))
            for clip, questions in zip(clips, asked, strict=True)
        ]

    @abstractmethod
    def shown(self, clip: Clip, frames: NDArray[np.uint8]) -> list[Sequence[Image]] | str:
        """The pictures of each question, in the order of the prompt's places, or why there can be none.

        frames: those of the clip, (N, H, W, 3)."""

    @abstractmethod
    def read(self, text: str) -> float:
        """The number in an answer. Raises BadAnswer for anything that is not exactly what was asked for."""

    @abstractmethod
    def curve(self, answers: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Values (length,) for the frames of a clip, from the number of each question. Raises ValueError, with the
        reason, where they make no curve."""

    def _ask_about(self, clip: Clip) -> list[Request] | str:
        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: {self.name} needs the frames of the clip")
        if len(clip.frames) < self.min_frames:
            return f"the clip has fewer than {self.min_frames} frames"
        shown = self.shown(clip, clip.frames)
        if isinstance(shown, str):
            return shown
        digest = hashlib.sha256(f"{self.name}\x1f{self.seed}\x1f{clip.rollout_id}".encode()).digest()
        return [
            Request(
                model=self.client.model,
                messages=messages(self.prompt, pictures, clip.instruction),
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                seed=int.from_bytes(digest[:4], "big") >> 2,
                json_schema=self.json_schema,
                candidates=self.candidates,
            )
            for pictures in shown
        ]

    def _curve(self, answers: list[Checked[float]], length: int) -> Curve:
        taken = all_usage([checked.usage for checked in answers])
        for number, checked in enumerate(answers, start=1):
            if checked.value is None:
                return Curve(value=None, error=f"question {number} of {len(answers)}: {checked.error}", usage=taken)
        try:
            value = self.curve(np.array([checked.value for checked in answers], np.float64), length)
        except ValueError as error:
            return Curve(value=None, error=str(error), usage=taken)
        return Curve(value=value, usage=taken)


def messages(prompt: Prompt, pictures: Sequence[Image], instruction: str) -> tuple[Message, ...]:
    """A question: the part `system`, where the prompt has one, and the part `question` with the pictures at their
    places: the next one at each `<image>`, all that are left at `<images>`.

    The instruction stands where the prompt says $instruction, on one line and without quotes, and can hold no place.
    """
    told = " ".join(instruction.split()).replace('"', "'")
    left = list(pictures)
    parts: list[str | Image] = []
    for piece in _PLACE.split(prompt.parts["question"]):
        if _PLACE.fullmatch(piece):
            count = 1 if piece == "<image>" else len(left)
            parts += left[:count]
            left = left[count:]
        elif piece.strip():
            parts.append(Template(piece).substitute(instruction=told))
    asked = (Message("user", tuple(parts)),)
    return (
        (Message("system", (prompt.fill("system", instruction=told),)), *asked) if "system" in prompt.parts else asked
    )


def _check(prompt: Prompt, places: int | None) -> None:
    """Raises BadRobotError where a prompt has not the places for what is shown, or names what is not there."""
    question = prompt.parts.get("question")
    if question is None:
        raise BadRobotError(f"prompt {prompt.name}: has no part `=== question ===`; legal: system, question")
    found = _PLACE.findall(question)
    wanted = ["<images>"] if places is None else ["<image>"] * places
    if found != wanted:
        raise BadRobotError(
            f"prompt {prompt.name}: the question has the places {' '.join(found) or 'none'} for pictures; legal: "
            f"{' '.join(wanted)}"
        )
    try:
        messages(prompt, (), "")
    except (KeyError, ValueError) as error:
        raise BadRobotError(
            f"prompt {prompt.name}: cannot be filled ({error}); the instruction is written $instruction, a dollar $$"
        ) from error
