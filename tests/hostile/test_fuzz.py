"""The fuzzer's targets without its engine: sound inputs, all that ever broke a reader, and a short blind run."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2] / "fuzz"
_spec = importlib.util.spec_from_file_location("fuzz_targets", ROOT / "fuzz.py")
assert _spec is not None and _spec.loader is not None
fuzz: ModuleType = importlib.util.module_from_spec(_spec)
sys.modules["fuzz_targets"] = fuzz
_spec.loader.exec_module(fuzz)

CRASHES = sorted(path for path in (ROOT / "crashes").glob("*/*") if path.is_file())


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "FOLDER", tmp_path)


@pytest.mark.parametrize("crash", CRASHES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_broke_a_reader_once_does_not_again(crash: Path) -> None:
    fuzz.TARGETS[crash.parent.name](crash.read_bytes())


@pytest.mark.parametrize("name", ["npz", "yaml", "dump", "predictions"])
def test_garbled_inputs(name: str) -> None:
    """Bytes of sound inputs changed, cut out, doubled and swapped between them, from one seed."""
    chance = random.Random(7)
    sound = fuzz.seeds(name)
    for data in sound:
        fuzz.TARGETS[name](data)
    for _ in range(150):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.randint(1, 6)):
            at, size = chance.randrange(len(data)), chance.choice((1, 1, 2, 4, 16))
            other = chance.choice(sound)
            start = chance.randrange(len(other))
            patch = chance.choice(
                (chance.randbytes(size), b"", bytes(other[start : start + size]), bytes(data[at : at + size]) * 2)
            )
            data[at : at + size] = patch
            if not data:
                break
        fuzz.TARGETS[name](bytes(data))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("language_instruction", "longform_feedback", "evaluator_name", "policies", "preference", "evaluation_notes")
ENTRY = ("policy_name", "binary_success", "partial_success", "duration")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, anything)),
    entry=st.fixed_dictionaries({}, optional=dict.fromkeys(ENTRY, anything)),
)
def test_metadata_of_any_types(data: dict[str, Any], entry: dict[str, Any]) -> None:
    import yaml

    fuzz.dump(yaml.safe_dump(data).encode())
    fuzz.dump(yaml.safe_dump({"language_instruction": "x", "policies": {"A": entry}} | {"preference": data}).encode())
