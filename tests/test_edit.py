"""Edits of videos: the frames are those that the edit names, the labels what follows, the set goes on its way."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior import media
from bad_robot_behavior.build import build
from bad_robot_behavior.cli import main
from bad_robot_behavior.edit import edit
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema.synthetic_file import Scene
from bad_robot_behavior.synthesis.edits import EDITS, SHORTEST, Edit, Original, partner
from bad_robot_behavior.validate import validate
from tests.dumps import hashes, write_recipe
from tests.factories import make_video

FRAMES = 24


def original(success: bool | None = True, frames: int = FRAMES, **changes: Any) -> Original:
    fields: dict[str, Any] = {
        "rollout_id": "0" * 20,
        "instruction": "put the cup on the plate",
        "task_category": "pick_place",
        "num_frames": frames,
        "fps": 10.0,
        "success": success,
        "outcome": {True: "success", False: "failure", None: "unknown"}[success],
        "score": 1.0 if success else None,
        "failures": (),
    }
    return Original(**(fields | changes))


OTHER = original(rollout_id="1" * 20, instruction="open the drawer", task_category="open_close")


def make(name: str, one: Original, seed: int = 0) -> Edit:
    done = EDITS[name](one, OTHER, random.Random(seed))
    assert done is not None
    return done


@given(
    name=st.sampled_from(sorted(EDITS)),
    frames=st.integers(SHORTEST, 500),
    success=st.sampled_from([True, False, None]),
    seed=st.integers(0, 2**31),
)
def test_every_edit_is_sound(name: str, frames: int, success: bool | None, seed: int) -> None:
    one = original(success, frames)
    done = make(name, one, seed)
    own = done.index[: done.cut]
    assert own.min() >= 0
    assert own.max() < frames
    assert len(done.index) >= 2
    if done.other is not None:
        assert done.index[done.cut :].max() < done.other.num_frames
    if done.progress is not None:
        assert len(done.progress) == len(done.index)
        assert 0 <= done.progress.min() <= done.progress.max() <= 1
    if name not in ("change_speed", "mismatch"):
        assert done.success is (False if success else None)
    assert (done.success, done.outcome) in {(True, "success"), (False, "failure"), (None, "unknown")}
    end = (len(done.index) + 1) / one.fps
    for failure in done.failures:
        assert 0 <= (failure.start_s or 0) <= (failure.end_s or 0) <= end
    again = make(name, one, seed)
    assert np.array_equal(done.index, again.index)
    assert done.parameters == again.parameters


def test_rewind_goes_forward_and_comes_back() -> None:
    done = make("rewind", original())
    turn = done.parameters["turn_frame"]
    assert done.index.tolist() == [*range(turn + 1), *range(turn - 1, turn - 1 - done.parameters["frames_back"], -1)]
    assert done.progress is not None
    assert np.argmax(done.progress) == turn
    assert done.progress[-1] <= done.progress[turn] / 2 + 1 / FRAMES
    assert done.parameters["progress"] == "linear"


def test_measured_progress_is_taken_along() -> None:
    measured = tuple(np.linspace(0, 1, FRAMES) ** 2)
    done = make("reverse", original(progress=measured))
    assert done.progress is not None
    assert done.progress.tolist() == list(measured[::-1])
    assert done.parameters["progress"] == "measured"
    failed = make("reverse", original(False, progress=tuple(np.linspace(0, 0.4, FRAMES))))
    assert failed.success is None
    assert failed.progress is not None
    assert failed.progress[0] == 0.4


def test_a_success_that_is_complete_all_the_same_is_not_called_a_failure() -> None:
    early = tuple(np.minimum(np.linspace(0, 10, FRAMES), 1))
    assert make("clip", original(progress=early)).success is None


def test_progress_of_a_failure_that_nobody_measured_is_not_made_up() -> None:
    assert all(make(name, original(False)).progress is None for name in EDITS if name != "mismatch")
    assert make("splice", original()).progress is None


def test_speed_leaves_labels_alone_but_their_times() -> None:
    failure = make("freeze", original()).failures[-1]
    one = original(False, failures=(failure,))
    done = make("change_speed", one)
    factor = done.parameters["factor"]
    assert (done.success, done.outcome) == (False, "failure")
    assert done.failures[0].start_s == pytest.approx((failure.start_s or 0) / factor)
    assert len(done.index) == round(FRAMES / factor)


def test_a_partner_has_another_instruction_and_if_it_can_another_kind_of_task() -> None:
    draw = random.Random(0)
    near = original(rollout_id="2" * 20, instruction="put the fork in the cup")
    same = original(rollout_id="3" * 20, instruction="Put the cup on the plate.")
    assert partner(original(), [original(), same], draw) is None
    assert partner(original(), [near, same], draw) == near
    assert {partner(original(), [near, same, OTHER], draw) for _ in range(20)} == {OTHER}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lab") / "lab"
    for i, (instruction, success) in enumerate([("put the cup on the plate", True), ("open the drawer", False)]):
        make_video(root / f"s{i}" / "A.mp4", num_frames=FRAMES, seed=i, size=(64 + 32 * i, 48))
        text = f"instruction: {instruction}\nrollouts:\n  A: {{video: A.mp4, success: {str(success).lower()}}}\n"
        (root / f"s{i}" / "session.yaml").write_text(text)
    (root / "lab.yaml").write_text("license: CC-BY-4.0\nlicense_evidence: our page\nattribution: us\nrobot: franka\n")
    return root


@pytest.fixture(scope="module")
def edited(lab: Path) -> Path:
    report = edit(lab, lab.parent / "edited")
    assert report.rollouts == dict.fromkeys(EDITS, 2)
    return lab.parent / "edited"


def scenes(folder: Path) -> list[Scene]:
    return [msgspec.json.decode(p.read_bytes(), type=Scene) for p in sorted(folder.glob("scenes/*/scene.json"))]


def test_the_frames_are_those_that_the_edit_names(lab: Path, edited: Path) -> None:
    one = next(s for s in scenes(edited) if s.instruction == "put the cup on the plate" and len(s.episodes) > 1)
    source = np.stack(list(media.frames(lab / "s0" / "A.mp4"))).astype(int)
    for episode in one.episodes:
        if episode.fault in ("splice", "mismatch", "change_speed"):
            continue
        frames = np.stack(list(media.frames(edited / "scenes" / one.scene / episode.name / "exterior_1.mp4")))
        index = {
            "rewind": lambda p: [
                *range(p["turn_frame"] + 1),
                *range(p["turn_frame"] - 1, p["turn_frame"] - 1 - p["frames_back"], -1),
            ],
            "reverse": lambda p: range(FRAMES)[::-1],
            "freeze": lambda p: [min(i, p["frame"]) for i in range(FRAMES)],
            "clip": lambda p: range(p["last_frame"] + 1),
            None: lambda p: range(FRAMES),
        }[episode.fault](episode.parameters)
        assert len(frames) == episode.num_steps == len(list(index))
        for frame, i in zip(frames.astype(int), index, strict=True):
            distances = np.abs(source - frame).mean(axis=(1, 2, 3))
            assert distances[i] <= distances.min() + 0.5


def test_a_splice_shows_the_other_one_at_its_end(lab: Path, edited: Path) -> None:
    one = next(s for s in scenes(edited) if s.instruction == "put the cup on the plate" and len(s.episodes) > 1)
    (splice,) = [episode for episode in one.episodes if episode.fault == "splice"]
    last = list(media.frames(edited / "scenes" / one.scene / "splice" / "exterior_1.mp4"))[-1]
    other = list(media.frames(lab / "s1" / "A.mp4"))[-1]
    assert last.shape == (48, 64, 3)
    assert last[:7].mean() < 4  # 96x48 into 64x48 leaves black above and below
    own = list(media.frames(lab / "s0" / "A.mp4"))[-1]
    theirs = np.abs(media.resize(other, 64).astype(int) - last[8:40]).mean()
    assert theirs < np.abs(own[8:40].astype(int) - last[8:40]).mean() / 3
    assert splice.outcome == "failure"


def test_the_set_is_valid_and_goes_through_the_chain(edited: Path, tmp_path: Path) -> None:
    assert validate(edited) == ("synthetic set", [])
    source = {"name": "edits", "kind": "synthetic", "path": str(edited)}
    recipe = write_recipe(tmp_path / "r" / "r.yaml", tmp_path, sources=[source], license={"allow": ["CC-BY-4.0"]})
    report = build(recipe, tmp_path / "release")
    assert report.unexpected_rejections == {}
    assert report.manifest is not None
    assert report.manifest.counts.rollouts_packaged == 2 * (len(EDITS) + 1)
    from bad_robot_behavior import load

    rows = list(load(tmp_path / "release"))
    injectors = {row["synthetic"]["injector"] for row in rows}
    assert injectors == {None, *EDITS}
    swapped = next(row for row in rows if row["synthetic"]["injector"] == "mismatch")
    assert set(swapped["reward"]) == {0.0}
    assert swapped["rewards"][0]["provenance"] == "edit"
    assert json.loads(swapped["synthetic"]["parameters"])["fault"]["other"]
    assert swapped["robot"] == "franka"
    again = edit(tmp_path / "release", tmp_path / "twice", edits=("rewind", "mismatch"), limit=1)
    assert again.rollouts == {"rewind": 1, "mismatch": 1}, "what the first borrows comes from all"


def test_the_same_seed_gives_the_same_bytes(lab: Path, edited: Path, tmp_path: Path) -> None:
    edit(lab, tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(edited)
    edit(lab, tmp_path / "other", seed=1)
    assert hashes(tmp_path / "other") != hashes(edited)


def test_a_synthetic_set_is_to_be_built_first(edited: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match="is a synthetic set, whose rollouts have no ids yet; build"):
        edit(edited, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_wrong_use(lab: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match="no edit rewnd; edits: rewind"):
        edit(lab, tmp_path / "x", edits=("rewnd",))
    with pytest.raises(BadRobotError, match="neither a release"):
        edit(tmp_path, tmp_path / "x")
    with pytest.raises(BadRobotError, match="is there already"):
        edit(lab, tmp_path)
    make_video(tmp_path / "short" / "s" / "A.mp4", num_frames=SHORTEST - 1)
    (tmp_path / "short" / "s" / "session.yaml").write_text("instruction: x\nrollouts:\n  A: {video: A.mp4}\n")
    with pytest.raises(BadRobotError, match="nothing could be edited: 1 x shorter than 8 frames"):
        edit(tmp_path / "short", tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short"]


def test_the_command(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    done = CliRunner().invoke(main, ["edit", str(lab), "-o", str(out), "--edits", "rewind,clip", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rollouts"] == {"rewind": 2, "clip": 2}
    assert CliRunner().invoke(main, ["edit", str(lab), "-o", str(out)]).exit_code == 2
