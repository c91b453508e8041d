from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.errors import EndpointError
from bad_robot_behavior.schema import EndpointSettings
from bad_robot_behavior.scorers.gvl import GVL
from bad_robot_behavior.scorers.scorer import Clip, Scorer
from bad_robot_behavior.vlm.client import Answer, Image, Request
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.stub import StubClient
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
    scorer = GVL(StubClient(lambda request: by_place(request, order)), num_frames=COUNT)
    order = [picture.data for picture in scorer.encode(shown).pictures]
    assert len(set(order)) == COUNT
    for curve in scorer.sample(shown, 5):
        assert curve.value is not None
        np.testing.assert_allclose(curve.value, np.arange(COUNT) / 10)


def test_the_first_picture_is_the_anchor_and_the_rest_are_shuffled(tmp_path: Path) -> None:
    client = StubClient(lambda request: say([50] * (COUNT - 1)))
    scorer = GVL(client, num_frames=COUNT)
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
