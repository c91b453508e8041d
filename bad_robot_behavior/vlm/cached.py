"""What every client does besides asking: look into the cache first, ask equal requests once, count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from bad_robot_behavior.vlm.cache import Cache, request_key
from bad_robot_behavior.vlm.client import Answer, Request


class CachedClient(ABC):
    """A client over a cache. A subclass says how requests are answered that are not in it (`_send`).

    `counters` holds, since it was made: requests_asked (different ones), requests_cached, answers_unusable, and what
    the subclass counts.
    """

    def __init__(self, model: str, cache: Cache | None) -> None:
        self.model = model
        self.cache = cache
        self.counters: Counter[str] = Counter()

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
            answers |= self._send(missing)
        return [answers[key] for key in keys]

    def unusable(self, requests: Sequence[Request]) -> None:
        """Count one thing that could not be had, and mark its answers in the cache so that they can be asked anew."""
        self.counters["answers_unusable"] += 1
        if self.cache is not None:
            self.cache.mark_unusable(requests)

    @abstractmethod
    def _send(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        """An answer for each request, by key. Calls `_keep` for each good one as it comes in."""

    def _keep(self, request: Request, answer: Answer) -> None:
        if self.cache is not None and answer.text is not None:
            self.cache.put(request, answer)


class LocalClient(CachedClient):
    """A model in this process: it answers one request after the other (`_generate`)."""

    def _send(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        answers = {}
        for key, request in requests.items():
            answers[key] = self._generate(request)
            self._keep(request, answers[key])
        return answers

    @abstractmethod
    def _generate(self, request: Request) -> Answer: ...


def calls(requests: Mapping[str, Request]) -> list[list[tuple[str, Request]]]:
    """The requests, cut into runs of samples of one question: they differ in their seeds alone, by one each."""
    runs: list[list[tuple[str, Request]]] = []
    for key, request in requests.items():
        if runs and _follows(request, runs[-1][-1][1]):
            runs[-1].append((key, request))
        else:
            runs.append([(key, request)])
    return runs


def _follows(request: Request, last: Request) -> bool:
    return (
        request.seed is not None
        and last.seed is not None
        and request.seed == last.seed + 1
        and msgspec.structs.replace(request, seed=last.seed) == last
    )
