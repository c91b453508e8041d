"""Who a piece of feedback speaks of: sentences, and clauses of them, with the labels of the rollouts that they name.

Only what is safe: a label with or without a noun before it ("Policy A", "B:"), "the second policy" and "the other one"
where there are two, "both" and "neither" as subjects, and a sentence that goes on with "it" or "then" about the one
rollout that the sentence before it named. "The left one" and every comparison speak of nobody.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence

import msgspec

_SENTENCE = re.compile(r"[^\s.!?;\n。！？；](?:[^.!?;\n。！？；]|[.!?](?=\S))*[.!?;。！？；]*")
_NOUN = (
    r"(?:policy|policies|rollout|robot|model|run|episode|attempt|system|agent|pol\.|"
    r"política|politique|strategie|estrategia|modelo|modèle|modell|策略|ポリシー)"
)
_NOUNS = r"(?:polic(?:y|ies)|rollouts?|robots?|models?|runs?|ones?|two|three|them)"

# A bare "A" is also the English article: it names a rollout only before a finite verb or punctuation.
_ADVERB = r"(?:also|then|just|only|actually|almost|nearly|never|still|even|first|again|always|simply|[a-z]{3,}ly)"
_IRREGULAR = (
    r"(?:was|is|did|does|had|has|could|can|cannot|couldn['’]?t|didn['’]?t|doesn['’]?t|can['’]?t|wasn['’]?t|got|went|kept|"
    r"made|took|put|hit|let|fails|won|came|held|ran|slid|stood|stuck|gave|began|broke|tore|found|brought|threw|spun|lost|"
    r"swept|bent|mistook|tried|froze|fell|forgot|overshot|drove|seems|shook|knew|tends|spilt|would|will)\b"
)
_PAST = (  # "A crushed can" is a can, "A crushed the can" is a rollout
    r"(?!red\b)[a-z]{2,}ed(?=(?: [a-z]{3,}ly)? (?:the|it|its|them|to|on|in|at|into|onto|off|over|and|but|both|all|"
    r"nothing|around|up|down|some|half|most|a|an|my|one|two|three|four|five|six|several|many|lots|too|very|again|with|without|for|from|"
    r"after|before|next|straight|towards?|against|along|under|through|past|near|between|beside|halfway|only|not|way|"
    r"about|out|away|because|while|when|his|her|that|this|there)\b|[,.;:!?]|\s*$)"
)
_PRESENT = (
    r"(?!(?:series|lens|gas|canvas|bus|bias|species|means)\b)[a-z]{2,}[a-rt-z]s"
    r"(?= (?:the|it|its|to|on|in|at|into|a|an|up|too|and|but|over)\b)"
)
_FINITE = rf"(?:{_ADVERB} )?(?:{_IRREGULAR}|{_PAST}|{_PRESENT})"

_BOTH = re.compile(
    rf"\b(?:both|neither|all|none(?= of\b)|no(?= (?:policy|model)\b))(?: of)?(?: the)?(?: {_NOUNS}\b)+|"
    rf"\b(?:both|neither)\b(?= (?:{_FINITE}|were\b))|\bthey both\b",
    re.IGNORECASE,
)
_COMPARED = re.compile(
    r"\b(?:than|compared (?:to|with)|unlike|like|versus|vs|as (?:well|good|bad|badly) as)\b", re.IGNORECASE
)
_TO_A_MODEL = re.compile(
    r"\b(?:ignore|disregard|forget) (?:all |any |the |your |these |my )*(?:previous|prior|above|earlier|other)?\s?"
    r"(?:instructions?|rules|prompts?|orders)\b|\bsystem prompt\b|\bas (?:the|your) (?:developer|admin\w*|operator)\b|"
    r"\byou are (?:now )?(?:an? |the )?(?:ai|assistant|language model|developer|chatbot)\b|"
    r"\b(?:list|report|mark|label|classify|record|write|answer) (?:that )?(?:policy|rollout) \w+ (?:as|under)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"(?:(?:but|and|so) )?"
    r"(?:(?:then|after(?:wards| that)|finally|eventually|later|also|at the end|in the end|next),? )*"
    r"(?:it|the (?:robot|arm|gripper|policy|hand))\b|(?:then|afterwards|after that|finally|eventually)\b",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"(?:[,:]\s*)?\b(?:but|while|whereas|and|although|though|however|then)\s+(?:the\s+)?$|[,:]\s*(?:the\s+)?$"
)
_PAIR = re.compile(
    rf"(?:^|[,:;] |\b(?:both|neither|while|but|and) )(?:{_NOUN} )?\S+(?: and| or| nor|,|&) (?:{_NOUN} )?$",
    re.IGNORECASE,
)
_BETWEEN = re.compile(rf"(?:{_NOUN}\s+)?[\"'(]?\S+?\)?,?(?: and| or| nor|,|&| &|/)? ?(?:{_NOUN} )?", re.IGNORECASE)
_BEFORE = re.compile(r"(?:(?:both|neither|but|and|while|so|also|then),? )*(?:the )?", re.IGNORECASE)
_OTHER = re.compile(r"\bthe other (?:policy|rollout|robot|model|one|run)\b", re.IGNORECASE)
_ORDINAL = re.compile(rf"\b(?:first|second|third|left|right|other|former|latter) {_NOUN}\b", re.IGNORECASE)
_ANYONE = re.compile(
    rf"\b(?:the (?:first|second|other|same) (?:one|{_NOUN})|both(?: {_NOUNS})?|(?:the )?policy)\b", re.IGNORECASE
)
_LONGEST = 2_000  # characters of a sentence; more is no sentence, and matching would take its square in time


class Said(msgspec.Struct, frozen=True):
    """A piece of the feedback, verbatim, and the labels of the rollouts that it speaks of (empty: it does not say)."""

    text: str
    labels: tuple[str, ...]


def sentences(text: str) -> list[str]:
    """The sentences of a text, verbatim, ended by . ! ? ; or a line break; a dot inside a number does not end one."""
    return [found for match in _SENTENCE.finditer(text) if (found := match[0].strip().rstrip(";；").rstrip())]


def attribute(text: str, labels: Sequence[str]) -> list[Said]:
    """Each sentence, or each clause where a sentence speaks of several rollouts in turn, with who it names."""
    said: list[Said] = []
    for paragraph in re.split(r"\n\s*\n", text):
        last: tuple[str, ...] = ()
        for sentence in sentences(paragraph):
            pieces = [Said(sentence, ())] if _TO_A_MODEL.search(sentence) else _said(sentence, labels, last)
            said += pieces
            last = pieces[-1].labels if pieces and len(pieces[-1].labels) == 1 else ()
    return said


def attribute_own(text: str, label: str, others: Sequence[str]) -> list[Said]:
    """Each sentence of feedback on one rollout alone; one that names or compares with another speaks of nobody."""
    return [
        Said(sentence, () if any(_speaks_otherwise(sentence, others)) else (label,)) for sentence in sentences(text)
    ]


def names_a_rollout(text: str, labels: Sequence[str]) -> bool:
    """Does the text name one of the rollouts, by label or by place in the session?"""
    return bool(_mentions(text, labels)) or _ORDINAL.search(text) is not None


def without_names(text: str, labels: Sequence[str]) -> str:
    """The text with "the robot" in place of whoever it names, for a reader that knows no labels."""
    for label in labels:
        text = _pattern(label).sub("the robot", text)
    return _ANYONE.sub("the robot", text)


def _speaks_otherwise(sentence: str, others: Sequence[str]) -> list[bool]:
    if len(sentence) > _LONGEST:
        return [True]
    return [bool(_COMPARED.search(sentence)), bool(_TO_A_MODEL.search(sentence)), bool(_mentions(sentence, others))]


def _said(sentence: str, labels: Sequence[str], last: tuple[str, ...]) -> list[Said]:
    if len(sentence) > _LONGEST:
        return [Said(sentence, ())]
    if len(labels) == 1:
        return [Said(sentence, tuple(labels))]
    pieces: list[Said] = []
    for clause in _clauses(sentence, labels):
        named = _named(clause, labels, last)
        pieces.append(Said(clause, named))
        last = named if len(named) == 1 else ()
    return pieces


def _clauses(sentence: str, labels: Sequence[str]) -> list[str]:
    """The sentence cut before each mention of another rollout that follows a conjunction or comma."""
    mentions = _mentions(sentence, labels)
    if len(labels) == 2 and mentions:
        mentions = sorted(mentions + _others(sentence, labels, mentions))
    cuts = [0]
    for (_, label), (start, following) in itertools.pairwise(mentions):
        joined = _CUT.search(sentence[:start])
        if label != following and joined is not None and joined.start() > mentions[0][0] and not _pair(sentence, start):
            cuts.append(start)
    pieces = [sentence[a:b] for a, b in zip(cuts, [*cuts[1:], len(sentence)], strict=True)]
    trimmed = [
        re.sub(r"[\s,:]+(?:(?:but|while|whereas|and|although|though|however|then)\s+)?(?:the\s+)?$", "", p)
        for p in pieces
    ]
    return [piece for piece in trimmed if piece]


def _pair(sentence: str, start: int) -> bool:
    """Is the mention at `start` the second half of a joint subject, as in "A and B both ..."?"""
    return _PAIR.search(sentence[:start]) is not None


def _named(clause: str, labels: Sequence[str], last: tuple[str, ...]) -> tuple[str, ...]:
    if _COMPARED.search(clause):
        return ()
    named = tuple(dict.fromkeys(label for _, label in _mentions(clause, labels)))
    joint = _BOTH.search(clause)
    if joint is not None and len(named) < 2:
        return () if named else tuple(labels)  # "A dropped it, both were slow" speaks of two things
    if len(named) > 1:
        return named if _is_joint_subject(clause, labels) else ()
    if named:
        return named
    if len(labels) == 2 and len(last) == 1 and _OTHER.search(clause):
        return tuple(label for label in labels if label != last[0])
    return last if _GOES_ON.match(clause) else ()


def _others(sentence: str, labels: Sequence[str], mentions: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """(position, label) of "the other one": of two rollouts the one that was not named last before it."""
    found = []
    for match in _OTHER.finditer(sentence):
        before = [label for start, label in mentions if start < match.start()]
        found += [(match.start(), label) for label in labels if before and label != before[-1]]
    return found


def _is_joint_subject(clause: str, labels: Sequence[str]) -> bool:
    """Does the clause begin with the rollouts joined, as in "A, B and C failed", and name none after that?"""
    mentions = _mentions(clause, labels)
    between = [clause[a:b] for (a, _), (b, _) in itertools.pairwise(mentions)]
    joined = all(_BETWEEN.fullmatch(gap) for gap in between)
    return joined and _BEFORE.fullmatch(clause[: mentions[0][0]]) is not None


def _mentions(text: str, labels: Sequence[str]) -> list[tuple[int, str]]:
    """(position, label) of every place where a rollout is named, in order."""
    found: list[tuple[int, str]] = []
    for label in labels:
        found += [(match.start(), label) for match in _pattern(label).finditer(text)]
    if len(labels) == 2:
        for word, label in (("first", labels[0]), ("second", labels[1])):
            pattern = rf"\b{word} (?:policy|rollout|robot|model|run|one|episode)\b"
            found += [(match.start(), label) for match in re.finditer(pattern, text, re.IGNORECASE)]
    return sorted(found)


@functools.lru_cache(maxsize=256)
def _pattern(label: str) -> re.Pattern[str]:
    name = re.escape(label)
    either = f"[{label.upper()}{label.lower()}]" if re.fullmatch("[A-Za-z]", label) else name
    # Scripts that are not Latin write no space, so "策略A" is a noun and its label too.
    space = r"(?:\s+|(?<=[^\x00-\u024f])\s*)"
    ends = r"(?![A-Za-z0-9_])(?! (?:bit|lot|little|few)\b)"
    with_noun = rf"(?i:(?<![A-Za-z0-9]){_NOUN}){space}[\"'(]?{either}{ends}"
    if not re.fullmatch("[A-Z]", label):
        return re.compile(with_noun)
    after = rf"(?='s|’s|\s*[,:;.!?)/]|\s*$| {_FINITE}| (?:and|or|nor) (?:policy )?[A-Z]\b)"
    bare = rf"(?<![\w'’&]){name}{after}"
    small = rf"^{label.lower()}(?= {_FINITE}|:)"  # "b took forever": only as the first word
    if label not in {"A", "I"}:
        bare = rf"(?<![\w'’&.]){name}(?![\w'’.]\w|\w)"
    return re.compile(rf"{with_noun}|{bare}|{small}")
