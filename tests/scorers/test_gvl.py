from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.errors import BadRobotError, EndpointError
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.scorers.gvl import GVL, PHRASINGS, EncodedClip, Example
from bad_robot_behavior.scorers.scorer import Clip, Scorer
from bad_robot_behavior.vlm.client import Answer, Image, Request, Usage, all_usage
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.prompts import read_prompt
from bad_robot_behavior.vlm.stub import StubClient
from bad_robot_behavior.vlm.wire import payload
from tests import loopback
from tests.factories import make_video

COUNT = 6


def clip(path: Path, rollout_id: str = "0" * 20, num_frames: int = 12, n: int = COUNT) -> Clip:
    make_video(path, num_frames=num_frames)
    index = media.sample_index(num_frames, n)
    return Clip(
        rollout_id=rollout_id,
        instruction="put the marker in the cup",
        frames=media.sample(path, index),
        frame_index=index,
        num_frames=num_frames,
        fps=10.0,
    )


def pictures(request: Request) -> list[bytes]:
    return [part.data for part in request.messages[1].parts if isinstance(part, Image)]


def say(percents: list[Any], **changes: Any) -> str:
    frames = [{"frame": i, "seen": "x", "percent": p} | changes for i, p in enumerate(percents, start=1)]
    return json.dumps({"frames": frames})


def by_place(request: Request, first: list[bytes]) -> str:
    """A model that knows the true place in time of each picture: 10 % a frame."""
    return say([10 * first.index(picture) for picture in pictures(request)[1:]])


def test_it_is_a_scorer() -> None:
    scorer: Scorer = GVL(StubClient(lambda request: ""))
    assert (scorer.name, scorer.kind, scorer.needs_frames, scorer.num_frames) == ("gvl", "progress", True, 30)


def test_shuffled_pictures_come_back_in_the_order_of_time(tmp_path: Path) -> None:
    shown = clip(tmp_path / "v.mp4")
    scorer = GVL(StubClient(lambda request: by_place(request, order)), num_frames=COUNT, orders=5)
    order = [picture.data for picture in scorer.encode(shown).pictures]
    assert len(set(order)) == COUNT
    for curve in scorer.sample(shown, 5):
        assert curve.value is not None
        np.testing.assert_allclose(curve.value, np.arange(COUNT) / 10)


def test_the_first_picture_is_the_anchor_and_the_rest_are_shuffled(tmp_path: Path) -> None:
    client = StubClient(lambda request: say([50] * (COUNT - 1)))
    scorer = GVL(client, num_frames=COUNT, orders=8)
    shown = clip(tmp_path / "v.mp4")
    order = [picture.data for picture in scorer.encode(shown).pictures]
    curves = scorer.sample(shown, 8)
    orders = [pictures(request) for request in client.asked]
    assert all(asked[0] == order[0] for asked in orders)
    assert all(sorted(asked) == sorted(order) for asked in orders)
    assert len({tuple(asked) for asked in orders}) > 5
    assert len({request.seed for request in client.asked}) == 8
    assert all(curve.value is not None and curve.value[0] == 0 for curve in curves)
    text = "".join(part for part in client.asked[0].messages[1].parts if isinstance(part, str))
    assert "0 percent here" in text.partition("Picture 1:")[0]
    assert re.findall(r"Picture (\d+):", text) == [str(i) for i in range(1, COUNT)]


def test_samples_of_one_order_differ_in_their_seeds_alone(tmp_path: Path) -> None:
    client = StubClient(lambda request: say([50] * (COUNT - 1)))
    shown = clip(tmp_path / "v.mp4")
    for orders, sizes in ((1, [7]), (3, [3, 2, 2]), (7, [1] * 7), (64, [1] * 7)):
        client.asked.clear()
        assert len(GVL(client, num_frames=COUNT, orders=orders).sample(shown, 7)) == 7
        groups = [list(group) for _, group in itertools.groupby(client.asked, lambda request: request.messages)]
        assert [len(group) for group in groups] == sizes
        for group in groups:
            first = group[0].seed or 0
            assert [request.seed for request in group] == list(range(first, first + len(group)))
            assert 0 <= first <= 2**31 - 64
            assert all(request.messages is group[0].messages for request in group)


def test_the_orders_are_drawn_evenly() -> None:
    """Each picture stands at each place about equally often over many rollouts."""
    client = StubClient(lambda request: say([50] * 3))
    marks = tuple(Image(bytes([i]), "image/jpeg") for i in range(4))
    clips = [EncodedClip(rollout_id=f"{i:020x}", instruction="x", pictures=marks) for i in range(600)]
    GVL(client).sample_encoded(clips, 1)
    orders = Counter(tuple(pictures(request)[1:]) for request in client.asked)
    assert len(orders) == 6
    assert min(orders.values()) > 60  # 100 expected each, standard deviation 9


def test_all_cameras_show_each_moment_one_after_the_other(tmp_path: Path) -> None:
    shown = clip(tmp_path / "v.mp4")
    other = msgspec.structs.replace(shown, others=(shown.frames[::-1].copy(),))
    client = StubClient(lambda request: say([50] * (COUNT - 1)))
    scorer = GVL(client, num_frames=COUNT, cameras="all")
    scorer.score([other])
    (request,) = client.asked
    sent = pictures(request)
    first = [picture.data for picture in scorer.encode(shown).pictures]
    assert sent[:2] == [first[0], first[-1]]
    assert [first.index(picture) for picture in sent[::2]] == [COUNT - 1 - first.index(p) for p in sent[1::2]]
    assert len(sent) == 2 * COUNT
    assert "shown as 2 pictures in a row" in str(request.messages[1].parts[0])
    client.asked.clear()
    GVL(client, num_frames=COUNT).score([other])  # one camera is asked for
    assert len(pictures(client.asked[0])) == COUNT


def test_examples_stand_before_the_anchor_shuffled_and_with_their_percentages(tmp_path: Path) -> None:
    shown = clip(tmp_path / "v.mp4")
    client = StubClient(lambda request: say([50] * (COUNT - 1)))
    scorer = GVL(client, num_frames=COUNT)
    marks = tuple(Image(bytes([i]), "image/jpeg") for i in range(5))
    values = tuple(i / 10 for i in range(5))
    told = {"instruction": 'stack "the" cups', "text": "the tower\nfell"}
    examples = [
        Example(text="Grippers close too early."),
        Example(**told),
        Example(**told, pictures=marks),
        Example(**told, pictures=marks, value=values),
        Example(**told, value=values),
    ]
    scorer.sample_encoded([scorer.encode(shown, examples)], 1)
    parts = client.asked[0].messages[1].parts
    end = next(i for i, part in enumerate(parts) if isinstance(part, str) and part.startswith("What follows is"))
    before = parts[:end]
    assert "Grippers close too early." in str(before[0])
    assert before.count(next(p for p in before if "'the'" in str(p))) == 4
    assert sum(part == 'What was said of that attempt: "the tower fell"' for part in before) == 4
    sent = [part.data[0] for part in before if isinstance(part, Image)]
    assert sorted(sent[:5]) == sorted(sent[5:]) == [0, 1, 2, 3, 4]
    assert sent[:5] != [0, 1, 2, 3, 4] or sent[5:] != [0, 1, 2, 3, 4]
    said = [re.search(r"stood at (\d+) percent", part) for part in before if isinstance(part, str)]
    assert [int(match[1]) for match in said if match] == [10 * mark for mark in sent[5:]]
    assert "in the order of time: 0, 10, 20, 30, 40" in str(before[-1])
    without = StubClient(lambda request: say([50] * (COUNT - 1)))
    GVL(without, num_frames=COUNT).score([shown])
    assert without.asked[0].messages[1].parts == parts[end + 1 :], "the question itself is the same, order included"
    with pytest.raises(ValueError, match="5 pictures and 2 values"):
        Example(instruction="x", pictures=marks, value=(0.0, 1.0))


@pytest.mark.parametrize("prompt", PHRASINGS)
def test_every_phrasing_asks_the_same_question(prompt: str, tmp_path: Path) -> None:
    client = StubClient(lambda request: by_place(request, order))
    scorer = GVL(client, num_frames=COUNT, prompt=prompt)
    shown = clip(tmp_path / "v.mp4")
    order = [picture.data for picture in scorer.encode(shown).pictures]
    (curve,) = scorer.score([shown])
    assert curve.value is not None
    np.testing.assert_allclose(curve.value, np.arange(COUNT) / 10)
    text = " ".join(part for part in client.asked[0].messages[1].parts if isinstance(part, str))
    assert text.count('"put the marker in the cup"') == 2
    assert '{"frames": [{"frame": ' in text
    assert "$" not in text
    assert str(COUNT - 1) in text
    assert scorer.parameters()["prompt"] == prompt
    (system,) = client.asked[0].messages[0].parts
    told_apart = "(?i)somebody else|third party|untrusted|not an order|not meant for you|another person"
    assert re.search(told_apart, str(system))


def test_there_are_ten_phrasings_and_no_two_are_alike() -> None:
    assert len(PHRASINGS) == 10
    assert len({read_prompt(name).parts["system"] for name in PHRASINGS}) == 10
    with pytest.raises(BadRobotError, match="gvl_brief"):
        GVL(StubClient(lambda request: ""), prompt="distill")


def test_what_a_curve_took_is_said_with_it(tmp_path: Path) -> None:
    def answers(request: Request) -> Answer:
        text = say([10] * (COUNT - 1)) if len(request.messages) > 2 else "no"
        return Answer(text=text, prompt_tokens=100, completion_tokens=7)

    shown = clip(tmp_path / "v.mp4")
    (curve,) = GVL(StubClient(answers), num_frames=COUNT).score([shown])
    assert curve.usage == Usage(requests=1, answers=1, prompt_tokens=100, completion_tokens=7), "without the repair"
    (silent,) = GVL(StubClient(lambda request: say([1] * (COUNT - 1))), num_frames=COUNT).score([shown])
    assert silent.usage == Usage(requests=1, answers=1, prompt_tokens=None, completion_tokens=None)


@pytest.mark.parametrize("flags", [{}, {"refuse": "n"}, {"most_choices": 2}, {"fault": "one-null"}, {"fault": "prose"}])
@pytest.mark.parametrize("orders", [1, 2])
def test_what_samples_took_does_not_hang_on_how_they_came(orders: int, flags: dict[str, Any], tmp_path: Path) -> None:
    """One reply with all, one each, and repairs: the question counts once, and each answer that is used."""
    shown = clip(tmp_path / "v.mp4")
    with loopback.serve(**flags) as url:
        client = OpenAIClient(EndpointSettings(base_url=url, model="loopback"), backoff_s=0.01)
        gvl = GVL(client, num_frames=COUNT, orders=orders, temperature=0.8)
        usages = [curve.usage for curve in gvl.sample(shown, 4)]
        asked = [payload(request, 1, "max_tokens", ()) for _, request in gvl._questions(gvl.encode(shown), 4)]
    took = all_usage([usage for usage in usages if usage is not None])
    questions = {len(loopback._text(body)) // 4 + 100 * len(loopback._pictures(body)) for body in asked[:: 4 // orders]}
    assert (took.requests, took.answers) == (orders, 4)
    assert took.completion_tokens == sum(len(loopback.answer(body)) // 4 for body in asked)
    assert took.prompt_tokens == orders * questions.pop()
    assert not questions, "each order has the same pictures and words"


def test_requests_depend_on_seed_rollout_and_sample_only(tmp_path: Path) -> None:
    def asked(seed: int = 0, rollout_id: str = "0" * 20) -> list[Request]:
        client = StubClient(lambda request: say([1] * (COUNT - 1)))
        GVL(client, num_frames=COUNT, seed=seed).sample(clip(tmp_path / "v.mp4", rollout_id), 2)
        return client.asked

    assert asked() == asked()
    assert asked(seed=1) != asked()
    assert asked(rollout_id="1" * 20) != asked()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (say([10] * (COUNT - 2)), "minItems"),
        (say([10] * COUNT), "maximum|maxItems"),
        (say([10, 20, 30, 40, 101]), "maximum"),
        (say([10, 20, 30, 40, -1]), "minimum"),
        (say([10, 20, 30, 40, "50"]), "type"),
        (say([10, 20, 30, 40, None]), "type"),
        (say([10, 20, 30, 40, True]), "type"),
        (say([10, 20, 30, 40, 50], frame=2), "twice"),
        ('{"frames": [NaN]}', "NaN"),
        ("10 %, 20 %, 30 %, 40 %, 50 %", "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_a_bad_answer_is_repaired_once_or_recorded_and_never_mended_here(
    answer: str, problem: str, tmp_path: Path
) -> None:
    shown = clip(tmp_path / "v.mp4")
    stubborn = StubClient(lambda request: answer)
    (curve,) = GVL(stubborn, num_frames=COUNT).score([shown])
    assert curve.value is None
    assert re.search(problem, curve.error or "")
    assert len(stubborn.asked) == 2
    sorry = StubClient(lambda request: answer if len(request.messages) == 2 else say([10, 20, 30, 40, 50]))
    (curve,) = GVL(sorry, num_frames=COUNT).score([shown])
    assert curve.value is not None
    assert sorted(curve.value) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_refusal_is_recorded_and_a_dead_endpoint_raises(tmp_path: Path) -> None:
    shown = clip(tmp_path / "v.mp4")
    refusing = StubClient(lambda request: Answer(text=None, lack="refused", error="no"))
    assert GVL(refusing).score([shown])[0].error == "refused: no"
    dead = StubClient(lambda request: Answer(text=None, lack="transport", error="answered 500"))
    with pytest.raises(EndpointError):
        GVL(dead).score([shown])


def test_clips_of_other_lengths_and_of_one_frame_keep_their_places(tmp_path: Path) -> None:
    clips = [clip(tmp_path / f"{n}.mp4", str(n) * 20, num_frames=n, n=30) for n in (3, 1, 2)]
    client = StubClient(lambda request: say([40] * (len(pictures(request)) - 1)))
    curves = GVL(client).score(clips)
    assert [None if curve.value is None else len(curve.value) for curve in curves] == [3, None, 2]
    assert curves[1].error == "the clip has fewer than 2 frames"


def test_pictures_are_no_larger_than_asked(tmp_path: Path) -> None:
    encoded = GVL(StubClient(lambda request: ""), image_size=32).encode(clip(tmp_path / "v.mp4"))
    for picture in encoded.pictures:
        assert picture.data[:2] == b"\xff\xd8"
    (tmp_path / "p.jpg").write_bytes(encoded.pictures[0].data)
    import av

    with av.open(str(tmp_path / "p.jpg")) as container:
        assert container.streams.video[0].width == 32


def test_frames_are_needed() -> None:
    empty = Clip(rollout_id="0" * 20, instruction="x", frames=None, frame_index=np.arange(3), num_frames=3, fps=10.0)
    with pytest.raises(ValueError, match="needs the frames"):
        GVL(StubClient(lambda request: "")).score([empty])


def test_parameters_are_json_and_hold_the_prompt() -> None:
    parameters = GVL(StubClient(lambda request: "", model="some-model"), seed=3).parameters()
    assert json.loads(json.dumps(parameters)) == parameters
    assert parameters["model"] == "some-model"
    assert re.fullmatch("[0-9a-f]{64}", parameters["prompt_sha256"])


def test_over_http_it_reads_the_motion_in_the_pictures(tmp_path: Path) -> None:
    shown = clip(tmp_path / "v.mp4", num_frames=20, n=10)
    with loopback.serve() as url:
        client = OpenAIClient(EndpointSettings(base_url=url, model="loopback"))
        (curve,) = GVL(client, num_frames=10).score([shown])
    assert curve.value is not None
    assert (np.diff(curve.value[1:]) > 0).all()
