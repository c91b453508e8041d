"""Which client a recipe's settings mean, and one that sends nothing, for dry runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bad_robot_behavior.schema import EndpointSettings, ModelSettings
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import CachedClient, calls
from bad_robot_behavior.vlm.client import Answer, Request
from bad_robot_behavior.vlm.estimate import estimate
from bad_robot_behavior.vlm.wire import lacking


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of endpoints in all, and what it may cost; None: no limit."""

    max_requests: int | None = None
    max_cost: float | None = None


def open_client(
    endpoint: EndpointSettings | None,
    model: ModelSettings | None,
    folder: Path,
    cache: Cache | None,
    limits: Limits | None = None,
) -> CachedClient | None:
    """The client of a model behind an endpoint, or of one in this process (paths relative to `folder`); None for
    neither. Limits need a cache, in whose file the account is kept. Raises what the clients raise."""
    if endpoint is not None:
        from bad_robot_behavior.vlm.openai_client import OpenAIClient

        limits = limits or Limits()
        return OpenAIClient(endpoint, cache, None if cache is None else Budget(cache, **msgspec.structs.asdict(limits)))
    if model is None:
        return None
    if model.kind == "llamacpp":
        from bad_robot_behavior.vlm.llamacpp_client import LlamaCppClient

        return LlamaCppClient(model, folder, cache)
    from bad_robot_behavior.vlm.transformers_client import TransformersClient

    return TransformersClient(model, folder, cache)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be asked. here: rollouts that a model in this process judges, which asks nobody. requests: sent, if
    nothing fails and no answer needs a repair; answers: asked for in them; cached: known already; prompt_tokens and the
    most completion_tokens by `estimate.RULE`; cost: at most that, 0 where no price is known or none is to be paid."""

    here: int = 0
    requests: int = 0
    answers: int = 0
    cached: int = 0
    images: int = 0
    image_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    priced: bool = True

    def __add__(self, other: Plan) -> Plan:
        mine, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        sums = {name: mine[name] + theirs[name] for name in mine if name != "priced"}
        return Plan(**sums, priced=self.priced and other.priced)


class DryClient(CachedClient):
    """Asks as `client` would, and sends nothing: what is not in the cache is counted in `plan`, and has no answer."""

    def __init__(self, client: CachedClient) -> None:
        super().__init__(client.model, client.cache)
        self.plan = Plan()
        self._prices = getattr(client, "settings", None)

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers from the cache; the others say that they were not asked for."""
        before = self.counters["requests_cached"]
        answers = super().ask(requests)
        self.plan += Plan(cached=self.counters["requests_cached"] - before)
        return answers

    def unusable(self, requests: Sequence[Request]) -> None:
        """Nothing was asked, so nothing is known."""

    def _send(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        for call in calls(requests):
            expected = estimate(call[0][1], len(call))
            cost: float | None = 0.0
            if isinstance(self._prices, EndpointSettings):
                cost = self._prices.cost(expected.prompt_tokens, expected.completion_tokens)
            self.plan += Plan(
                requests=1,
                answers=len(call),
                images=expected.images,
                image_bytes=expected.image_bytes,
                prompt_tokens=expected.prompt_tokens,
                completion_tokens=expected.completion_tokens,
                cost=cost or 0.0,
                priced=cost is not None,
            )
        return dict.fromkeys(requests, lacking("empty", "nothing was asked: this is a dry run"))
