"""Ids are stable for ever, and instruction keys group what people write differently."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_robot_behavior.schema import instruction_key, pair_id, rollout_id, session_id, stable_id

# Golden values: published ids depend on them. They must never change.
GOLDEN = [
    (stable_id(), "e3b0c44298fc1c149afb"),
    (stable_id("a"), "ca978112ca1bbdcafac2"),
    (stable_id("a", "b"), "f04cdced9736a69da610"),
    (session_id("roboarena", "2025-08-05/s1"), "d8ca07e3babcc91ec083"),
    (rollout_id("roboarena", "2025-08-05/s1", "e1", "A"), "e245e728c59642b56932"),
    (pair_id("0" * 20, "f" * 20), "9d56d237948a2e7b269a"),
]


@pytest.mark.parametrize(("made", "golden"), GOLDEN)
def test_golden_values(made: str, golden: str) -> None:
    assert made == golden


def test_ids_are_the_same_in_another_process() -> None:
    code = "from bad_robot_behavior.schema import rollout_id; print(rollout_id('lab', 'séance', 'é', 'A'))"
    for seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        assert out.stdout.strip() == rollout_id("lab", "séance", "é", "A")


NAMES = st.text(st.characters(blacklist_characters="\x1f", blacklist_categories=("Cs",)), max_size=8)


@settings(derandomize=True)
@given(st.lists(NAMES, max_size=4), st.lists(NAMES, max_size=4))
def test_different_parts_have_different_ids(a: list[str], b: list[str]) -> None:
    one, other = stable_id("x", *a), stable_id("x", *b)
    assert re.fullmatch("[0-9a-f]{20}", one)
    assert (one == other) == (a == b)


def test_kinds_of_ids_do_not_meet() -> None:
    assert len({session_id("a", "b"), pair_id("a", "b"), rollout_id("a", "b", "", ""), stable_id("a", "b")}) == 4
    assert pair_id("a", "b") != pair_id("b", "a")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Put the cup down.", "put the cup down"),
        ("  put   the\tcup\ndown ", "put the cup down"),
        ("put the 'red' cup down!", "put the red cup down"),
        ("put the \u201cred\u201d cup down", "put the red cup down"),
        ("put the cup\u00a0down", "put the cup down"),
        ("\uff30\uff55\uff54 the cup down", "put the cup down"),
        ("STRASSE", "stra\u00dfe"),
        ("don\u2019t spill", "dont spill"),
        ("put the cup down . . ", "put the cup down"),
    ],
)
def test_what_is_one_instruction(one: str, other: str) -> None:
    assert instruction_key(one) == instruction_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("put the red cup down", "put the blue cup down"),
        ("move left then right", "move right then left"),
        ("pick up cup 1", "pick up cup 2"),
        ("pick up the cup", "pickup the cup"),
    ],
)
def test_what_is_not(one: str, other: str) -> None:
    assert instruction_key(one) != instruction_key(other)


@settings(derandomize=True)
@given(st.text(min_size=1))
def test_a_key_is_its_own_key(text: str) -> None:
    key = instruction_key(text)
    assert instruction_key(key) == key
    assert "  " not in key
    assert key == key.strip()


@settings(derandomize=True)
@given(st.text(min_size=1))
def test_case_and_closing_marks_never_matter(text: str) -> None:
    assert instruction_key("x" + text + "x.") == instruction_key("X" + text + "X")


def test_an_accent_behind_a_quote() -> None:
    key = instruction_key("cafe'\u0301")
    assert key == "caf\u00e9" == instruction_key(key)


def test_a_file_name_that_is_not_utf_8_has_an_id() -> None:
    assert re.fullmatch("[0-9a-f]{20}", session_id("lab", "s\udcff"))


@pytest.mark.parametrize("text", ["...", "?!", ".", "'", '"', "\u2019."])
def test_a_key_of_marks_only_is_not_empty(text: str) -> None:
    assert instruction_key(text)
