"""RoboReward, TOPReward, VLAC and the last frame: how answers are read, and what curve they make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior import scorers
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.last_frame import LastFrame
from bad_robot_behavior.scorers.roboreward import RoboReward
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.scorers.topreward import TOPReward
from bad_robot_behavior.scorers.vlac import VLAC, values
from bad_robot_behavior.vlm.answers import BadAnswer
from bad_robot_behavior.vlm.client import Image, Request
from bad_robot_behavior.vlm.stub import StubClient

SILENT = StubClient(lambda request: "")


def clip(n: int = 4) -> Clip:
    frames = np.stack([np.full((8, 8, 3), 20 * t, np.uint8) for t in range(n)])
    return Clip(
        rollout_id="e" * 20, instruction="pick it", frames=frames, frame_index=np.arange(n), num_frames=n, fps=10.0
    )


def count(request: Request) -> int:
    return sum(isinstance(part, Image) for part in request.messages[-1].parts)


def test_roboreward_asks_each_beginning_or_the_whole() -> None:
    stub = StubClient(lambda request: f"ANSWER: {count(request)}")
    [curve] = RoboReward(stub).score([clip()])
    np.testing.assert_allclose(curve.value, [0, 0.25, 0.5, 0.75])  # type: ignore[arg-type]
    assert [count(request) for request in stub.asked] == [1, 2, 3, 4]
    stub.asked.clear()
    [curve] = RoboReward(stub, prefixes=False).score([clip()])
    np.testing.assert_allclose(curve.value, [0.75] * 4)  # type: ignore[arg-type]
    assert len(stub.asked) == 1


@pytest.mark.parametrize(("text", "value"), [("ANSWER: 1", 0.0), ("answer:5", 1.0), ("It moved.\nANSWER: 3", 0.5)])
def test_roboreward_reads(text: str, value: float) -> None:
    assert RoboReward(SILENT).read(text) == value


@pytest.mark.parametrize(
    "text", ["", "3", "ANSWER: 0", "ANSWER: 6", "ANSWER: 4.5", "ANSWER: -3", "ANSWER: 3 ANSWER: 4", "ANSWER: 33", "a 3"]
)
def test_roboreward_takes_no_other_digit_for_a_score(text: str) -> None:
    with pytest.raises(BadAnswer):
        RoboReward(SILENT).read(text)


def test_topreward_keeps_log_probabilities_or_scales_them_within_the_rollout() -> None:
    said = [-4.0, -2.0, -3.0, -1.0]
    stub = StubClient(lambda request: f'{{"True": {said[count(request) - 1]}}}')
    scorer = TOPReward(stub)
    assert scorer.kind == "log_probability", "no reward in [-1, 1]"
    [curve] = scorer.score([clip()])
    np.testing.assert_allclose(curve.value, said)  # type: ignore[arg-type]
    assert {(request.candidates, request.max_tokens) for request in stub.asked} == {(("True",), 1)}
    scaled = TOPReward(stub, scale="minmax")
    assert scaled.kind == "progress"
    [curve] = scaled.score([clip()])
    np.testing.assert_allclose(curve.value, [0, 2 / 3, 1 / 3, 1])  # type: ignore[arg-type]


def test_topreward_has_no_scale_where_all_beginnings_are_alike() -> None:
    stub = StubClient(lambda request: '{"True": -2.0}')
    [curve] = TOPReward(stub, scale="minmax").score([clip()])
    assert (curve.value, curve.error) == (
        None,
        "all beginnings of the rollout are equally likely, so that min-max is not defined",
    )
    [single] = TOPReward(stub, scale="minmax").score([clip(1)])
    assert single.value is None
    [curve] = TOPReward(stub).score([clip()])
    np.testing.assert_allclose(curve.value, [-2.0] * 4)  # type: ignore[arg-type]
    with pytest.raises(BadRobotError, match="legal: log, minmax"):
        scorers.get("topreward", client=SILENT, scale="sigmoid")


@pytest.mark.parametrize("text", ["", "True", "{}", '{"True": null}', '{"True": "x"}', '{"False": -1}', "[1]"])
def test_topreward_needs_the_number(text: str) -> None:
    stub = StubClient(lambda request: text)
    [curve] = TOPReward(stub).score([clip()])
    assert curve.value is None
    assert len(stub.asked) == 4, "no repair"
    assert len(stub.in_vain) == 4


@given(st.lists(st.floats(-50, 0), min_size=2, max_size=20))
def test_minmax_keeps_the_order_and_spans_all(said: list[float]) -> None:
    scorer = TOPReward(SILENT, scale="minmax")
    if max(said) == min(said):
        with pytest.raises(ValueError, match="not defined"):
            scorer.curve(np.array(said), len(said))
        return
    value = scorer.curve(np.array(said), len(said))
    assert (value.min(), value.max()) == (0, 1)
    order = np.argsort(said, kind="stable")
    assert (np.diff(value[order]) >= 0).all()


def test_vlac_compares_each_frame_with_the_one_before() -> None:
    stub = StubClient(lambda request: "+50")
    [curve] = VLAC(stub).score([clip()])
    np.testing.assert_allclose(curve.value, [0, 0.5, 0.75, 0.875])  # type: ignore[arg-type]
    pictures = [[part.data for part in request.messages[-1].parts if isinstance(part, Image)] for request in stub.asked]
    assert [pair[1] for pair in pictures[:-1]] == [pair[0] for pair in pictures[1:]]
    answers = iter(["+50", "-20", "0"])
    [curve] = VLAC(StubClient(lambda request: next(answers)), output="critic").score([clip()])
    np.testing.assert_allclose(curve.value, [0, 0.5, -0.2, 0])  # type: ignore[arg-type]


def test_vlac_values_worked_by_hand() -> None:
    """v' = v + (100 - v) c / 100: 0, 40, 40 + 60 * 0.5 = 70, 70 - 30 * 0.6 = 52; and nothing below 0."""
    np.testing.assert_allclose(values(np.array([0.4, 0.5, -0.6])), [0, 0.4, 0.7, 0.52])
    np.testing.assert_allclose(values(np.array([-0.5, 0.5])), [0, 0, 0.5])
    np.testing.assert_allclose(values(np.array([0.1, -0.9, 0.5])), [0, 0.1, 0, 0.5])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(-1, 1), st.floats(-1, 1))
def test_vlac_values_stay_in_range_and_rise_with_the_critic(critics: list[float], a: float, b: float) -> None:
    low, high = (values(np.array([*critics, last])) for last in sorted((a, b)))
    for value in (low, high):
        assert (value[0], value.min() >= 0, value.max() <= 1) == (0, True, True)
    assert low[-1] <= high[-1] + 1e-12
    assert (np.diff(values(np.abs(critics))) >= -1e-12).all()


@pytest.mark.parametrize(("text", "value"), [("+12", 0.12), ("-30%", -0.3), ("0", 0), (" <score>5.5</score>", 0.055)])
def test_vlac_reads(text: str, value: float) -> None:
    assert VLAC(SILENT).read(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "+", "+101", "-100.5", "12 and 13", "about 12", "1e1", "nan", "++5", "+-5"])
def test_vlac_takes_one_number_and_nothing_else(text: str) -> None:
    with pytest.raises(BadAnswer):
        VLAC(SILENT).read(text)


def test_the_last_frame_is_all_that_its_floor_sees() -> None:
    stub = StubClient(lambda request: '{"percent": 35}')
    full = clip()
    assert full.frames is not None
    other = Clip(
        rollout_id=full.rollout_id,
        instruction=full.instruction,
        frames=np.concatenate([255 - full.frames[:-1], full.frames[-1:]]),
        frame_index=full.frame_index,
        num_frames=4,
        fps=10.0,
    )
    first, second = LastFrame(stub).score([full, other])
    np.testing.assert_allclose(first.value, [0.35] * 4)  # type: ignore[arg-type]
    np.testing.assert_array_equal(first.value, second.value)  # type: ignore[arg-type]
    assert stub.asked[0] == stub.asked[1], "whatever happened before, the question is the same"
    for text in ('{"percent": 101}', '{"percent": "35"}', "35", '{"percent": 1, "seen": "x"}'):
        with pytest.raises(BadAnswer):
            LastFrame(SILENT).read(text)
