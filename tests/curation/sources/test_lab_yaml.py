"""YAML of a stranger: every way in which it is not plain data of the right types."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bad_robot_behavior.curation.sources import lab_yaml
from tests.labs import GOOD, Lab


@pytest.mark.rule("lab.yaml_unreadable")
def test_a_session_file_that_is_a_folder(lab: Lab) -> None:
    (lab.session / "session.yaml").unlink()
    (lab.session / "session.yaml").mkdir()
    lab.assert_broken("lab.yaml_unreadable", "session")


@pytest.mark.rule("lab.yaml_too_large")
def test_a_session_file_that_is_too_large(lab: Lab) -> None:
    lab.write("# " + "x" * lab_yaml.MAX_BYTES).assert_broken("lab.yaml_too_large", "session")


@pytest.mark.rule("lab.yaml_encoding")
def test_a_session_file_in_latin_1(lab: Lab) -> None:
    (lab.session / "session.yaml").write_bytes("instruction: hänge".encode("latin-1"))
    lab.assert_broken("lab.yaml_encoding", "session")


@pytest.mark.rule("lab.yaml_syntax")
@pytest.mark.parametrize(
    "text",
    ["a: b: c", "a: [", "\tx", "a: 0x_", "a: " + "1" * 5000, "a: \x00", "a: =", "? [1, 2]\n: 3", "- !", "%YAML 9"],
)
def test_a_session_file_that_is_not_yaml(lab: Lab, text: str) -> None:
    lab.write(text)
    if text == "- !":
        lab.assert_broken("lab.yaml_not_plain", "session")
    else:
        lab.assert_broken("lab.yaml_syntax", "session")


@pytest.mark.rule("lab.yaml_not_plain")
@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "a: !!python/object/apply:os.system ['true']",
        "a: !!str 1",
        "<<: {instruction: x}",
        "a: " + "[" * 2000 + "]" * 2000,
        "a: 1\n---\nb: 2",
    ],
)
def test_yaml_that_is_more_than_plain_data(lab: Lab, text: str) -> None:
    lab.write(text).assert_broken("lab.yaml_not_plain", "session")


@pytest.mark.rule("lab.duplicate_key")
def test_a_key_that_stands_twice(lab: Lab) -> None:
    text = yaml.safe_dump(GOOD, sort_keys=False)
    defect = lab.write(text.replace("    score: 0.2\n", "    score: 0.2\n    score: 0.3\n")).assert_broken(
        "lab.duplicate_key", "rollout", "rollouts.B.score"
    )
    assert defect.row == 12
    lab.write(text + "instruction: other\n").assert_broken("lab.duplicate_key", "session", "instruction")
    lab.write(text.replace("  B:\n", "  B: {video: C.mp4}\n  B:\n")).assert_broken(
        "lab.duplicate_key", "rollout", "rollouts.B"
    )


@pytest.mark.rule("lab.unknown_key")
def test_an_unknown_key_names_the_nearest(lab: Lab) -> None:
    assert "instruction" in lab.write(instructions="x").assert_broken("lab.unknown_key", "session").message
    defect = lab.rollout(sucess=True).assert_broken("lab.unknown_key", "rollout", "rollouts.B")
    assert "success" in defect.message and defect.value == "'sucess'"
    lab.rollout(videos={"front": "B.mp4"}, video=...).assert_broken("lab.unknown_key", "rollout", "rollouts.B.videos")
    lab.rollout(failures=[{"category": "grasp", "sort": "x"}]).assert_broken(
        "lab.unknown_key", "rollout", "rollouts.B.failures[0]"
    )


@pytest.mark.rule("lab.missing_key")
def test_a_required_key_that_is_missing(lab: Lab) -> None:
    lab.write("").assert_broken("lab.missing_key", "session", "instruction")
    lab.rollout(video=...).assert_broken("lab.missing_key", "rollout", "rollouts.B.video")
    lab.rollout(failures=[{"kind": "stall"}]).assert_broken(
        "lab.missing_key", "rollout", "rollouts.B.failures[0].category"
    )


@pytest.mark.rule("lab.wrong_type")
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("score: '0.4'", "score"),
        ("score: 1e-1", "score"),  # YAML 1.1 wants 1.0e-1
        ("score: true", "score"),
        ("success: 1", "success"),
        ("success: 'no'", "success"),
        ("policy: 12:30", "policy"),
        ("policy: 007", "policy"),
        ("policy: NO", "policy"),
        ("failures: grasp", "failures"),
        ("failures: [grasp]", "failures[0]"),
        ("failures: [{category: 1}]", "failures[0].category"),
        ("videos: [B.mp4]", "videos"),
        ("videos: {wrist: 3}", "videos.wrist"),
        ("feedback: {A: good}", "feedback"),
    ],
)
def test_a_value_of_the_wrong_type(lab: Lab, text: str, field: str) -> None:
    lab.write(
        yaml.safe_dump(GOOD | {"rollouts": {"A": GOOD["rollouts"]["A"]}}, sort_keys=False).replace(
            "preference: A\n", ""
        )
    )
    path = lab.session / "session.yaml"
    path.write_text(path.read_text().replace("rollouts:\n", f"rollouts:\n  B: {{video: B.mp4, {text}}}\n"))
    defect = lab.assert_broken("lab.wrong_type", "rollout", f"rollouts.B.{field}")
    assert defect.row == 4 and defect.value is not None and defect.legal is not None


def test_a_label_that_yaml_does_not_read_as_text(lab: Lab) -> None:
    for label in (1, False, None):
        lab.write(rollouts={"A": {"video": "A.mp4"}, label: {"video": "B.mp4"}}, preference=None)
        lab.assert_broken("lab.wrong_type", "rollout", f"rollouts.{label}")


def test_a_session_that_is_a_list(lab: Lab) -> None:
    lab.write("- A.mp4").assert_broken("lab.wrong_type", "session")
    lab.write(rollouts=["A.mp4"]).assert_broken("lab.wrong_type", "session", "rollouts")
    lab.write(instruction=False).assert_broken("lab.wrong_type", "session", "instruction")


@pytest.mark.rule("lab.illegal_value")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"score": 1.2}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": float("nan")}, "score"),
        ({"score": float("inf")}, "score"),
        ({"outcome": "partial"}, "outcome"),
        ({"policy": "  "}, "policy"),
        ({"policy": "a\x1fb"}, "policy"),
        ({"feedback": "a\ud800b"}, "feedback"),
        ({"failures": [{"category": "grasp", "severity": "bad"}]}, "failures[0].severity"),
        ({"failures": [{"category": "grasp", "end_s": float("nan")}]}, "failures[0].end_s"),
        ({"failures": [{"category": "grasp", "start_s": -1}]}, "failures[0].start_s"),
        ({"videos": {"wrist": "B.mp4"}}, "video"),
    ],
)
def test_a_value_that_is_not_legal(lab: Lab, changes: dict[str, Any], field: str) -> None:
    lab.rollout(**changes).assert_broken("lab.illegal_value", "rollout", f"rollouts.B.{field}")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"instruction": " \n"}, "instruction"),
        ({"rollouts": {}}, "rollouts"),
        ({"task_category": "juggle"}, "task_category"),
        ({"capture_hz": 0}, "capture_hz"),
        ({"control_hz": float("inf")}, "control_hz"),
        ({"cameras": {"wrist": ""}}, "cameras.wrist"),
        ({"unused": [""]}, "unused[0]"),
        ({"preferences": []}, None),
    ],
)
def test_a_session_value_that_is_not_legal(lab: Lab, changes: dict[str, Any], field: str | None) -> None:
    lab.write(**changes).assert_broken("lab.illegal_value", "session", field)
