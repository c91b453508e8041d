"""Ids and keys: hashes of what a source calls things, never random."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SEPARATOR = "\x1f"  # ASCII unit separator: cannot occur in a file name or YAML scalar that a source gives us


def stable_id(*parts: str) -> str:
    """First 80 bits of the SHA-256 of the parts, as 20 lower-case hex digits. Same parts, same id, on any machine."""
    # surrogatepass: a file name that is not UTF-8 reaches us with lone surrogates and has an id like any other
    return hashlib.sha256(_SEPARATOR.join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def session_id(source: str, session_ref: str) -> str:
    """Id of a session from the source's name and the source's own session id."""
    return stable_id("session", source, session_ref)


def rollout_id(source: str, session_ref: str, episode_ref: str, label: str) -> str:
    """Id of a rollout from (source, the source's own session and episode ids, policy letter)."""
    return stable_id("rollout", source, session_ref, episode_ref, label)


def pair_id(rollout_a: str, rollout_b: str) -> str:
    """Id of a preference between two rollouts, in the order in which they were presented."""
    return stable_id("pair", rollout_a, rollout_b)


def instruction_key(instruction: str) -> str:
    """The instruction as a grouping key: NFKC, case-folded, single spaces, no quotes and no closing punctuation.

    A key is its own key. It is empty only for an instruction of nothing but spaces; one of nothing but punctuation
    keeps that.
    """
    key = _fold(instruction)
    while (again := _fold(key)) != key:  # folding one thing can uncover another, such as an accent behind a quote
        key = again
    return key


def _fold(instruction: str) -> str:
    text = unicodedata.normalize("NFKC", instruction).casefold()
    bare = re.sub(r"[\"'`\u2018\u2019\u201c\u201d]", "", text)
    text, bare = " ".join(text.split()), " ".join(bare.split())
    return bare.rstrip(" .!?,;:") or bare or text
