"""Asks an OpenAI-compatible endpoint over HTTP: many requests at once, patient with faults, never twice for one answer.

Wire format: POST {base_url}/chat/completions as OpenAI's, vLLM's, llama.cpp's and Ollama's servers read it; images are
data URLs, `json_schema` becomes a strict `response_format`.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import itertools
import os
import random
import re
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bad_robot_behavior.errors import EndpointError, require
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.vlm.cache import Cache, request_key
from bad_robot_behavior.vlm.client import Answer, Image, Message, Request

T = TypeVar("T")
_LONGEST_WAIT_S = 600.0
_ALL_REFUSED = 4
_RETRIED = {408, 409, 425, 429}
_HOPELESS = {
    401: "the key is missing or wrong",
    402: "there is no credit left",
    403: "the key may not use this model",
    404: "there is no such model or path",
}
_SETTINGS = {"model", "temperature", "response_format", "seed", "max_tokens", "max_completion_tokens"}


class _Text(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Text
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None
    usage: _Usage | None = None


class _FaultError(Exception):
    """One attempt that failed in a way that another may not. `wait_s`: what the server asked for, or None."""

    def __init__(self, answer: Answer, wait_s: float | None = None) -> None:
        super().__init__(answer.error)
        self.answer = answer
        self.wait_s = wait_s


class OpenAIClient:
    """A model behind an OpenAI-compatible endpoint.

    429, 5xx, a dropped connection, a time-out, a garbled or empty answer and one that was cut off are asked again, up
    to `max_attempts` in all, with exponential back-off and seeded jitter, and not before the time that Retry-After
    names. What then still failed is an Answer with `error` and `lack`. 400 is not asked again (`lack="refused"`).

    Raises EndpointError, from the constructor or `ask`, where no request can work: a key that is not set, 401, 403,
    404, or a setting that the model does not take. `counters` holds requests_asked, requests_cached, requests_sent
    (attempts over the wire), requests_answered, prompt_tokens and completion_tokens since it was made.
    """

    def __init__(self, settings: EndpointSettings, cache: Cache | None = None, *, backoff_s: float = 0.5) -> None:
        require("openai", "vlm")
        self.settings = settings
        self.model = settings.model
        self.cache = cache
        self.backoff_s = backoff_s
        self.counters: Counter[str] = Counter()
        self._limit_name = "max_tokens"
        self._shown_url = _without_password(settings.base_url)
        self._key()

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers in the order of the requests; requests that are equal are sent once. Good answers are stored in the
        cache as they come in, so what was answered before a crash is not asked again."""
        keys = [request_key(request) for request in requests]
        unique = dict(zip(keys, requests, strict=True))
        self.counters["requests_asked"] += len(unique)
        answers: dict[str, Answer] = {}
        for key, request in unique.items():
            if self.cache is not None and (found := self.cache.get(request)) is not None:
                answers[key] = found
        self.counters["requests_cached"] += len(answers)
        missing = {key: request for key, request in unique.items() if key not in answers}
        if missing:
            answers |= _run(self._ask_all(missing))
            self._check_any_accepted([answers[key] for key in missing])
        return [answers[key] for key in keys]

    def unusable(self, requests: Sequence[Request]) -> None:
        """Count them."""
        self.counters["answers_unusable"] += 1

    def _check_any_accepted(self, answers: list[Answer]) -> None:
        """An endpoint that refuses every request is set up wrongly; that must not pass as so many bad answers."""
        accepted = self.counters["requests_cached"] + self.counters["requests_answered"]
        refused = [answer.error for answer in answers if answer.lack == "refused"]
        if not accepted and len(refused) == len(answers) >= _ALL_REFUSED:
            raise EndpointError(f"{self._shown_url} refused all of the first {len(refused)} requests: {refused[0]}")

    async def _ask_all(self, requests: dict[str, Request]) -> dict[str, Answer]:
        import openai

        answers: dict[str, Answer] = {}
        waiting = iter(requests.items())
        async with openai.AsyncOpenAI(
            base_url=self.settings.base_url,
            api_key=self._key() or "none",
            max_retries=0,
            timeout=self.settings.timeout_s,
        ) as api:
            if not self.counters["requests_answered"]:
                # The first request goes alone: where nobody answers it, the others need not wait for their time-outs.
                await self._work(api, itertools.islice(waiting, 1), answers)
                (first,) = answers.values()
                if first.lack == "transport":
                    return dict.fromkeys(requests, first)
            number = min(self.settings.concurrency, len(requests))
            workers = [asyncio.create_task(self._work(api, waiting, answers)) for _ in range(number)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return answers

    async def _work(self, api: Any, waiting: Iterator[tuple[str, Request]], answers: dict[str, Answer]) -> None:
        for key, request in waiting:
            answer = answers[key] = await self._ask_one(api, key, request)
            if self.cache is not None and answer.text is not None:
                self.cache.put(request, answer)

    async def _ask_one(self, api: Any, key: str, request: Request) -> Answer:
        chance = random.Random(key)
        for attempt in range(1, self.settings.max_attempts + 1):
            try:
                return await self._send(api, request)
            except _FaultError as fault:
                answer, wait = fault.answer, fault.wait_s
            if wait is not None and wait > _LONGEST_WAIT_S:
                return _lacking("transport", f"{answer.error}; it asks to wait {wait:.0f} s, so start again later")
            if attempt < self.settings.max_attempts:
                pause = min(self.backoff_s * 2 ** (attempt - 1), 60.0) * (0.5 + chance.random())
                await asyncio.sleep(max(pause, wait or 0.0))
        return msgspec.structs.replace(answer, error=f"{answer.error} (asked {self.settings.max_attempts} times)")

    async def _send(self, api: Any, request: Request) -> Answer:
        """One attempt. Raises _FaultError where another may do better, EndpointError where none can."""
        import openai

        self.counters["requests_sent"] += 1
        limit_name = self._limit_name
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                raw = await api.chat.completions.with_raw_response.create(**_payload(request, limit_name))
                return self._read(raw.content)
        except (openai.APITimeoutError, TimeoutError):
            problem = f"{self._shown_url} gave no answer within {self.settings.timeout_s:g} s"
            raise _FaultError(_lacking("transport", problem)) from None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            problem = f"{self._shown_url} cannot be reached, or dropped the connection ({cause})"
            raise _FaultError(_lacking("transport", problem)) from None
        except openai.APIStatusError as error:
            if _wants_other_limit(error, limit_name):
                self._limit_name = "max_completion_tokens"
                return await self._send(api, request)
            return self._refused(error)

    def _refused(self, error: Any) -> Answer:
        status = error.status_code
        said = f"answered {status}: {self._clean(_message(error.body))}".removesuffix(": ")
        problem = f"{self._shown_url} {said}"
        if status in _HOPELESS:
            key = self.settings.api_key_env
            held = f"the key in ${key}" if key else "no key (endpoint.api_key_env is not set)"
            raise EndpointError(
                f"{problem}. That means {_HOPELESS[status]}: check endpoint.base_url, endpoint.model "
                f"({self.model}) and endpoint.api_key_env in the recipe; it was asked with {held}"
            ) from None
        if status in _RETRIED or status >= 500:
            raise _FaultError(_lacking("transport", problem), _retry_after(error.response.headers)) from None
        parameter = error.body.get("param") if isinstance(error.body, dict) else None
        if parameter in _SETTINGS:
            raise EndpointError(
                f"{problem}. The model {self.model} does not take {parameter!r} as it is set in the recipe"
            ) from None
        return _lacking("refused", said)  # goes into published predictions, so it names no host

    def _read(self, content: bytes) -> Answer:
        try:
            completion = msgspec.json.decode(content, type=_Completion)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = f"{self._shown_url} answered with something that is not a chat completion"
            raise _FaultError(_lacking("transport", problem)) from error
        if not completion.choices:
            raise _FaultError(_lacking("empty", "the answer has no choices"))
        choice = completion.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return _lacking("refused", "the model or its content filter refused")
        if choice.finish_reason == "length":
            raise _FaultError(_lacking("empty", "the answer was cut off at max_tokens"))
        if not choice.message.content:
            raise _FaultError(_lacking("empty", "the answer has no text"))
        usage = completion.usage or _Usage()
        self.counters["requests_answered"] += 1
        self.counters["prompt_tokens"] += usage.prompt_tokens or 0
        self.counters["completion_tokens"] += usage.completion_tokens or 0
        return Answer(
            text=choice.message.content, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens
        )

    def _key(self) -> str | None:
        name = self.settings.api_key_env
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key:
            raise EndpointError(
                f"the environment variable {name} is not set; endpoint.api_key_env in the recipe says that it holds "
                f"the key for {self._shown_url}"
            )
        return key

    def _clean(self, text: str) -> str:
        """What a server said, short and without keys: some quote the key that was refused."""
        if key := self._key():
            text = text.replace(key, "[key]")
        text = re.sub(r"\b(?:sk|hf|gsk|xai|key)[-_][\w*.-]{4,}", "[key]", text)
        return re.sub(r"\s+", " ", text)[:200].strip()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end from plain code, also where an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _payload(request: Request, limit_name: str) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "model": request.model,
        "messages": [_turn(message) for message in request.messages],
        "temperature": request.temperature,
        limit_name: request.max_tokens,
    }
    if request.seed is not None:
        payload["seed"] = request.seed
    if request.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": request.json_schema}
        payload["response_format"] = {"type": "json_schema", "json_schema": schema}
    return payload


def _turn(message: Message) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):  # plain text: servers without vision read only this form
        return {"role": message.role, "content": "\n\n".join(str(part) for part in message.parts)}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = f"data:{part.media_type};base64,{base64.b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _lacking(lack: Any, error: str) -> Answer:
    return Answer(text=None, lack=lack, error=error)


def _message(body: object) -> str:
    """The sentence in an error's body, in the forms that servers use; empty where there is none."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message", "") if isinstance(inner, dict) else inner
        return said if isinstance(said, str) else ""
    return ""


def _wants_other_limit(error: Any, limit_name: str) -> bool:
    """Newer OpenAI models refuse `max_tokens` and say that `max_completion_tokens` is the name now."""
    return error.status_code == 400 and limit_name == "max_tokens" and "max_completion_tokens" in _message(error.body)


def _retry_after(headers: Any) -> float | None:
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


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
