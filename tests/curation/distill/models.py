"""Sessions with feedback, and models that answer about them as told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.curation.distill import Distill
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.schema import DistillSettings, Rejection, Rollout
from bad_robot_behavior.vlm.client import Answer, Request
from bad_robot_behavior.vlm.stub import StubClient
from tests.factories import make_pair

FEEDBACK = "Policy A put the marker in the cup. Policy B dropped the marker on the table."


def pair(folder: Path, feedback: str | None = FEEDBACK, session: str = "session-1", **changes: Any) -> list[Rollout]:
    rollouts = make_pair(folder, session, **changes)
    return [msgspec.structs.replace(r, session=msgspec.structs.replace(r.session, feedback=feedback)) for r in rollouts]


def run(rollouts: list[Rollout], client: Any = None, **settings: Any) -> tuple[list[Rollout], dict[str, int]]:
    """What the stage makes of the rollouts, and its report; nothing is lost or out of order."""
    stage = Distill(DistillSettings(**settings), client)
    made = list(stage.run(rollouts, Store(Path("unused"))))
    assert [r.rollout_id for r in made if isinstance(r, Rollout)] == [r.rollout_id for r in rollouts]
    return [r for r in made if isinstance(r, Rollout)], stage.report()


def refusals(rollouts: list[Rollout], client: Any = None) -> list[tuple[str, str, str]]:
    """(subject_id, code, detail) of the critiques that could not be had."""
    made = Distill(DistillSettings(), client).run(rollouts, Store(Path("unused")))
    return [(r.subject_id, r.code, r.detail) for r in made if isinstance(r, Rejection) and r.subject == "critique"]


def entry(label: str, *critique: tuple[str, str], **failure: Any) -> dict[str, Any]:
    """An entry of an answer: critique as (sentence, span), and one failure where a field of one is given."""
    claim = {"category": "grasp", "kind": "slip_or_drop", "severity": None, "span": "", "description": "It fell."}
    return {
        "label": label,
        "critique": [{"sentence": sentence, "span": span} for sentence, span in critique],
        "failures": [claim | failure] if failure else [],
    }


def say(*entries: dict[str, Any]) -> str:
    return json.dumps({"rollouts": list(entries)})


GOOD = say(
    entry("A", ("It put the marker in the cup.", "Policy A put the marker in the cup.")),
    entry("B", ("It fell.", "Policy B dropped the marker"), span="dropped the marker on the table", severity="low"),
)  # fmt: skip


def judges(request: Request) -> bool:
    """Is this a request of the second pass?"""
    return "verdicts" in (request.json_schema or {})["properties"]


def verdicts(request: Request, refused: tuple[int, ...] = ()) -> str:
    """All claims are supported but those of these numbers."""
    count = (request.json_schema or {})["properties"]["verdicts"]["maxItems"]
    return json.dumps({"verdicts": [{"claim": n, "supported": n not in refused} for n in range(1, count + 1)]})


def model(answer: str | Callable[[Request], str | Answer], refused: tuple[int, ...] = ()) -> StubClient:
    """A model that sorts as told, and supports every claim but the ones of these numbers."""
    sort = answer if callable(answer) else lambda request: answer
    return StubClient(lambda request: verdicts(request, refused) if judges(request) else sort(request), "some-model")


def unasked(rollouts: list[Any]) -> list[Any]:
    """What came of a run, rejections left out, without the account of what asking took."""
    return [msgspec.structs.replace(rollout, asked=()) for rollout in rollouts if isinstance(rollout, Rollout)]
