"""Failures read by rules alone: what plain English words say went wrong in one sentence.

It names only what words plainly say. Praise, hedges, questions, wishes and what did not happen give nothing, and so
does any other language. docs/distill.md says how much it finds and how often it is wrong.
"""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources
from pathlib import Path

import msgspec

from bad_robot_behavior.schema import Severity
from bad_robot_behavior.schema.plain_yaml import parse_yaml

MODEL = "rule:keywords-2"
ANNOTATOR = "keyword_rule"
Pair = tuple[str, str]
"""(category, kind)"""

_NEGATION = re.compile(
    r"\b(?:not|no|never|nothing|none|without|neither|nor|avoid\w*|almost|nearly|instead of|rather than|prevent\w*|"
    r"barely|hardly|close to|about to|unable|fail\w*|seem\w*|looked|free of|zero)\b"
)
_HEDGE = re.compile(
    r"\b(?:if|whether|might|may|would(?! not\b)|could have|should|risk\w*|afraid|worried|hoped|expected|wish\w*|"
    r"perhaps|maybe|imagine|unless)\b"
)
_BREAK = re.compile(r"[,;:]|\bbut\b|\bthen\b|\bbefore\b|\bafter\b|\bbecause\b|\bso\b|\bwhile\b")
_WINDOW = 6  # words before a keyword in which a negation reaches it
_NOTHING = re.compile(r"\s+(?:\w+ )?(?:nothing|none|no one|nobody)\b")
_CAN_NOT = re.compile(r"\b(?:can['’]?t|cannot)\b")
_WILL_NOT = re.compile(r"\bwon['’]?t\b")
_DID_NOT = re.compile(r"\b(did|do|does|could|would|should|was|were|is|are|has|had|have)n['’]?t\b")
_NEITHER = re.compile(
    r"\b(?:neither(?: of)?(?: the)?(?: (?:polic(?:y|ies)|rollouts?|robots?|models?|runs?|ones?|two|them)\b)*"
    r"(?: (?:policy )?\w nor (?:policy )?\w\b)?|none of (?:the )?\w+|no (?:policy|model)) "
)
_COUNTERFACTUAL = re.compile(r"\bwould have\b.{1,80}?\bif (?P<who>(?:it|the \w+|\w+ \w+)) had not (?P<what>.+)")
_REPAIR = re.compile(
    r"\b(?:beyond repair|had to be (?:repaired|replaced)|needs? (?:a )?(?:repair\w*|replacement)|can not be used)\b"
)
_UNKNOWN: Pair = ("unknown", "unknown")
_DAMAGE: Pair = ("unsafe_interaction", "object_damage")


class Words(msgspec.Struct, frozen=True):
    """words.yaml, its fragments filled in: patterns by pair, what an instruction may ask for, what says contact."""

    patterns: dict[Pair, re.Pattern[str]]
    asked: dict[Pair, re.Pattern[str]]
    held: re.Pattern[str]


class Read(msgspec.Struct, frozen=True):
    """What one sentence plainly says happened, and what it says did not happen."""

    said: tuple[Pair, ...]
    denied: tuple[Pair, ...]


@functools.cache
def words() -> Words:
    """The patterns of this package, read once."""
    data = parse_yaml(_text("words.yaml"))
    fragments = {f"<{name}>": fragment for name, fragment in data["fragments"].items()}

    def fill(pattern: str) -> str:
        for mark, fragment in fragments.items():
            pattern = pattern.replace(mark, fragment)
        return pattern

    return Words(
        patterns={
            (category, kind): re.compile(rf"\b(?:{'|'.join(map(fill, patterns))})")
            for category, kinds in data["keywords"].items()
            for kind, patterns in kinds.items()
        },
        asked={
            (category, kind): re.compile(pattern)
            for category, kinds in data["asked"].items()
            for kind, pattern in kinds.items()
        },
        held=re.compile(data["held"]),
    )


def sha256() -> str:
    """Hash of all that decides what the rules read: words, grammar, and who a sentence speaks of."""
    text = "".join(_text(name) for name in ("words.yaml", "keywords.py", "attribution.py"))
    return hashlib.sha256(text.encode()).hexdigest()


def plain(sentence: str) -> str:
    """The sentence as the patterns read it: lower case, single spaces, contractions written out, "neither did" as "it
    never did", and of "would have won if it had not slipped" that it slipped."""
    text = " ".join(sentence.lower().split())
    text = _DID_NOT.sub(r"\1 not", _WILL_NOT.sub("will not", _CAN_NOT.sub("can not", text)))
    text = _NEITHER.sub("it never ", text)
    counterfactual = _COUNTERFACTUAL.search(text)
    return f"{counterfactual['who']} {counterfactual['what']}" if counterfactual else text


def read(sentence: str, instruction: str = "") -> Read:
    """Everything that the words of one sentence plainly say went wrong, and what they say did not; no doubles.

    What the instruction itself asks for, such as dropping or tipping something, is not taken for a failure.
    """
    text = plain(sentence)
    if text.endswith("?") or _HEDGE.search(text):
        return Read((), ())
    task = plain(instruction)
    known = words()
    said: list[Pair] = []
    denied: list[Pair] = []
    for pair, pattern in known.patterns.items():
        if pair in known.asked and known.asked[pair].search(task):
            continue
        matches = [match for match in pattern.finditer(text) if pair[0] != "reach" or not _held(text, match)]
        if any(not _denied(text, match) for match in matches):
            said.append(pair)
        elif matches:
            denied.append(pair)
    if len(said) > 1 and _UNKNOWN in said:
        said.remove(_UNKNOWN)  # the taxonomy keeps it for a plain "failed"
    return Read(tuple(said), tuple(denied))


def severity(sentence: str, pair: Pair) -> Severity | None:
    """What the words say of the harm done: damage is medium by its definition, catastrophic where a repair is spoken
    of; of all else nothing is said."""
    if pair != _DAMAGE:
        return None
    return "catastrophic" if _REPAIR.search(plain(sentence)) else "medium"


def is_guarded(sentence: str) -> bool:
    """Does the sentence hedge, ask, wish or deny, so that its likeness to a failure proves nothing?"""
    text = plain(sentence)
    return text.endswith("?") or _HEDGE.search(text) is not None or _NEGATION.search(text) is not None


def _held(text: str, match: re.Match[str]) -> bool:
    """Was contact made before the match? Failures of reach come before contact."""
    held = words().held.search(text[: match.start()])
    return held is not None and _NEGATION.search(text[: held.start()]) is None


def _denied(text: str, match: re.Match[str]) -> bool:
    clause = _BREAK.split(text[: match.start()])[-1]
    negated = _NEGATION.search(" ".join(clause.split()[-_WINDOW:])) is not None
    return negated or _NOTHING.match(text, match.end()) is not None


def _text(name: str) -> str:
    return Path(str(resources.files(__package__).joinpath(name))).read_text("utf-8")
