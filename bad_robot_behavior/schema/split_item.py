"""What decides the split of a rollout, and what shows that a split leaks: small, so that a release's worth fits in
memory."""

from __future__ import annotations

import msgspec


class SplitItem(msgspec.Struct, frozen=True):
    """The part of a rollout that `curation.split` and `builder.leakage` look at.

    fingerprint: one perceptual hash a video; videos: the SHA-256 of each file; twin: the rollout that a synthetic one
    was made from; category, site, outcome: what a split is stratified by.
    """

    rollout_id: str
    session_id: str
    instruction_key: str
    fingerprint: tuple[str, ...]
    videos: tuple[str, ...] = ()
    twin: str | None = None
    category: str | None = None
    site: str | None = None
    outcome: str | None = None


def twin_of(parameters: str | None) -> str | None:
    """The rollout that the parameters of a synthetic one (a JSON object as text) name as its twin; None for none."""
    if parameters is None:
        return None
    try:
        stated = msgspec.json.decode(parameters)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None  # told by `validate`: the schema says that it is a JSON object
    twin = stated.get("twin") if isinstance(stated, dict) else None
    return twin if isinstance(twin, str) else None
