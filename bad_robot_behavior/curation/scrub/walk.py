"""Every string of a record through one function: a field that is added later is scrubbed unless it is named here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

Fix = Callable[[str, str], str]
"""(text, name of the field) -> text"""

KEEP = frozenset(
    {
        # ids and hashes: made by this package out of hashes
        *("rollout_id", "session_id", "pair_id", "rollout_a", "rollout_b", "sha256", "prompt_sha256", "recipe_sha256"),
        *("raw_sha256", "content_sha256", "fingerprint", "engine_version", "mapping_version"),
        # the recipe's own words, slugs with a fixed form, and words out of closed lists
        *("source", "license", "task_category", "task_category_source", "outcome", "severity", "annotator_type"),
        *("preference", "presented_first", "split", "role", "provenance", "agreement", "verdict", "codec"),
        # places of files on this machine, which packaging leaves behind
        *("path", "trajectory"),
        # handled on their own by the stage
        *("evaluator", "annotator", "site", "instruction_key", "privacy"),
    }
)
"""Fields whose strings are not free text. Everything else is walked. `provenance` holds hashes and a version only."""


def walk(value: T, fix: Fix, field: str = "") -> T:
    """The same value with `fix` applied to every string in it but those of KEEP; records are copied, not changed."""
    return _walk(value, fix, field)  # type: ignore[no-any-return]


def _walk(value: Any, fix: Fix, field: str) -> Any:
    if isinstance(value, str):
        return _json(value, fix) if field == "parameters" else fix(value, field)
    if field == "labels":
        return tuple((fix(label, field), rollout_id) for label, rollout_id in value)
    if isinstance(value, tuple):
        return tuple(_walk(item, fix, field) for item in value)
    if isinstance(value, msgspec.Struct):
        changed = {}
        for name in value.__struct_fields__:
            before = getattr(value, name)
            if name in KEEP or before is None:
                continue
            after = _walk(before, fix, name)
            if after != before:
                changed[name] = after
        return msgspec.structs.replace(value, **changed) if changed else value
    return value


def _json(text: str, fix: Fix) -> str:
    """A JSON object in a string: its strings are walked, its numbers are left alone (a seed is no phone number)."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return fix(text, "parameters")

    def through(item: Any) -> Any:
        if isinstance(item, str):
            return fix(item, "parameters")
        if isinstance(item, list):
            return [through(part) for part in item]
        if isinstance(item, dict):
            return {fix(key, "parameters"): through(part) for key, part in item.items()}
        return item

    made = through(parsed)
    return text if made == parsed else json.dumps(made, ensure_ascii=False)
