from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from bad_robot_behavior.vlm.client import Message, Request
from bad_robot_behavior.vlm.wire import payload, read_completion, retry_after


def testretry_after_is_read_as_seconds_and_as_a_date() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": date, "date": format_datetime(now, usegmt=True)}) == 90
    assert retry_after({"retry-after": format_datetime(now, usegmt=True)}) == 0  # long past
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None


def weighed(*tokens: tuple[str, float], **changes: Any) -> bytes:
    first, *top = [{"token": token, "logprob": logprob} for token, logprob in tokens]
    logprobs = {"content": [first | {"top_logprobs": top}]}
    choice = {"message": {"content": "x"}, "finish_reason": "length", "logprobs": logprobs} | changes
    return msgspec.json.encode({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 1}})


def test_candidates_are_asked_for_as_log_probabilities_of_the_first_token() -> None:
    request = Request(model="m", messages=(Message("user", ("is it?",)),), max_tokens=1)
    assert not {"logprobs", "top_logprobs"} & set(payload(request, 1, "max_tokens", ()))
    body = payload(msgspec.structs.replace(request, candidates=("True",)), 1, "max_tokens", ())
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)


def test_log_probabilities_are_read_of_the_wanted_tokens_alone() -> None:
    said = weighed(("False", -0.1), ("False", -0.1), ("True", -2.5), (" True", -4.0))
    (answer,) = read_completion(said, 1, ("True", "Maybe"))
    assert msgspec.json.decode(answer.text or "") == {"True": -2.5, "Maybe": None}
    assert (answer.lack, answer.prompt_tokens) == (None, 7)  # that it was cut off at one token is as it should be
    assert read_completion(said, 1)[0].lack == "empty"


@pytest.mark.parametrize(("given", "kept"), [(-9999.0, None), (1e-7, 0.0), (-3.0, -3.0)])
def test_what_a_server_does_not_know_is_not_taken_for_a_number(given: float, kept: float | None) -> None:
    (answer,) = read_completion(weighed(("False", -0.1), ("True", given)), 1, ("True",))
    assert msgspec.json.decode(answer.text or "") == {"True": kept}


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}, {}])
def test_a_server_that_gives_no_log_probabilities_refuses(logprobs: Any) -> None:
    (answer,) = read_completion(weighed(("True", -1.0), logprobs=logprobs), 1, ("True",))
    assert (answer.lack, answer.error) == ("refused", "the server gives no log-probabilities of tokens")
