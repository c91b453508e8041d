"""Asks an OpenAI-compatible endpoint over HTTP: many requests at once, patient with faults, never twice for one answer.

One attempt is endpoint.py's, the wire format wire.py's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from bad_robot_behavior.errors import BadRobotError, BudgetError, EndpointError, require
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import CachedClient, calls
from bad_robot_behavior.vlm.client import Answer, Request
from bad_robot_behavior.vlm.endpoint import Endpoint, FaultError, UnsupportedError
from bad_robot_behavior.vlm.wire import lacking

T = TypeVar("T")
_LONGEST_WAIT_S = 600.0
_HEAD_START_S = 5.0
"""How long the first request to an endpoint goes alone, unless it fails. Whatever is wrong with all of them shows at
once; a server that works on it for longer has taken it."""
_ALL_REFUSED = 4
_GIVE_UP_AFTER = 3
"""Requests that failed for good, one after the other, with no answer in between: the endpoint is taken to be gone."""

_Asked = tuple[str, Request]


class _Work:
    """What the calls of one `ask` share."""

    def __init__(self, api: Any, group: asyncio.TaskGroup, slots: int) -> None:
        self.api = api
        self.group = group
        self.slots = asyncio.Semaphore(slots)
        self.answers: dict[str, Answer] = {}
        self.faults = 0
        self.failed_in_a_row = 0
        self.gone: Answer | None = None
        self.stopped: BudgetError | None = None


class OpenAIClient(CachedClient):
    """A model behind an OpenAI-compatible endpoint.

    429, 5xx, a dropped connection, a time-out, a garbled or empty answer and one that was cut off are asked again, up
    to `max_attempts` in all, with exponential back-off and seeded jitter, and not before the time that Retry-After
    names. What then still failed is an Answer with `error` and `lack`. 400 is not asked again (`lack="refused"`).
    After three requests that failed for good in a row, or after the first where none was ever answered, no more are
    sent. The first goes alone until it is answered, or for 5 s unless it fails before: so a server that takes requests
    and never answers gets `concurrency` of them before the first is known to be in vain.

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
        require("openai", "vlm")
        super().__init__(settings.model, cache)
        self.settings = settings
        self.backoff_s = backoff_s
        self.endpoint = Endpoint(settings, budget, self.counters)
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
            raise EndpointError(
                f"{self.endpoint.shown_url} refused all of the first {len(refused)} requests: {refused[0]}"
            )

    async def _ask_all(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        """Answers by key."""
        waiting = calls(requests)
        try:
            async with self.endpoint.connect() as api, asyncio.TaskGroup() as group:
                work = _Work(api, group, self.settings.concurrency)
                if not self.endpoint.known.answered:
                    # The first goes alone: where nobody answers it, the others need not be sent; and what the server
                    # does not take is learnt once.
                    first = group.create_task(self._settle(work, waiting.pop(0)))
                    await asyncio.wait({first}, timeout=_HEAD_START_S)
                    if work.faults:
                        await asyncio.wait({first})
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
            if len(call) > 1 and "n" in self.endpoint.known.without:
                return call
            wait: float | None = None
            try:
                answers = await self.endpoint.post(work.api, call[0][1], len(call))
            except UnsupportedError:
                continue
            except BudgetError as error:
                work.stopped = error
                break
            except FaultError as fault:
                problem, wait = fault.answer, fault.wait_s
                work.faults += 1
            else:
                work.failed_in_a_row = 0
                self.endpoint.known.answered = True
                if len(answers) < len(call):
                    self.endpoint.known.without.add("n")
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
