"""Personal data in text: found in a form that shows through tricks of Unicode, replaced by typed placeholders.

A placeholder such as <EMAIL_1> is the same for the same value within a session, so "ask <PERSON_1>, <EMAIL_1>" still
tells who is who, and it says nothing between sessions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bad_robot_behavior.curation.scrub import patterns
from bad_robot_behavior.curation.scrub.names import Names
from bad_robot_behavior.curation.scrub.persons import Persons, fold

VERSION = 4  # raise it when the same text would come out otherwise

_MAX_ROUNDS = 5
_TAKEN, _PUBLIC = 1, 2  # a public address stays, unless it holds the name of a person of the session
_SAME = dict.fromkeys("\u3002\uff61", ".") | dict.fromkeys(
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d", "-"
)


class Found(NamedTuple):
    """Something personal in a text."""

    kind: str
    value: str


class SessionText:
    """Replaces personal data in the strings of one session. Not for use from two threads."""

    def __init__(self, evaluators: Iterable[str] = (), names: Names | None = None) -> None:
        """`evaluators`: names or e-mail addresses of the session's evaluators, as the source has them. `names`: what
        finds names that nothing introduces; None: only introduced ones are found."""
        self._persons = Persons(names)
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}
        self._done: dict[tuple[str, bool], tuple[str, tuple[Found, ...]]] = {}
        for name in evaluators:
            self._persons.add_evaluator(name)

    def learn(self, text: str) -> None:
        """Take in the names that a text introduces; call it for all texts of the session before the first `scrub`."""
        self._persons.learn(shadow(text)[0])

    def scrub(self, text: str, *, camera: bool = False) -> tuple[str, int]:
        """The text without personal data, and how many places were replaced. `camera`: it is a camera's name."""
        made, found = self._looked_through(text, camera)
        return made, len(found)

    def found(self, text: str, *, camera: bool = False) -> tuple[Found, ...]:
        """What `scrub` replaces in the text: kinds and values, in order. The values are what must not get out."""
        return self._looked_through(text, camera)[1]

    def places(self, text: str, *, camera: bool = False) -> Iterator[tuple[str, tuple[int, int]]]:
        """The kind of each thing that `scrub` would replace, and where it stands in the text: start and end."""
        seen, origin = shadow(text)
        for start, end, kind, _ in sorted(self._find(seen, camera)):
            yield kind, (start, end) if origin is None else (origin[start], origin[end - 1] + 1)

    def _looked_through(self, text: str, camera: bool) -> tuple[str, tuple[Found, ...]]:
        key = (text, camera)
        if key not in self._done:
            self._done[key] = self._scrub(text, camera)
        return self._done[key]

    def _scrub(self, text: str, camera: bool) -> tuple[str, tuple[Found, ...]]:
        """Replace until nothing more is found: a tagger reads a sentence with placeholders otherwise than without."""
        found: list[Found] = []
        for _ in range(_MAX_ROUNDS):
            text, more = self._round(text, camera)
            if not more:
                break
            found += more
        return text, tuple(found)

    def _round(self, text: str, camera: bool) -> tuple[str, list[Found]]:
        seen, origin = shadow(text)
        found = sorted(self._find(seen, camera))
        if not found:
            return text, []
        pieces = []
        at = 0
        for start, end, kind, value in found:
            first = start if origin is None else origin[start]
            after = end if origin is None else origin[end - 1] + 1
            pieces += [text[at:first], f"<{kind}_{self._number(kind, value)}>"]
            at = after
        return "".join([*pieces, text[at:]]), [Found(kind, seen[start:end]) for start, end, kind, _ in found]

    def _find(self, text: str, camera: bool) -> Iterator[tuple[int, int, str, str]]:
        marks = bytearray(len(text))

        def free(start: int, end: int, over: int = 0) -> bool:
            if end <= start or any(mark and mark != over for mark in marks[start:end]):
                return False
            marks[start:end] = bytes([_TAKEN]) * (end - start)
            return True

        for start, end, public in patterns.urls(text):
            if public:
                marks[start:end] = bytes([_PUBLIC]) * (end - start)
            elif free(start, end):
                yield start, end, "URL", text[start:end]
        for kind, finder in patterns.BEFORE_PROTECTED:
            yield from ((s, e, kind, text[s:e]) for s, e in finder(text) if free(s, e))
        for start, end in patterns.PROTECTED(text):
            free(start, end)
        if camera:
            yield from ((s, e, "SERIAL", text[s:e]) for s, e in patterns.CAMERA_SERIAL(text) if free(s, e))
        for kind, finder in patterns.STRUCTURED:
            yield from ((s, e, kind, text[s:e]) for s, e in finder(text) if free(s, e))
        for start, end, person in self._persons.find(text):
            if free(start, end, over=_PUBLIC):
                yield start, end, "PERSON", str(person)

    def _number(self, kind: str, value: str) -> int:
        key = (kind, fold(value))
        if key not in self._numbers:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._numbers[key] = self._counts[kind]
        return self._numbers[key]


def scrub_text(text: str, evaluators: Iterable[str] = (), names: Names | None = None) -> str:
    """One string on its own without personal data, such as the source_ref of a rejection that came before scrubbing."""
    session = SessionText(evaluators, names)
    session.learn(text)
    return session.scrub(text)[0]


def shadow(text: str) -> tuple[str, list[int] | None]:
    """The text as the finders read it, and for each of its characters the index in `text` (None: they are the same).

    Each character is put in its compatibility form (NFKC: a full-width @ is an @), and format characters (category Cf:
    zero-width space and joiner, soft hyphen, marks of direction) are left out; all dashes are one, and so are all full
    stops. Letters of other scripts that merely look Latin stay what they are.
    """
    if text.isascii():
        return text, None
    characters: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text):
        if character.isascii():
            made = character
        elif unicodedata.category(character) == "Cf":
            continue
        elif character in _SAME:
            made = _SAME[character]
        else:
            made = unicodedata.normalize("NFKC", character)
        characters.extend(made)
        origin.extend([index] * len(made))
    return "".join(characters), origin
