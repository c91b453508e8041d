"""Robo-Dopamine: eight pictures in their order, hops and their fusion worked by hand, and what is never a goal."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior import media, scorers
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.dopamine import Dopamine, backward, forward, fuse, incremental, step
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.answers import BadAnswer
from bad_robot_behavior.vlm.client import Image, Request
from bad_robot_behavior.vlm.stub import StubClient
from tests.reward_answers import relative

HOPS = st.lists(st.floats(-1, 1), min_size=1, max_size=30).map(np.array)


def frames(*levels: int) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])


def clip(front: np.ndarray, wrist: np.ndarray | None = None, first: str = "exterior_1") -> Clip:
    others = () if wrist is None else (wrist,)
    roles = (first,) if wrist is None else (first, "wrist")
    return Clip(
        rollout_id="c" * 20,
        instruction="pick it",
        frames=front,
        others=others,
        roles=roles,  # type: ignore[arg-type]
        frame_index=np.arange(len(front)),
        num_frames=len(front),
        fps=10.0,
    )


def shown(request: Request) -> list[bytes]:
    return [part.data for part in request.messages[-1].parts if isinstance(part, Image)]


def sent(*levels: int) -> list[bytes]:
    """Grey pictures as they are sent."""
    return [media.jpeg(frame, 448, 85) for frame in frames(*levels)]


GREY = media.jpeg(np.full((224, 224, 3), 128, np.uint8))


def test_hops_worked_by_hand() -> None:
    """Half of what is missing, half of what is left, half of what was reached lost: 0, 0.5, 0.75, 0.375."""
    np.testing.assert_allclose(incremental(np.array([0.5, 0.5, -0.5])), [0, 0.5, 0.75, 0.375])
    # A negative hop from nothing stays at nothing; the released code would have -0.4, and rise with the next loss.
    np.testing.assert_allclose(incremental(np.array([-0.4, -0.5, 0.2])), [0, 0, 0, 0.2])
    np.testing.assert_allclose(forward(np.array([0.2, -0.3, 0.9])), [0, 0.2, 0, 0.9])
    np.testing.assert_allclose(backward(np.array([-0.8, -1.0, 0.1])), [0, 0.2, 0, 1.0])


def test_fusion_worked_by_hand() -> None:
    """Step 1: (0.3 + 0.6 + 0.6) / 3 = 0.5. Step 2 goes on from 0.5 and not from 0.3: incremental 0.5 - 0.2 * 0.5 = 0.4,
    so (0.4 + 0.2 + 0.3) / 3 = 0.3."""
    fused = fuse(np.array([0.3, -0.2]), np.array([0.6, 0.2]), np.array([-0.4, -0.7]))
    np.testing.assert_allclose(fused, [0, 0.5, 0.3])


@given(st.floats(0, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_a_step_stays_in_range_and_a_higher_hop_never_gives_less(p: float, a: float, b: float) -> None:
    low, high = step(p, min(a, b)), step(p, max(a, b))
    assert -1e-12 <= low <= high + 1e-12 <= 1 + 1e-9
    assert step(p, 0.0) == p
    assert (step(p, a) >= p - 1e-12) if a >= 0 else (step(p, a) <= p)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_step_undoes_the_published_definition_of_a_hop(before: float, after: float) -> None:
    """dataset/utils/1_generate_data.py of the repository: (a - b) / (1 - b) upwards, (a - b) / b downwards."""
    assert step(before, relative(before, after)) == pytest.approx(after, abs=1e-9)


@given(HOPS, HOPS, HOPS)
def test_all_modes_stay_in_range_and_begin_at_nothing(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    length = min(map(len, (a, b, c)))
    for value in (incremental(a), forward(a), backward(a), fuse(a[:length], b[:length], c[:length])):
        assert value[0] == 0
        assert (value >= -1e-12).all()
        assert (value <= 1 + 1e-12).all()
    assert (np.diff(incremental(np.abs(a))) >= -1e-12).all(), "gains alone never fall"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_modes_that_are_told_the_truth_agree(later: list[float]) -> None:
    truth = np.array([0.0, *later])
    steps = np.array([relative(b, a) for b, a in itertools.pairwise(truth)])
    start = np.array([relative(0.0, a) for a in truth[1:]])
    goal = np.array([relative(1.0, a) for a in truth[1:]])
    for value in (incremental(steps), forward(start), backward(goal), fuse(steps, start, goal)):
        np.testing.assert_allclose(value, truth, atol=1e-9)


def test_the_eight_pictures_stand_in_their_published_order() -> None:
    stub = StubClient(lambda request: "<score>+10%</score>")
    Dopamine(stub).score([clip(frames(10, 20, 30), frames(110, 120, 130))])
    front, wrist = sent(10, 20, 30), sent(110, 120, 130)
    assert [shown(request) for request in stub.asked] == [
        [front[0], GREY, front[t - 1], wrist[t - 1], wrist[t - 1], front[t], wrist[t], wrist[t]] for t in (1, 2)
    ]
    assert len(stub.asked[0].messages) == 1, "one turn, without a system"
    stub.asked.clear()
    Dopamine(stub, mode="forward").score([clip(frames(10, 20, 30), frames(110, 120, 130))])
    assert [shown(request)[2:5] for request in stub.asked] == [[front[0], wrist[0], wrist[0]]] * 2


@pytest.mark.parametrize("first", ["exterior_1", "wrist"])
def test_without_a_wrist_camera_beside_the_front_all_slots_show_the_front(first: str) -> None:
    stub = StubClient(lambda request: "<score>0%</score>")
    scorer = Dopamine(stub)
    scorer.score([clip(frames(10, 20), first=first)])
    front = sent(10, 20)
    assert shown(stub.asked[0]) == [front[0], GREY, *[front[0]] * 3, *[front[1]] * 3]
    assert scorer.parameters()["no_wrist"] == "front"


def test_the_last_frame_of_the_rollout_is_never_the_goal() -> None:
    for mode in ("incremental", "forward"):
        stub = StubClient(lambda request: "<score>0%</score>")
        Dopamine(stub, mode=mode).score([clip(frames(10, 20, 250))])  # type: ignore[arg-type]
        assert all(shown(request)[1] == GREY for request in stub.asked)
    for mode in ("backward", "fused"):
        with pytest.raises(BadRobotError, match="give goals"):
            Dopamine(StubClient(lambda request: ""), mode=mode)  # type: ignore[arg-type]


def test_fused_asks_all_three_and_takes_the_goals_of_a_folder(tmp_path: Path) -> None:
    goal = media.jpeg(frames(200)[0])
    (tmp_path / f"{'c' * 20}.jpg").write_bytes(goal)
    hops = {1: "+30%", 2: "-20%"}  # of the frame before, by the frame AFTER
    starts, goals = {1: "+60%", 2: "+20%"}, {1: "-40%", 2: "-70%"}
    front = sent(10, 20, 30)

    def judge(request: Request) -> str:
        before, after = shown(request)[2], front.index(shown(request)[5])
        if before == goal:
            return f"<score>{goals[after]}</score>"
        if before == front[0] and after == 1:  # the first frame is also the frame before: one question, one answer
            return "<score>+30%</score>"
        return f"<score>{(starts if before == front[0] else hops)[after]}</score>"

    stub = StubClient(judge)
    scorer = Dopamine(stub, mode="fused", goals=tmp_path)
    [curve] = scorer.score([clip(frames(10, 20, 30))])
    # step 1: (0.3 + 0.3 + 0.6) / 3 = 0.4; step 2: incremental 0.4 - 0.2 * 0.4 = 0.32, so (0.32 + 0.2 + 0.3) / 3
    np.testing.assert_allclose(curve.value, [0, 0.4, 0.82 / 3])  # type: ignore[arg-type]
    assert len(stub.asked) == 6
    assert all(shown(request)[1] == goal for request in stub.asked)
    assert shown(stub.asked[-1])[2:5] == [goal] * 3
    stated = scorer.parameters()["goals"]
    assert len(stated) == 64
    (tmp_path / f"{'d' * 20}.jpg").write_bytes(goal)
    assert scorer.parameters()["goals"] != stated, "another picture is another run"


def test_a_goal_that_is_missing_or_no_picture_is_the_rollouts_error(tmp_path: Path) -> None:
    scorer = Dopamine(StubClient(lambda request: "<score>0%</score>"), mode="fused", goals=tmp_path)
    [curve] = scorer.score([clip(frames(10, 20))])
    assert curve.error == f"there is no goal picture {'c' * 20}.png or {'c' * 20}.jpg"
    (tmp_path / f"{'c' * 20}.png").write_text("no picture")
    [curve] = scorer.score([clip(frames(10, 20))])
    assert "is no PNG or JPEG file" in (curve.error or "")
    with pytest.raises(BadRobotError, match="no such folder"):
        Dopamine(StubClient(lambda request: ""), goals=tmp_path / "none")


def test_hops_can_be_the_curve() -> None:
    answers = iter(["<score>+50%</score>", "<score>-20%</score>"] * 2)
    stub = StubClient(lambda request: next(answers))
    scorer = Dopamine(stub, output="hop")
    assert scorer.kind == "reward"
    [curve] = scorer.score([clip(frames(10, 20, 30))])
    np.testing.assert_allclose(curve.value, [0, 0.5, -0.2])  # type: ignore[arg-type]
    [curve] = Dopamine(stub, output="hop", mode="forward").score([clip(frames(10, 20, 30))])
    np.testing.assert_allclose(curve.value, [0, 0.5, -0.5])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("<score>+33%</score>", 0.33),
        ("<score>-4%</score>", -0.04),
        ("  <score> 0% </score>\n", 0.0),
        ("<score>100</score>", 1.0),
        ("The cup moved. <score>+12.5%</score>", 0.125),
    ],
)
def test_a_score_in_its_tag_is_read(text: str, hop: float) -> None:
    assert Dopamine(StubClient(lambda request: "")).read(text) == hop


@pytest.mark.parametrize(
    "text",
    [
        *("", "33%", "<score></score>", "<score>33%", "<score>ten%</score>", "<score>+101%</score>"),
        *(
            "<score>-100.1%</score>",
            "<score>1%</score><score>2%</score>",
            "<score>1%</score> <score>",
            "<score>1e1</score>",
        ),
        *("<score>nan%</score>", "<score>+NN%</score>"),
    ],
)
def test_anything_else_is_no_answer(text: str) -> None:
    with pytest.raises(BadAnswer):
        Dopamine(StubClient(lambda request: "")).read(text)


@given(st.text(max_size=60))
def test_no_text_is_read_as_a_hop_out_of_range(text: str) -> None:
    with contextlib.suppress(BadAnswer):
        assert -1 <= Dopamine(StubClient(lambda request: "")).read(f"<score>{text}</score>") <= 1


@pytest.mark.parametrize(("options", "words"), [({"mode": "sideways"}, "legal: incremental"), ({"output": "x"}, "hop")])
def test_options_that_are_not_there(options: dict[str, str], words: str) -> None:
    with pytest.raises(BadRobotError, match=words):
        scorers.get("dopamine", client=StubClient(lambda request: ""), **options)
