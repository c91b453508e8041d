"""One attempt at asking an OpenAI-compatible endpoint over HTTP, and what the way in which it failed means."""

from __future__ import annotations

import asyncio
import base64
import functools
import importlib
import os
import re
from collections import Counter
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from bad_robot_behavior.errors import BadRobotError, BudgetError, EndpointError
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.client import TOKENS, Answer, Request, total
from bad_robot_behavior.vlm.estimate import estimate
from bad_robot_behavior.vlm.wire import blamed, error_message, lacking, parameter, payload, read_completion, retry_after

_CONNECT_S = 10.0
_LOOK_AGAIN_S = 0.02
_RETRIED = {408, 409, 425, 429}
_UNSUPPORTED = {400, 404, 422, 501}
_HOPELESS = {
    401: "the key is missing or wrong",
    402: "there is no credit left",
    403: "the key may not use this model",
    404: "there is no such model or path",
} | dict.fromkeys((301, 302, 303, 307, 308), "the address has moved; give the one that it leads to")
_SETTINGS = {"model", "temperature", "max_tokens", "max_completion_tokens"}


class FaultError(Exception):
    """One attempt that failed in a way that another may not. `wait_s`: what the server asked for, or None."""

    def __init__(self, answer: Answer, wait_s: float | None = None) -> None:
        super().__init__(answer.error)
        self.answer = answer
        self.wait_s = wait_s


class UnsupportedError(Exception):
    """The server does not take one key of the request; without it, it may."""


class Known:
    """What the clients of this process have learnt of an endpoint's model."""

    def __init__(self) -> None:
        self.answered = False
        self.limit_name = "max_tokens"
        self.without: set[str] = set()


_KNOWN: dict[tuple[str, str], Known] = {}


class Endpoint:
    """Where a model is asked. `known` is what all clients of this process have learnt of it; `counters` are those of
    its client.

    Raises EndpointError where the key that the settings name is not set.
    """

    def __init__(self, settings: EndpointSettings, budget: Budget | None, counters: Counter[str]) -> None:
        self.settings = settings
        self.budget = budget
        self.counters = counters
        self.known = _KNOWN.setdefault((settings.base_url, settings.model), Known())
        self.shown_url = _without_password(settings.base_url)
        self._under_way = 0
        self._key()

    def connect(self) -> Any:
        """A client for this address, to be used in `async with` and given to `post`. Retries are ours: they need to
        know what an attempt cost."""
        import openai

        url = urlsplit(self.settings.base_url)
        key = self._key()
        user = None if key or url.username is None else f"{unquote(url.username)}:{unquote(url.password or '')}"
        timeout = openai.Timeout(self.settings.timeout_s, connect=min(_CONNECT_S, self.settings.timeout_s))
        slots = self.settings.concurrency
        http = openai.DefaultAsyncHttpxClient(
            timeout=timeout,
            # A key goes to the host that the recipe names and to no other.
            follow_redirects=False,
            limits=_http_library().Limits(max_connections=slots, max_keepalive_connections=slots),
        )
        return openai.AsyncOpenAI(
            # The password goes as a header: in the address it would end up in the log of requests.
            base_url=urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2])),
            api_key=key or "none",
            max_retries=0,
            timeout=timeout,
            default_headers={"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {},
            http_client=http,
        )

    async def post(self, api: Any, request: Request, count: int) -> list[Answer]:
        """One attempt at `count` answers, or fewer. Raises FaultError where another may do better, UnsupportedError
        where another, made otherwise, may, EndpointError where none can, BudgetError where none may."""
        import openai

        limit_name = self.known.limit_name
        body = payload(request, count, limit_name, self.known.without)
        paid = await self._pay(request, count)
        self.counters["requests_sent"] += 1
        self._under_way += 1
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                reply = await self._send(api, body)
        except (openai.APIConnectionError, TimeoutError) as error:  # a time-out is one of these, too
            raise self._unreached(error, paid) from None
        except openai.APIStatusError as error:
            self._give_back(paid)
            return [self._refused(error, body)]
        finally:
            self._under_way -= 1
        try:
            answers = read_completion(reply.content, count, request.candidates)
        except ValueError:
            problem = f"{self.shown_url} answered with something that is not a chat completion"
            raise FaultError(lacking("transport", problem)) from None
        self._count(answers, paid)
        return answers

    async def _send(self, api: Any, body: dict[str, Any]) -> Any:
        """The HTTP response. The body goes as the bytes that it is: the library's own methods would first walk through
        every part of it, which takes two thirds of the processor time of a request with thirty pictures."""
        return await api.post(
            "/chat/completions",
            cast_to=_http_library().Response,
            content=msgspec.json.encode(body),
            options={"headers": {"Content-Type": "application/json"}},
        )

    def _unreached(self, error: Exception, paid: float) -> FaultError:
        """What a request without a response comes to, by what the HTTP library said of it."""
        cause = error.__cause__ or error
        name = type(cause).__name__
        if name in {"InvalidURL", "UnsupportedProtocol", "UnicodeError"}:
            said = str(cause).rstrip(".")
            raise BadRobotError(
                f"{self.shown_url} is no address of an endpoint ({said}); give one such as http://localhost:8000/v1 "
                "(base_url in a recipe, --base-url)"
            ) from None
        if name in {"ConnectError", "ConnectTimeout"}:
            self._give_back(paid)
            return FaultError(lacking("down", f"{self.shown_url} cannot be reached ({name})"))
        if isinstance(error, TimeoutError) or "Timeout" in name:  # ours for the whole answer, or theirs for a part
            return FaultError(
                lacking("transport", f"{self.shown_url} gave no answer within {self.settings.timeout_s:g} s")
            )
        return FaultError(lacking("transport", f"{self.shown_url} dropped the connection ({name})"))

    def _refused(self, error: Any, sent: dict[str, Any]) -> Answer:
        status = error.status_code
        try:
            body = msgspec.json.decode(error.response.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body = None
        words = error_message(body)
        said = f"answered {status}: {self._clean(words)}".removesuffix(": ")
        problem = f"{self.shown_url} {said}"
        if status in _UNSUPPORTED:
            if "max_tokens" in sent and "max_completion_tokens" in words:
                self.known.limit_name = "max_completion_tokens"  # the name of newer OpenAI models
                raise UnsupportedError
            if (key := blamed(body, sent)) is not None:
                self.known.without.add(key)
                raise UnsupportedError
        if status in _HOPELESS:
            name = self.settings.api_key_env
            held = f"the key in ${name}" if name else "no key (endpoint.api_key_env is not set)"
            raise EndpointError(
                f"{problem}. That means {_HOPELESS[status]}: check endpoint.base_url, endpoint.model "
                f"({self.settings.model}) and endpoint.api_key_env in the recipe; it was asked with {held}"
            )
        if status in _RETRIED or status >= 500:
            raise FaultError(lacking("transport", problem), retry_after(error.response.headers)) from None
        if (named := parameter(body)) in _SETTINGS:
            raise EndpointError(
                f"{problem}. The model {self.settings.model} does not take {named!r} as it is set in the recipe"
            )
        return lacking("refused", said)  # goes into published predictions, so it names no host

    async def _pay(self, request: Request, answers: int) -> float:
        """Take a request out of the budget; what was paid for it. Where it does not fit, the requests under way are
        waited for first: they were paid for with more than they will cost."""
        if self.budget is None:
            return 0.0
        expected = estimate(request, answers)
        cost = self.settings.cost(expected.prompt_tokens, expected.completion_tokens) or 0.0
        while True:
            try:
                self.budget.take(cost)
            except BudgetError:
                if not self._under_way:
                    self.budget.close()
                    raise
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return cost

    def _give_back(self, paid: float) -> None:
        if self.budget is not None and paid:
            self.budget.settle(paid, 0.0)

    def _count(self, answers: list[Answer], paid: float) -> None:
        prompt, completion = (total(getattr(answer, kind) for answer in answers) for kind in TOKENS)
        self.counters["prompt_tokens"] += prompt or 0
        self.counters["completion_tokens"] += completion or 0
        if self.budget is not None and prompt is not None and completion is not None:
            # A server that does not say what it took is taken to have cost what was estimated.
            self.budget.settle(paid, self.settings.cost(prompt, completion) or 0.0, prompt, completion)

    def _key(self) -> str | None:
        name = self.settings.api_key_env
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key:
            raise BadRobotError(
                f"the environment variable {name}, which is to hold the key for {self.shown_url}, is not set; set it, "
                "or name another (api_key_env in a recipe, --api-key-env)"
            )
        return key

    def _clean(self, text: str) -> str:
        """What a server said, short and without keys: some quote the key that was refused."""
        if key := self._key():
            text = text.replace(key, "[key]")
        text = re.sub(r"\b(?:sk|hf|gsk|xai|key)[-_][\w*.-]{4,}", "[key]", text)
        return re.sub(r"\s+", " ", text)[:200].strip()


@functools.cache
def _http_library() -> Any:
    """The module that package openai makes its requests with; which one that is differs between its versions."""
    import openai

    return importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
