"""The labelled feedback (feedback.yaml, feedback_sessions.yaml, feedback_late.yaml, feedback_held_out.yaml), and how a
reading of it is scored."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from bad_robot_behavior.curation.distill.claims import Case, Found

HERE = Path(__file__).parent
EXAMPLE = HERE / "watched_sessions.yaml"
Part = Literal["dev", "test", "sessions", "late", "held_out"]
Claimed = tuple[str, str, str]
"""(label, category, kind)"""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One text, who it speaks of, and the failures that it reports of them."""

    part: Part
    text: str
    instruction: str
    labels: tuple[str, ...]
    language: str
    says: dict[str, tuple[tuple[str, str], ...]]

    @property
    def case(self) -> Case:
        """The item as a session whose rollouts are called by their labels."""
        own = {} if len(self.labels) > 1 else {self.labels[0]: self.text}
        names = {label: label for label in self.labels}
        return Case(instruction=self.instruction, labels=names, feedback=None if own else self.text, own=own)

    @property
    def wanted(self) -> set[Claimed]:
        return {(label, *pair) for label, pairs in self.says.items() for pair in pairs}


@functools.cache
def items(*parts: Part) -> list[Item]:
    """The items of these parts, in the files' order."""
    texts: list[tuple[Part, str, str, dict[str, Any]]] = []
    texts += [(_part(entry["text"]), entry["text"], "", entry) for entry in _yaml(HERE / "feedback.yaml")]
    texts += [
        ("sessions", session["longform_feedback"], session["language_instruction"], entry)
        for session, entry in zip(_yaml(EXAMPLE), _yaml(HERE / "feedback_sessions.yaml"), strict=True)
    ]
    for part in ("late", "held_out"):
        texts += [(part, entry["text"], "", entry) for entry in _yaml(HERE / f"feedback_{part}.yaml")]
    return [_item(*text) for text in texts if text[0] in parts]


def claimed(found: dict[str, Found]) -> set[Claimed]:
    """What a reader claims of one item."""
    return {(label, claim.category, claim.kind) for label, one in found.items() for claim in one.failures}


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over (item, rollout, failure): claimed and labelled, claimed only, labelled only."""

    right: int
    extra: int
    missed: int

    @property
    def precision(self) -> float | None:
        return self.right / (self.right + self.extra) if self.right + self.extra else None

    @property
    def recall(self) -> float | None:
        return self.right / (self.right + self.missed) if self.right + self.missed else None


def scores(read: Sequence[tuple[set[Claimed], set[Claimed]]], width: Literal[2, 3]) -> dict[str, Score]:
    """Scores by category, and of `all`, from (claimed, wanted) of each item. `width` 2 compares label and category, 3
    the kind too."""
    counts: Counter[tuple[str, str]] = Counter()
    for got, want in read:
        cut, should = {claim[:width] for claim in got}, {claim[:width] for claim in want}
        for name, claims in (("right", cut & should), ("extra", cut - should), ("missed", should - cut)):
            for claim in claims:
                counts[claim[1], name] += 1
                counts["all", name] += 1
    names = sorted({category for category, _ in counts} - {"all"})
    return {
        name: Score(right=counts[name, "right"], extra=counts[name, "extra"], missed=counts[name, "missed"])
        for name in [*names, "all"]
    }


def macro(found: dict[str, Score], of: Literal["precision", "recall"]) -> float | None:
    """Mean over the categories for which it is defined; None where it is for none."""
    values = [value for name, score in found.items() if name != "all" and (value := getattr(score, of)) is not None]
    return sum(values) / len(values) if values else None


def _yaml(path: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))
    return loaded


def _part(text: str) -> Part:
    return "test" if int(hashlib.sha256(text.encode()).hexdigest()[0], 16) >= 8 else "dev"


def _item(part: Part, text: str, instruction: str, entry: dict[str, Any]) -> Item:
    says = {
        label: tuple(_pair(name) for name in names)
        for label, names in msgspec.convert(entry["says"], dict[str, list[str]]).items()
    }
    return Item(
        part=part,
        text=text,
        instruction=instruction,
        labels=tuple(msgspec.convert(entry.get("labels", ["A", "B"]), list[str])),
        language=str(entry.get("language", "en")),
        says=says,
    )


def _pair(name: str) -> tuple[str, str]:
    category, kind = name.split("/")
    return category, kind


def pairs(found: Iterable[Item]) -> set[tuple[str, str]]:
    """Every (category, kind) that the items name."""
    return {pair for item in found for named in item.says.values() for pair in named}
