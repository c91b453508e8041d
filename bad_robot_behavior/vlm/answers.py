"""From a model's text to checked data: strict reading, and one repair request at most."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import jsonschema
import jsonschema_rs
import msgspec

from bad_robot_behavior.errors import EndpointDownError, EndpointError
from bad_robot_behavior.vlm.client import Answer, Client, Message, Request, Usage

T = TypeVar("T")
_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)
_QUOTED = 4000  # characters of a bad answer that are shown to the model again
_DEPTH = 60


class BadAnswer(ValueError):
    """What a model said cannot be used. The message says what is wrong with it, without quoting it."""


class Checked(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A checked value, or the reason why there is none. `answers` are all that were asked for it, in order."""

    value: T | None
    error: str | None
    answers: tuple[Answer, ...]

    @property
    def usage(self) -> Usage:
        """What the question and the answer that is used took, as the server that gave them said, whenever that was.

        Not what failed on the way: what it took to get here differs from run to run, and this does not. A question
        that was repaired counts as it was first put; one without a value has no tokens of an answer.
        """
        usable = self.value is not None
        return Usage(
            requests=1,
            answers=int(usable),
            prompt_tokens=self.answers[0].prompt_tokens,
            completion_tokens=self.answers[-1].completion_tokens if usable else 0,
        )


def shared_usage(checked: Sequence[Checked[T]]) -> list[Usage]:
    """What each of several samples of one question took: the question stands at the first of them alone.

    So it is the same whether a server gave them in one reply or one by one.
    """
    usages = [one.usage for one in checked]
    known = [usage.prompt_tokens for usage in usages if usage.prompt_tokens is not None]
    question = {"requests": 1, "prompt_tokens": max(known, default=0) or None}
    nothing = {"requests": 0, "prompt_tokens": 0}
    return [
        msgspec.structs.replace(usage, **(question if number == 0 else nothing)) for number, usage in enumerate(usages)
    ]


def read_json(text: str, schema: dict[str, Any]) -> Any:
    """The one JSON value in the text (bare, or in one code fence), valid under the schema. Raises BadAnswer.

    Duplicate keys, NaN, Infinity, text before or after, and nesting deeper than any answer needs are refused.
    """
    stripped = text.strip()
    fenced = _FENCE.match(stripped)
    body = fenced[1] if fenced else stripped
    if _depth(body) > _DEPTH:
        raise BadAnswer("the JSON is nested too deeply")
    try:
        value = json.loads(body, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise BadAnswer(f"not valid JSON: {error.msg} at character {error.pos}") from None
    except BadAnswer:
        raise
    except ValueError:  # an integer of more digits than Python reads
        raise BadAnswer("not valid JSON: a number is too long") from None
    if re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        raise BadAnswer("a string holds half of a character (a lone surrogate)")
    if not jsonschema_rs.Draft202012Validator(schema).is_valid(value):  # a tenth of the time for a good answer
        checker = jsonschema.Draft202012Validator(schema)
        broken = jsonschema.exceptions.best_match(checker.iter_errors(value))
        if broken is not None:
            raise BadAnswer(f"{broken.json_path} breaks {broken.validator}: {_legal(broken)}")
    return value


def ask_checked(
    client: Client,
    requests: Sequence[Request],
    check: Callable[[int, str], T],
    *,
    form: str = "one JSON object and nothing else",
    repair: bool = True,
) -> list[Checked[T]]:
    """Ask all requests; `check(i, text)` returns the value of request i or raises BadAnswer.

    What is bad is asked once more with the bad answer and the reason under it; what is bad again is an `error`, and
    the client is told, so that it can be asked anew one day. Raises EndpointError where the endpoint gave no answer, so
    that a build is never called complete without it. form: what an answer is to be, in words; repair: whether to ask
    once more at all.
    """
    first = _ask(client, requests)
    results: list[Checked[T] | None] = [None] * len(requests)
    repairs: list[tuple[int, str]] = []
    for i, answer in enumerate(first):
        value, problem = _check(check, i, answer)
        if problem is not None and answer.text is not None and repair:
            repairs.append((i, problem))
        else:
            results[i] = Checked(value=value, error=problem, answers=(answer,))
            if problem is not None:
                client.unusable([requests[i]])
    pleas = [_repair(requests[i], first[i].text or "", problem, form) for i, problem in repairs]
    for (i, problem), plea, answer in zip(repairs, pleas, _ask(client, pleas), strict=True):
        value, again = _check(check, i, answer)
        if again is not None:
            client.unusable([requests[i], plea])
        error = None if again is None else f"{problem}; after one repair request: {again}"
        results[i] = Checked(value=value, error=error, answers=(first[i], answer))
    return [result for result in results if result is not None]


def without_server_words(error: str) -> str:
    """The `error` of a Checked as it may be published: what a server says when it refuses can quote the request."""
    return re.sub(r"\brefused: .*", "the endpoint or the model refused the request", error, flags=re.DOTALL)


def _ask(client: Client, requests: Sequence[Request]) -> list[Answer]:
    answers = client.ask(requests) if requests else []
    for answer in answers:
        if answer.lack == "down":
            raise EndpointDownError(f"model {client.model}: {answer.error}")
        if answer.lack == "transport":
            raise EndpointError(f"model {client.model}: {answer.error}")
    return answers


def _check(check: Callable[[int, str], T], i: int, answer: Answer) -> tuple[T | None, str | None]:
    if answer.text is None:
        return None, f"{answer.lack}: {answer.error}"
    try:
        return check(i, answer.text), None
    except BadAnswer as error:
        return None, str(error)


def _repair(request: Request, text: str, problem: str, form: str) -> Request:
    plea = f"That answer cannot be used: {problem}. Answer the same question again, as {form}."
    turns = (Message("assistant", (text[:_QUOTED],)), Message("user", (plea,)))
    return msgspec.structs.replace(request, messages=request.messages + turns)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BadAnswer("a key occurs twice in one object")
    return made


def _constant(name: str) -> Any:
    raise BadAnswer(f"{name} is not a JSON number")


def _depth(text: str) -> int:
    """An upper bound of the nesting: brackets inside strings are counted too."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _legal(error: jsonschema.exceptions.ValidationError) -> str:
    """The rule that was broken, without the value: that may be long, or say things that belong in no log."""
    rule: Any = error.validator_value
    if error.validator == "required" and isinstance(error.instance, dict):
        return f"missing {', '.join(name for name in rule if name not in error.instance)}"
    return json.dumps(rule)[:200]
