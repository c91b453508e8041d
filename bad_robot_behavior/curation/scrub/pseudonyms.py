"""Keyed pseudonyms of evaluators, and site names that do not point at a person.

A pseudonym is HMAC-SHA-256 (RFC 2104) of the folded name, cut to 48 bits. Without the key nobody can test a guess
of who evaluated; with it the maintainer finds all rows of a person who wants to be taken out.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import unicodedata
from pathlib import Path

from bad_robot_behavior.curation.scrub.persons import fold
from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import ScrubSettings

MIN_KEY_BYTES = 16

_HOW = "Make one with: python -c 'import secrets; print(secrets.token_hex(32))'"


class Pseudonyms:
    """Maps names to `ev_` and 12 hex digits. The same name in another case or with other spaces is the same person."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, name: str) -> str:
        return "ev_" + hmac.new(self._key, fold(name).encode(), hashlib.sha256).hexdigest()[:12]

    def mark(self, value: str) -> str:
        """Eight hex digits that stand for a value found in a text: who holds the key can look for it, nobody else."""
        return hmac.new(self._key, b"found " + fold(value).encode(), hashlib.sha256).hexdigest()[:8]

    @property
    def key_id(self) -> str:
        """Eight hex digits that tell two keys apart and say nothing of them."""
        return hmac.new(self._key, b"bad-robot-behavior key id", hashlib.sha256).hexdigest()[:8]


def read_pseudonyms(settings: ScrubSettings, recipe_folder: Path) -> Pseudonyms | None:
    """The pseudonyms of a recipe; None where it drops evaluators.

    Raises RecipeError that names the file or variable where the key is missing or has fewer than 16 bytes.
    """
    if settings.drop_evaluators:
        return None
    if settings.pseudonym_key_file is not None:
        path = recipe_folder / settings.pseudonym_key_file
        where = f"scrub.pseudonym_key_file: {path}"
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            raise RecipeError(f"{where} cannot be read: {error.strerror}. {_HOW}") from error
    elif settings.pseudonym_key_env is not None:
        where = f"scrub.pseudonym_key_env: environment variable {settings.pseudonym_key_env}"
        if settings.pseudonym_key_env not in os.environ:
            raise RecipeError(f"{where} is not set. {_HOW}")
        key = os.environb[settings.pseudonym_key_env.encode()].strip()
    else:
        raise RecipeError(
            "scrub needs exactly one of pseudonym_key_file, pseudonym_key_env, drop_evaluators: true; "
            "evaluator names never go into a release as they are"
        )
    if len(key) < MIN_KEY_BYTES:
        raise RecipeError(f"{where} holds {len(key)} bytes; a key needs at least {MIN_KEY_BYTES}. {_HOW}")
    return Pseudonyms(key)


_ACRONYMS = re.compile(
    "mit|cmu|eth|epfl|uc|ucb|ucla|ucsd|usc|ut|uw|nyu|kaist|kit|tu|tum|csail|usa|uk|ai|iit|iisc|dlr|inria|riken|upenn|"
    "mcgill|nus|ntu|hkust|cuhk|sjtu|pku|tri|fair|rail"
)
_SMALL = re.compile("of|at|and|the|in|for|de|del|della|di|du|der|la|le|und|y|et")
_ALIASES = {
    alias: site
    for site, aliases in {
        "University of California, Berkeley": ("uc berkeley", "berkeley", "ucb", "university of california berkeley"),
        "Stanford University": ("stanford", "stanford univ"),
        "University of Pennsylvania": ("upenn", "penn", "u penn"),
        "University of Washington": ("uw", "uw seattle", "u washington"),
        "Carnegie Mellon University": ("cmu", "carnegie mellon"),
        "Massachusetts Institute of Technology": ("mit",),
        "The University of Texas at Austin": (
            "ut austin",
            "university of texas at austin",
            "university of texas austin",
        ),
        "Université de Montréal": ("udem", "university of montreal", "universite de montreal", "u montreal"),
        "Princeton University": ("princeton",),
        "Yonsei University": ("yonsei",),
        "ETH Zürich": ("eth", "eth zurich", "ethz"),
        "New York University": ("nyu",),
        "Georgia Institute of Technology": ("georgia tech", "gatech"),
    }.items()
    for alias in (*aliases, site)
}


def normalise_site(site: str) -> str | None:
    """An institution's name in one spelling: known ones by a table, others in title case; None where nothing is left.

    It depends on the letters alone, not on their case, spaces, or punctuation at the ends.
    """
    known = _ALIAS_KEYS.get(_site_key(site))
    if known is not None:
        return known
    words = re.sub(r"\buniv\b\.?", "university", fold(site)).strip(" .,;:-_/").split()
    made = [
        word.upper()
        if _ACRONYMS.fullmatch(word.strip("().,"))
        else word
        if at and _SMALL.fullmatch(word)
        else _capital(word)
        for at, word in enumerate(words)
    ]
    return " ".join(made) or None


def _capital(word: str) -> str:
    return re.sub(r"(^|[-/(])([^\W\d_])", lambda m: m[1] + m[2].upper(), word)


def _site_key(site: str) -> str:
    """Letters and digits without accents; what aliases are compared by."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", fold(site)) if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", re.sub(r"\buniv\b", "university", plain)))


_ALIAS_KEYS = {_site_key(alias): site for alias, site in _ALIASES.items()}
