"""YAML as plain data only, with limits on size, count and nesting: the one way in which files of others are read.

`yaml.safe_load` already refuses tags that make objects. It still follows aliases, so a file of a few hundred bytes can
stand for gigabytes, it recurses as deep as the file nests, it takes the last of two equal keys without a word, and it
makes a date object of what was written as 2026-11-23. It reads numbers of any length, those of base 60 in time that
grows with the square, and lets half a surrogate pair through, which no UTF-8 file can hold.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 512 * 1024  # a RoboArena metadata.yaml has about 1 KB, of which the feedback is the larger part
MAX_NODES = 20_000
MAX_DEPTH = 20
MAX_DIGITS = 64  # of a whole number, as it is written


_HALF = re.compile("[\ud800-\udfff]")


class YamlError(Exception):
    """A YAML file that is not plain data within the limits. `str(error)` names the line and quotes nothing."""


class TextDateLoader(yaml.SafeLoader):
    """SafeLoader that leaves dates as text: no field wants one, and 2024-99-99 would raise in datetime. A whole number
    of more than MAX_DIGITS characters raises ValueError, as other numbers that cannot be read do."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own name and form
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_short_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise ValueError(f"a whole number has more than {MAX_DIGITS} characters")
        return self.construct_yaml_int(node)


TextDateLoader.add_constructor("tag:yaml.org,2002:int", TextDateLoader.construct_short_int)


class _Loader(TextDateLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        line = self.line + 1 if event.start_mark is None else event.start_mark.line + 1
        if self.check_event(yaml.AliasEvent):
            raise YamlError(f"line {line} has an alias (*name), which is not allowed here")
        if getattr(event, "tag", None) is not None:
            raise YamlError(f"line {line} has a tag or key that is not plain data")
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
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                raise YamlError(f"line {line} has a tag or key that is not plain data")
            key = self.construct_object(key_node)
            if key in seen:  # as data: 1 and 0x1 are one key
                raise YamlError(f"line {line} repeats a key of the same mapping")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if isinstance(node, yaml.ScalarNode) and _HALF.search(node.value):
            raise YamlError(f"line {node.start_mark.line + 1} has half a character: \\uD800 to \\uDFFF stand for none")
        return super().construct_scalar(node)


def read_yaml(path: Path) -> Any:
    """The plain data in a YAML file. Raises YamlError, and OSError where the file cannot be opened."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise YamlError("it is a pipe or a device, not a regular file")  # to open a pipe is to wait for its writer
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
