"""The one Protocol behind which every model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import msgspec


class Image(msgspec.Struct, frozen=True):
    """A picture in a message: encoded bytes and their media type, such as image/jpeg."""

    data: bytes
    media_type: Literal["image/jpeg", "image/png"]


class Message(msgspec.Struct, frozen=True):
    """One turn. `parts` are texts and images in the order in which the model reads them."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Image, ...]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides an answer. The cache key is the SHA-256 of all of it, image bytes included.

    Requests that follow each other and differ in their seeds alone, by one each, are samples of one question: a server
    that gives several answers at once is asked for them together and reads the pictures once.

    candidates: texts, each one token of the model. Where there are some, no answer is written: its text is a JSON
    object that gives each of them its natural log-probability as the first token of the answer, or null where the
    model's server does not say. (As text it is cached and counted like every other answer.)
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 2048
    seed: int | None = None
    json_schema: dict[str, Any] | None = None
    candidates: tuple[str, ...] = ()


Lack = Literal["transport", "down", "refused", "empty"]
"""Why there is no text. transport: the endpoint did not answer, asking again later may help, so a build must not be
marked complete; down: the same, and nobody was there at all; refused: it answered that it will not; empty: it answered
with nothing, or was cut off."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: the text, or the reason why there is none.

    Tokens are what the model's server says, None where it says nothing. Where several answers came together, the first
    carries the tokens of their prompt, the others 0; those of the answers are divided by the length of their texts.
    """

    text: str | None
    error: str | None = None
    lack: Lack | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached: bool = False


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What went into something that was made of answers: the requests that asked for them, each different question
    counted once, and tokens; None where a server did not say for one of them."""

    requests: int
    answers: int
    prompt_tokens: int | None
    completion_tokens: int | None


TOKENS = ("prompt_tokens", "completion_tokens")


def total(counts: Iterable[int | None]) -> int | None:
    """The sum, None where one of them is."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)


def all_usage(parts: Sequence[Usage]) -> Usage:
    """What several things took together."""
    return Usage(
        requests=sum(part.requests for part in parts),
        answers=sum(part.answers for part in parts),
        prompt_tokens=total(part.prompt_tokens for part in parts),
        completion_tokens=total(part.completion_tokens for part in parts),
    )


class Client(Protocol):
    """A model that can be asked."""

    model: str

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers in the order of the requests. Never raises for one bad answer: its `error` and `lack` say why there
        is none. Raises EndpointError where no request at all can work, such as a wrong key or an unknown model."""
        ...

    def unusable(self, requests: Sequence[Request]) -> None:
        """Be told that the answers to these requests, asked for one thing, could not be used in the end."""
        ...
