"""The published JSON Schemas: what the records say, and the same verdict as the records."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from bad_robot_behavior.schema import contracts
from bad_robot_behavior.schema.contracts import CONTRACTS, contract, differing, published
from tests.schema.rows import VALID, changed, places, removed

VALUES = [None, True, False, 0, 1, -1, 0.5, -0.5, 1.5, 2**40, "", "x", "a", "failure", "0" * 20, "0" * 20 + "\n"]
VALUES += ["A" * 64, "1.0.0", "1.0.0\n", "\u0661.0.0", [], [0.5], ["x"], [None], {}, {"x": 1}]


def test_files_are_what_the_records_say() -> None:
    assert differing() == [], "run: python -m bad_robot_behavior.schema"


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_is_a_named_schema_that_needs_no_network(name: str) -> None:
    schema = published(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:bad-robot-behavior:schema:{name}:1.0.0"
    assert schema["title"]
    assert schema["description"]
    assert schema["additionalProperties"] is False
    references = [part for part in json.dumps(schema).split('"') if part.startswith("#/")]
    assert all(part.removeprefix("#/$defs/") in schema["$defs"] for part in references)


def test_names_that_the_world_sees() -> None:
    assert published("rollout")["title"] == "Rollout"
    assert published("release")["title"] == "Release"
    assert "session" not in published("rollout")["properties"]


def verdicts(name: str, row: Any) -> tuple[bool, bool]:
    try:
        msgspec.convert(row, CONTRACTS[name], strict=True)
        record = True
    except msgspec.ValidationError:
        record = False
    return record, jsonschema.Draft202012Validator(contract(name)).is_valid(row)


@pytest.mark.parametrize("name", CONTRACTS)
def test_record_and_schema_give_the_same_verdict(name: str) -> None:
    """Every value at every place; every field left out; a field too many at every place."""
    valid = VALID[name]()
    assert verdicts(name, valid) == (True, True)
    refused = 0
    some = [changed(valid, place, value) for place in places(valid) for value in VALUES]
    for place in places(valid):
        if place:
            some.append(removed(valid, place))
        some.append(changed(valid, (*place, "extra"), 1) if is_object(valid, place) else valid)
    for row in some[:: 1 + len(some) // 1500]:
        record, schema = verdicts(name, row)
        assert record == schema, row
        refused += not schema
    assert refused > 20


def is_object(value: Any, place: tuple[str | int, ...]) -> bool:
    for part in place:
        value = value[part]
    return isinstance(value, dict)


def test_the_one_known_difference() -> None:
    """JSON counts 3.0 as the integer 3; the records do not."""
    assert verdicts("rollout", VALID["rollout"]() | {"num_steps": 3.0}) == (False, True)


def test_check_tells_what_is_stale(tmp_path: Path) -> None:
    contracts.write(tmp_path)
    assert differing(tmp_path) == []
    (tmp_path / "rollout.schema.json").write_text("{}")
    (tmp_path / "session.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}")
    assert differing(tmp_path) == ["old.schema.json", "rollout.schema.json", "session.schema.json"]
    contracts.write(tmp_path)
    assert differing(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.schema.json" for name in CONTRACTS)


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bad_robot_behavior.schema"]
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    assert subprocess.run([*command, "--rules", str(tmp_path)], check=False).returncode == 0
    assert "`schema.curve_order`" in (tmp_path / "rules.md").read_text()
