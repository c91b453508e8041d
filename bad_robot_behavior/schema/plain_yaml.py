"""YAML as plain data only, with limits on size, count and nesting: the one way in which files of others are read.

`yaml.safe_load` already refuses tags that make objects. It still follows aliases, so a file of a few hundred bytes can
stand for gigabytes, it recurses as deep as the file nests, it takes the last of two equal keys without a word, and it
makes a date object of what was written as 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 512 * 1024  # a RoboArena metadata.yaml has about 1 KB, of which the feedback is the larger part
MAX_NODES = 20_000
MAX_DEPTH = 20


class YamlError(Exception):
    """A YAML file that is not plain data within the limits. `str(error)` names the line and quotes nothing."""


class TextDateLoader(yaml.SafeLoader):
    """SafeLoader that leaves dates as text: no field wants one, and 2024-99-99 would raise in datetime."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own name and form
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Loader(TextDateLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise YamlError(f"line {line} has an alias (*name), which is not allowed here")
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise YamlError(f"line {line} is past {MAX_DEPTH} levels of nesting or {MAX_NODES:,} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value if isinstance(key_node.value, str) else None)
            if key in seen:
                raise YamlError(f"line {key_node.start_mark.line + 1} repeats a key of the same mapping")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The plain data in a YAML file. Raises YamlError, and OSError where the file cannot be opened."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise YamlError(f"the file has more than {MAX_BYTES:,} bytes")
    try:
        return parse_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise YamlError(f"the file is not UTF-8 text: byte {error.start}") from error


def parse_yaml(text: str) -> Any:
    """The plain data in YAML text. Raises YamlError."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.constructor.ConstructorError as error:
        # The parser's own words quote the file, and rejections must not.
        raise YamlError(f"line {_line(error)} has a tag or key that is not plain data") from error
    except yaml.YAMLError as error:
        if "\\t" in (getattr(error, "problem", None) or ""):
            raise YamlError(f"line {_line(error)} has a tab; YAML indents with spaces") from error
        raise YamlError(f"line {_line(error)} is not valid YAML") from error
    except (ValueError, OverflowError) as error:
        raise YamlError("a number in the file is not valid") from error


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return str(mark.line + 1) if mark is not None else "?"
