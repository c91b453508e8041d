"""What a session.yaml says, where the types are right and the sense is not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bad_robot_behavior.curation.sources import lab_yaml
from bad_robot_behavior.curation.sources.folder import check
from bad_robot_behavior.schema import Rejection, Rollout
from tests.labs import GOOD, Lab


@pytest.mark.rule("lab.label")
@pytest.mark.parametrize("label", ["", "x" * 65, "a/b", " B", "tie", "a", "B\n", "B\ud800", "B\u202e"])
def test_a_label_that_is_not_legal(lab: Lab, label: str) -> None:
    lab.write(rollouts={"A": {"video": "A.mp4"}, label: {"video": "B.mp4"}}, preference=None)
    if label == "a":  # which of A and a the feedback means cannot be known, so both are refused
        assert {d.field for d in check(lab.root)} == {"rollouts.A", "rollouts.a"}
        assert {r.code for r in lab.read() if isinstance(r, Rejection)} == {"lab.label"}
    else:
        lab.assert_broken("lab.label", "rollout", f"rollouts.{lab_yaml.printable(label)}")


@pytest.mark.rule("lab.contradiction")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"success": True, "score": 0}, "score"),
        ({"success": False, "score": 1}, "score"),
        ({"success": False, "outcome": "success_suboptimal"}, "outcome"),
        ({"success": True, "outcome": "failure"}, "outcome"),
    ],
)
def test_judgements_that_exclude_each_other(lab: Lab, changes: dict[str, Any], field: str) -> None:
    lab.rollout(**changes).assert_broken("lab.contradiction", "rollout", f"rollouts.B.{field}")


def test_judgements_that_differ_in_degree_are_kept(lab: Lab) -> None:
    assert check(lab.rollout(success=False, score=0.99).root) == []
    assert check(lab.rollout(success=True, score=0.01, outcome="success_side_effect").root) == []


@pytest.mark.rule("lab.failure_kind")
def test_failures_outside_the_taxonomy(lab: Lab) -> None:
    defect = lab.rollout(failures=[{"category": "grip"}]).assert_broken(
        "lab.failure_kind", "rollout", "rollouts.B.failures[0].category"
    )
    assert "grasp" in str(defect.legal)
    bad = [{"category": "grasp", "kind": "spill"}]
    assert "slip_or_drop" in str(
        lab.rollout(failures=bad).assert_broken("lab.failure_kind", "rollout", "rollouts.B.failures[0].kind").legal
    )


@pytest.mark.rule("lab.failure_span")
def test_failures_outside_the_video(lab: Lab) -> None:
    late, turned = {"category": "grasp", "end_s": 1.4}, {"category": "grasp", "start_s": 0.5, "end_s": 0.4}
    lab.rollout(failures=[late]).assert_broken("lab.failure_span", "rollout", "rollouts.B.failures[0].end_s")
    lab.rollout(failures=[turned]).assert_broken("lab.failure_span", "rollout", "rollouts.B.failures[0].end_s")


@pytest.mark.rule("lab.preference_rollout")
def test_a_preference_for_a_rollout_that_is_not_there(lab: Lab) -> None:
    assert (
        lab.write(preference="C").assert_broken("lab.preference_rollout", "preference", "preference").legal
        == "A, B, tie"
    )
    data = {k: v for k, v in GOOD.items() if k != "preference"}
    both = [{"a": "A", "b": "Z", "preferred": "A"}, {"a": "A", "b": "B", "preferred": "A"}]
    lab.write(yaml.safe_dump(data | {"preferences": both})).assert_broken(
        "lab.preference_rollout", "preference", "preferences[0].b"
    )
    assert len(lab.rollouts()["A"].session.preferences) == 1


def test_a_preference_goes_with_its_rollout(lab: Lab) -> None:
    items = lab.rollout(score=7).read()
    assert [(type(i).__name__, getattr(i, "code", None)) for i in items] == [
        ("Rollout", None),
        ("Rejection", "lab.illegal_value"),
        ("Rejection", "lab.preference_rollout"),
    ]
    assert isinstance(items[0], Rollout) and items[0].session.preferences == ()
    assert [label for label, _ in items[0].session.labels] == ["A", "B"]


@pytest.mark.parametrize(
    ("entry", "code", "field"),
    [
        ({"a": "A", "b": "A", "preferred": "A"}, "lab.illegal_value", "preferences[0].b"),
        ({"a": "A", "b": "B"}, "lab.missing_key", "preferences[0].preferred"),
        ({"a": "A", "b": "B", "preferred": "a"}, "lab.preference_rollout", "preferences[0].preferred"),
        ({"a": "A", "b": "B", "preferred": "A", "by": "me"}, "lab.unknown_key", "preferences[0]"),
        ("A", "lab.wrong_type", "preferences[0]"),
    ],
)
def test_a_preference_that_is_wrong(lab: Lab, entry: Any, code: str, field: str) -> None:
    data = {k: v for k, v in GOOD.items() if k != "preference"}
    lab.write(yaml.safe_dump(data | {"preferences": [entry]})).assert_broken(code, "preference", field)


def test_the_short_preference_needs_two_rollouts(lab: Lab) -> None:
    lab.write(rollouts={"A": {"video": "A.mp4"}}, unused=["B.mp4"])
    assert [(d.rule, d.field) for d in check(lab.root)] == [("lab.illegal_value", "preference")]
    rejections = [i for i in lab.read() if isinstance(i, Rejection)]
    assert [(r.subject, r.code) for r in rejections] == [("preference", "lab.illegal_value")]


def test_a_preference_with_a_doubled_key_is_not_used(lab: Lab) -> None:
    text = yaml.safe_dump(GOOD, sort_keys=False)
    lab.write(text + "preference: B\n").assert_broken("lab.duplicate_key", "preference", "preference")
    listed = "preferences:\n- {a: A, b: B, preferred: A, preferred: B}\n"
    lab.write(text.replace("preference: A\n", listed))
    lab.assert_broken("lab.duplicate_key", "preference", "preferences[0].preferred")


@pytest.mark.rule("lab.preference_double")
def test_two_preferences_for_one_pair(lab: Lab) -> None:
    data = {k: v for k, v in GOOD.items() if k != "preference"}
    twice = [{"a": "A", "b": "B", "preferred": "A"}, {"a": "B", "b": "A", "preferred": "A"}]
    lab.write(yaml.safe_dump(data | {"preferences": twice})).assert_broken(
        "lab.preference_double", "preference", "preferences[1]"
    )
