from __future__ import annotations

import pytest

from bad_robot_behavior.errors import EndpointError
from bad_robot_behavior.vlm.answers import BadAnswer, ask_checked, read_json
from bad_robot_behavior.vlm.client import Answer, Message, Request
from bad_robot_behavior.vlm.stub import StubClient

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "number", "minimum": 0}},
    "required": ["n"],
    "additionalProperties": False,
}
REQUEST = Request(model="stub", messages=(Message("user", ("how many?",)),), seed=4)


@pytest.mark.parametrize("text", ['{"n": 1}', ' {"n": 1}\n', '```json\n{"n": 1}\n```', '```\n{"n": 1}\n```'])
def test_one_json_value_is_read(text: str) -> None:
    assert read_json(text, SCHEMA) == {"n": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not valid JSON"),
        ("I cannot see that.", "not valid JSON"),
        ('Here it is: {"n": 1}', "not valid JSON"),
        ('{"n": 1} {"n": 2}', "not valid JSON"),
        ('{"n": 1', "not valid JSON"),
        ('{"n": 1, "n": 2}', "twice"),
        ('{"n": NaN}', "NaN"),
        ('{"n": Infinity}', "Infinity"),
        ('{"n": true}', "type"),
        ('{"n": "1"}', "type"),
        ('{"n": -1}', "minimum"),
        ('{"n": 1, "m": 2}', "additionalProperties"),
        ("{}", "missing n"),
        ("[]", "type"),
        ('{"n": ' + "[" * 5000 + "]" * 5000 + "}", "nested"),
        ('{"n": ' + "9" * 5000 + "}", "too long"),
        ('{"\\ud800": 1}', "surrogate"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(BadAnswer, match=problem):
        read_json(text, SCHEMA)


def _number(i: int, text: str) -> int:
    return int(read_json(text, SCHEMA)["n"])


def test_a_bad_answer_is_asked_once_more_with_the_reason_under_it() -> None:
    client = StubClient(lambda request: '{"n": 7}' if len(request.messages) > 1 else "seven")
    (result,) = ask_checked(client, [REQUEST], _number)
    assert (result.value, result.error) == (7, None)
    repair = client.asked[1]
    assert [message.role for message in repair.messages] == ["user", "assistant", "user"]
    assert repair.messages[1].parts == ("seven",)
    assert "not valid JSON" in str(repair.messages[2].parts[0])
    assert (repair.seed, repair.model) == (REQUEST.seed, REQUEST.model)


def test_a_second_bad_answer_is_the_last() -> None:
    client = StubClient(lambda request: "seven")
    (result,) = ask_checked(client, [REQUEST], _number)
    assert result.value is None
    assert "after one repair request" in (result.error or "")
    assert len(client.asked) == 2


@pytest.mark.parametrize("lack", ["refused", "empty"])
def test_what_the_model_will_not_say_is_recorded(lack: str) -> None:
    client = StubClient(lambda request: Answer(text=None, lack=lack, error="no"))  # type: ignore[arg-type]
    (result,) = ask_checked(client, [REQUEST], _number)
    assert result.error == f"{lack}: no"
    assert len(client.asked) == 1


def test_an_endpoint_that_does_not_answer_stops_the_work() -> None:
    client = StubClient(lambda request: Answer(text=None, lack="transport", error="answered 503"))
    with pytest.raises(EndpointError, match="answered 503"):
        ask_checked(client, [REQUEST], _number)


def test_an_endpoint_that_fails_at_the_repair_stops_the_work_too() -> None:
    def say(request: Request) -> str | Answer:
        return "seven" if len(request.messages) == 1 else Answer(text=None, lack="transport", error="gone")

    with pytest.raises(EndpointError, match="gone"):
        ask_checked(StubClient(say), [REQUEST], _number)


def test_the_order_of_requests_is_kept_when_some_are_repaired() -> None:
    requests = [Request(model="stub", messages=(Message("user", (str(i),)),)) for i in range(5)]

    def say(request: Request) -> str:
        number = request.messages[0].parts[0]
        return f'{{"n": {number}}}' if len(request.messages) > 1 or number in ("0", "3") else "?"

    assert [result.value for result in ask_checked(StubClient(say), requests, _number)] == [0, 1, 2, 3, 4]
