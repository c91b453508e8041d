"""Source `synthetic`: what a set says arrives in rollouts, and each thing that can be wrong with one has its rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.build import build
from bad_robot_behavior.curation.sources import open_source
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import Rejection, Rollout, SourceSettings
from bad_robot_behavior.schema.synthetic_file import Pair, Scene
from bad_robot_behavior.schema.trajectory_file import read_arrays, write_members
from tests.dumps import hashes, write_recipe
from tests.factories import make_video
from tests.synthetic_sets import STEPS, dropped, make_episode, make_scene, make_steps, write_scene, write_set


def read(root: Path, session: str = "pick-place-0") -> list[Rollout | Rejection]:
    source = open_source(SourceSettings(name="sim", kind="synthetic", path=str(root)), root)
    assert session in source.sessions()
    return list(source.read(session, Store(root.parent / "files")))


def test_a_scene_becomes_rollouts_with_the_truth(tmp_path: Path) -> None:
    twin, fault = read(write_set(tmp_path / "set"))
    assert isinstance(twin, Rollout)
    assert isinstance(fault, Rollout)
    assert (twin.success, twin.score, twin.outcome, twin.failures) == (True, 1.0, "success", ())
    assert (fault.success, fault.score, fault.outcome, fault.failures) == (False, 0.35, "failure", (dropped(),))
    assert fault.task_category_source == "simulator"
    assert fault.control_hz == 80
    assert fault.num_steps == STEPS
    assert fault.videos.exterior_2 is None
    assert fault.videos.wrist is not None
    assert fault.videos.wrist.num_frames == 9  # steps 0, 4, ..., 28 and the last, 29
    assert fault.videos.wrist.capture_hz == 20
    assert fault.trajectory is not None
    assert read_arrays(Path(fault.trajectory)).state.shape == (STEPS, 3)
    assert fault.synthetic is not None
    assert (fault.synthetic.injector, fault.synthetic.seed) == ("drop", 0)
    told = json.loads(fault.synthetic.parameters)
    assert told["twin"] == twin.rollout_id
    assert (told["inject_step"], told["onset_step"], told["failure_step"]) == (10, 12, 15)
    assert told["fault"] == {"height": 0.11}
    assert twin.synthetic is not None
    assert twin.synthetic.injector is None
    (preference,) = fault.session.preferences
    assert (preference.rollout_a, preference.rollout_b, preference.preference) == (
        twin.rollout_id,
        fault.rollout_id,
        "a",
    )
    assert dict(fault.session.labels) == {"A": twin.rollout_id, "B": fault.rollout_id}


def test_curves_are_the_simulators_at_each_frame(tmp_path: Path) -> None:
    _, fault = read(write_set(tmp_path / "set"))
    assert isinstance(fault, Rollout)
    steps = make_steps(good=False)
    at = [*range(0, STEPS, 4), STEPS - 1]
    progress, reward, net = fault.rewards
    assert [curve.name for curve in fault.rewards] == [
        "simulator_progress",
        "simulator_step_reward",
        "simulator_net_progress",
    ]
    assert {curve.provenance for curve in fault.rewards} == {"simulator"}
    assert progress.value == pytest.approx(steps["progress"][at], abs=1e-6)
    assert net.value == pytest.approx(np.cumsum(steps["reward"])[at], abs=1e-6)
    assert sum(reward.value) == pytest.approx(steps["reward"].sum(), abs=1e-5)
    assert fault.reward == net.value
    assert fault.reward_frame_index == tuple(range(9))
    assert net.value[-1] == pytest.approx(0.1 - 0.2)  # what is left of progress, less what the drop cost


def test_the_chain_runs_on_a_set(tmp_path: Path) -> None:
    write_set(tmp_path / "set", scenes=8)
    source = {"name": "sim", "kind": "synthetic", "path": "../set"}
    recipe = write_recipe(tmp_path / "r" / "recipe.yaml", tmp_path, sources=[source], license={"allow": ["Apache-2.0"]})
    first = build(recipe, tmp_path / "one")
    assert first.unexpected_rejections == {}
    assert first.manifest is not None
    assert first.manifest.counts.rollouts_packaged == 16
    assert first.manifest.counts.preferences == 8
    assert first.manifest.counts.trajectories == 16
    again = build(recipe, tmp_path / "two", work=tmp_path / "other")
    assert again.manifest is not None
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    from bad_robot_behavior.builder.check import check

    assert check(tmp_path / "one") == []


Spoil = Callable[[Path], Any]


def change(**changes: Any) -> Spoil:
    """Write the scene anew with other labels; files stay as they are."""

    def spoil(folder: Path) -> None:
        (folder / "scene.json").write_bytes(msgspec.json.encode(make_scene(**changes)))

    return spoil


def fault_with(**changes: Any) -> Spoil:
    return change(episodes=(make_episode("success", "A"), make_episode("drop", "B", **changes)))


def steps_with(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        members = make_steps(good=False) | changes
        write_members(folder / "drop" / "steps.npz", {k: v for k, v in members.items() if v is not None})

    return spoil


def link_out(folder: Path) -> None:
    video = folder / "drop" / "wrist.mp4"
    video.rename(folder.parent.parent.parent / "outside.mp4")
    video.symlink_to(folder.parent.parent.parent / "outside.mp4")


BROKEN_EPISODES: list[tuple[str, Spoil]] = [
    ("synthetic.no_video", lambda folder: (folder / "drop" / "wrist.mp4").unlink()),
    ("synthetic.leaves_set", link_out),
    ("synthetic.frame_count", lambda folder: make_video(folder / "drop" / "wrist.mp4", num_frames=5)),
    ("synthetic.steps", lambda folder: (folder / "drop" / "steps.npz").unlink()),
    ("synthetic.steps", steps_with(reward=None)),
    ("synthetic.steps", steps_with(progress=np.zeros(STEPS - 1))),
    ("synthetic.steps", steps_with(progress=np.full(STEPS, 1.5))),
    ("synthetic.steps", steps_with(reward=np.full(STEPS, np.nan))),
    ("synthetic.steps", steps_with(penalty=np.full(STEPS, -0.1))),
    ("synthetic.steps", steps_with(other=np.zeros(STEPS))),
    ("synthetic.steps", steps_with(state=np.zeros((3, 3), np.float32))),
    ("synthetic.steps", steps_with(state_columns=np.array("not json"))),
    ("synthetic.steps", steps_with(action=None)),
    ("trajectory.not_finite", steps_with(state=np.full((STEPS, 3), np.inf, np.float32))),
    ("npz.unreadable", lambda folder: (folder / "drop" / "steps.npz").write_bytes(b"no zip")),
    ("source.unreadable_video", lambda folder: (folder / "drop" / "wrist.mp4").write_bytes(b"no video")),
    ("synthetic.labels", fault_with(success=True)),
    ("synthetic.labels", fault_with(score=1.0)),
    ("synthetic.labels", fault_with(onset_step=2)),
    ("synthetic.labels", fault_with(failure_step=STEPS)),
    ("synthetic.labels", fault_with(failures=(msgspec.structs.replace(dropped(), kind="no_such_kind"),))),
    ("synthetic.labels", fault_with(failures=(msgspec.structs.replace(dropped(), end_s=99.0),))),
]


@pytest.mark.rule("synthetic.no_video", "synthetic.leaves_set", "synthetic.frame_count")
@pytest.mark.rule("synthetic.steps", "synthetic.labels")
@pytest.mark.parametrize(("rule", "spoil"), BROKEN_EPISODES, ids=[rule for rule, _ in BROKEN_EPISODES])
def test_a_broken_episode_is_rejected_alone(tmp_path: Path, rule: str, spoil: Spoil) -> None:
    root = write_set(tmp_path / "set")
    spoil(root / "scenes" / "pick-place-0")
    twin, rollout, preference = read(root)
    assert isinstance(twin, Rollout)
    assert isinstance(rollout, Rejection)
    assert isinstance(preference, Rejection)
    assert (rollout.subject, rollout.code, rollout.source_ref) == ("rollout", rule, "pick-place-0/drop")
    assert (preference.subject, preference.code) == ("preference", "synthetic.pair")
    assert twin.session.preferences == ()


def rename_twin(folder: Path) -> None:
    fault_with(twin="nobody")(folder)


BROKEN_SCENES: list[tuple[str, Spoil]] = [
    ("synthetic.unreadable", lambda folder: (folder / "scene.json").write_text("{")),
    ("synthetic.unreadable", lambda folder: (folder / "scene.json").write_bytes(b"\xff\xfe")),
    ("synthetic.unreadable", lambda folder: (folder / "scene.json").write_text("[" * 100_000)),
    ("synthetic.unreadable", lambda folder: (folder / "scene.json").write_text('{"scene": 3}')),
    ("synthetic.unreadable", lambda folder: (folder / "scene.json").unlink()),
    ("synthetic.names", change(scene="another")),
    ("synthetic.names", change(episodes=(make_episode("success", "A"), make_episode("../x", "B")))),
    ("synthetic.names", change(episodes=(make_episode("success", "A"), make_episode("drop", "A")))),
    ("synthetic.names", change(episodes=(make_episode("drop", "A", twin=None), make_episode("Drop", "B")))),
    ("synthetic.names", rename_twin),
]


@pytest.mark.rule("synthetic.unreadable", "synthetic.names")
@pytest.mark.parametrize(("rule", "spoil"), BROKEN_SCENES, ids=[rule for rule, _ in BROKEN_SCENES])
def test_a_broken_scene_is_rejected_with_all_its_episodes(tmp_path: Path, rule: str, spoil: Spoil) -> None:
    root = write_set(tmp_path / "set")
    folder = root / "scenes" / "pick-place-0"
    if rule == "synthetic.names" and spoil is not rename_twin:
        scene = json.loads((folder / "scene.json").read_text())
        assert scene["scene"] == "pick-place-0"
    spoil(folder)
    items = read(root)
    assert all(isinstance(item, Rejection) for item in items)
    assert [item.subject for item in items if isinstance(item, Rejection)] == ["session", "rollout", "rollout"]
    assert {item.code for item in items if isinstance(item, Rejection)} == {rule}


PAIRS = {
    "stranger": (Pair(a="success", b="nobody", preference="a", feedback="x"),),
    "itself": (Pair(a="success", b="success", preference="tie", feedback="x"),),
    "double": (
        Pair(a="success", b="drop", preference="a", feedback="x"),
        Pair(a="drop", b="success", preference="b", feedback="x"),
    ),
}


@pytest.mark.rule("synthetic.pair")
@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
def test_a_pair_that_names_no_two_episodes(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    root = write_set(tmp_path / "set")
    write_scene(root, make_scene(pairs=pairs))
    items = read(root)
    assert [type(item) for item in items] == [Rollout, Rollout, Rejection]
    assert items[2].code == "synthetic.pair"  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [None, "{", '{"format": "another"}'])
def test_a_folder_that_is_no_set(tmp_path: Path, text: str | None) -> None:
    root = write_set(tmp_path / "set")
    (root / "synthetic.json").unlink()
    if text is not None:
        (root / "synthetic.json").write_text(text)
    with pytest.raises(SourceError, match=r"synthetic\.json"):
        read(root)


def test_an_edit_has_no_physics(tmp_path: Path) -> None:
    """No steps.npz, no score, no verdict: nothing is made up in their place."""
    root = write_set(tmp_path / "set", origin="edit")
    free = make_episode("success", "A", fault="splice", success=None, score=None, outcome="unknown")
    scene: Scene = make_scene(episodes=(free,), pairs=(), evaluator=None, feedback=None, license="MIT")
    folder = write_scene(root, scene)
    (folder / "success" / "steps.npz").unlink()
    (rollout,) = read(root)
    assert isinstance(rollout, Rollout)
    assert (rollout.success, rollout.score, rollout.outcome) == (None, None, "unknown")
    assert (rollout.rewards, rollout.reward, rollout.trajectory, rollout.feedback) == ((), None, None, None)
    assert rollout.license == "MIT"
    assert media.probe(str(rollout.videos.wrist and rollout.videos.wrist.path)).num_frames == 9
