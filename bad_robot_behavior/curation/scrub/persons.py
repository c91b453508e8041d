"""Names of people in free text: the evaluators' own, and those that a phrase introduces ("my name is", "- Priya").

`names.Names` finds names without such help; what it finds is known from then on, like a name that was introduced.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from importlib import resources

_CAPITAL = r"[^\W\d_a-z]"
_FULL = rf"{_CAPITAL}[\w'’-]{{1,30}}(?: (?:{_CAPITAL}\.|{_CAPITAL}[\w'’-]{{1,30}})){{0,2}}"
_NAME = rf"(?P<name>{_FULL})"
_ROLE = (
    "evaluator|operator|annotator|labell?er|experimenter|teleoperator|supervisor|colleague|lab ?mate|intern|student|"
    "advisor|adviser|postdoc|technician|co-?worker|roommate|friend|professor|engineer|contact(?: person)?"
)
_DONE_BY = (
    "evaluated|recorded|annotated|labell?ed|tested|reviewed|run|performed|supervised|teleoperated|operated|reset|"
    "collected|filmed|written|scored|graded|observed|reported|submitted|signed"
)
_ENDS = r"(?=\s{0,3}(?:$|[,.;:()\n!?<]|and\b|or\b|at\b|on\b|for\b|if\b|to\b|from\b|who\b|about\b|in\b|again\b))"
_WISH = "best|thanks|thank you|many thanks|cheers|regards|best regards|kind regards|best wishes|sincerely|yours"

_INTRODUCTIONS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"\b(?i:my|the|her|his|their) name(?: is|'s|’s) {_NAME}",
        rf"\b(?i:this is) {_NAME}(?= (?:speaking|here|from|again|at)\b)",
        rf"(?:^|[.!?] ){_NAME} here(?=[,.:;!]| again)",
        rf"(?:^|[.!?)]|\s)\s?[-–—~]{{1,2}}\s?{_NAME}\.?[ \t]{{0,3}}$",
        rf"\b(?i:{_WISH})[,!.]?\s{{1,3}}{_NAME}\.?[ \t]{{0,3}}$",
        rf"\b(?:Dr|Prof|Professor|Mr|Mrs|Ms|Mx)\b\.? {_NAME}",
        rf"\b(?i:e-?mail|phone|call|text|tell|message|dm|with|thank|thanks to) {_NAME}"
        r"(?= ?[(<]| (?:at|on|if|about|via) )",
        rf"\b(?i:ask|contact|ping|cc|notify) {_NAME}(?: (?:or|and) (?P<other>{_FULL}))?{_ENDS}",
        rf"(?:^|[\s(]){_NAME} (?:said|says|told|asked|thinks|thought|noticed|helped|suggested|agreed|wrote)\b",
        rf"(?<=[a-z,;] ){_NAME} (?:restarted|rebooted|reset|fixed|repaired|replaced|unplugged|stopped by)\b",
        rf"\b(?i:{_ROLE}) {_NAME}{_ENDS}",
        rf"\b(?i:{_ROLE}|name|author|by)\s?[:=]\s?{_NAME}{_ENDS}",
        rf"\b(?i:{_ROLE})(?: was| is| named| called|'s name is){{1,2}} {_NAME}{_ENDS}",
        rf"\b(?i:{_DONE_BY}) by {_NAME}{_ENDS}",
    )
)

_WORD = re.compile(r"[^\W\d_]+")
_STANDING_WORD = re.compile(r"(?<![^\W_])([^\W\d_]+)\d{0,4}(?![^\W_])")  # jdoe42 is one, the letters in a hash are not
_JOINS = re.compile(r"[\s._'’-]{0,3}")
_INITIAL = re.compile(r"[\s._]{0,2}(?<![^\W\d_])[^\W\d_](?![^\W\d_])\.?")
_CLOSING_INITIAL = re.compile(r" [^\W\d_a-zA-D]\.")
_FIRST = re.compile(rf"(?<![^\W_])({_CAPITAL}[^\W\d_]{{0,30}})\.? $")
_EMAIL = re.compile(r"([\w.+-]{1,64})@")


def words(title: str) -> frozenset[str]:
    """The words under a [title] of words.txt."""
    text = resources.files("bad_robot_behavior.curation.scrub").joinpath("words.txt").read_text("utf-8")
    lines = (line for line in text.split(f"[{title}]")[1].split("[")[0].splitlines() if not line.startswith("#"))
    return frozenset(" ".join(lines).split())


NEVER = words("never")
ALSO_WORDS = words("also")


def fold(text: str) -> str:
    """A name as it is compared: compatibility form, case-folded, single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class Persons:
    """The people known in one session. A person is a number; the parts of a name lead to it.

    `names` finds names that nothing introduces, as spans of a text; None: such names are not looked for.
    """

    def __init__(self, names: Callable[[str], tuple[tuple[int, int], ...]] | None = None) -> None:
        self._names = names
        self._parts: dict[str, int] = {}
        self._initials: dict[int, set[str]] = {}
        self._count = 0

    def add_evaluator(self, name: str) -> None:
        """An evaluator's name or e-mail address; the local part of an address is taken apart into names."""
        parts = _evaluator_parts(name)
        self._add(parts)

    def learn(self, text: str) -> None:
        """Take in the names that a text introduces."""
        for pattern in _INTRODUCTIONS:
            for match in pattern.finditer(text):
                self._learn_name(match["name"])
                if match.groupdict().get("other"):
                    self._learn_name(match["other"])
        for match in _EMAIL.finditer(text):
            words = [word for word in re.split(r"[^\w]|[\d_]", match[1]) if len(word) >= 3]
            if len(words) >= 2 and not any(word.casefold() in NEVER for word in words):
                self._add(words)
        for start, end in self._names(text) if self._names else ():
            self._add(_WORD.findall(text[start:end]))

    def _learn_name(self, name: str) -> None:
        words = [word for word in _WORD.findall(name) if len(word) > 1]
        acronym = bool(words) and words[0].isupper() and len(words[0]) <= 3
        if words and not acronym and words[0].casefold() not in NEVER:
            self._add(words)

    def find(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Start, end and number of each known person in a text; the parts of a full name are one find."""
        for start, end in self._names(text) if self._names else ():
            number = self._add(_WORD.findall(text[start:end]))
            if number is not None:
                yield start, end, number
        if not self._parts:
            return
        start = end = 0
        person: int | None = None
        for match in _STANDING_WORD.finditer(text):
            known = self._known(match[1])
            if known is None:
                continue
            if person is not None and known == person and _between(text[end : match.start()]):
                end = match.end()
                continue
            if person is not None:
                yield start, _with_initial(text, end), person
            start, end, person = self._with_first(text, match.start(), known), match.end(), known
        if person is not None:
            yield start, _with_initial(text, end), person

    def _known(self, word: str) -> int | None:
        key = word.casefold()
        number = self._parts.get(key)
        if number is not None and key in ALSO_WORDS and not word[0].isupper():
            return None
        return number

    def _with_first(self, text: str, end: int, person: int) -> int:
        """The start of a name, moved before a first name or initial that fits the one known (k.brandt: Karin)."""
        match = _FIRST.search(text, max(0, end - 34), end)
        fits = match is not None and match[1][0].casefold() in self._initials.get(person, ())
        return match.start(1) if match is not None and fits else end

    def _add(self, words: Iterable[str]) -> int | None:
        """The person with this name, known from now on; None where no part of it can be told from other words."""
        folded = [word.casefold() for word in words]
        parts = [part for part in folded if len(part) >= 3 and part not in NEVER]
        if not parts and len(folded) >= 2 and all(len(part) >= 2 and part not in NEVER for part in folded):
            parts = [" ".join(folded)]  # "Bo Li": too short to be looked for by its parts
        if not parts:
            return None
        number = next((self._parts[part] for part in parts if part in self._parts), None)
        if number is None:
            self._count += 1
            number = self._count
        for part in parts:
            self._parts.setdefault(part, number)
        self._initials.setdefault(number, set()).update(part for part in folded if len(part) == 1)
        return number


def is_initial(word: str) -> bool:
    """Is it an initial that closes a name? Not A to D: the next sentence may be about policy A."""
    return bool(_CLOSING_INITIAL.fullmatch(f" {word}"))


def _with_initial(text: str, end: int) -> int:
    """The end of a name, moved behind an initial that follows it ("Priya R.")."""
    match = _CLOSING_INITIAL.match(text, end)
    return match.end() if match else end


def _between(gap: str) -> bool:
    """Does nothing but a joint or an initial stand between two parts of a name?"""
    return len(gap) <= 6 and bool(_JOINS.fullmatch(gap) or re.fullmatch(rf"{_INITIAL.pattern}{_JOINS.pattern}", gap))


def _evaluator_parts(name: str) -> list[str]:
    local = unicodedata.normalize("NFKC", name).strip().split("@")[0]
    parts = _WORD.findall(local)
    # how logins are made of names: priyaraman, praman; jdoe is a part already
    logins = ["".join(parts), parts[0][0] + parts[-1]] if len(parts) >= 2 and parts[-1].casefold() not in NEVER else []
    return [*parts, *(login for login in logins if len(login) >= 5)]
