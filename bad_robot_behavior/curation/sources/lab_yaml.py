"""YAML that a stranger wrote, read into typed fields: every defect is found, named and placed, none stops the rest.

Only the plain part of YAML 1.1 is read: one document of mappings, lists and scalars. Anchors, aliases, merge keys and
tags are refused before anything is built from them, so a small file cannot grow large and cannot name a type. Dates
are read as text.
"""

from __future__ import annotations

import difflib
import math
import re
import typing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from bad_robot_behavior.schema import Defect, Record, Rule, rule, shorten
from bad_robot_behavior.schema.plain_yaml import TextDateLoader

MAX_BYTES = 256 * 1024  # a session.yaml of 500 rollouts is about 150 kB
MAX_DEPTH = 12  # the deepest legal place, a failure of a rollout, is at 6

UNREADABLE = rule(
    "lab.yaml_unreadable", "A YAML file must be a regular file that can be read.", cure="Mend its permissions."
)
TOO_LARGE = rule(
    "lab.yaml_too_large",
    f"A YAML file must be at most {MAX_BYTES // 1024} KiB.",
    cure="Divide the session, and leave data such as trajectories in .npz files.",
)
ENCODING = rule("lab.yaml_encoding", "A YAML file must be UTF-8 text.", cure="Save it again as UTF-8.")
SYNTAX = rule("lab.yaml_syntax", "A YAML file must be valid YAML.", cure="Mend the line; quote text that holds ': '.")
NOT_PLAIN = rule(
    "lab.yaml_not_plain",
    "A YAML file must have no anchors, aliases, merge keys or tags, one document, and little nesting.",
    cure="Write the value out in full; put text that begins with & * or ! in quotes.",
)
DUPLICATE_KEY = rule(
    "lab.duplicate_key",
    "A key must stand once in its mapping.",
    cure="Rename one of the two or remove it; YAML would silently keep the last.",
)
UNKNOWN_KEY = rule(
    "lab.unknown_key", "A key must be one that the format has.", cure="Spell it as in docs/lab-folder.md or remove it."
)
MISSING_KEY = rule("lab.missing_key", "A required key must be there.", cure="Add it; docs/lab-folder.md shows where.")
WRONG_TYPE = rule(
    "lab.wrong_type",
    "A value must have the type of its field.",
    cure="Numbers stand without quotes; text that YAML reads as something else (NO, on, 12:30, 007) stands in quotes.",
)
ILLEGAL_VALUE = rule(
    "lab.illegal_value", "A value must be one that its field allows.", cure="Use a legal value, or leave the key out."
)

At = tuple[str | int, ...]
"""Where a value stands: the keys and indices that lead to it, such as ("rollouts", "A", "score")."""

T = TypeVar("T", bound=Record)
_WORDS = {
    "str": "text",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
}


class Findings:
    """The defects of one YAML file, each with the place it is about."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[At, int] = {}
        self.found: list[tuple[At, Defect]] = []

    def add(
        self, broken: Rule, at: At, message: str, value: str | None = None, legal: str | None = None, line: int = 0
    ) -> None:
        """Note a defect. `message` must hold no value of the lab's, because it goes into a release's rejections."""
        row = line or next((self.lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.lines), None)
        self.found.append(
            (
                at,
                Defect(
                    rule=broken.id,
                    file=self.file,
                    field=place(at),
                    row=row,
                    value=value,
                    legal=legal,
                    message=message,
                ),
            )
        )

    def under(self, *at: str | int) -> list[Defect]:
        """The defects at a place or below it."""
        return [defect for where, defect in self.found if where[: len(at)] == at]


def place(at: At) -> str | None:
    """A place as it is shown: rollouts.A.failures[0].kind. None for the file as a whole."""
    text = ""
    for step in at:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}"
    return text.removeprefix(".") or None


def printable(text: str) -> str:
    """Text with everything that cannot be encoded or printed written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def read_yaml(path: Path, findings: Findings) -> dict[Any, Any] | None:
    """The mapping in a YAML file, or None where there is none; what is wrong goes into `findings`."""
    text = _text(path, findings)
    if text is None or not _is_plain(text, findings):
        return None
    loader = TextDateLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}  # a lab.yaml of comments only is legal; a session.yaml will lack its required keys
        _walk(node, (), findings)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        findings.add(SYNTAX, (), f"is not valid YAML: {error.problem}", line=_line(error.problem_mark))
        return None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError):
        # PyYAML lets the errors of int() and float() through: 0x_ is a number to it, and so are 5,000 digits.
        findings.add(SYNTAX, (), "a number or character in it cannot be read")
        return None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        findings.add(WRONG_TYPE, (), "the file is not a mapping of keys to values", shorten(data), "a mapping")
        return None
    return data


def take(data: Any, shape: type[T], at: At, findings: Findings) -> T | None:
    """`data` as a record of type `shape`, or None; every field's defect goes into `findings`.

    A field that holds a record or a tuple of records is taken the same way, so a defect names the item and its field.
    """
    if not isinstance(data, dict):
        findings.add(WRONG_TYPE, at, f"expected a mapping, found {_word(data)}", shorten(data), "a mapping")
        return None
    before = len(findings.found)
    fields = {field.name: field for field in msgspec.structs.fields(shape)}
    for key in data:
        if not isinstance(key, str) or key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)
            message = f"has an unknown key; the nearest legal one is {near[0]}"
            findings.add(UNKNOWN_KEY, at, message, shorten(key), ", ".join(fields))
    types = typing.get_type_hints(shape, include_extras=True)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in data:
            if field.required:
                findings.add(MISSING_KEY, (*at, name), "is missing", legal=legal_of(types[name]))
            continue
        values[name] = _field(data[name], types[name], (*at, name), findings)
    return shape(**values) if len(findings.found) == before else None


def legal_of(annotated: Any) -> str | None:
    """What a field may hold, in words: the description of its outermost Meta."""
    for extra in reversed(getattr(annotated, "__metadata__", ())):
        if isinstance(extra, msgspec.Meta) and extra.description:
            return extra.description
    return None


def _field(value: Any, annotated: Any, at: At, findings: Findings) -> Any:
    legal = legal_of(annotated)
    record, many = _record_in(annotated)
    if record is not None and many and isinstance(value, list):
        return tuple(take(item, record, (*at, i), findings) for i, item in enumerate(value))
    if record is not None and not many and value is not None:
        return take(value, record, at, findings)
    try:
        made = msgspec.convert(value, annotated, strict=True)
    except msgspec.ValidationError as error:
        _refuse(str(error), value, at, legal, findings)
        return None
    for inner, text in _texts(made):
        if not all(c.isprintable() or c in "\n\t" for c in text):
            findings.add(ILLEGAL_VALUE, (*at, *inner), "holds control characters", shorten(text), "printable text")
        elif not text.strip():
            findings.add(ILLEGAL_VALUE, (*at, *inner), "is empty", shorten(text), legal)
    if isinstance(made, float) and not math.isfinite(made):
        findings.add(ILLEGAL_VALUE, at, "is not a finite number", shorten(made), legal)
    return made.strip() if isinstance(made, str) else made


def _refuse(error: str, value: Any, at: At, legal: str | None, findings: Findings) -> None:
    """Turn msgspec's message into a defect, without the value in the message."""
    inner = re.search(r" - (?:at|in key.* at) `\$\[?(\d+)?", error)
    if inner and inner[1]:
        at = (*at, int(inner[1]))
    got = re.match(r"Expected `([^`]+)`, got `(\w+)`", error)
    if not got:
        findings.add(ILLEGAL_VALUE, at, "is not a legal value", shorten(value), legal)
        return
    expected = " or ".join(_WORDS.get(name, name) for name in got[1].split(" | ") if name != "null")
    found = value[int(inner[1])] if inner and inner[1] and isinstance(value, list) else value
    findings.add(WRONG_TYPE, at, f"expected {expected}, found {_word(found)}", shorten(value), legal)


def _word(value: Any) -> str:
    if value is None:
        return "nothing"
    kind = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return kind.get(type(value), type(value).__name__)


def _texts(made: Any) -> list[tuple[At, str]]:
    if isinstance(made, str):
        return [((), made)]
    if isinstance(made, dict):
        return [((key,), value) for key, value in made.items() if isinstance(value, str)]
    if isinstance(made, tuple):
        return [((i,), value) for i, value in enumerate(made) if isinstance(value, str)]
    if isinstance(made, msgspec.Struct):
        return [((name,), v) for name, v in msgspec.structs.asdict(made).items() if isinstance(v, str)]
    return []


def _record_in(annotated: Any) -> tuple[type[Record] | None, bool]:
    """(R, False) where `annotated` is R or R | None, (R, True) where it is tuple[R, ...], else (None, False)."""
    bare = typing.get_args(annotated)[0] if hasattr(annotated, "__metadata__") else annotated
    for inner in (bare, *typing.get_args(bare)):
        if isinstance(inner, type) and issubclass(inner, Record):
            return inner, typing.get_origin(bare) is tuple
    return None, False


def _text(path: Path, findings: Findings) -> str | None:
    try:
        if not path.is_file():
            findings.add(UNREADABLE, (), "is not a regular file")
            return None
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        findings.add(UNREADABLE, (), f"cannot be read: {error.strerror}")
        return None
    if len(raw) > MAX_BYTES:
        findings.add(TOO_LARGE, (), "is too large", f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = raw[error.start : error.start + 4]
        findings.add(ENCODING, (), f"is not UTF-8 text at byte {error.start}", shorten(bad))
        return None


def _is_plain(text: str, findings: Findings) -> bool:
    """Look through the stream of events, which is flat and small, before any tree is built from it."""
    depth = documents = 0
    before = len(findings.found)
    try:
        for event in yaml.parse(text, Loader=TextDateLoader):
            line = _line(event.start_mark)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                findings.add(NOT_PLAIN, (), "has an anchor or alias", line=line)
                return False
            tag = getattr(event, "tag", None)
            if tag is not None:
                findings.add(NOT_PLAIN, (), "has a tag", shorten(tag), line=line)
                return False
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or documents > 1:
                what = "is nested too deeply" if depth > MAX_DEPTH else "holds more than one document"
                findings.add(NOT_PLAIN, (), what, legal=f"one document, at most {MAX_DEPTH} levels", line=line)
                return False
    except yaml.MarkedYAMLError as error:
        findings.add(SYNTAX, (), f"is not valid YAML: {error.problem}", line=_line(error.problem_mark))
    except (yaml.YAMLError, ValueError, OverflowError):
        findings.add(SYNTAX, (), "holds characters that YAML does not allow")
    return len(findings.found) == before


def _walk(node: yaml.Node, at: At, findings: Findings) -> None:
    """Note the line of each value, and refuse doubled and merge keys."""
    findings.lines[at] = _line(node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _walk(item, (*at, i), findings)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[tuple[str, str]] = set()
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        if key.tag == "tag:yaml.org,2002:merge":
            findings.add(NOT_PLAIN, at, "has a merge key", "<<", line=_line(key.start_mark))
        elif isinstance(key, yaml.ScalarNode) and (key.tag, name) in seen:
            findings.add(DUPLICATE_KEY, (*at, name), "stands twice", shorten(name), line=_line(key.start_mark))
        seen.add((key.tag, name))
        _walk(value, (*at, name), findings)


def _line(mark: Any) -> int:
    """1-based line of a PyYAML mark; 0 where there is none."""
    return 0 if mark is None else int(mark.line) + 1
