"""The published contracts: JSON Schema 2020-12 files generated from the records.

`schema/json/*.schema.json` is what other people validate against; the records are the only source they are made from.
Two things a JSON Schema cannot say stand elsewhere: rules across fields are in `validate`, and the record types refuse
an integer that is written as 3.0, which JSON counts as the integer 3.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.schema import records
from bad_robot_behavior.schema.recipe import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent / "json"

CONTRACTS: dict[str, type[msgspec.Struct]] = {
    "rollout": records.RolloutRow,
    "preference": records.Preference,
    "trajectory": records.Trajectory,
    "demonstration": records.Demonstration,
    "reward_sample": records.RewardSample,
    "reward_quality": records.RewardQuality,
    "privacy_report": records.PrivacyReport,
    "rejection": records.Rejection,
    "release": records.ReleaseManifest,
    "recipe": Recipe,
    "prediction": records.Prediction,
    "session": records.Session,
    "failure": records.Failure,
    "reward_curve": records.RewardCurve,
}
_TITLES = {"RolloutRow": "Rollout", "ReleaseManifest": "Release"}


@functools.cache
def contract(name: str) -> dict[str, Any]:
    """The JSON Schema of a contract, generated now from its record. Raises KeyError for a name not in CONTRACTS."""
    record = CONTRACTS[name]
    _, parts = msgspec.json.schema_components((record,), ref_template="#/$defs/{name}")
    root = parts.pop(record.__name__)
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": f"urn:bad-robot-behavior:schema:{name}:{records.SCHEMA_VERSION}",
        **root,
    }
    schema["title"] = _TITLES.get(schema["title"], schema["title"])
    if parts:
        schema["$defs"] = parts
    return schema


def contract_text(name: str) -> str:
    """The text of a contract's file."""
    return json.dumps(contract(name), indent=2, ensure_ascii=False) + "\n"


def file_name(name: str) -> str:
    return f"{name}.schema.json"


@functools.cache
def published(name: str) -> dict[str, Any]:
    """The JSON Schema of a contract as it lies in the package's `schema/json`."""
    loaded: dict[str, Any] = json.loads((FOLDER / file_name(name)).read_text(encoding="utf-8"))
    return loaded


def differing(folder: Path = FOLDER) -> list[str]:
    """Names of files in `folder` that are not what the records say: changed, missing, or of no contract."""
    wanted = {file_name(name): contract_text(name) for name in CONTRACTS}
    there = {path.name for path in folder.glob("*.json")}
    wrong = there - wanted.keys()
    for name, text in wanted.items():
        if name not in there or (folder / name).read_text(encoding="utf-8") != text:
            wrong.add(name)
    return sorted(wrong)


def write(folder: Path = FOLDER) -> None:
    """Write every contract's file and remove files of contracts that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {file_name(name): contract_text(name) for name in CONTRACTS}
    for stale in {path.name for path in folder.glob("*.schema.json")} - wanted.keys():
        (folder / stale).unlink()
    for name, text in wanted.items():
        write_text(folder / name, text)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that the file is either the old one or the whole new one."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(part).chmod(0o644)
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)
