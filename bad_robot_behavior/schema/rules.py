"""Named rules: everything that can be wrong with data, each with an id, a sentence and a cure.

A rule is declared beside the code that checks it (`UNDECODABLE = rule("video.undecodable", ...)`), and its id is what
a `Defect` and a `Rejection.code` carry. `all_rules()` imports every room and returns the full list; docs/rules.md is
written from it, and the tests hold an invalid fixture for each.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.schema.records import Rejection, RejectionSubject, RolloutRow, Stage

_ID = re.compile(r"^[a-z_]+\.[a-z0-9_]+$")
_REGISTRY: dict[str, Rule] = {}


class Rule(msgspec.Struct, frozen=True):
    """`id` is room.what, `sentence` says what must hold, `cure` what to do where it does not."""

    id: str
    sentence: str
    cure: str


class Defect(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule at one place."""

    rule: str
    file: str
    field: str | None = None  # JSON path inside the record, such as rewards[0].value
    row: int | None = None  # 0-based row of a table, or line of a file
    value: str | None = None  # the bad value, shortened
    legal: str | None = None  # what would have been legal
    message: str

    @property
    def cure(self) -> str:
        return _REGISTRY[self.rule].cure

    def __str__(self) -> str:
        place = self.file
        if self.row is not None:
            place += f" row {self.row}"
        if self.field:
            place += f" {self.field}"
        text = f"{place}: {self.message}"
        if self.value is not None:
            text += f" (found {self.value})"
        if self.legal is not None:
            text += f"; legal: {self.legal}"
        return f"{text}. {self.cure} [{self.rule}]"


def rule(id: str, sentence: str, *, cure: str) -> Rule:
    """Declare a rule. Raises ValueError for a malformed id, or for one that is taken by another rule."""
    made = Rule(id, sentence, cure)
    if not _ID.match(id):
        raise ValueError(f"rule id {id!r} is not of the form room.what")
    if _REGISTRY.setdefault(id, made) != made:
        raise ValueError(f"rule id {id!r} is declared twice")
    return made


def reject(
    rollout: RolloutRow, stage: Stage, broken: Rule, detail: str, subject: RejectionSubject = "rollout"
) -> Rejection:
    """The rejection of a rollout by a stage, or of the part of it that `subject` names, without which it goes on.

    `detail` says how the rule was broken and holds no text of the source.
    """
    return Rejection(
        subject=subject,
        subject_id=rollout.rollout_id,
        session_id=rollout.session_id,
        source=rollout.source,
        source_ref=rollout.source_ref,
        stage=stage,
        code=broken.id,
        detail=detail,
    )


def shorten(value: Any, limit: int = 80) -> str:
    """A bad value as it is shown in an error: its repr, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def all_rules() -> list[Rule]:
    """Every rule of the package, sorted by id."""
    package = Path(__file__).parent.parent
    for path in sorted(package.rglob("*.py")):
        if " rule(" in path.read_text(encoding="utf-8") or "\nrule(" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
    return sorted(_REGISTRY.values(), key=lambda r: r.id)
