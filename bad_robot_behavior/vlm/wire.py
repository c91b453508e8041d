"""The wire format of OpenAI-compatible endpoints: what a request looks like as bytes, and what may come back.

POST {base_url}/chat/completions as OpenAI's, vLLM's, llama.cpp's and Ollama's servers read it; images are data URLs,
`json_schema` becomes a strict `response_format`, samples of one question one request with `n`.
"""

from __future__ import annotations

import base64
import functools
import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from bad_robot_behavior.vlm.client import Answer, Image, Lack, Message, Request

DROPPABLE = {
    "response_format": r"response_format|json_schema|structured[ _]output|guided|grammar",
    "seed": r"\bseed\b",
    "n": r"""['"`]n['"`]|\bn\s*(?:=|>|must|should|is\b|has to|to be)|\b(?:multiple|several) (?:choices|completions)""",
}
"""What a request can go without, and how a server says that it does not take it: an answer is read as strictly without
a schema, and samples can be asked for one by one."""


_TOP = 20
"""Of how many first tokens a server is asked the log-probability: the most that OpenAI's gives, and vLLM's default."""
_UNKNOWN = -9000.0
"""Servers say -9999 of a token whose log-probability they do not know."""


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Token] = []


class _Tokens(msgspec.Struct):
    content: list[_Token] | None = None


class _Text(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Text
    finish_reason: str | None = None
    index: int | None = None
    logprobs: _Tokens | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None
    usage: _Usage | None = None


def payload(request: Request, answers: int, limit_name: str, without: Collection[str]) -> dict[str, Any]:
    """The body of a request for so many answers, as JSON. `without`: keys that the server does not take."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_turn(message) for message in request.messages],
        "temperature": request.temperature,
        limit_name: request.max_tokens,
    }
    if answers > 1:
        body["n"] = answers
    if request.seed is not None:
        body["seed"] = request.seed
    if request.candidates:
        body |= {"logprobs": True, "top_logprobs": _TOP}
    if request.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": request.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {key: value for key, value in body.items() if key not in without}


def read_completion(content: bytes, most: int, candidates: Collection[str] = ()) -> list[Answer]:
    """The answers in a server's reply, at most `most`, in the order of their indices. candidates: those of the request.

    A server counts tokens for all of them together: those of the prompt stand at the first answer that has a text, and
    each answer has its part of the others by the length of its text.

    One that was cut off, or has no text, is an Answer with `lack="empty"`. Raises ValueError for what is no chat
    completion.
    """
    try:
        completion = msgspec.json.decode(content, type=_Completion)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    choices = sorted(completion.choices or [], key=lambda choice: choice.index or 0)[:most]
    usage = completion.usage or _Usage()
    if not choices:
        return [lacking("empty", "the answer has no choices")]
    answers = [_read_likelihoods(choice, candidates) if candidates else _read(choice) for choice in choices]
    carrier = next((number for number, answer in enumerate(answers) if answer.text is not None), 0)
    lengths = [len(choice.message.content or "") for choice in choices]
    shares = _shares(usage.completion_tokens, lengths)
    return [
        msgspec.structs.replace(
            answer,
            prompt_tokens=usage.prompt_tokens if number == carrier or usage.prompt_tokens is None else 0,
            completion_tokens=share,
        )
        for number, (answer, share) in enumerate(zip(answers, shares, strict=True))
    ]


def _shares(total: int | None, lengths: list[int]) -> list[int | None]:
    """Whole numbers in proportion to the lengths that add up to the total; None for each where it is not known."""
    if total is None:
        return [None] * len(lengths)
    whole, last = sum(lengths) or 1, len(lengths) - 1
    ends = [total * end // whole for end in itertools.accumulate(lengths)]
    ends[last] = total
    return [end - start for start, end in itertools.pairwise([0, *ends])]


def _read(choice: _Choice) -> Answer:
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return lacking("refused", "the model or its content filter refused")
    if choice.finish_reason == "length":
        return lacking("empty", "the answer was cut off at max_tokens")
    if not choice.message.content:
        return lacking("empty", "the answer has no text")
    return Answer(text=choice.message.content)


def _read_likelihoods(choice: _Choice, candidates: Collection[str]) -> Answer:
    if choice.logprobs is None or not choice.logprobs.content:
        return lacking("refused", "the server gives no log-probabilities of tokens")
    first = choice.logprobs.content[0]
    return likelihoods([(token.token, token.logprob) for token in (first, *first.top_logprobs)], candidates)


def likelihoods(found: Iterable[tuple[str, float]], candidates: Collection[str]) -> Answer:
    """The answer to a request with candidates, from the tokens whose log-probabilities are known."""
    known = {token: min(value, 0.0) for token, value in found if math.isfinite(value) and value > _UNKNOWN}
    return Answer(text=msgspec.json.encode({token: known.get(token) for token in candidates}).decode())


def lacking(lack: Lack, error: str) -> Answer:
    """An answer without text, and why."""
    return Answer(text=None, lack=lack, error=error)


def blamed(body: object, sent: Mapping[str, Any]) -> str | None:
    """Which of the keys that a request can go without a server's refusal is about, if any of those that were sent."""
    said = error_message(body)
    named = parameter(body)
    for key, words in DROPPABLE.items():
        if key in sent and (named == key or (named is None and re.search(words, said, re.IGNORECASE))):
            return key
    return None


def parameter(body: object) -> str | None:
    """The parameter that an error's body blames."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    named = inner.get("param") if isinstance(inner, dict) else None
    return named.partition(".")[0] if isinstance(named, str) and named else None


def error_message(body: object) -> str:
    """The sentence in an error's body, in the forms that servers use; empty where there is none."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message", inner.get("detail", "")) if isinstance(inner, dict) else inner
        return said if isinstance(said, str) else ""
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait from Retry-After, given as seconds or as an HTTP date (measured against the server's own clock
    where it sends one), or None."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
            now = parsedate_to_datetime(headers["date"]) if "date" in headers else None
        except ValueError:
            return None
        now = now or datetime.now(UTC)
        if until.tzinfo is None or now.tzinfo is None:
            return None
        wait = (until - now).total_seconds()
    return max(0.0, wait) if wait == wait else None  # NaN is not a time


def _turn(message: Message) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):  # plain text: servers without vision read only this form
        return {"role": message.role, "content": "\n\n".join(str(part) for part in message.parts)}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: str | Image) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image_url", "image_url": _url(part)}


@functools.lru_cache(maxsize=1024)  # pictures come in several requests: other samples, repairs
def _url(image: Image) -> dict[str, str]:
    return {"url": f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"}
