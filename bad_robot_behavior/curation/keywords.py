"""Feedback read by rules alone: which sentence speaks of which rollout, and what plain English words say went wrong.

It names only what words plainly say. A sentence that names no rollout, compares two, or says what did not happen gives
nothing, and so does any other language. docs/models.md says what it misses.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence

import msgspec

MODEL = "rule:keywords-1"

_SENTENCE = re.compile(r"[^\s.!?;\n](?:[^.!?;\n]|[.!?](?=\S))*[.!?;]*")
_NOUN = r"(?:policy|policies|rollout|robot|model|run|episode|attempt|system|agent)"
_JOINT = re.compile(rf"\b(?:both|neither)\b(?:\s+(?:of\s+)?(?:the\s+)?(?:{_NOUN}s?|robots|ones|them))?", re.IGNORECASE)
_CUT = re.compile(
    r"(?:[,:]\s*)?\b(?:but|while|whereas|and|although|though|however|then)\s+(?:the\s+)?$|[,:]\s*(?:the\s+)?$"
)
_COMPARED = re.compile(
    r"\b(?:than|compared (?:to|with)|unlike|like|versus|vs|as (?:well|good|bad|badly) as)\b", re.IGNORECASE
)

# A bare "A" is also the English article: it names a rollout only before a verb of these or punctuation.
_VERB = (
    r"(?:was|is|did|didn['’]t|does|doesn['’]t|had|has|could|couldn['’]t|can|can['’]t|cannot|never|got|went|also|just|"
    r"kept|made|took|put|hit|let|then|only|actually|almost|nearly|successfully|immediately|fails|won)\b"
)
_PARTICIPLE = r"(?!red\b)[a-z]+ed (?:the|it|its|to|on|in|at|into|off|over|and|but|both|all|nothing|around|up|down)\b"

_NEGATION = re.compile(
    r"\b(?:not|no|never|nothing|none|without|neither|nor|avoid\w*|almost|nearly|instead of|rather than|prevent\w*|"
    r"barely|hardly|close to|about to|unable|fail\w*|seem\w*|looked)\b|n['’]t\b"
)
_HEDGE = re.compile(
    r"\b(?:if|whether|might|may|would(?! not\b)|could have|should|risk\w*|afraid|worried|hoped|expected)\b"
)
_BREAK = re.compile(r"[,;:]|\bbut\b|\bthen\b|\bbefore\b|\bafter\b|\bbecause\b|\bso\b", re.IGNORECASE)
_LONGEST = 2_000  # characters of a sentence; more is no sentence, and matching would take its square in time
_WINDOW = 6  # words before a keyword in which a negation reaches it

_NOT = (
    r"(?:did not|didn['’]t|does not|doesn['’]t|could not|couldn['’]t|cannot|can['’]t|never|failed to|fails to|"
    r"unable to|was not able to)"
)
_HIT = r"(?:(?:bumped|crashed|slammed) (?:\w+ )?into|collided with)"
_THINGS = r"(?:object|item|thing|one|toy|cup|mug|bowl|block|cube|bottle|fruit|marker|pen|can|box|tool|plate|colou?r)"
_FIXED = r"(?:table|wall|shelf|counter|desk|rack|cabinet|drawer|door|mount|stand|workspace)"
_VESSELS = r"(?:bowl|plate|cup|box|bin|basket|target|container|tray|pot)"

KEYWORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("grasp", "slip_or_drop"): (
        r"dropp(?:ed|ing)\b(?! (?:\w+ ){0,4}(?:in|into|inside)\b)",  # "dropped it into the bowl" may be what was asked
        r"drops (?:the|it)\b",
        r"slipp?(?:ed|s|ing) (?:out|from|off|away|through)",
        r"lost (?:it|its grip|the (?!way|track|connection|tie|game|round)\w+)\b",
        r"let (?:it|the \w+) (?:fall|drop|slip)\b",
    ),
    ("grasp", "timing_error"): (r"(?:opened|closed|released|let go)(?: \w+){0,5} too (?:early|soon|late)\b",),
    ("grasp", "no_grasp"): (
        rf"{_NOT} (?:even |actually |manage to )?(?:grasp(?:ed)?|grab(?:bed)?|pick(?:ed)?)\b",
        r"missed (?:the|its|every|all|both)(?: \w+)? grasps?\b",
        r"closed (?:the|its) gripper on (?:nothing|air)",
    ),
    ("grasp", "failed_release"): (
        rf"{_NOT} (?:release[ds]?|let(?:ting)? (?:it |the \w+ )?go)\b",
        r"would(?: not|n['’]t) let go",
    ),
    ("unsafe_interaction", "collision_object"): (
        r"knock(?:ed|s|ing) (?:\w+ ){0,4}(?:over|down|off|away)\b",
        rf"{_HIT} (?:the |a |another )(?!(?:\w+ )?{_FIXED}\b)\w+",
    ),
    ("unsafe_interaction", "collision_environment"): (
        rf"(?:{_HIT}|hit|hits|banged (?:on|into)|struck) (?:the |a )(?:\w+ )?{_FIXED}\b",
    ),
    ("unsafe_interaction", "excessive_force"): (
        r"too much force",
        r"(?:pressed|pushed|squeezed|gripped) (?:\w+ ){0,3}(?:too|really|very) hard\b",
        r"with (?:a lot of|excessive) force",
        r"crush(?:ed|ing)\b",
    ),
    ("unsafe_interaction", "object_damage"): (r"(?:broke|cracked|tore|shattered|dented) (?:the|a|its|it)\b",),
    ("manipulation", "spill"): (r"spill(?:ed|s|ing)?\b", r"spilt\b"),
    ("manipulation", "misplaced"): (
        rf"missed the {_VESSELS}\b",
        r"(?:placed|put|released) (?:\w+ ){1,4}(?:next to|beside|outside) the\b",
    ),
    ("manipulation", "incomplete_motion"): (
        rf"{_NOT} (?:fully|completely) (?:open|close|shut|insert|turn|fold|wipe)\w*",
        r"only (?:partially|partly|half[- ]?way|half) (?:opened|closed|shut|inserted|turned|folded|wiped)",
    ),
    ("manipulation", "premature_stop"): (r"stopped (?:half ?way|midway|in the middle)\b",),
    ("manipulation", "topple"): (r"toppled? over\b", r"(?:tower|stack) (?:fell|collapsed)"),
    ("semantic", "wrong_object"): (
        rf"wrong (?:\w+ )?{_THINGS}\b",
        r"(?:picked(?: up)?|grabbed|grasped|took) (?:up )?the wrong \w+",
    ),
    ("semantic", "wrong_goal_state"): (
        r"(?:placed|put|moved|dropped) (?:\w+ ){1,4}(?:in|into|on|onto|to|at) the wrong "
        rf"(?:place|location|spot|side|drawer|{_VESSELS})\b",
    ),
    ("semantic", "reverted"): (r"(?:took|pulled|removed) it (?:back )?out again",),
    ("no_attempt", "stall"): (
        r"(?:did not|didn['’]t|never|does not|doesn['’]t) (?:even )?"
        r"(?:move[ds]?|start(?:ed)?(?: moving)?|do anything)\b(?! (?:the|it|its|any|towards?|to|onto?|into)\b)",
        r"did nothing\b",
        r"froze\b",
        r"stood still\b",
        r"remained (?:still|motionless)",
    ),
    ("no_attempt", "aimless_motion"): (
        r"aimless(?:ly)?\b",
        r"moved (?:around |about )?randomly",
        r"wandered (?:around|about)",
    ),
    ("reach", "approach_miss"): (rf"{_NOT} (?:even )?(?:reach(?:ed)?|get (?:close|near))\b",),
    ("poor_execution", "jerky"): (r"jerky\b", r"jerk(?:ed|ily)\b", r"shaky\b", r"jitter(?:y|ed|ing)\b"),
    ("poor_execution", "hesitant_or_repeated_attempts"): (
        r"hesita(?:ted|nt|ting|tion)\b",
        r"paused a lot\b",
        r"kept (?:stopping|pausing|hesitating)\b",
        r"(?:several|multiple|many|repeated) (?:attempts|tries)",
        r"tried (?:several|multiple|many) times",
        r"after (?:two|three|four|five) (?:attempts|tries)",
    ),
    ("poor_execution", "slow"): (r"(?:too|very|really|extremely|was|is) slow(?:ly)?\b",),
}
"""(category, kind) -> patterns over lower-case text. A pattern that begins with a negation is that statement;
before any other pattern, a negation in the same clause takes the failure back."""

_COMPILED = tuple(
    (category, kind, re.compile(rf"\b(?:{'|'.join(patterns)})")) for (category, kind), patterns in KEYWORDS.items()
)
SHA256 = hashlib.sha256(
    repr((sorted(KEYWORDS.items()), _NEGATION.pattern, _HEDGE.pattern, _WINDOW)).encode()
).hexdigest()


class Said(msgspec.Struct, frozen=True):
    """A piece of the feedback, verbatim, and the labels of the rollouts that it speaks of (empty: it does not say)."""

    text: str
    labels: tuple[str, ...]


def sentences(text: str) -> list[str]:
    """The sentences of a text, verbatim, ended by . ! ? ; or a line break; a dot inside a number does not end one."""
    return [found for match in _SENTENCE.finditer(text) if (found := match[0].strip().rstrip(";").rstrip())]


def attribute(text: str, labels: Sequence[str]) -> list[Said]:
    """Each sentence, or each clause where a sentence speaks of several rollouts in turn, with who it names."""
    said: list[Said] = []
    for sentence in sentences(text):
        if len(sentence) > _LONGEST:
            said.append(Said(sentence, ()))
        elif len(labels) == 1:
            said.append(Said(sentence, tuple(labels)))
        else:
            said += [Said(clause, _named(clause, labels)) for clause in _clauses(sentence, labels)]
    return said


def attribute_own(text: str, label: str, others: Sequence[str]) -> list[Said]:
    """Each sentence of feedback on one rollout alone; one that names or compares with another speaks of nobody."""
    return [
        Said(sentence, () if _COMPARED.search(sentence) or _mentions(sentence, others) else (label,))
        for sentence in sentences(text)
    ]


def failures(sentence: str) -> list[tuple[str, str]]:
    """(category, kind) of everything that the words of one sentence plainly say went wrong; no doubles, in order."""
    text = " ".join(sentence.lower().split())
    if text.endswith("?") or _HEDGE.search(text):
        return []
    found: dict[tuple[str, str], None] = {}
    for category, kind, pattern in _COMPILED:
        if any(not _negated(text[: match.start()]) for match in pattern.finditer(text)):
            found[category, kind] = None
    return list(found)


def _negated(before: str) -> bool:
    clause = _BREAK.split(before)[-1]
    return _NEGATION.search(" ".join(clause.split()[-_WINDOW:])) is not None


def _clauses(sentence: str, labels: Sequence[str]) -> list[str]:
    """The sentence cut before each mention of another rollout that follows a conjunction or comma."""
    mentions = _mentions(sentence, labels)
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
    return (
        re.search(
            rf"(?:^|\bboth |\bneither )(?:{_NOUN} )?\S+(?: and| or| nor|,|&) (?:{_NOUN} )?$",
            sentence[:start],
            re.IGNORECASE,
        )
        is not None
    )


def _named(clause: str, labels: Sequence[str]) -> tuple[str, ...]:
    if _COMPARED.search(clause):
        return ()
    joint = _JOINT.search(clause)
    named = dict.fromkeys(label for _, label in _mentions(clause, labels))
    if joint is not None:
        # "neither dropped it" says what did not happen, to nobody in particular
        return () if joint[0].lower().startswith("neither") or len(named) == 1 else tuple(labels)
    return tuple(named) if len(named) == 1 else ()


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


def _pattern(label: str) -> re.Pattern[str]:
    name = re.escape(label)
    either = f"[{label.upper()}{label.lower()}]" if re.fullmatch("[A-Za-z]", label) else name
    with_noun = rf"(?i:\b{_NOUN})\s+[\"'(]?{either}\b(?! (?:bit|lot|little|few)\b)"
    if not re.fullmatch("[A-Z]", label):
        return re.compile(with_noun)
    bare = rf"(?<![\w'’&]){name}(?='s|’s|\s*[,:;.!?)/]|\s*$| {_VERB}| {_PARTICIPLE}| and [A-Z]\b| or [A-Z]\b)"
    if label not in {"A", "I"}:
        bare = rf"(?<![\w'’&.]){name}(?![\w'’.]\w|\w)"
    return re.compile(rf"{with_noun}|{bare}")
