"""What goes through the distiller: a session's feedback as a case, and claims about its rollouts with their spans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from bad_robot_behavior.schema import AnnotatorType, Rule, Severity
from bad_robot_behavior.vlm.client import Usage


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to sort for one session. `own` is feedback on one rollout alone, by label."""

    instruction: str
    labels: dict[str, str]  # label -> rollout_id, of all rollouts that the feedback names
    feedback: str | None
    own: dict[str, str]
    details: tuple[str, ...] = ()  # site, policy and robot names: what a general description must not hold. Never sent

    def text_for(self, label: str) -> list[str]:
        """The texts in which a span for this rollout may stand."""
        return [text for text in (self.feedback, self.own.get(label)) if text is not None]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of a critique, and the words of the feedback that it rests on."""

    text: str
    span: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A failure that the feedback reports, and the words that it rests on. The description is free of the session."""

    category: str
    kind: str
    severity: Severity | None
    span: str
    description: str | None
    annotator: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one rollout."""

    statements: tuple[Statement, ...] = ()
    failures: tuple[Claim, ...] = ()


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one session: by rollout_id what was found, or the rule for which nothing was, and how it broke.

    usages: what each question that was put to a model took."""

    found: dict[str, Found]
    usages: tuple[Usage, ...] = ()
    broken: Rule | None = None
    detail: str = ""


class Reader(Protocol):
    """One way of reading feedback."""

    annotator_type: ClassVar[AnnotatorType]

    @property
    def model(self) -> str: ...

    @property
    def prompt_sha256(self) -> str | None: ...

    def parameters(self) -> dict[str, Any]:
        """All that decides what is read, as JSON."""
        ...

    def read(self, cases: Sequence[Case], counters: Counter[str]) -> list[Settled]:
        """What came of each case, in order. Counts what was dropped into `counters`. Raises EndpointError."""
        ...


def stands_in(span: str, texts: Sequence[str]) -> bool:
    """Does the span stand in one of the texts letter by letter, from word edge to word edge, and say something?

    A single Latin word rests on nothing ("the" stands in every text) unless it is all that was written.
    """
    if len(re.findall(r"\w+", span)) < 2 and re.fullmatch(r"[\W\w]{0,3}|[\x00-\u024f]*", span):
        return any(span.strip() and span.strip(" .!") == text.strip(" .!\n") for text in texts)
    edge = (r"(?<![A-Za-z0-9])" if span[0].isalnum() else "") + re.escape(span)
    edge += r"(?![A-Za-z0-9])" if span[-1].isascii() and span[-1].isalnum() else ""
    return any(re.search(edge, text) for text in texts)
