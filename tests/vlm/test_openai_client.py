"""The client against a real server process that fails in every way a server can."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import socket
import time
from pathlib import Path

import msgspec
import pytest

from bad_robot_behavior.errors import BadRobotError, BudgetError, EndpointError
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.vlm import openai_client
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Image, Message, Request
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from tests import loopback

SCHEMA = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}


@pytest.fixture(autouse=True)
def _first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the machine takes for a first request decides nothing, but where a test says so."""
    monkeypatch.setattr(openai_client, "_HEAD_START_S", 60.0)


def client(url: str, cache: Cache | None = None, **changes: object) -> OpenAIClient:
    settings = {"base_url": url, "model": "loopback", "timeout_s": 20.0, "max_attempts": 4} | changes
    return OpenAIClient(EndpointSettings(**settings), cache, backoff_s=0.01)  # type: ignore[arg-type]


def request(text: str = "hello", **changes: object) -> Request:
    return Request(model="loopback", messages=(Message("user", (text,)),), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fault",
    [
        "429",
        "429-after",
        "429-date",
        "500",
        "503",
        "408",
        "drop",
        "garbage",
        "empty",
        "html",
        "no-choices",
        "null",
        "truncated",
    ],
)
def test_a_passing_fault_costs_time_and_nothing_else(fault: str) -> None:
    requests = [request(f"question {i}") for i in range(5)]
    with loopback.serve() as url:
        expected = client(url).ask(requests)
    with loopback.serve(fault=fault, times=2) as url:
        assert client(url).ask(requests) == expected
        assert loopback.stats(url)["requests"] == 15


@pytest.mark.parametrize("fault", ["slow", "trickle"])
def test_an_answer_after_the_deadline_is_asked_again(fault: str) -> None:
    """The deadline is that of the whole answer: one that comes byte by byte is never silent, and late all the same."""
    with loopback.serve(fault=fault, slow_s=5, times=1) as url:
        (answer,) = client(url, timeout_s=1.0).ask([request()])
        assert loopback.stats(url)["requests"] == 2
    assert answer.text == "You said: hello"


@pytest.mark.parametrize(
    ("fault", "lack", "words"),
    [
        ("429", "transport", "answered 429"),
        ("500", "transport", "answered 500"),
        ("drop", "transport", "dropped the connection"),
        ("slow", "transport", "gave no answer within 0.3 s"),
        ("garbage", "transport", "not a chat completion"),
        ("no-choices", "empty", "no choices"),
        ("truncated", "empty", "cut off"),
    ],
)
def test_a_lasting_fault_is_an_answer_with_its_reason(fault: str, lack: str, words: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    waiting = {"timeout_s": 0.3} if fault == "slow" else {}
    with loopback.serve(fault=fault, times=99) as url:
        (answer,) = client(url, cache, max_attempts=3, **waiting).ask([request()])
        assert loopback.stats(url)["requests"] == 3
    assert answer.text is None
    assert answer.lack == lack
    assert words in (answer.error or "")
    assert "asked 3 times" in (answer.error or "")
    assert len(cache) == 0


def test_a_server_that_is_not_there_is_a_transport_fault() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        (answer,) = client(f"http://127.0.0.1:{held.getsockname()[1]}/v1", max_attempts=2).ask([request()])
    assert answer.lack == "down"
    assert "cannot be reached" in (answer.error or "")


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_what_can_never_work_stops_at_once(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "sk-planted-7781")
    with loopback.serve(fault=status, times=99) as url:
        with pytest.raises(EndpointError) as caught:
            client(url, api_key_env="PLANTED_KEY", concurrency=2).ask([request(f"{i}") for i in range(20)])
        assert loopback.stats(url)["requests"] <= 2
        assert url in str(caught.value)
    assert "endpoint.api_key_env" in str(caught.value)
    assert "7781" not in str(caught.value)


def test_a_refused_request_is_not_asked_again_and_does_not_stop_the_others() -> None:
    with loopback.serve(fault=400, times=99) as url:
        answers = client(url).ask([request("one"), request("two")])
        assert loopback.stats(url)["requests"] == 2
    assert [answer.lack for answer in answers] == ["refused", "refused"]
    assert "127.0.0.1" not in str(answers)


def test_an_endpoint_that_refuses_everything_is_an_error() -> None:
    with loopback.serve(fault=400, times=99) as url, pytest.raises(EndpointError, match="refused all of the first 5"):
        client(url).ask([request(f"{i}") for i in range(5)])


def test_a_setting_that_the_model_does_not_take_is_an_error() -> None:
    with (
        loopback.serve(fault=400, times=99, param="temperature") as url,
        pytest.raises(EndpointError, match="temperature"),
    ):
        client(url).ask([request()])


def test_a_refusal_is_said_to_be_one() -> None:
    with loopback.serve(fault="refusal", times=99) as url:
        (answer,) = client(url).ask([request()])
    assert (answer.text, answer.lack) == (None, "refused")


def test_the_newer_name_of_the_token_limit_is_used_where_asked() -> None:
    with loopback.serve(fault="max-tokens", times=99) as url:
        answers = client(url, concurrency=1).ask([request("one"), request("two")])
        assert loopback.stats(url)["requests"] == 3
    assert [answer.text for answer in answers] == ["You said: one", "You said: two"]


def test_equal_requests_are_sent_once_and_a_second_run_sends_nothing(tmp_path: Path) -> None:
    requests = [request("same"), request("other"), request("same")]
    with loopback.serve() as url:
        first = client(url, Cache(tmp_path / "cache.sqlite")).ask(requests)
        assert loopback.stats(url)["requests"] == 2
        again = client(url, Cache(tmp_path / "cache.sqlite"))
        second = again.ask(requests)
        assert loopback.stats(url)["requests"] == 2
    assert [answer.text for answer in second] == [answer.text for answer in first]
    assert all(answer.cached for answer in second)
    assert again.counters["requests_cached"] == 2


def test_no_more_requests_run_at_once_than_allowed() -> None:
    with loopback.serve(latency_s=0.02) as url:
        client(url, concurrency=3).ask([request(f"{i}") for i in range(12)])
        assert loopback.stats(url)["most_running"] == 3


def test_a_first_request_that_is_worked_on_keeps_the_others_waiting_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_client, "_HEAD_START_S", 0.2)
    with loopback.serve(latency_s=2.0) as url:
        assert all(answer.text for answer in client(url).ask([request(f"{i}") for i in range(5)]))
        assert loopback.stats(url)["most_running"] == 5


def test_no_others_are_sent_while_the_first_request_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "_HEAD_START_S", 1.0)
    with loopback.serve(fault="503", times=99) as url:
        patient = OpenAIClient(EndpointSettings(base_url=url, model="loopback", max_attempts=3), backoff_s=1.5)
        answers = patient.ask([request(f"{i}") for i in range(5)])
        assert loopback.stats(url)["requests"] == 3
    assert {answer.lack for answer in answers} == {"transport"}


def test_answers_before_a_stop_are_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    with loopback.serve() as url:
        client(url, cache).ask([request("early")])
    with loopback.serve(fault=401, times=99) as url, pytest.raises(EndpointError):
        client(url, cache).ask([request("early"), request("late")])
    assert len(cache) == 1


def test_keys_go_to_the_server_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PLANTED_KEY", "sk-planted-7781")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-this-host")
    path = tmp_path / "cache.sqlite"
    with loopback.serve(fault="500", times=1) as url:
        with_key = client(url, Cache(path), api_key_env="PLANTED_KEY", max_attempts=1)
        (failed,) = with_key.ask([request()])
        with_key.ask([request()])
        client(url).ask([request("without")])
        assert loopback.stats(url)["authorizations"] == ["Bearer none", "Bearer sk-planted-7781"]
    assert "planted 500" in (failed.error or "")
    cached = b"".join(part.read_bytes() for part in tmp_path.iterdir())
    for place in (failed.error or "", caplog.text, repr(vars(with_key)), cached.decode("latin-1")):
        assert "7781" not in place


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANTED_KEY", raising=False)
    with pytest.raises(
        BadRobotError, match=r"PLANTED_KEY, which is to hold the key for .*, is not set; set it"
    ) as raised:
        client("http://127.0.0.1:9/v1", api_key_env="PLANTED_KEY")
    assert raised.value.exit_code == 2


def test_a_password_in_the_url_is_not_shown() -> None:
    (answer,) = client("http://user:hunter2@127.0.0.1:9/v1", max_attempts=1).ask([request()])
    assert "127.0.0.1:9" in (answer.error or "")
    assert "hunter2" not in (answer.error or "")


def test_pictures_and_schema_arrive() -> None:
    with loopback.serve() as url:
        shown = Request(
            model="loopback",
            messages=(Message("user", ("look", Image(b"\xff\xd8", "image/jpeg"))),),
            json_schema=SCHEMA,
        )
        (answer,) = client(url).ask([shown])
    assert answer.text == "You said: look"


def test_it_can_be_asked_inside_a_running_loop_and_sent_to_a_worker(tmp_path: Path) -> None:
    with loopback.serve() as url:
        sent = pickle.loads(pickle.dumps(client(url, Cache(tmp_path / "cache.sqlite"))))

        async def inside() -> str | None:
            return str(sent.ask([request()])[0].text)

        assert asyncio.run(inside()) == "You said: hello"


@pytest.mark.parametrize("fault", ["429", "503"])
def test_what_retry_after_names_is_waited_for(fault: str) -> None:
    """The back-off of this client alone would be over in 0.04 s."""
    with loopback.serve(fault=fault, retry_after_s=0.4, times=2) as url:
        start = time.monotonic()
        (answer,) = client(url).ask([request()])
        assert time.monotonic() - start >= 0.8
        assert loopback.stats(url)["requests"] == 3
    assert answer.text == "You said: hello"


def test_retry_after_is_waited_for_but_not_for_hours() -> None:
    with loopback.serve(fault=429, retry_after_s=7200, times=99) as url:
        (answer,) = client(url).ask([request()])
        assert loopback.stats(url)["requests"] == 1
    assert answer.lack == "transport"
    assert "wait 7200 s" in (answer.error or "")


def samples(count: int, text: str = "hello", first: int = 100) -> list[Request]:
    return [request(text, seed=first + k) for k in range(count)]


def test_samples_of_one_question_are_one_request_and_each_is_kept_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with loopback.serve() as url:
        alone = [client(url).ask([one])[0].text for one in samples(10)]
    with loopback.serve() as url:
        asking = client(url, Cache(path))
        together = asking.ask([*samples(10), *samples(3, "other")])
        assert loopback.stats(url)["requests"] == 2
    assert [answer.text for answer in together[:10]] == alone
    assert [answer.prompt_tokens == 0 for answer in together] == [False, *[True] * 9, False, *[True] * 2]
    assert len(Cache(path)) == 13
    with loopback.serve() as url:  # of twelve, two are new: they are one request again
        some = client(url, Cache(path)).ask(samples(12))
        assert [answer.text for answer in some[:10]] == alone
        assert [answer.cached for answer in some] == [True] * 10 + [False] * 2
        assert loopback.stats(url)["requests"] == 1


@pytest.mark.parametrize(
    ("flags", "requests"),
    [
        ({"most_choices": 1}, 1 + 9 + 5),  # the first call gives one answer, and is the last of its kind
        ({"most_choices": 4}, 1 + 6 + 5),
        ({"refuse": "n"}, 1 + 15),
        ({"refuse": "seed"}, 1 + 2),
        ({"refuse": "response_format"}, 1 + 2),
        ({"refuse": "n,seed,response_format"}, 3 + 15),
        ({"fault": "one-null"}, 2 + 1 + 1),
        ({"fault": "500"}, 2 * 2),
    ],
)
def test_what_a_server_does_not_take_is_learnt_once(flags: dict[str, object], requests: int) -> None:
    schema = {"json_schema": SCHEMA}
    asked = [msgspec.structs.replace(one, **schema) for one in [*samples(10), *samples(5, "other")]]
    with loopback.serve() as url:
        expected = [answer.text for answer in client(url).ask(asked)]
    with loopback.serve(**flags) as url:
        assert [answer.text for answer in client(url).ask(asked)] == expected
        assert loopback.stats(url)["requests"] == requests


def test_a_server_that_counts_no_tokens_leaves_them_unknown() -> None:
    with loopback.serve(no_usage=True) as url:
        answers = client(url).ask(samples(3))
    assert {(answer.prompt_tokens, answer.completion_tokens) for answer in answers} == {(None, None)}


def test_a_server_that_dies_is_noticed_before_every_request_has_waited(tmp_path: Path) -> None:
    """It dies at its 20th request of 200. Three that fail for good are enough to tell."""
    cache = Cache(tmp_path / "cache.sqlite")
    requests = [request(f"question {i}") for i in range(200)]
    with loopback.serve() as url:
        expected = [answer.text for answer in client(url).ask(requests)]
    with loopback.serve(die_at=20) as url:
        asking = client(url, cache, concurrency=4, max_attempts=3)
        answers = asking.ask(requests)
        port = url.rpartition(":")[2].partition("/")[0]
    assert {answer.lack for answer in answers} == {None, "down"}
    assert 16 <= len(cache) <= 19
    assert asking.counters["requests_sent"] <= 20 + 3 * (3 + 3)
    with loopback.serve(port=port) as url:  # it comes back
        again = client(url, cache)
        assert [answer.text for answer in again.ask(requests)] == expected
        assert again.counters["requests_cached"] + loopback.stats(url)["requests"] == 200


def test_faults_that_come_and_go_are_no_death() -> None:
    requests = [request(f"question {i}") for i in range(40)]
    with loopback.serve(fault="500", times=2) as url:
        answers = client(url, concurrency=8, max_attempts=3).ask(requests)
    assert all(answer.text for answer in answers)


def test_a_budget_stops_the_asking_and_what_was_sent_is_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    requests = [request(f"question {i}") for i in range(30)]
    with loopback.serve(latency_s=0.05) as url:
        limited = OpenAIClient(EndpointSettings(base_url=url, model="loopback"), cache, Budget(cache, max_requests=12))
        with pytest.raises(BudgetError, match="12 requests have been sent of the 12"):
            limited.ask(requests)
        assert loopback.stats(url)["requests"] == 12
        assert len(cache) == 12, "what was under way was waited for"
        more = OpenAIClient(EndpointSettings(base_url=url, model="loopback"), cache, Budget(cache, max_requests=30))
        assert all(answer.text for answer in more.ask(requests))
        assert loopback.stats(url)["requests"] == 30
    assert Budget(cache).spent().requests == 30


def test_a_budget_of_money_is_kept_to_the_last_request(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    requests = [request(f"question {i}" * 40, max_tokens=64) for i in range(30)]
    with loopback.serve() as url:
        prices = {"prompt_price": 1000.0, "completion_price": 5000.0}
        settings = EndpointSettings(base_url=url, model="loopback", **prices)
        with pytest.raises(BudgetError, match="of the 2 that --max-cost allows"):
            OpenAIClient(settings, cache, Budget(cache, max_cost=2.0)).ask(requests)
        seen = loopback.stats(url)
        spent = Budget(cache).spent()
        assert spent.cost == pytest.approx((1000 * seen["prompt_tokens"] + 5000 * seen["completion_tokens"]) / 1e6)
        assert 1.5 < spent.cost <= 2.0
        with pytest.raises(EndpointError, match="--max-cost needs the prices of the model loopback"):
            OpenAIClient(EndpointSettings(base_url=url, model="loopback"), cache, Budget(cache, max_cost=2.0))


def test_a_redirect_is_told_and_not_followed() -> None:
    with loopback.serve(fault=302, times=99) as url, pytest.raises(EndpointError, match="the address has moved"):
        client(url).ask([request()])


def test_a_password_in_the_address_goes_to_the_server_and_into_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with loopback.serve() as url:
        client(url.replace("://", "://jane:hunter2@")).ask([request()])
        (sent,) = loopback.stats(url)["authorizations"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"jane:hunter2"
    assert "hunter2" not in caplog.text
