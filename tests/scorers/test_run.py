"""Running a scorer over rollouts: whatever goes wrong, one prediction each, in order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior import media, scorers
from bad_robot_behavior.errors import BadRobotError, EndpointError, MissingExtraError
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers import Clip, Curve
from bad_robot_behavior.scorers.run import pick_role, score_release, view
from tests.factories import make_video


class Watched(dict[str, Any]):
    """A rollout over real files, as the release's loader gives it."""

    def __init__(self, name: str, files: dict[str, Path], num_frames: int = 12) -> None:
        video = {"num_frames": num_frames, "fps": 10.0}
        roles = ("exterior_1", "exterior_2", "wrist")
        super().__init__(
            rollout_id=name, instruction="pick", videos={role: video if role in files else None for role in roles}
        )
        self.files = files

    def frames(self, role: str, *, index: Any) -> Any:
        return media.sample(self.files[role], index)


class Brightness:
    """Mean brightness of each frame; `spoil` says what it gives, or raises, for some rollouts."""

    name = "brightness"
    kind: CurveKind = "progress"
    needs_frames = True
    num_frames = 5

    def __init__(self, spoil: Callable[[Clip], Any] = lambda clip: None) -> None:
        self.spoil = spoil
        self.batches: list[int] = []

    def parameters(self) -> dict[str, Any]:
        return {"model": "light-1"}

    def score(self, clips: list[Clip]) -> list[Curve]:
        self.batches.append(len(clips))
        curves = []
        for clip in clips:
            assert clip.frames is not None
            spoilt = self.spoil(clip)
            curves.append(spoilt or Curve(value=clip.frames.mean(axis=(1, 2, 3)) / 255))
        return curves


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Watched]:
    folder = tmp_path_factory.mktemp("clips")
    made = [Watched(f"{i:020x}", {"exterior_2": make_video(folder / f"{i}.mp4", seed=i)}) for i in range(5)]
    made[1].files["wrist"] = made[0].files["exterior_2"]
    return made


def test_streams_predictions_over_real_frames_in_batches(clips: list[Watched]) -> None:
    scorer = Brightness()
    stream = score_release(iter(clips), scorer, batch_size=2)
    first = next(stream)
    assert scorer.batches == [2]  # the third rollout was not touched yet
    rows = [first, *stream]
    assert scorer.batches == [2, 2, 1]
    assert [row.rollout_id for row in rows] == [clip["rollout_id"] for clip in clips]
    for row, clip in zip(rows, clips, strict=True):
        assert (row.role, row.frame_index, row.error, row.model) == ("exterior_2", (0, 3, 6, 8, 11), None, "light-1")
        frames = media.sample(clip.files["exterior_2"], row.frame_index)
        np.testing.assert_allclose(row.value, frames.mean(axis=(1, 2, 3)) / 255)
    assert json.loads(rows[0].parameters) == {
        "kind": "progress",
        "model": "light-1",
        "num_frames": 5,
        "scorer": "brightness",
    }


def spoiler(name: str, what: Any) -> Callable[[Clip], Any]:
    def spoil(clip: Clip) -> Any:
        if clip.rollout_id != name:
            return None
        if isinstance(what, BaseException):
            raise what
        return what

    return spoil


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (RuntimeError("CUDA out of memory"), "RuntimeError: 'CUDA out of memory'"),
        (Curve(value=None, error="the answer was not JSON"), "the answer was not JSON"),
        (Curve(value=None), "no curve and no reason"),
        (Curve(value=np.zeros(5), error="half an answer"), "half an answer"),
        (Curve(value=np.array([0, 1, np.nan, np.inf, 1.0])), "2 values that are not finite, of 5"),
        (Curve(value=np.zeros(4)), r"shape \(4,\).*for 5 frames"),
        (Curve(value=np.zeros((5, 1))), r"shape \(5, 1\)"),
        (Curve(value=np.array(["a"] * 5)), "type <U1"),  # type: ignore[arg-type]
        (Curve(value=np.full(5, -1e7)), "values over 1e\\+06"),
    ],
)
def test_one_bad_rollout_gets_an_error_and_the_others_their_curves(
    clips: list[Watched], what: Any, message: str
) -> None:
    bad = clips[2]["rollout_id"]
    rows = list(score_release(clips, Brightness(spoiler(bad, what)), batch_size=4))
    assert [row.error is not None for row in rows] == [False, False, True, False, False]
    assert (rows[2].frame_index, rows[2].value) == ((), ())
    assert re.search(message, rows[2].error or "")


def test_a_batch_of_the_wrong_size_is_an_error_of_each_rollout(clips: list[Watched]) -> None:
    scorer = Brightness()
    scorer.score = lambda clips: []  # type: ignore[method-assign]
    rows = list(score_release(clips, scorer))
    assert all("gave 0 curves for 1 clips" in (row.error or "") for row in rows)
    assert len(rows) == 5


def test_what_no_rollout_can_be_blamed_for_stops_the_run(clips: list[Watched]) -> None:
    for error in (MissingExtraError("torch", "torch"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            list(score_release(clips, Brightness(spoiler(clips[0]["rollout_id"], error))))


@pytest.mark.parametrize("error", [BadRobotError("the key is not set"), EndpointError("nobody answers")])
def test_what_the_user_can_mend_stops_the_run(clips: list[Watched], error: BadRobotError) -> None:
    def broken(clip: Clip) -> Any:
        raise error

    with pytest.raises(type(error), match=str(error)):
        list(score_release(clips, Brightness(broken)))


def test_a_broken_video_is_an_error_with_its_place(clips: list[Watched], tmp_path: Path) -> None:
    whole = clips[0].files["exterior_2"].read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    rollouts = [clips[0], Watched("f" * 20, {"wrist": cut}), Watched("e" * 20, {})]
    good, broken, none = score_release(rollouts, Brightness())
    assert good.error is None
    assert broken.role == "wrist"
    assert "wrist cannot be decoded: broke at" in (broken.error or "")
    assert (none.role, none.error) == (None, "the rollout has no video")


def test_a_row_that_claims_more_frames_than_the_video_has(clips: list[Watched]) -> None:
    liar = Watched("d" * 20, clips[0].files, num_frames=99)
    [row] = score_release([liar], Brightness())
    assert "cannot be" in (row.error or "")


def test_floors_open_no_video() -> None:
    absent = Watched("c" * 20, {"exterior_1": Path("does/not/exist.mp4")}, num_frames=400)
    [row] = score_release([absent], scorers.get("time_ramp"))
    assert row.error is None
    assert row.frame_index[0] == 0
    assert row.frame_index[-1] == 399
    assert len(row.value) == 30


@pytest.mark.parametrize(
    ("cameras", "roles"),
    [
        ("first", ("exterior_1",)),
        ("wrist", ("exterior_1", "wrist")),
        ("all", ("exterior_1", "exterior_2", "wrist")),
    ],
)
def test_a_scorer_is_shown_the_cameras_that_it_looks_at(cameras: str, roles: tuple[str, ...], tmp_path: Path) -> None:
    files = {role: tmp_path / f"{role}.mp4" for role in ("exterior_1", "exterior_2", "wrist")}
    for seed, path in enumerate(files.values()):
        make_video(path, seed=seed)
    scorer = Brightness()
    scorer.cameras = cameras  # type: ignore[attr-defined]
    shown = view(Watched("a" * 20, files), scorer)
    assert isinstance(shown, Clip)
    assert shown.roles == roles
    assert shown.frames is not None
    for role, frames in zip(roles, (shown.frames, *shown.others), strict=True):
        np.testing.assert_array_equal(frames, media.sample(files[role], shown.frame_index))


def test_the_camera_shown() -> None:
    assert pick_role({"exterior_1": None, "exterior_2": {}, "wrist": {}}) == "exterior_2"
    assert pick_role({"wrist": {}}) == "wrist"
    assert pick_role({}) is None
