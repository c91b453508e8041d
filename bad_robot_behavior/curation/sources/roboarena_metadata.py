"""The metadata.yaml of a RoboArena session: what its keys mean and what may stand in them.

Keys as the public dumps have them (RoboArena, arXiv 2506.18123): evaluation_location, evaluator_name,
language_instruction, longform_feedback, policies, preference and two timestamps; policies.<LETTER> has policy_name,
binary_success (0 or 1), partial_success (in [0, 1]) and duration (the index of the last control step).
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.curation.refusal import Refusal
from bad_robot_behavior.curation.sources.lab_yaml import printable
from bad_robot_behavior.schema import Choice, rule
from bad_robot_behavior.schema.plain_yaml import YamlError, read_yaml

METADATA_MISSING = rule(
    "roboarena.metadata_missing",
    "A session folder must hold metadata.yaml.",
    cure="Download the session again; without it nothing is known of its rollouts.",
)
METADATA_UNREADABLE = rule(
    "roboarena.metadata_unreadable",
    "metadata.yaml must be plain YAML: UTF-8, no tags, no aliases, no repeated keys, within the size limits.",
    cure="Download the session again, or mend the line that is named.",
)
METADATA_TYPE = rule(
    "roboarena.metadata_type",
    "metadata.yaml must be a mapping with a mapping `policies` and text in its text fields.",
    cure="Quote text that YAML takes for a number, a date or a truth value.",
)
NO_INSTRUCTION = rule(
    "roboarena.no_instruction",
    "A session must have a language_instruction.",
    cure="Write down what the robot was told; a rollout without it cannot be judged.",
)
NOT_VALID = rule(
    "roboarena.not_valid",
    "Where a session has evaluation_notes, they must say VALID_SESSION.",
    cure="Nothing: the evaluator marked the session as invalid.",
)
UNPRINTABLE = rule(
    "roboarena.unprintable",
    "The names of folders, the policy's name and the text fields of metadata.yaml must be text without control "
    "characters.",
    cure="Rename the folder or remove the characters; they can steer a terminal that shows them.",
)
BAD_ENTRY = rule(
    "roboarena.bad_entry",
    "policies.<LETTER> must be a mapping with a policy_name, under one capital letter.",
    cure="Write the letter, and under it policy_name, binary_success, partial_success and duration.",
)
BAD_SCORE = rule(
    "roboarena.bad_score",
    "partial_success must be a number in [0, 1], or null.",
    cure="Divide a score of 0 to 100 by 100; write null where none was given.",
)
BAD_SUCCESS = rule(
    "roboarena.bad_success", "binary_success must be 0, 1 or null.", cure="Write 1 for success and 0 for failure."
)
BAD_DURATION = rule(
    "roboarena.bad_duration",
    "duration must be the index of the last control step: a whole number from 0, or null.",
    cure="Write the number of steps less one.",
)
BAD_PREFERENCE = rule(
    "roboarena.bad_preference", "preference must be A, B, TIE or null.", cure="Write which of A and B was better."
)

_MAX_STEPS = 1_000_000  # 18 hours at 15 Hz; the client stops at 400
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # tab and ends of lines are text
_VALID = re.compile(r"^\s*VALID_SESSION\b", re.MULTILINE)  # INVALID_SESSION must not match


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What policies.<LETTER> says of one rollout. None: unknown."""

    policy: str
    score: float | None
    success: bool | None
    num_steps: int | None


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """metadata.yaml of one session. `policies` and `preference` are checked one by one, so that one bad entry costs
    one rollout and not the session."""

    instruction: str
    feedback: str | None
    site: str | None
    evaluator: str | None
    policies: dict[Any, Any]
    preference: Any


def check_printable(folder: Path, of: str) -> None:
    """Raises Refusal (roboarena.unprintable)."""
    if printable(folder.name) != folder.name:
        raise Refusal(UNPRINTABLE, f"the name of the {of}'s folder cannot be printed")


def read_mapping(path: Path) -> dict[Any, Any]:
    """What metadata.yaml holds, not looked at yet. Raises Refusal."""
    if not path.is_file():
        raise Refusal(METADATA_MISSING, "the session folder has no file metadata.yaml")
    try:
        data = read_yaml(path)
    except OSError as error:
        raise Refusal(METADATA_UNREADABLE, f"metadata.yaml cannot be read: {error.strerror}") from error
    except YamlError as error:
        raise Refusal(METADATA_UNREADABLE, f"metadata.yaml: {error}") from error
    if not isinstance(data, dict):
        raise Refusal(METADATA_TYPE, f"metadata.yaml holds a {type(data).__name__}, not a mapping")
    return data


def read_metadata(data: dict[Any, Any]) -> Metadata:
    """The metadata of a session out of what its metadata.yaml holds. Raises Refusal."""
    notes = _text(data, "evaluation_notes")
    if notes is not None and not _VALID.search(notes):
        raise Refusal(NOT_VALID, "evaluation_notes do not say VALID_SESSION")
    policies = data.get("policies")
    if not isinstance(policies, dict):
        raise Refusal(METADATA_TYPE, f"policies is a {type(policies).__name__}, not a mapping")
    instruction = _text(data, "language_instruction")
    if instruction is None:
        raise Refusal(NO_INSTRUCTION, "language_instruction is missing or empty")
    return Metadata(
        instruction=instruction,
        feedback=_text(data, "longform_feedback"),
        site=_text(data, "evaluation_location"),
        evaluator=_text(data, "evaluator_name"),
        policies=policies,
        preference=data.get("preference"),
    )


def remains(data: dict[Any, Any]) -> Metadata:
    """What can be told of the rollouts of a session that is refused: the entries and the preference, if any."""
    policies = data.get("policies")
    return Metadata(
        instruction="",
        feedback=None,
        site=None,
        evaluator=None,
        policies=policies if isinstance(policies, dict) else {},
        preference=data.get("preference"),
    )


def _text(data: dict[Any, Any], key: str) -> str | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refusal(METADATA_TYPE, f"{key} is a {type(value).__name__}, not text")
    if _CONTROL.search(value):
        raise Refusal(UNPRINTABLE, f"{key} has control characters")
    return value.strip() or None


def read_entry(value: Any) -> Entry:
    """One value of `policies` that is not null. Raises Refusal."""
    if not isinstance(value, dict):
        raise Refusal(BAD_ENTRY, f"the entry is a {type(value).__name__}, not a mapping")
    policy = value.get("policy_name")
    if not isinstance(policy, str) or not policy.strip() or len(policy) > 200:
        raise Refusal(BAD_ENTRY, "policy_name is missing or not a text of 1 to 200 characters")
    if _CONTROL.search(policy):
        raise Refusal(UNPRINTABLE, "policy_name has control characters")
    return Entry(
        policy=policy.strip(),
        score=_score(value.get("partial_success")),
        success=_success(value.get("binary_success")),
        num_steps=_num_steps(value.get("duration")),
    )


def _score(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(BAD_SCORE, f"partial_success is a {type(value).__name__}, not a number")
    if not 0 <= value <= 1:  # NaN fails this too
        shown = f"{value:.6g}" if isinstance(value, int) or math.isfinite(value) else str(value)
        raise Refusal(BAD_SCORE, f"partial_success is {shown}")
    return float(value)


def _success(value: Any) -> bool | None:
    if value is None:
        return None
    if value not in (0, 1) or not isinstance(value, (bool, int, float)):
        raise Refusal(BAD_SUCCESS, f"binary_success is a {type(value).__name__} other than 0 and 1")
    return bool(value)


def _num_steps(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(BAD_DURATION, f"duration is a {type(value).__name__}, not a whole number")
    if not 0 <= value < _MAX_STEPS:
        raise Refusal(BAD_DURATION, f"duration is not in [0, {_MAX_STEPS:,})")
    return value + 1


def read_preference(value: Any) -> Choice | None:
    """Which of A and B the evaluator preferred; None where the question was not answered. Raises Refusal."""
    if value is None:
        return None
    choices: dict[str, Choice] = {"a": "a", "b": "b", "tie": "tie"}
    choice = choices.get(value.strip().casefold()) if isinstance(value, str) else None
    if choice is None:
        raise Refusal(BAD_PREFERENCE, "preference is not one of A, B and TIE")
    return choice
