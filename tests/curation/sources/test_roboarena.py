"""A dump in RoboArena's layout, with the traps that real ones have and the damage that real ones take."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from bad_robot_behavior import media
from bad_robot_behavior.curation.sources.roboarena import RoboArena
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import Prediction, Rejection, Rollout, SourceSettings, pair_id, rollout_id, session_id
from bad_robot_behavior.schema.trajectory_file import read_arrays
from tests.factories import make_video

EXAMPLES = Path(__file__).parents[3] / "examples"
SESSION = "0b6e3a52-session"
SETTINGS = SourceSettings(name="roboarena", kind="roboarena", path="dump")


def steps(count: int) -> list[dict[str, Any]]:
    return [
        {
            "cartesian_position": np.full(6, i / 10),
            "joint_position": np.zeros(7),
            "gripper_position": np.ones(1),
            "action": np.zeros(8),
        }
        for i in range(count)
    ]


def add_rollout(
    folder: Path, letter: str, policy: str, cameras: tuple[str, ...] = ("left", "wrist"), frames: int = 12
) -> None:
    for i, camera in enumerate(cameras):
        path = folder / f"{letter}_{policy}" / f"{policy}_2025-07-01T18_07_02_video_{camera}.mp4"
        make_video(path, frames, seed=ord(letter) * 10 + i)
    np.savez_compressed(
        folder / f"{letter}_{policy}" / f"{policy}_2025-07-01T18_07_02_npz_file.npz", data=steps(frames)
    )


def edit(dump: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = dump / "evaluation_sessions" / SESSION / "metadata.yaml"
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound dump of one A/B session."""
    dump = tmp_path_factory.mktemp("made") / "dump"
    folder = dump / "evaluation_sessions" / SESSION
    add_rollout(folder, "A", "pi0_fast_droid")
    add_rollout(folder, "B", "paligemma_vq_droid", ("right",))
    metadata = {
        "evaluation_location": " Example University ",
        "evaluator_name": "evaluator@example.org",
        "language_instruction": "put the marker in the cup",
        "longform_feedback": "Policy A let go too early; policy B never reached it.",
        "policies": {
            "A": {"binary_success": 0, "duration": 11, "partial_success": 0.4, "policy_name": "pi0_fast_droid"},
            "B": {"binary_success": 1, "duration": 11, "partial_success": 1.0, "policy_name": "paligemma_vq_droid"},
        },
        "preference": "B",
        "session_completion_timestamp": "2025-07-01T18:22:31.123456",
        "session_creation_timestamp": "2025-07-01T18:07:02.654321",
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    index = {"pi0_fast_droid": {"open_source": True, "action_space": "joint_velocity"}}
    (dump / "global_metadata.yaml").write_text(yaml.safe_dump({"total_sessions": 1, "policy_index": index}))
    return dump


@pytest.fixture
def dump(made: Path, tmp_path: Path) -> Path:
    """The sound dump, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "dump"))


def read(
    dump: Path, settings: SourceSettings = SETTINGS, session: str = SESSION
) -> tuple[list[Rollout], list[Rejection]]:
    items = list(RoboArena(settings, dump).read(session, Store(dump.parent / "store")))
    rollouts = [item for item in items if isinstance(item, Rollout)]
    rejections = [item for item in items if isinstance(item, Rejection)]
    for item in items:  # what comes out is what the records allow
        msgspec.convert(msgspec.to_builtins(item), type(item))
    return rollouts, rejections


def assert_only(dump: Path, code: str, rollouts: int = 1, subject: str = "rollout") -> Rejection:
    """The one rejection with this code. With one rollout gone, so is the preference between A and B."""
    found, rejections = read(dump)
    assert len(found) == rollouts
    if subject == "session":  # what is lost with it has the same code
        assert [r.subject for r in rejections].count("session") == 1 and {r.code for r in rejections} == {code}
    else:
        expected = [code] + (["roboarena.preference_without_rollout"] if rollouts == 1 and subject == "rollout" else [])
        assert sorted(r.code for r in rejections) == sorted(expected)
    rejection = next(r for r in rejections if r.code == code)
    assert rejection.subject == subject and rejection.stage == "source"
    assert rejection.session_id == session_id("roboarena", SESSION)
    return rejection


def lost(dump: Path) -> list[tuple[str, str, str]]:
    """(subject, id, source's name) of what is rejected, without the session itself."""
    return [(r.subject, r.subject_id, r.source_ref) for r in read(dump)[1] if r.subject != "session"]


def session_folder(dump: Path) -> Path:
    return dump / "evaluation_sessions" / SESSION


def test_a_sound_session(dump: Path) -> None:
    (a, b), rejections = read(dump)
    assert not rejections
    assert a.rollout_id == rollout_id("roboarena", SESSION, "A_pi0_fast_droid", "A")
    assert a.source_ref == f"{SESSION}/A_pi0_fast_droid"
    assert (a.policy, a.site, a.evaluator) == ("pi0_fast_droid", "Example University", "evaluator@example.org")
    assert (a.score, a.success, a.outcome, a.failures) == (0.4, False, "failure", ())
    assert (b.score, b.success, b.outcome) == (1.0, True, "success")
    assert (a.num_steps, a.control_hz, a.robot, a.task_category) == (12, 15.0, "DROID Franka Panda", "pick_place")
    assert a.videos.exterior_1 and a.videos.wrist and not a.videos.exterior_2
    assert b.videos.exterior_2 and not b.videos.exterior_1
    video = a.videos.exterior_1
    assert (video.camera, video.fps, video.capture_hz, video.num_frames) == ("left", 10.0, 15.0, 12)
    assert a.provenance.raw_sha256 == (video.sha256, a.videos.wrist.sha256)
    assert a.session == b.session
    assert a.feedback == a.session.feedback == "Policy A let go too early; policy B never reached it."
    assert a.session.labels == (("A", a.rollout_id), ("B", b.rollout_id))
    (preference,) = a.session.preferences
    assert (preference.rollout_a, preference.rollout_b) == (a.rollout_id, b.rollout_id)
    assert (preference.preference, preference.presented_first) == ("b", "a")
    assert a.synthetic is None and a.license is None


def test_trajectories(dump: Path) -> None:
    (a, b), _ = read(dump)
    assert a.trajectory and b.trajectory
    found = read_arrays(Path(a.trajectory))
    assert found.state.shape == (12, 14) and found.action.shape == (12, 8)
    assert found.state[3, 0] == np.float32(0.3)
    assert [column.name for column in found.state_columns][:4] == [
        "cartesian_x",
        "cartesian_y",
        "cartesian_z",
        "cartesian_roll",
    ]
    assert found.action_columns[0].name == "joint_velocity_1"  # from global_metadata.yaml
    assert read_arrays(Path(b.trajectory)).action_columns[0].name == "joint_1"  # that policy is not in it


def test_settings_are_used(dump: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, name="sim", robot="Sawyer", synthetic_generator="metaworld 3.1.1")
    (a, _), _ = read(dump, settings)
    assert (a.source, a.robot) == ("sim", "Sawyer")
    assert a.synthetic is not None and a.synthetic.generator == "metaworld 3.1.1" and a.synthetic.seed is None


def test_more_than_two_letters_and_missing_parts_are_legal(dump: Path) -> None:
    add_rollout(session_folder(dump), "G", "third", ("wrist",), frames=13)  # T + 1 frames
    next((session_folder(dump) / "G_third").glob("*.npz")).unlink()
    (dump / "global_metadata.yaml").unlink()
    (session_folder(dump) / "A_pi0_fast_droid" / "._x_left.mp4").write_bytes(b"what a file system leaves behind")

    def change(data: dict[str, Any]) -> None:
        data["policies"]["G"] = {"policy_name": "third", "duration": 11, "partial_success": None}
        data["preference"] = "tie"
        data["longform_feedback"] = ""
        data["evaluation_notes"] = "VALID_SESSION:\nPREFERENCE=TIE\n"

    edit(dump, change)
    (a, b, g), rejections = read(dump)
    assert not rejections
    assert (g.score, g.success, g.outcome, g.trajectory) == (None, None, "unknown", None)
    assert g.videos.wrist and g.videos.wrist.num_frames == 13
    assert [label for label, _ in g.session.labels] == ["A", "B", "G"]
    assert [(p.rollout_a, p.rollout_b, p.preference) for p in g.session.preferences] == [
        (a.rollout_id, b.rollout_id, "tie")
    ]
    assert g.feedback is None


def test_success_that_contradicts_the_score_is_kept(dump: Path) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(binary_success=1))
    (a, _), rejections = read(dump)
    assert not rejections
    assert (a.score, a.success, a.outcome) == (0.4, True, "success")


def test_no_preference_is_legal(dump: Path) -> None:
    edit(dump, lambda data: data.pop("preference"))
    (a, _), rejections = read(dump)
    assert not rejections and a.session.preferences == ()


@pytest.mark.rule("roboarena.null_policy")
def test_null_policy(dump: Path) -> None:
    edit(dump, lambda data: data["policies"].update(A=None))
    assert assert_only(dump, "roboarena.null_policy").source_ref == f"{SESSION}/A_pi0_fast_droid"


@pytest.mark.rule("roboarena.preference_without_rollout")
def test_preference_for_a_rollout_that_is_not_there(dump: Path) -> None:
    edit(dump, lambda data: data["policies"].pop("B"))
    shutil.rmtree(session_folder(dump) / "B_paligemma_vq_droid")
    (a,), (rejection,) = read(dump)
    assert rejection.code == "roboarena.preference_without_rollout" and rejection.subject == "preference"
    assert rejection.subject_id == pair_id(a.rollout_id, rollout_id("roboarena", SESSION, "B", "B"))
    assert a.session.preferences == ()


@pytest.mark.rule("roboarena.bad_preference")
@pytest.mark.parametrize("value", ["C", "neither", 1, True, ["A"]])
def test_bad_preference(dump: Path, value: Any) -> None:
    edit(dump, lambda data: data.update(preference=value))
    assert_only(dump, "roboarena.bad_preference", rollouts=2, subject="preference")


@pytest.mark.rule("roboarena.no_folder")
def test_entry_without_folder(dump: Path) -> None:
    shutil.rmtree(session_folder(dump) / "B_paligemma_vq_droid")
    assert assert_only(dump, "roboarena.no_folder").source_ref == f"{SESSION}/B_paligemma_vq_droid"


@pytest.mark.rule("roboarena.no_entry")
@pytest.mark.parametrize("name", ["C_other", "notes"])
def test_folder_without_entry(dump: Path, name: str) -> None:
    (session_folder(dump) / name).mkdir()
    assert assert_only(dump, "roboarena.no_entry", rollouts=2).source_ref == f"{SESSION}/{name}"


@pytest.mark.rule("roboarena.two_folders")
def test_two_folders_of_a_letter(dump: Path) -> None:
    (session_folder(dump) / "A_pi0_droid").mkdir()
    assert_only(dump, "roboarena.two_folders")


@pytest.mark.rule("roboarena.swapped_folder")
def test_swapped_folders(dump: Path) -> None:
    folder = session_folder(dump)
    (folder / "A_pi0_fast_droid").rename(folder / "A_paligemma_vq_droid")
    assert_only(dump, "roboarena.swapped_folder")


@pytest.mark.rule("roboarena.no_camera")
def test_no_camera(dump: Path) -> None:
    for path in session_folder(dump).glob("A_*/*.mp4"):
        path.rename(path.with_suffix(".mkv"))
    assert_only(dump, "roboarena.no_camera")


@pytest.mark.rule("roboarena.two_files")
@pytest.mark.parametrize("pattern", ["*_left.mp4", "*.npz"])
def test_two_files_of_a_kind(dump: Path, pattern: str) -> None:
    path = next(session_folder(dump).glob(f"A_*/{pattern}"))
    shutil.copy(path, path.with_name("second_" + path.name))
    assert_only(dump, "roboarena.two_files")


@pytest.mark.rule("roboarena.not_a_file")
@pytest.mark.parametrize("pattern", ["*_left.mp4", "*.npz"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "dead link"])
def test_what_is_not_a_file(dump: Path, pattern: str, kind: str) -> None:
    path = next(session_folder(dump).glob(f"A_*/{pattern}"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # a reader would wait for ever
    else:
        path.symlink_to(dump / "nothing")
    assert_only(dump, "roboarena.not_a_file")


@pytest.mark.rule("source.unreadable_video")
@pytest.mark.parametrize("size", [0, 1000])
def test_a_video_that_is_cut(dump: Path, size: int) -> None:
    path = next(session_folder(dump).glob("A_*/*_left.mp4"))
    path.write_bytes(path.read_bytes()[:size])
    assert "camera left" in assert_only(dump, "source.unreadable_video").detail


@pytest.mark.rule("roboarena.frame_count")
@pytest.mark.parametrize("duration", [9, 13, 399])
def test_frames_that_do_not_fit_the_duration(dump: Path, duration: int) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(duration=duration))
    assert_only(dump, "roboarena.frame_count")


@pytest.mark.parametrize("duration", [10, 11, 12, None])
def test_frames_that_fit_the_duration(dump: Path, duration: int | None) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(duration=duration))
    assert len(read(dump)[0]) == 2


def test_an_npz_that_does_not_fit_the_duration(dump: Path) -> None:
    np.savez_compressed(next(session_folder(dump).glob("A_*/*.npz")), data=steps(9))
    assert_only(dump, "roboarena.frame_count")


def test_an_npz_with_nan_or_without_actions_or_with_code(dump: Path) -> None:
    path = next(session_folder(dump).glob("A_*/*.npz"))
    np.savez_compressed(path, data=[*steps(11), {**steps(1)[0], "action": np.full(8, np.nan)}])
    assert_only(dump, "trajectory.not_finite")
    np.savez_compressed(path, data=[{"action": np.zeros(8)}] * 12)
    assert_only(dump, "trajectory.shape")
    np.savez_compressed(path, other=np.zeros(3))
    assert_only(dump, "trajectory.shape")
    np.savez_compressed(path, data=np.array([Path], dtype=object))
    assert_only(dump, "npz.foreign_object")
    path.write_bytes(b"")
    assert_only(dump, "npz.unreadable")


@pytest.mark.rule("roboarena.bad_score")
@pytest.mark.parametrize("value", [-0.01, 1.01, 40, float("nan"), float("inf"), "0.4", True, [0.4]])
def test_bad_score(dump: Path, value: Any) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(partial_success=value))
    assert_only(dump, "roboarena.bad_score")


@pytest.mark.rule("roboarena.bad_success")
@pytest.mark.parametrize("value", [2, -1, 0.5, "yes", []])
def test_bad_success(dump: Path, value: Any) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(binary_success=value))
    assert_only(dump, "roboarena.bad_success")


@pytest.mark.rule("roboarena.bad_duration")
@pytest.mark.parametrize("value", [-1, 11.0, "11", True, 10**9])
def test_bad_duration(dump: Path, value: Any) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(duration=value))
    assert_only(dump, "roboarena.bad_duration")


@pytest.mark.rule("roboarena.bad_entry")
@pytest.mark.parametrize("value", ["pi0", [], {}, {"policy_name": ""}, {"policy_name": 7}, {"policy_name": "x" * 300}])
def test_bad_entry(dump: Path, value: Any) -> None:
    edit(dump, lambda data: data["policies"].update(A=value))
    assert_only(dump, "roboarena.bad_entry")


@pytest.mark.parametrize("key", ["a", "AB", 1, ""])
def test_a_key_that_is_no_letter(dump: Path, key: Any) -> None:
    edit(dump, lambda data: data["policies"].update({key: dict(data["policies"]["A"])}))
    assert_only(dump, "roboarena.bad_entry", rollouts=2)


@pytest.mark.rule("roboarena.metadata_missing")
def test_no_metadata(dump: Path) -> None:
    (session_folder(dump) / "metadata.yaml").unlink()
    assert (
        "folders of rollouts: 2"
        in assert_only(dump, "roboarena.metadata_missing", rollouts=0, subject="session").detail
    )


@pytest.mark.rule("roboarena.metadata_unreadable")
@pytest.mark.parametrize(
    "text",
    [
        "policies: [",
        "policies: !!python/object/apply:os.system ['touch ran']",
        "policies: &a {A: *a}",
        "preference: A\npreference: B\n",
        "x" * 600_000,
    ],
)
def test_broken_metadata(dump: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dump)
    (session_folder(dump) / "metadata.yaml").write_text(text)
    assert_only(dump, "roboarena.metadata_unreadable", rollouts=0, subject="session")
    assert not (dump / "ran").exists()


@pytest.mark.rule("roboarena.metadata_type")
@pytest.mark.parametrize(
    "change", [{"policies": None}, {"policies": ["A"]}, {"longform_feedback": 5}, {"evaluator_name": ["x"]}]
)
def test_metadata_of_the_wrong_type(dump: Path, change: dict[str, Any]) -> None:
    edit(dump, lambda data: data.update(change))
    assert_only(dump, "roboarena.metadata_type", rollouts=0, subject="session")
    (session_folder(dump) / "metadata.yaml").write_text("- a list\n")
    assert_only(dump, "roboarena.metadata_type", rollouts=0, subject="session")


@pytest.mark.rule("roboarena.no_instruction")
@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_no_instruction(dump: Path, value: Any) -> None:
    edit(dump, lambda data: data.update(language_instruction=value))
    assert_only(dump, "roboarena.no_instruction", rollouts=0, subject="session")


@pytest.mark.rule("roboarena.not_valid")
@pytest.mark.parametrize("notes", ["PREFERENCE=A", "INVALID_SESSION:", ""])
def test_a_session_marked_invalid(dump: Path, notes: str) -> None:
    edit(dump, lambda data: data.update(evaluation_notes=notes or "-"))
    assert_only(dump, "roboarena.not_valid", rollouts=0, subject="session")


def test_rollouts_and_preference_of_a_refused_session_are_rejected_under_their_own_ids(dump: Path) -> None:
    (a, b), _ = read(dump)
    rollouts = [("rollout", item.rollout_id, item.source_ref) for item in (a, b)]
    preference = ("preference", a.session.preferences[0].pair_id, f"{SESSION}/preference")
    edit(dump, lambda data: data.update(language_instruction=7))
    assert lost(dump) == [*rollouts, preference]
    edit(dump, lambda data: data.update(preference="evaluator@example.org"))
    assert lost(dump) == rollouts  # that was no preference
    (session_folder(dump) / "notes").mkdir()
    (session_folder(dump) / "metadata.yaml").write_text("policies: [")
    assert lost(dump) == rollouts


def test_an_entry_without_a_folder_is_lost_with_its_session_too(dump: Path) -> None:
    shutil.rmtree(session_folder(dump) / "B_paligemma_vq_droid")
    ids = [r.rollout_id for r in read(dump)[0]] + [r.subject_id for r in read(dump)[1] if r.subject == "rollout"]
    edit(dump, lambda data: data.update(evaluation_notes="INVALID_SESSION", preference=None))
    assert [(kind, subject) for kind, subject, _ in lost(dump)] == [("rollout", subject) for subject in ids]


def test_nothing_is_looked_up_behind_a_link_out_of_the_dump(dump: Path) -> None:
    folder = session_folder(dump)
    folder.rename(dump.parent / "outside")
    folder.symlink_to(dump.parent / "outside")
    assert lost(dump) == []


@pytest.mark.rule("roboarena.empty_session")
def test_an_empty_session(dump: Path) -> None:
    edit(dump, lambda data: data.update(policies={}))
    for path in session_folder(dump).glob("?_*"):
        shutil.rmtree(path)
    assert_only(dump, "roboarena.empty_session", rollouts=0, subject="session")


@pytest.mark.rule("roboarena.leaves_dump")
@pytest.mark.parametrize("what", ["video", "npz", "folder", "metadata", "session"])
def test_links_out_of_the_dump(dump: Path, what: str) -> None:
    folder = session_folder(dump)
    path = {
        "video": next(folder.glob("A_*/*_left.mp4")),
        "npz": next(folder.glob("A_*/*.npz")),
        "folder": folder / "A_pi0_fast_droid",
        "metadata": folder / "metadata.yaml",
        "session": folder,
    }[what]
    outside = dump.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    whole = what in ("metadata", "session")
    assert_only(dump, "roboarena.leaves_dump", rollouts=0 if whole else 1, subject="session" if whole else "rollout")


def test_links_inside_the_dump_are_fine(dump: Path) -> None:
    path = next(session_folder(dump).glob("A_*/*_left.mp4"))
    path.rename(dump / "blob")
    path.symlink_to(dump / "blob")
    assert len(read(dump)[0]) == 2


@pytest.mark.parametrize("session", ["..", "", "../dump", "/etc", "nosuch", f"{SESSION}/A_pi0_fast_droid"])
def test_a_session_that_is_not_one(dump: Path, session: str) -> None:
    with pytest.raises(SourceError, match="has no session"):
        read(dump, session=session)


def test_a_folder_that_is_no_dump(tmp_path: Path, dump: Path) -> None:
    for folder, says in ((tmp_path / "none", "is not a folder"), (tmp_path, "has no folder evaluation_sessions")):
        with pytest.raises(SourceError, match=says):
            RoboArena(SETTINGS, folder).sessions()
    (dump / "global_metadata.yaml").write_text("[")
    with pytest.raises(SourceError, match=r"global_metadata\.yaml"):
        RoboArena(SETTINGS, dump).sessions()
    shutil.rmtree(session_folder(dump))
    with pytest.raises(SourceError, match="holds no session"):
        RoboArena(SETTINGS, dump).sessions()


def test_rejections_quote_no_personal_data(dump: Path) -> None:
    edit(dump, lambda data: data.update(preference="evaluator@example.org", evaluation_notes="call 555-0100"))
    _, rejections = read(dump)
    text = repr(rejections)
    assert rejections and "evaluator@" not in text and "555" not in text


def test_the_example_dump_reads_whole(tmp_path: Path) -> None:
    source = RoboArena(SourceSettings(name="roboarena_sim", kind="roboarena", path="x"), EXAMPLES / "roboarena_sim")
    sessions = source.sessions()
    items = [item for session in sessions for item in source.read(session, Store(tmp_path))]
    rollouts = {item.rollout_id: item for item in items if isinstance(item, Rollout)}
    rejections = [item for item in items if isinstance(item, Rejection)]
    stated = yaml.safe_load((EXAMPLES / "roboarena_sim" / "global_metadata.yaml").read_text(encoding="utf-8"))
    assert (len(sessions), len(rollouts)) == (stated["total_sessions"], stated["total_policy_episodes"])
    assert len(sessions) >= 8
    assert len(rollouts) >= 40
    assert {rejection.code for rejection in rejections} == {"roboarena.null_policy"}
    firsts = [r for r in rollouts.values() if r.session.labels[0][1] == r.rollout_id]
    assert sum(len(rollout.session.preferences) for rollout in firsts) == len(sessions)
    assert len({sha for rollout in rollouts.values() for sha in rollout.provenance.raw_sha256}) == len(rollouts)
    for rollout in rollouts.values():
        video = rollout.videos.exterior_1
        assert video is not None
        assert video.fps == 10
        assert rollout.num_steps is not None
        assert video.num_frames - rollout.num_steps in (0, 1)
        assert rollout.feedback
        assert rollout.success == (rollout.score == 1.0)
    rows = pq.read_table(EXAMPLES / "roboarena_sim" / "simulator_truth.parquet").to_pylist()
    truth = {row["rollout_id"]: msgspec.convert(row, Prediction) for row in rows}
    assert truth.keys() == rollouts.keys()
    for rid, prediction in truth.items():
        video = rollouts[rid].videos.exterior_1
        assert video is not None
        assert prediction.role == "exterior_1"
        assert prediction.frame_index == tuple(range(video.num_frames))
        assert all(0 <= value <= 1 for value in prediction.value)
    best = [truth[rid].value[-1] for rid, rollout in rollouts.items() if rollout.success]
    assert len(best) >= 8
    assert min(best) > 0.7


def test_what_is_planted_in_the_example_is_there() -> None:
    planted = json.loads((EXAMPLES / "roboarena_sim" / "simulated.json").read_text(encoding="utf-8"))["planted"]
    assert sum(map(len, planted.values())) >= 8
    files = list((EXAMPLES / "roboarena_sim").rglob("*.mp4"))
    assert any(media.probe(path).has_audio for path in files)
    assert any(media.probe(path).tags for path in files)
    size = sum(path.stat().st_size for path in (EXAMPLES / "roboarena_sim").rglob("*") if path.is_file())
    assert size < 6_000_000


@pytest.mark.rule("roboarena.unprintable")
@pytest.mark.parametrize("name", [b"\x1b[2Jx", b"not\xffutf8", b"two\nlines", b"A_\x1b]0;title\x07"])
def test_a_name_of_a_folder_that_would_steer_a_terminal(dump: Path, name: bytes) -> None:
    folder = session_folder(dump)
    if name.startswith(b"A_"):
        next(folder.glob("A_*")).rename(folder / os.fsdecode(name))
        assert_only(dump, "roboarena.unprintable", rollouts=1)
        return
    folder.rename(folder.with_name(os.fsdecode(name)))
    source = RoboArena(SourceSettings(name="roboarena", kind="roboarena", path="."), dump)
    (session,) = source.sessions()
    assert session.isprintable()
    items = list(source.read(session, Store(dump.parent / "store")))
    rollouts, rejections = [i for i in items if isinstance(i, Rollout)], [i for i in items if isinstance(i, Rejection)]
    assert rollouts == []
    assert [r.code for r in rejections] == ["roboarena.unprintable"] * 4  # the session, two rollouts, the preference
    assert all(r.source_ref.isprintable() for r in rejections)


@pytest.mark.rule("roboarena.unprintable")
def test_control_characters_in_text(dump: Path) -> None:
    edit(dump, lambda data: data["policies"]["A"].update(policy_name="pi0\x1b[2J"))
    assert_only(dump, "roboarena.unprintable")
    edit(dump, lambda data: data.update(longform_feedback="\x1b]52;c;cm0gLXJm\x07"))
    assert_only(dump, "roboarena.unprintable", rollouts=0, subject="session")


def test_names_that_look_alike_are_two(dump: Path) -> None:
    folder = session_folder(dump)
    for name in ("caf\u00e9", "cafe\u0301", "bidi\u202efdp"):
        shutil.copytree(folder, folder.with_name(name))
    sessions = RoboArena(SourceSettings(name="roboarena", kind="roboarena", path="."), dump).sessions()
    assert len(sessions) == len(set(sessions)) == 4
