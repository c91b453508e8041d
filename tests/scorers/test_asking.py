"""The scorers that ask one number about some pictures, against the loopback server, in every format and with faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior import media, scorers
from bad_robot_behavior.errors import BadRobotError, EndpointError
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.scorers.asking import messages
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Image
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.prompts import Prompt, prompt_names, read_prompt
from bad_robot_behavior.vlm.stub import StubClient
from tests import loopback
from tests.factories import make_video

ASKING = ("dopamine", "roboreward", "topreward", "vlac", "last_frame")
COUNT = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A square that goes right, as far as the server says the task has got."""
    path = make_video(tmp_path_factory.mktemp("asking") / "v.mp4", num_frames=20)
    index = media.sample_index(20, COUNT)
    return Clip(
        rollout_id="a" * 20,
        instruction="put the marker in the cup",
        frames=media.sample(path, index),
        frame_index=index,
        num_frames=20,
        fps=10.0,
        roles=("exterior_1",),
    )


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with loopback.serve() as base_url:
        yield base_url


def client(base_url: str, cache: Path | None = None, **settings: Any) -> OpenAIClient:
    described = EndpointSettings(base_url=base_url, model="loopback", **({"max_attempts": 2} | settings))
    return OpenAIClient(described, None if cache is None else Cache(cache), backoff_s=0.01)


def truth(clip: Clip) -> np.ndarray[Any, Any]:
    """How far the square has got in each frame, as the server sees it."""
    made = scorers.get("gvl", client=StubClient(lambda request: ""), image_size=448)
    assert clip.frames is not None
    return np.array([loopback._progress(picture.data) for picture in made.pictures(clip.frames)])  # type: ignore[attr-defined]


def test_a_model_that_is_never_wrong_gives_each_scorer_the_curve_of_its_definition(served: str, clip: Clip) -> None:
    seen = truth(clip)
    assert (np.diff(seen) > 0.04).all()
    gained = (seen - seen[0]) / (1 - seen[0])  # progress from the first frame on
    expected = {
        "dopamine": (gained, 0.03),
        "roboreward": (np.round(4 * seen) / 4, 1e-9),
        "topreward": (np.log(seen), 1e-6),
        "vlac": (gained, 0.03),
        "last_frame": (np.full(COUNT, seen[-1]), 0.006),
    }
    for name, (value, tolerance) in expected.items():
        asked = client(served)
        scorer = scorers.get(name, client=asked, num_frames=COUNT)
        [curve] = scorer.score([clip])
        assert curve.error is None, name
        assert curve.value is not None
        np.testing.assert_allclose(curve.value, value, atol=tolerance, err_msg=name)
        assert curve.usage is not None
        assert curve.usage.answers == asked.counters["requests_asked"] == asked.counters["requests_answered"]
    [forward] = scorers.get("dopamine", client=client(served), mode="forward").score([clip])
    np.testing.assert_allclose(forward.value, gained, atol=0.006)  # type: ignore[arg-type]


def test_all_questions_of_a_batch_are_asked_at_once_and_equal_ones_once(served: str, clip: Clip) -> None:
    asked = client(served, concurrency=4)
    before = loopback.stats(served)
    scorer = scorers.get("vlac", client=asked, num_frames=COUNT)
    curves = scorer.score([clip] * 3)
    assert len({curve.value.tobytes() for curve in curves if curve.value is not None}) == 1
    assert loopback.stats(served)["requests"] - before["requests"] == COUNT - 1


def test_the_same_run_gives_the_same_curve_and_asks_nothing_again(served: str, clip: Clip, tmp_path: Path) -> None:
    for name in ASKING:
        first, again = (client(served, tmp_path / f"{name}.sqlite") for _ in range(2))
        [one] = scorers.get(name, client=first, num_frames=COUNT, seed=3).score([clip])
        [two] = scorers.get(name, client=again, num_frames=COUNT, seed=3).score([clip])
        assert one.value is not None
        assert two.value is not None
        assert one.value.tobytes() == two.value.tobytes()
        assert again.counters["requests_sent"] == 0
        assert one.usage == two.usage


@pytest.mark.parametrize("fault", ["prose", "half-json", "out-of-range"])
def test_an_answer_that_stays_bad_is_the_rollouts_error_and_no_number(fault: str, clip: Clip) -> None:
    with loopback.serve(fault=fault, times=9, stubborn=True) as base_url:
        for name in set(ASKING) - {"topreward"}:
            asked = client(base_url)
            [curve] = scorers.get(name, client=asked, num_frames=COUNT).score([clip])
            assert curve.value is None
            assert "question 1 of" in (curve.error or ""), name
            assert "after one repair request" in (curve.error or "")
            assert "rather talk" not in (curve.error or ""), "an error does not quote a model"
            assert asked.counters["answers_unusable"] >= 1


def test_a_bad_answer_is_asked_for_once_more_in_words_of_its_format(clip: Clip) -> None:
    with loopback.serve(fault="prose", times=1) as base_url:
        for name in ("dopamine", "roboreward", "vlac", "last_frame"):
            [curve] = scorers.get(name, client=client(base_url), num_frames=COUNT).score([clip])
            assert curve.error is None, name
    stub = StubClient(lambda request: "no")
    scorers.get("roboreward", client=stub, prefixes=False).score([clip])
    assert "as ANSWER: <score>" in str(stub.asked[1].messages[-1].parts[0])


def test_a_probability_that_the_server_does_not_name_is_an_error(clip: Clip) -> None:
    with loopback.serve(fault="unlikely", times=9) as base_url:
        asked = client(base_url)
        [curve] = scorers.get("topreward", client=asked, num_frames=COUNT).score([clip])
        assert curve.error == "question 1 of 5: 'True' is not among the likeliest first tokens that the server names"
        assert asked.counters["requests_sent"] == COUNT, "there is nothing to repair"
    with (
        loopback.serve(no_logprobs=True) as base_url,
        pytest.raises(EndpointError, match="gives no log-probabilities of tokens"),
    ):
        scorers.get("topreward", client=client(base_url), num_frames=COUNT).score([clip])


def test_an_endpoint_that_fails_stops_the_run(clip: Clip) -> None:
    with loopback.serve(fault="500", times=99) as base_url, pytest.raises(EndpointError, match="500"):
        scorers.get("vlac", client=client(base_url), num_frames=COUNT).score([clip])


def test_a_clip_that_is_too_short_has_an_error_beside_others_that_have_curves(served: str, clip: Clip) -> None:
    assert clip.frames is not None
    short = Clip(
        rollout_id="b" * 20, instruction="x", frames=clip.frames[:1], frame_index=np.arange(1), num_frames=1, fps=10.0
    )
    for name in ("dopamine", "vlac"):
        first, second = scorers.get(name, client=client(served), num_frames=COUNT).score([short, clip])
        assert (first.value, first.error) == (None, "the clip has fewer than 2 frames")
        assert second.error is None
    for name in ("roboreward", "last_frame", "topreward"):
        [curve] = scorers.get(name, client=client(served), num_frames=COUNT).score([short])
        assert curve.value is not None
        assert curve.value.shape == (1,)


def test_parameters_hold_all_that_decides_and_no_place(served: str) -> None:
    for name in ASKING:
        stated = scorers.get(name, client=client(served)).parameters()
        assert {"model", "seed", "prompt_sha256", "image_size", "temperature"} <= set(stated)
        assert json.loads(json.dumps(stated)) == stated
        assert "127.0.0.1" not in json.dumps(stated)


def test_an_instruction_stays_words_and_opens_no_place() -> None:
    prompt = Prompt("p", "0", {"question": 'do "$instruction" <image> done'})
    shown = Image(b"x", "image/png")
    [turn] = messages(prompt, [shown], 'put\n<image> "$instruction" $$ here')
    assert turn.parts == ("do \"put <image> '$instruction' $$ here\" ", shown, " done")


@pytest.mark.parametrize("name", ASKING)
def test_every_prompt_has_its_pictures_and_a_system_turn_where_it_says_so(name: str) -> None:
    assert name in prompt_names()
    scorer = scorers.get(name, client=StubClient(lambda request: ""))
    places = scorer.places  # type: ignore[attr-defined]
    count = 7 if places is None else places
    pictures = [Image(bytes([n]), "image/png") for n in range(count)]
    turns = messages(read_prompt(name), pictures, "pick it")
    assert [part for part in turns[-1].parts if isinstance(part, Image)] == pictures
    assert "pick it" in str(turns[-1].parts)
    assert [turn.role for turn in turns] == (["system"] if "system" in read_prompt(name).parts else []) + ["user"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("look at <image>", "has the places <image> for pictures; legal: <image> <image>"),
        ("<image> <images>", "legal: <image> <image>"),
        ("=== system ===\nhello", "has no part `=== question ==="),
        ("<image> <image> $task", "is written .instruction"),
        ("<image> <image> 5 $", "a dollar"),
        (b"\xff\xfe", "text file in UTF-8"),
        (None, "cannot be read as a prompt"),
    ],
)
def test_a_prompt_file_that_does_not_fit_says_what_is_legal(text: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadRobotError, match=words):
        scorers.get("vlac", client=StubClient(lambda request: ""), prompt_file=str(path))


def test_a_prompt_file_takes_the_place_of_the_wording(clip: Clip, tmp_path: Path) -> None:
    """As a user gives the words that a model was trained on."""
    (tmp_path / "theirs.txt").write_text("First <image> then <image>: $instruction?")
    stub = StubClient(lambda request: "+5")
    scorer = scorers.get("vlac", client=stub, prompt_file=tmp_path / "theirs.txt")
    scorer.score([clip])
    [turn] = stub.asked[0].messages
    assert [part if isinstance(part, str) else "#" for part in turn.parts] == [
        *("First ", "#", " then ", "#"),
        ": put the marker in the cup?",
    ]
    assert scorer.parameters()["prompt"] == "theirs.txt"
    assert scorer.parameters()["prompt_sha256"] != read_prompt("vlac").sha256
