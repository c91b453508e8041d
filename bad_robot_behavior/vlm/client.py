"""The one Protocol behind which every model is asked."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Everything that decides an answer. The cache key is the SHA-256 of all of it, image bytes included."""

    model: str
    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 2048
    seed: int | None = None
    json_schema: dict[str, Any] | None = None


Lack = Literal["transport", "refused", "empty"]
"""Why there is no text. transport: the endpoint did not answer, asking again later may help, so a build must not be
marked complete; refused: it answered that it will not; empty: it answered with nothing, or was cut off."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: the text, or the reason why there is none."""

    text: str | None
    error: str | None = None
    lack: Lack | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached: bool = False


class Client(Protocol):
    """A model that can be asked."""

    model: str

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers in the order of the requests. Never raises for one bad answer: its `error` and `lack` say why there
        is none. Raises EndpointError where no request at all can work, such as a wrong key or an unknown model."""
        ...
