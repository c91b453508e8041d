"""A lab folder on disk as a source of rollouts: what is right, what is missing, and all of it at once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_robot_behavior.curation.sources import open_source, session_file
from bad_robot_behavior.curation.sources.folder import Folder, check
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import Rejection, Rollout, SourceSettings, all_rules, taxonomy
from bad_robot_behavior.schema.trajectory_file import read_arrays
from tests.labs import GOOD, Lab, save

ROOT = Path(__file__).parents[3]
DOC = ROOT / "docs" / "lab-folder.md"


def test_a_good_folder_reads_whole(lab: Lab) -> None:
    assert check(lab.root) == []
    items = lab.read()
    assert [item.source_ref for item in items] == ["s1/A", "s1/B"]
    a, b = lab.rollouts().values()
    assert (a.score, a.success, a.outcome, a.policy) == (0.9, True, "success", "pi0")
    assert (b.score, b.success, b.outcome, b.policy) == (0.2, False, "failure", None)
    assert a.videos.exterior_1 is not None and a.videos.exterior_1.num_frames == 12
    assert a.provenance.raw_sha256 == (a.videos.exterior_1.sha256,)
    assert a.session == b.session and a.session.feedback == GOOD["feedback"]
    assert a.session.labels == (("A", a.rollout_id), ("B", b.rollout_id))
    (preference,) = a.session.preferences
    assert (preference.rollout_a, preference.rollout_b, preference.preference) == (a.rollout_id, b.rollout_id, "a")
    assert (a.task_category, a.task_category_source) == ("pick_place", "rule")


def test_the_same_folder_gives_the_same_records(lab: Lab) -> None:
    assert lab.read() == lab.read()


def test_what_is_not_said_stays_unknown(lab: Lab) -> None:
    lab.write("instruction: go\nrollouts: {A: {video: A.mp4}, B: {video: B.mp4}}\n")
    a = lab.rollouts()["A"]
    unknown = (a.score, a.success, a.policy, a.robot, a.site, a.evaluator, a.license, a.license_evidence, a.attribution)
    assert set(unknown) == {None}
    assert (a.outcome, a.failures, a.feedback, a.trajectory, a.num_steps, a.control_hz) == ("unknown", (), None) + (
        None,
    ) * 3
    assert a.session.preferences == () and a.session.feedback is None


def test_outcome_alone_does_not_invent_success(lab: Lab) -> None:
    b = lab.rollout(success=..., outcome="failure").rollouts()["B"]
    assert (b.success, b.outcome) == (None, "failure")


def test_session_wins_over_lab_and_lab_over_recipe(lab: Lab) -> None:
    (lab.root / "lab.yaml").write_text("robot: franka\nsite: X\nevaluator: kim\ncapture_hz: 15\ncontrol_hz: 10\n")
    lab.write(robot="aloha", task_category="other")
    a = lab.rollouts(robot="baxter")["A"]
    assert (a.robot, a.site, a.evaluator, a.control_hz) == ("aloha", "X", "kim", 10)
    assert (a.task_category, a.task_category_source) == ("other", "human")
    assert a.videos.exterior_1 is not None and a.videos.exterior_1.capture_hz == 15
    assert lab.write().rollouts(robot="baxter")["A"].robot == "franka"
    (lab.root / "lab.yaml").unlink()
    assert lab.rollouts(robot="baxter")["A"].robot == "baxter"


def test_evidence_belongs_to_the_licence_beside_it(lab: Lab) -> None:
    (lab.root / "lab.yaml").write_text("license: CC-BY-4.0\nlicense_evidence: https://example.edu\nattribution: We\n")
    a = lab.rollouts()["A"]
    assert (a.license, a.license_evidence, a.attribution) == ("CC-BY-4.0", "https://example.edu", "We")
    a = lab.write(license="MIT").rollouts()["A"]
    assert (a.license, a.license_evidence) == ("MIT", "declared by the lab in its session.yaml")


def test_synthetic_sources_are_marked(lab: Lab) -> None:
    made = lab.rollouts(synthetic_generator="metaworld 3.1.1")["A"].synthetic
    assert made is not None and made.generator == "metaworld 3.1.1" and made.seed is None


def test_a_yaml_number_without_a_point_is_a_score(lab: Lab) -> None:
    assert lab.rollout(score=0).rollouts()["B"].score == 0.0


def test_feedback_in_any_language_and_with_a_byte_order_mark(lab: Lab) -> None:
    text = yaml.safe_dump(GOOD | {"feedback": "策略A成功了。B推倒了杯子。"}, allow_unicode=True)
    (lab.session / "session.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert check(lab.root) == []
    assert lab.rollouts()["A"].session.feedback == "策略A成功了。B推倒了杯子。"


@pytest.mark.parametrize(("preferred", "choice"), [("A", "a"), ("B", "b"), ("tie", "tie")])
def test_preferences_in_the_long_form(lab: Lab, preferred: str, choice: str) -> None:
    data = GOOD | {"preferences": [{"a": "A", "b": "B", "preferred": preferred, "feedback": "why"}]}
    data.pop("preference")
    (made,) = lab.write(yaml.safe_dump(data)).rollouts()["A"].session.preferences
    assert (made.preference, made.feedback) == (choice, "why")


def test_sessions_may_lie_deeper_and_hidden_folders_are_not_looked_at(lab: Lab) -> None:
    shutil.copytree(lab.session, lab.root / "may" / "s2")
    shutil.copytree(lab.session, lab.root / ".trash")
    source = open_source(SourceSettings(name="lab", kind="folder", path="."), lab.root)
    assert source.sessions() == ["may/s2", "s1"]
    ids = {item.rollout_id for item in lab.read() if isinstance(item, Rollout)}
    assert len(ids) == 4


def test_files_are_all_that_a_session_rests_on(lab: Lab) -> None:
    source = Folder(SourceSettings(name="lab", kind="folder", path="."), lab.root)
    assert [path.name for path in source.files("s1")] == ["A.mp4", "B.mp4", "session.yaml"]
    (lab.root / "lab.yaml").write_text("site: X\n")
    assert source.files("s1")[0] == lab.root / "lab.yaml"


def test_trajectories_are_stored(lab: Lab) -> None:
    save(lab.session / "B.npz", state_columns=["joint_1 [rad]", "gripper"])
    b = lab.rollout(trajectory="B.npz").rollouts()["B"]
    assert b.num_steps == 5 and b.trajectory is not None
    found = read_arrays(Path(b.trajectory))
    assert found.state.shape == (5, 2) and found.action.shape == (5, 3) and found.action.dtype == np.float32
    assert [(c.name, c.unit) for c in found.state_columns] == [("joint_1", "rad"), ("gripper", None)]
    assert [(c.name, c.unit) for c in found.action_columns] == [(f"action_{i}", None) for i in range(3)]


def test_failures_carry_who_says_so(lab: Lab) -> None:
    (lab.root / "lab.yaml").write_text("site: X\n")
    failures = [
        {"category": "grasp", "kind": "slip_or_drop", "severity": "low", "start_s": 0.1, "end_s": 1.2},
        {"category": "unknown"},
    ]
    first, second = lab.rollout(failures=failures).rollouts()["B"].failures
    assert (first.annotator, first.annotator_type, first.severity, first.end_s) == ("X", "human", "low", 1.2)
    assert first.mapping_version == taxonomy.load().version
    assert (second.category, second.kind, second.severity, second.start_s) == ("unknown", "unknown", None, None)


@pytest.mark.rule("lab.no_session")
def test_a_folder_without_sessions(tmp_path: Path) -> None:
    assert [d.rule for d in check(tmp_path)] == ["lab.no_session"]
    with pytest.raises(SourceError, match=r"lab\.no_session"):
        Folder(SourceSettings(name="lab", kind="folder", path="."), tmp_path).sessions()


def test_a_folder_that_is_none(tmp_path: Path, lab: Lab) -> None:
    for place, words in (
        (tmp_path / "none", "does not exist"),
        (lab.session / "A.mp4", "not a folder"),
        (lab.session, "above it"),
    ):
        with pytest.raises(SourceError, match=words):
            check(place)
        with pytest.raises(SourceError, match=words):
            Folder(SourceSettings(name="lab", kind="folder", path="."), place).sessions()


def test_a_broken_lab_yaml_stops_the_build_and_not_the_check(lab: Lab) -> None:
    (lab.root / "lab.yaml").write_text("robott: franka\n")
    lab.rollout(score=2)
    assert {d.rule for d in check(lab.root)} == {"lab.unknown_key", "lab.illegal_value", "lab.preference_rollout"}
    with pytest.raises(SourceError, match="robot"):
        lab.read()


def test_every_defect_is_found_in_one_go(lab: Lab) -> None:
    lab.write(rollouts={"A": {"video": "A.mp4", "score": 2, "sucess": 1}, "B": {"video": "Z.mp4"}}, extra=1)
    assert sorted(d.rule for d in check(lab.root)) == ["lab.illegal_value", "lab.unknown_key", "lab.unknown_key"]
    assert [(i.subject, i.code) for i in lab.read() if isinstance(i, Rejection)] == [
        (subject, "lab.unknown_key") for subject in ("session", "rollout", "rollout", "preference")
    ]


def test_rollouts_and_preferences_of_a_refused_session_are_rejected_under_their_own_ids(lab: Lab) -> None:
    ids = [item.rollout_id for item in lab.read() if isinstance(item, Rollout)]
    lab.write(instruction=7)
    assert [(i.subject, i.source_ref) for i in lab.read() if isinstance(i, Rejection)] == [
        ("session", "s1"),
        ("rollout", "s1/A"),
        ("rollout", "s1/B"),
        ("preference", "s1/preferences[0]"),
    ]
    assert [i.subject_id for i in lab.read() if isinstance(i, Rejection) and i.subject == "rollout"] == ids


@pytest.mark.parametrize("text", ["rollouts: [", "- A\n", "instruction: go\n", "rollouts: {}\n", None])
def test_where_no_label_can_be_read_each_video_of_a_refused_session_is_rejected(lab: Lab, text: str | None) -> None:
    if text is None:
        (lab.session / "session.yaml").unlink()
    else:
        lab.write(text)
    items = [item for item in lab.read() if isinstance(item, Rejection)]
    assert [(i.subject, i.source_ref) for i in items] == [
        ("session", "s1"),
        ("rollout", "s1/A.mp4"),
        ("rollout", "s1/B.mp4"),
    ]
    assert len({i.subject_id for i in items}) == 3 and len({i.code for i in items}) == 1


def test_nothing_is_looked_up_behind_a_link(lab: Lab) -> None:
    lab.session.rename(lab.tmp / "outside")
    lab.session.symlink_to(lab.tmp / "outside")
    assert [(i.subject, i.code) for i in lab.read() if isinstance(i, Rejection)] == [("session", "lab.path_outside")]


def test_the_sessions_feedback_is_that_of_rollouts_and_preferences_without_their_own(lab: Lab) -> None:
    data = GOOD | {"preferences": [{"a": "A", "b": "B", "preferred": "A"}]}
    data.pop("preference")
    rollouts = data["rollouts"] | {"B": GOOD["rollouts"]["B"] | {"feedback": "stopped half way"}}
    a, b = lab.write(yaml.safe_dump(data | {"rollouts": rollouts})).rollouts().values()
    assert (a.feedback, b.feedback) == (GOOD["feedback"], "stopped half way")
    assert a.session.preferences[0].feedback == a.session.feedback == GOOD["feedback"]


def test_rejections_hold_no_value_of_the_lab(lab: Lab) -> None:
    lab.rollout(score="mail jane.doe@example.edu", feedback=["Jane"], policy={"jane": 1})
    for item in lab.read():
        if isinstance(item, Rejection):
            assert "jane" not in item.detail.lower()


KEYS = [
    *("A", "B", "video", "videos", "score", "success", "outcome", "failures", "category", "kind", "a", "b"),
    *("preferred", "wrist", "instruction", "trajectory"),
]
YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    changes=st.dictionaries(
        st.sampled_from([f.name for f in msgspec.structs.fields(session_file.SessionFile)]), YAML, max_size=4
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_makes_it_raise(lab: Lab, changes: dict[str, Any]) -> None:
    lab.write(**changes)
    defects, items = check(lab.root), lab.read()
    assert bool(defects) == any(isinstance(item, Rejection) for item in items)
    assert sum(isinstance(i, Rollout) or i.subject in {"rollout", "session"} for i in items) >= 1
    msgspec.json.encode(items)


def test_the_documented_example_validates(tmp_path: Path, clips: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    smallest, lab_text, session_text = blocks
    root = tmp_path / "my-lab"
    for name, text in (("marker-in-cup", session_text), ("smallest", smallest)):
        (root / name).mkdir(parents=True)
        (root / name / "session.yaml").write_text(text)
    (root / "lab.yaml").write_text(lab_text)
    shutil.copyfile(clips / "A.mp4", root / "smallest" / "A.mp4")
    for clip in clips.iterdir():
        shutil.copyfile(clip, root / "marker-in-cup" / clip.name)
    save(root / "marker-in-cup" / "B.npz")
    assert check(root) == []
    rollouts = Lab(root, tmp_path).rollouts()
    assert set(rollouts) == {"A", "B", "C"}
    wrist = rollouts["B"].videos.wrist
    assert wrist is not None and wrist.camera == "zed_mini"


def test_every_field_and_rule_is_documented() -> None:
    text = DOC.read_text(encoding="utf-8")
    shapes = (
        session_file.SessionFile,
        session_file.RolloutEntry,
        session_file.FailureEntry,
        session_file.PreferenceEntry,
    )
    fields = {field.name for shape in shapes for field in msgspec.structs.fields(shape)}
    rows = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([\w.]+)`", row)}
    assert fields <= rows
    rules = {rule.id for rule in all_rules() if rule.id.startswith("lab.")}
    assert {row for row in rows if row.startswith("lab.")} == rules


@pytest.mark.needs_samples
def test_the_real_clips_become_a_lab_folder(samples: Path, tmp_path: Path) -> None:
    script = ROOT / "examples" / "lab_from_samples.py"
    for extra, preferences in ((), 5), (("--instruction", "fino/place=place the object"), 6):
        out = tmp_path / f"lab{preferences}"
        done = subprocess.run(
            [sys.executable, script, samples, out, *extra], capture_output=True, text=True, check=True
        )
        assert ("fino/place: left out 2 clips and 1 preference" in done.stdout) == (preferences == 5)
        assert check(out) == []
        items = Lab(out, tmp_path).read()
        rollouts = [item for item in items if isinstance(item, Rollout)]
        assert len(rollouts) == len(items) == 27 + 2 * (preferences == 6)
        pairs = {p.pair_id: p for r in rollouts for p in r.session.preferences}
        assert len(pairs) == preferences
        by_id = {r.rollout_id: r for r in rollouts}
        assert all(by_id[p.rollout_a].success and p.preference == "a" for p in pairs.values())
        assert {by_id[p.rollout_b].outcome for p in pairs.values()} == {"failure", "unknown"}
        assert {r.license for r in rollouts} == {"Apache-2.0", "MIT"}
        assert sum(r.videos.wrist is not None for r in rollouts) == 1
