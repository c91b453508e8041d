from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bad_robot_behavior.curation.distill import support
from bad_robot_behavior.curation.distill.claims import Claim, Statement
from bad_robot_behavior.schema import Asked
from bad_robot_behavior.vlm.client import Answer, Request
from bad_robot_behavior.vlm.stub import StubClient
from tests.curation.distill.models import GOOD, entry, judges, model, pair, refusals, run, say, unasked, verdicts

TWO_CLAIMS = say(
    entry("A", ("It did well.", "Policy A put the marker in the cup.")),
    entry("B", ("It set fire to the lab.", "dropped the marker"), span="dropped the marker on the table"),
)


def test_a_claim_that_the_second_pass_refuses_is_dropped_and_counted(tmp_path: Path) -> None:
    (a, b), report = run(pair(tmp_path), model(TWO_CLAIMS, refused=(2,)))
    assert a.critique is not None
    assert b.critique is None
    assert [failure.kind for failure in b.failures] == ["slip_or_drop"]
    assert (report["statements_unsupported"], report["failures_unsupported"]) == (1, 0)
    (a, b), report = run(pair(tmp_path), model(TWO_CLAIMS, refused=(1, 3)))
    assert a.critique is None
    assert b.critique is not None
    assert b.critique.attributed_spans == ("dropped the marker",)
    assert b.critique.general is None
    assert b.failures == ()
    assert (report["statements_unsupported"], report["failures_unsupported"]) == (1, 1)


def test_the_judge_sees_claim_definition_and_quotation_between_marks(tmp_path: Path) -> None:
    client = model(GOOD)
    run(pair(tmp_path), client)
    (request,) = (request for request in client.asked if judges(request))
    text = str(request.messages[1].parts[0])
    assert "rollout: B\nclaim: Grasp, Slip or drop: The object was held and then" in text
    assert "Severity: low. Here: It fell.\nquotation: dropped the marker on the table\n</claim 3 " in text
    assert request.json_schema is not None
    assert request.json_schema["properties"]["verdicts"]["minItems"] == 3


def test_what_it_took_is_said_with_each_rollout(tmp_path: Path) -> None:
    """Both questions of a session, asked about both rollouts together; not the answer that had to be repaired."""

    def counted(request: Request) -> Answer:
        text = verdicts(request) if judges(request) else GOOD if len(request.messages) > 2 else "no JSON"
        return Answer(text=text, prompt_tokens=100, completion_tokens=7)

    made, _ = run(pair(tmp_path), StubClient(counted))
    took = {"requests": 2, "answers": 2, "prompt_tokens": 200, "completion_tokens": 14}
    assert [rollout.asked for rollout in made] == 2 * [(Asked(stage="distill", model="stub", rollouts=2, **took),)]
    silent, _ = run(pair(tmp_path), model(GOOD))
    assert (silent[0].asked[0].prompt_tokens, silent[0].asked[0].completion_tokens) == (None, None)


def test_where_nothing_is_claimed_nothing_is_asked(tmp_path: Path) -> None:
    client = model(say(entry("A"), entry("B")))
    rollouts = pair(tmp_path)
    assert unasked(run(rollouts, client)[0]) == rollouts
    assert len(client.asked) == 1


@pytest.mark.rule("distill.unverified")
@pytest.mark.parametrize(
    "verdict",
    [
        "All fine!",
        json.dumps({"verdicts": []}),
        json.dumps({"verdicts": [{"claim": 1, "supported": True}] * 3}),
        json.dumps({"verdicts": [{"claim": n, "supported": True} for n in (1, 2, 4)]}),
        json.dumps({"verdicts": [{"claim": n, "supported": "yes"} for n in (1, 2, 3)]}),
    ],
)
def test_what_was_not_checked_is_not_kept(verdict: str, tmp_path: Path) -> None:
    client = StubClient(lambda request: verdict if judges(request) else GOOD)
    rollouts = pair(tmp_path)
    made, report = run(rollouts, client)
    assert unasked(made) == rollouts
    assert report["sessions_unverified"] == 1
    codes = [(subject, code) for subject, code, _ in refusals(rollouts, client)]
    assert codes == [(rollout.rollout_id, "distill.unverified") for rollout in rollouts]

    def mends(request: Request) -> str:
        if not judges(request):
            return GOOD
        return verdict if len(request.messages) == 2 else verdicts(request)

    assert run(rollouts, StubClient(mends))[0] != rollouts


def test_by_words_one_request_is_enough_and_inventions_fall(tmp_path: Path) -> None:
    client = model(TWO_CLAIMS)
    (a, b), report = run(pair(tmp_path), client, support="words")
    assert len(client.asked) == 1
    assert a.critique is None  # "did well" is not in the words
    assert b.critique is None
    assert [failure.kind for failure in b.failures] == ["slip_or_drop"]
    assert (report["statements_unsupported"], report["failures_unsupported"]) == (2, 0)


@pytest.mark.parametrize(
    ("text", "span", "supported"),
    [
        ("It dropped the marker on the table.", "dropped the marker", True),
        ("It drops markers.", "Policy B dropped the marker on the table", True),
        ("It dropped the marker and broke the lamp and the window.", "dropped the marker", False),
        ("It did not drop the marker.", "dropped the marker", False),
        ("It never dropped it.", "A did not drop it", True),
        ("It dropped the cup.", "dejó caer el vaso", False),
        ("It.", "Policy B dropped the marker", False),
    ],
)
def test_words_support_a_sentence(text: str, span: str, supported: bool) -> None:
    assert support.says(Statement(text=text, span=span)) is supported


@pytest.mark.parametrize(
    ("category", "span", "supported"),
    [
        ("grasp", "B dropped the cup", True),
        ("reach", "B dropped the cup", False),
        ("grasp", "B did not drop the cup", False),
        ("grasp", "B might drop the cup", False),
    ],
)
def test_words_support_a_failure(category: str, span: str, supported: bool) -> None:
    fields: dict[str, Any] = {"kind": "unknown", "severity": None, "description": None, "annotator": "m"}
    assert support.says(Claim(category=category, span=span, **fields)) is supported
