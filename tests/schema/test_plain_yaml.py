"""YAML of strangers: plain data, no objects, no bombs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bad_robot_behavior.schema.plain_yaml import MAX_BYTES, MAX_DEPTH, YamlError, read_yaml


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_data(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    assert read_yaml(write(path, "a: [1, 2.5, null, true, 'é']\nb:\n  c: |-\n    two\n    lines\n")) == {
        "a": [1, 2.5, None, True, "é"],
        "b": {"c": "two\nlines"},
    }
    assert read_yaml(write(path, "")) is None
    assert read_yaml(write(path, "day: 2026-11-23")) == {"day": "2026-11-23"}


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "line 2 has an alias"),
        ("a: !!python/object/apply:os.system ['true']", "tag"),
        ("a: !!python/name:os.system", "tag"),
        ("a: 1\na: 2\n", "line 2 repeats a key"),
        ("a: [1, 2", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("{[1]: 2}", "tag or key"),
        ("a: 0x_", "number"),
        ("[" * (MAX_DEPTH + 5), "nesting"),
        ("a: \x07", "not valid YAML"),
        ("a: 1" + ":1" * 100_000, "number"),  # base 60: 5 s of arithmetic
        ("a: 0x" + "f" * 400, "number"),
        ("1: a\n0x1: b\n", "line 2 repeats a key"),
        ("a: !!set {b}", "line 1 has a tag"),
        ("a: {<<: {b: 1}}", "line 1 has a tag or key"),
        ('a: "\\ud83d"', "line 1 has half a character"),
        ("x" * (MAX_BYTES + 1), "bytes"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(YamlError, match=says):
        read_yaml(write(tmp_path / "x.yaml", text))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(YamlError, match="pipe"):
        read_yaml(tmp_path / "x.yaml")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(YamlError, match="UTF-8"):
        read_yaml(path)


def test_errors_do_not_quote_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", "evaluator_name: 'someone@lab.example\nb: [\n")
    with pytest.raises(YamlError) as caught:
        read_yaml(path)
    assert "someone" not in str(caught.value)
