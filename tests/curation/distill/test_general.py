from __future__ import annotations

from pathlib import Path

import pytest

from bad_robot_behavior.curation.distill import general
from bad_robot_behavior.schema import taxonomy
from tests.curation.distill.models import entry, model, pair, run, say

KNOWN = taxonomy.load()


@pytest.mark.parametrize(
    "text",
    [
        "The object slipped out of the gripper.",
        "The right object was grasped. It was never released.",
        "The robot stopped half way, although nothing was in its way.",
    ],
)
def test_what_fits_any_session_is_general(text: str) -> None:
    assert general.is_general(text, ["A", "B"], ["Northfield University", "policy_x"])


@pytest.mark.parametrize(
    "text",
    [
        "Policy A dropped the object.",
        "The first policy dropped the object.",
        "In rollout B the object fell.",
        "The object fell, as Maria said.",
        "The object fell in Berkeley.",
        "It happened at northfield university.",
        "The weights policy_x let the object fall.",
        "The object fell after 12 seconds.",
        'The person wrote "it fell".',
        "Ask <EMAIL_1> about it.",
        "I saw the object fall.",
        "The object fell on Monday.",
        "See https://example.org for it.",
        "",
        " ",
        "x" * 400,
        "The object\nfell.",
    ],
)
def test_what_belongs_to_a_session_is_not(text: str) -> None:
    assert not general.is_general(text, ["A", "B"], ["Northfield University", "policy_x"])


def test_every_definition_is_general_and_says_something() -> None:
    for slug, category in KNOWN.categories.items():
        for kind in category.kinds:
            text = general.definition(KNOWN, (slug, kind))
            assert (text is None) == (slug == "unknown")
            if text is not None:
                assert general.is_general(text, ["A", "B", "C", "rollout_1"]), text
                assert "Not for" not in text


@pytest.mark.parametrize("particular", ["Policy B let the marker fall.", "It fell on Karin.", "What an idiot robot."])
def test_a_description_with_session_details_is_replaced_by_the_definition(particular: str, tmp_path: Path) -> None:
    answer = say(entry("A"), entry("B", ("It fell.", "dropped the marker"), span="dropped it", description=particular))
    (_, b), report = run(pair(tmp_path, "Policy B dropped the marker. It dropped it."), model(answer))
    definition = "The object was held and then slid or fell out before it should have."
    assert [failure.description for failure in b.failures] == [definition]
    assert b.critique is not None
    assert b.critique.general == definition
    assert report["descriptions_replaced"] == 1


def test_the_site_and_the_policy_are_details(tmp_path: Path) -> None:
    answer = say(
        entry("A"), entry("B", ("It fell.", "dropped it"), span="dropped it", description="It fell in narnia.")
    )
    rollouts = pair(tmp_path, "Policy B dropped it.", site="Narnia")
    assert run(rollouts, model(answer))[1]["descriptions_replaced"] == 1
    rollouts = pair(tmp_path, "Policy B dropped it.", site="Elsewhere")
    assert run(rollouts, model(answer))[1].get("descriptions_replaced", 0) == 0


def test_insults_go_into_no_critique_of_a_model(tmp_path: Path) -> None:
    answer = say(entry("A"), entry("B", ("The stupid thing dropped it.", "dropped it"), ("It fell.", "dropped it")))
    (_, b), report = run(pair(tmp_path, "Policy B dropped it."), model(answer))
    assert b.critique is not None
    assert b.critique.text == "It fell."
    assert report["statements_abusive"] == 1
