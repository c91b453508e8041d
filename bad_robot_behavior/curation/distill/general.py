"""Descriptions of failures that would fit any session: what the text level of a demonstration shows to a model.

The rule, checked on every description that a model wrote: no name of a rollout, policy, site or robot; no capital
letter after the first word, so no name of a person or place; no digit, quotation, address or placeholder of the scrub
stage; no first person. A description that breaks it is replaced by the definition of its kind, which never does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bad_robot_behavior.curation.distill.attribution import names_a_rollout
from bad_robot_behavior.curation.distill.keywords import Pair
from bad_robot_behavior.schema.taxonomy import Taxonomy

MAX_LENGTH = 300
_CAPITAL = re.compile(r"(?<=[^.!?\s])[ \t]+[\"'(]?[^\W\d_a-z]")  # after a space that no sentence ends before
_DETAIL = re.compile(
    r"\d|[\"“”„«»@<>\[\]{}]|://|\b(?:i|i['’]m|me|my|we|us|our|you|your|yesterday|today|tomorrow|morning|afternoon|"
    r"january|february|march|april|june|july|august|september|october|november|december|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b",
    re.IGNORECASE,
)
_ABUSE = re.compile(
    r"\b(?:idiot\w*|stupid\w*|moron\w*|dumb\w*|garbage|trash|crap\w*|shit\w*|bullshit|fuck\w*|damn\w*|asshole\w*|bastard\w*|"
    r"bitch\w*|ashamed|retard\w*)\b",
    re.IGNORECASE,
)


def is_general(text: str, labels: Sequence[str], details: Sequence[str] = ()) -> bool:
    """Is the text free of what belongs to one session? `details` are names that are known to, such as the site."""
    if not text.strip() or len(text) > MAX_LENGTH or not text.isprintable():
        return False
    if _CAPITAL.search(text) or _DETAIL.search(text) or names_a_rollout(text, labels):
        return False
    return not any(re.search(rf"(?i)(?<!\w){re.escape(detail)}(?!\w)", text) for detail in details if detail.strip())


def is_abusive(text: str) -> bool:
    """Does the text insult? Such words stay in the feedback and go into no critique of a model."""
    return _ABUSE.search(text) is not None


def definition(taxonomy: Taxonomy, pair: Pair) -> str | None:
    """The definition of a kind as a description, without its remarks on use; None where nothing is said at all."""
    category = taxonomy.categories[pair[0]]
    if pair == ("unknown", "unknown"):
        return None
    text = category.definition if pair[1] == "unknown" else category.kinds[pair[1]].definition
    return re.split(r"\. Not |\. Legal |\. Use ", " ".join(text.split()))[0].rstrip(".") + "."
