from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import bad_robot_behavior.vlm.prompts as prompts
from bad_robot_behavior.vlm.prompts import load_prompt, read_prompt

FILES = sorted((Path(prompts.__file__).parent / "prompts").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_prompt_is_read_with_its_hash(path: Path) -> None:
    text, sha256 = load_prompt(path.stem)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert text == path.read_text()
    assert all(read_prompt(path.stem).parts.values())
    assert {"system", "question"} & set(read_prompt(path.stem).parts)


@pytest.mark.parametrize("name", ["nothing", "../gvl", "", "gvl.txt"])
def test_a_prompt_that_is_not_there_lists_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="there are: distill, "):
        load_prompt(name)


def test_values_are_not_read_for_names_again() -> None:
    filled = read_prompt("gvl").fill("anchor", instruction="pay $count for ${system} and $$")
    assert "pay $count for ${system} and $$" in filled


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        read_prompt("gvl").fill("anchor")
