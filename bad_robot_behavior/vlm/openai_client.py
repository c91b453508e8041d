"""Asks an OpenAI-compatible endpoint over HTTP: many requests at once, patient with faults, never twice for one answer.

The wire format is in wire.py.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import re
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from bad_robot_behavior.errors import BadRobotError, BudgetError, EndpointError, require
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import CachedClient, calls
from bad_robot_behavior.vlm.client import Answer, Lack, Request
from bad_robot_behavior.vlm.estimate import estimate
from bad_robot_behavior.vlm.wire import blamed, error_message, lacking, parameter, payload, read_completion, retry_after

T = TypeVar("T")
_LONGEST_WAIT_S = 600.0
_CONNECT_S = 10.0

_ALL_REFUSED = 4
_GIVE_UP_AFTER = 3
"""Requests that failed for good, one after the other, with no answer in between: the endpoint is taken to be gone."""
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

_Asked = tuple[str, Request]


class _FaultError(Exception):
    """One attempt that failed in a way that another may not. `wait_s`: what the server asked for, or None."""

    def __init__(self, answer: Answer, wait_s: float | None = None) -> None:
        super().__init__(answer.error)
        self.answer = answer
        self.wait_s = wait_s


class _UnsupportedError(Exception):
    """The server does not take one key of the request; without it, it may."""


class _Known:
    """What the clients of this process have learnt of an endpoint's model."""

    def __init__(self) -> None:
        self.answered = False
        self.limit_name = "max_tokens"
        self.without: set[str] = set()


_KNOWN: dict[tuple[str, str], _Known] = {}


class _Work:
    """What the calls of one `ask` share."""

    def __init__(self, api: Any, group: asyncio.TaskGroup, slots: int) -> None:
        self.api = api
        self.group = group
        self.slots = asyncio.Semaphore(slots)
        self.answers: dict[str, Answer] = {}
        self.under_way = 0
        self.failed_in_a_row = 0
        self.gone: Answer | None = None
        self.stopped: BudgetError | None = None


class OpenAIClient(CachedClient):
    """A model behind an OpenAI-compatible endpoint.

    429, 5xx, a dropped connection, a time-out, a garbled or empty answer and one that was cut off are asked again, up
    to `max_attempts` in all, with exponential back-off and seeded jitter, and not before the time that Retry-After
    names. What then still failed is an Answer with `error` and `lack`. 400 is not asked again (`lack="refused"`).
    After three requests that failed for good in a row, no more are sent.

    Samples of one question (requests that differ in their seeds alone, by one) go as one request with `n`. A server
    that gives fewer answers, or refuses `n`, `response_format` or `seed`, is asked without it from then on.

    Raises EndpointError, from the constructor or `ask`, where no request can work: a key that is not set, 401, 403,
    404, or a setting that the model does not take; BudgetError where `budget` lets no more requests pass, once those
    under way are answered. `counters` holds also requests_sent (attempts over the wire), requests_answered,
    prompt_tokens and completion_tokens.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        cache: Cache | None = None,
        budget: Budget | None = None,
        *,
        backoff_s: float = 0.5,
    ) -> None:
        require("httpx2", "vlm")
        super().__init__(settings.model, cache)
        self.settings = settings
        self.budget = budget
        self.backoff_s = backoff_s
        self._known = _KNOWN.setdefault((settings.base_url, settings.model), _Known())
        self._shown_url = _without_password(settings.base_url)
        self._key()
        if budget is not None and budget.max_cost is not None and settings.cost(0, 0) is None:
            raise EndpointError(
                f"--max-cost needs the prices of the model {self.model}: set endpoint.prompt_price and "
                "endpoint.completion_price, what a million tokens cost"
            )

    def _send(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        answers = _run(self._ask_all(requests))
        self._check_any_accepted(list(answers.values()))
        return answers

    def _check_any_accepted(self, answers: list[Answer]) -> None:
        """An endpoint that refuses every request is set up wrongly; that must not pass as so many bad answers."""
        accepted = self.counters["requests_cached"] + self.counters["requests_answered"]
        refused = [answer.error for answer in answers if answer.lack == "refused"]
        if not accepted and len(refused) == len(answers) >= _ALL_REFUSED:
            raise EndpointError(f"{self._shown_url} refused all of the first {len(refused)} requests: {refused[0]}")

    async def _ask_all(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        """Answers by key."""
        import httpx2

        url = urlsplit(self.settings.base_url)
        key = self._key()
        user = None if key or url.username is None else (unquote(url.username), unquote(url.password or ""))
        waiting = calls(requests)
        slots = self.settings.concurrency
        try:
            async with (
                httpx2.AsyncClient(
                    # The password goes as a header: in the address it would end up in the log of requests.
                    base_url=urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2])).rstrip("/") + "/",
                    headers={"Content-Type": "application/json"}
                    | ({"Authorization": f"Bearer {key or 'none'}"} if user is None else {}),
                    auth=user,
                    timeout=httpx2.Timeout(self.settings.timeout_s, connect=min(_CONNECT_S, self.settings.timeout_s)),
                    limits=httpx2.Limits(max_connections=slots, max_keepalive_connections=slots),
                ) as api,
                asyncio.TaskGroup() as group,
            ):
                work = _Work(api, group, slots)
                if not self._known.answered:
                    # The first goes alone: where nobody answers it, the others need not wait for their time-outs; and
                    # what the server does not take is learnt once.
                    await self._settle(work, waiting.pop(0))
                for call in waiting:
                    group.create_task(self._settle(work, call))
        except* BadRobotError as errors:
            raise _first(errors) from None
        if work.stopped is not None:
            raise work.stopped
        return work.answers

    async def _settle(self, work: _Work, call: list[_Asked]) -> None:
        """See that every request of the call has its answer, with those of it that came short asked one by one."""
        async with work.slots:
            short = await self._attempt(work, call)
        if len(call) > 1 and not work.answers and short:  # the very first: still alone
            await self._settle(work, [short.pop(0)])
        for asked in short:
            work.group.create_task(self._settle(work, [asked]))

    async def _attempt(self, work: _Work, call: list[_Asked]) -> list[_Asked]:
        """Ask until all is answered or given up; what a call for several left open is given back."""
        chance = random.Random(call[0][0])
        problem = lacking("transport", "it was not asked")
        attempt = 0
        while attempt < self.settings.max_attempts:
            if work.gone is not None or work.stopped is not None:
                problem = work.gone or problem
                break
            if len(call) > 1 and "n" in self._known.without:
                return call
            wait: float | None = None
            try:
                answers = await self._post(work, call)
            except _UnsupportedError:
                continue
            except BudgetError as error:
                work.stopped = error
                break
            except _FaultError as fault:
                problem, wait = fault.answer, fault.wait_s
            else:
                work.failed_in_a_row = 0
                self._known.answered = True
                if len(answers) < len(call):
                    self._known.without.add("n")
                short = self._sort_out(work, call, answers)
                if not short or len(call) > 1:
                    return short
                problem = answers[0]
            attempt += 1
            if wait is not None and wait > _LONGEST_WAIT_S:
                told = f"{problem.error}; it asks to wait {wait:.0f} s, so start again later"
                work.gone = lacking("transport", told)
            elif attempt < self.settings.max_attempts:
                pause = min(self.backoff_s * 2 ** (attempt - 1), 60.0) * (0.5 + chance.random())
                await asyncio.sleep(max(pause, wait or 0.0))
        else:
            problem = msgspec.structs.replace(problem, error=f"{problem.error} (asked {attempt} times)")
            self._note_failure(work, problem)
        for key, _ in call:
            work.answers[key] = work.gone or problem
        return []

    def _sort_out(self, work: _Work, call: list[_Asked], answers: list[Answer]) -> list[_Asked]:
        """Keep what came; give back the requests for which nothing did."""
        short = call[len(answers) :]
        for (key, request), answer in zip(call, answers, strict=False):
            if answer.lack == "empty":
                short.append((key, request))
                continue
            work.answers[key] = answer
            self._keep(request, answer)
            self.counters["requests_answered"] += answer.text is not None
        return short

    def _note_failure(self, work: _Work, problem: Answer) -> None:
        if problem.lack in {"transport", "down"}:
            work.failed_in_a_row += 1
            if work.failed_in_a_row >= _GIVE_UP_AFTER or not self.counters["requests_answered"]:
                work.gone = problem

    async def _post(self, work: _Work, call: list[_Asked]) -> list[Answer]:
        """One attempt. Raises _FaultError where another may do better, _UnsupportedError where another, made
        otherwise, may, EndpointError where none can, BudgetError where none may."""
        import httpx2

        request = call[0][1]
        limit_name = self._known.limit_name
        body = payload(request, len(call), limit_name, self._known.without)
        paid = await self._pay(work, request, len(call))
        self.counters["requests_sent"] += 1
        work.under_way += 1
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                response = await work.api.post("chat/completions", content=msgspec.json.encode(body))
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            self._give_back(paid)
            raise self._unreached("down", "cannot be reached", error) from None
        except (httpx2.TimeoutException, TimeoutError):
            raise _FaultError(
                lacking("transport", f"{self._shown_url} gave no answer within {self.settings.timeout_s:g} s")
            ) from None
        except httpx2.TransportError as error:
            raise self._unreached("transport", "dropped the connection", error) from None
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise EndpointError(f"{self._shown_url} is no address: {error}. Check endpoint.base_url") from None
        finally:
            work.under_way -= 1
        if not response.is_success:
            self._give_back(paid)
            return [self._refused(response, body)]
        try:
            answers = read_completion(response.content, len(call))
        except ValueError:
            problem = f"{self._shown_url} answered with something that is not a chat completion"
            raise _FaultError(lacking("transport", problem)) from None
        self._count(answers, paid)
        return answers

    def _unreached(self, lack: Lack, what: str, error: Exception) -> _FaultError:
        return _FaultError(lacking(lack, f"{self._shown_url} {what} ({type(error).__name__})"))

    def _refused(self, response: Any, sent: dict[str, Any]) -> Answer:
        status = response.status_code
        try:
            body = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body = None
        words = error_message(body)
        said = f"answered {status}: {self._clean(words)}".removesuffix(": ")
        problem = f"{self._shown_url} {said}"
        if status in _UNSUPPORTED:
            if "max_tokens" in sent and "max_completion_tokens" in words:
                self._known.limit_name = "max_completion_tokens"  # the name of newer OpenAI models
                raise _UnsupportedError
            if (key := blamed(body, sent)) is not None:
                self._known.without.add(key)
                raise _UnsupportedError
        if status in _HOPELESS:
            name = self.settings.api_key_env
            held = f"the key in ${name}" if name else "no key (endpoint.api_key_env is not set)"
            raise EndpointError(
                f"{problem}. That means {_HOPELESS[status]}: check endpoint.base_url, endpoint.model "
                f"({self.model}) and endpoint.api_key_env in the recipe; it was asked with {held}"
            )
        if status in _RETRIED or status >= 500:
            raise _FaultError(lacking("transport", problem), retry_after(response.headers))
        if (named := parameter(body)) in _SETTINGS:
            raise EndpointError(f"{problem}. The model {self.model} does not take {named!r} as it is set in the recipe")
        return lacking("refused", said)  # goes into published predictions, so it names no host

    async def _pay(self, work: _Work, request: Request, answers: int) -> float:
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
                if work.stopped is not None or not work.under_way:
                    self.budget.close()
                    raise
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return cost

    def _give_back(self, paid: float) -> None:
        if self.budget is not None and paid:
            self.budget.settle(paid, 0.0)

    def _count(self, answers: list[Answer], paid: float) -> None:
        prompt, completion = answers[0].prompt_tokens, answers[0].completion_tokens
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


def _first(errors: BaseExceptionGroup[BadRobotError]) -> BadRobotError:
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group of no errors")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
