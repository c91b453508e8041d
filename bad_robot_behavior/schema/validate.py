"""Validation of records against a contract, with the reference validator and in bulk.

`validate_rows` is the reference: `jsonschema` on the published contract, then the rules across fields in `checks`.
`validate_table` gives the same defects for Arrow tables, many times faster: a quick filter (`bulk`) finds the rows that
may be wrong, and only those go to the reference for the verdict and its sentence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema
import msgspec
import pyarrow as pa
from jsonschema.exceptions import ValidationError

from bad_robot_behavior.schema import checks
from bad_robot_behavior.schema.bulk import Filter
from bad_robot_behavior.schema.contracts import CONTRACTS, published
from bad_robot_behavior.schema.rules import Defect, Rule, rule, shorten

TYPE = rule(
    "schema.type", "A field has the type its contract names.", cure="Write the value with the type that is legal."
)
RANGE = rule(
    "schema.range",
    "A number lies within the limits of its field.",
    cure="Correct the value at its source; do not clamp.",
)
CHOICE = rule(
    "schema.choice", "A field with a fixed vocabulary holds one of its words.", cure="Use one of the legal words."
)
PATTERN = rule("schema.pattern", "A text has the form its field names.", cure="Write it in the legal form.")
LENGTH = rule(
    "schema.length",
    "Texts and lists are as long as their field asks.",
    cure="Fill the field, or use null where it is legal.",
)
MISSING_FIELD = rule(
    "schema.missing_field",
    "Every required field is there.",
    cure="Write the field; null says unknown where that is legal.",
)
UNKNOWN_FIELD = rule(
    "schema.unknown_field",
    "A record has no field that its contract does not know.",
    cure="Remove the field, or correct its spelling; docs/schema.md lists all fields.",
)
NONFINITE = rule(
    "schema.nonfinite", "No number is NaN or infinite.", cure="Use null where the value is unknown, or drop the list."
)
DUPLICATE_ID = rule(
    "schema.duplicate_id", "Each record stands once in its table.", cure="Remove one, or give each its own id."
)

KEYS: dict[str, tuple[str, ...]] = {
    "rollout": ("rollout_id",),
    "preference": ("pair_id",),
    "trajectory": ("rollout_id",),
    "demonstration": ("demonstration_id",),
    "reward_sample": ("sample_id",),
    "prediction": ("rollout_id", "role", "model", "parameters"),
}
"""The fields that together must be different in each row of a table."""

Key = tuple[Any, ...]
Path = tuple[str | int, ...]
_RULES: dict[str, Rule] = {
    "type": TYPE,
    "enum": CHOICE,
    "const": CHOICE,
    "pattern": PATTERN,
    "minLength": LENGTH,
    "maxLength": LENGTH,
    "minItems": LENGTH,
    "maxItems": LENGTH,
    "items": LENGTH,
    "minimum": RANGE,
    "maximum": RANGE,
    "exclusiveMinimum": RANGE,
    "exclusiveMaximum": RANGE,
    "required": MISSING_FIELD,
    "additionalProperties": UNKNOWN_FIELD,
}
_SENTENCES = {
    TYPE.id: "has the wrong type",
    CHOICE.id: "is not one of the words of this field",
    PATTERN.id: "does not have the form of this field",
    RANGE.id: "is out of range",
    LENGTH.id: "is too short or too long",
}
_LIMITS = (
    ("minimum", "from"),
    ("exclusiveMinimum", "above"),
    ("maximum", "to"),
    ("exclusiveMaximum", "below"),
    ("minLength", "of a length from"),
    ("minItems", "of a length from"),
    ("maxLength", "to"),
    ("maxItems", "to"),
)


def validate_rows(
    rows: Iterable[dict[str, Any]], contract: str, file: str, *, offset: int = 0, seen: set[Key] | None = None
) -> Iterator[Defect]:
    """Every defect of plain records, in row order; `row` of a defect counts from `offset`.

    `seen` holds the keys of rows met so far; pass the same set for all files of one table. Rows may come from anywhere:
    whatever is in them, the answer is a defect and never an exception. Raises ValueError for an unknown contract name.
    """
    seen = set() if seen is None else seen
    _known(contract)
    for i, row in enumerate(rows, offset):
        yield from _validate_row(row, contract, file, i)
        yield from _duplicate(row, contract, file, i, seen)


def validate_table(
    table: pa.Table | Iterable[pa.RecordBatch],
    contract: str,
    file: str,
    *,
    offset: int = 0,
    seen: set[Key] | None = None,
) -> Iterator[Defect]:
    """Every defect of an Arrow table, or of record batches as a parquet file gives them; the same as `validate_rows`.

    A column that is missing or that the contract does not know is one defect of the whole table (without a row); the
    rows of a table that lacks a required column are not looked at. Raises ValueError for an unknown contract name.
    """
    seen = set() if seen is None else seen
    _known(contract)
    schema = published(contract)
    quick = _filter(contract)
    batches: Iterable[pa.RecordBatch] = table.to_batches(max_chunksize=4096) if isinstance(table, pa.Table) else table
    names: list[str] = []
    for batch in batches:
        if batch.schema.names != names:
            names = batch.schema.names
            yield from _column_defects(names, schema, file)
        if len(set(names)) != len(names) or not set(schema["required"]) <= set(names):
            return
        batch = batch.select([name for name in names if name in schema["properties"]])
        suspects = quick.suspects(batch)
        keys = _keys(batch, contract)
        for i in range(batch.num_rows):
            key = keys[i] if keys else None
            if i in suspects:
                row = batch.slice(i, 1).to_pylist()[0]
                yield from _validate_row(row, contract, file, offset + i)
            if key is not None and None not in key[:1]:
                if key in seen:
                    yield _twice(key, contract, file, offset + i)
                seen.add(key)
        offset += batch.num_rows


def _known(contract: str) -> None:
    if contract not in CONTRACTS:
        raise ValueError(f"there is no contract {contract!r}; there are {', '.join(CONTRACTS)}")


def _column_defects(names: list[str], schema: dict[str, Any], file: str) -> Iterator[Defect]:
    legal = ", ".join(schema["properties"])
    for name in schema["required"]:
        if name not in names:
            message = "the table has no such column"
            yield Defect(rule=MISSING_FIELD.id, file=file, field=name, legal="a column", message=message)
    for name in dict.fromkeys(names):
        if name not in schema["properties"]:
            message = "the table has a column that the contract does not know"
            yield Defect(rule=UNKNOWN_FIELD.id, file=file, field=name[:80], legal=legal, message=message)
        elif names.count(name) > 1:
            message = "the table has this column twice"
            yield Defect(rule=UNKNOWN_FIELD.id, file=file, field=name, legal="one column", message=message)


def _keys(batch: pa.RecordBatch, contract: str) -> list[Key]:
    fields = KEYS.get(contract)
    if fields is None:
        return []
    nothing = [None] * batch.num_rows
    columns = [batch.column(f).to_pylist() if f in batch.schema.names else nothing for f in fields]
    return [tuple(_hashable(part) for part in key) for key in zip(*columns, strict=True)]


def _duplicate(row: Any, contract: str, file: str, index: int, seen: set[Key]) -> Iterator[Defect]:
    fields = KEYS.get(contract)
    if fields is None or not isinstance(row, dict) or row.get(fields[0]) is None:
        return
    key = tuple(_hashable(row.get(field)) for field in fields)
    if key in seen:
        yield _twice(key, contract, file, index)
    seen.add(key)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | None) else shorten(value, 1000)


def _twice(key: Key, contract: str, file: str, index: int) -> Defect:
    field = KEYS[contract][0]
    message = f"stands in the table already, with the same {', '.join(KEYS[contract])}"
    return Defect(rule=DUPLICATE_ID.id, file=file, row=index, field=field, value=shorten(key[0]), message=message)


def _validate_row(row: Any, contract: str, file: str, index: int) -> Iterator[Defect]:
    """All that is wrong with one record; rules across fields are looked at once its own fields are right."""
    place: dict[str, Any] = {"file": file, "row": index}
    bad = False
    infinite: set[Path] = set()
    for path, value, more in _nonfinite(row):
        infinite.add(_list_of(path, value))
        message = "is not a finite number" + (f", nor are {more} more in this list" if more else "")
        field = dotted(path) or None
        yield Defect(rule=NONFINITE.id, field=field, value=repr(value), legal="a number", message=message, **place)
        bad = True
    groups: dict[tuple[Any, ...], list[Defect]] = {}
    for error, nullable in _leaves(_reference(contract).iter_errors(row), False):
        path = tuple(error.absolute_path)
        inside = _list_of(path, error.instance)
        if inside not in infinite:
            defect = _defect(error, nullable, path, place)
            key = (defect.rule, inside) if inside != path else (defect.rule, path, defect.field)
            groups.setdefault(key, []).append(defect)
    for defects in groups.values():
        first, *others = defects
        if others:
            message = f"{first.message}, as are {len(others)} more in this list"
            first = msgspec.structs.replace(first, message=message)
        yield first
    if bad or groups:
        return
    for check in (*checks.SHORT.get(contract, ()), *checks.LONG.get(contract, ())):
        for found in check(row):
            shown = None if found.value is None else shorten(found.value)
            yield Defect(
                rule=found.rule.id, field=found.field, value=shown, legal=found.legal, message=found.message, **place
            )


@functools.cache
def _filter(contract: str) -> Filter:
    return Filter(contract, published(contract))


@functools.cache
def _reference(contract: str) -> Any:
    """The jsonschema validator of a contract. Tuples are arrays, and a number is an int or a float and nothing else."""
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _, value: isinstance(value, list | tuple),
            "number": lambda _, value: isinstance(value, int | float) and not isinstance(value, bool),
        }
    )
    return jsonschema.validators.extend(base, type_checker=types)(published(contract))  # type: ignore[no-untyped-call]


def _leaves(errors: Iterable[ValidationError], nullable: bool) -> Iterator[tuple[ValidationError, bool]]:
    """The errors that name the real cause, and whether null were legal there: of `x or null`, what is wrong with x."""
    for error in errors:
        if error.validator != "anyOf":
            yield error, nullable
            continue
        schemas: list[dict[str, Any]] = list(error.validator_value)  # type: ignore[arg-type]
        branches: list[list[ValidationError]] = [[] for _ in schemas]
        for inner in error.context or ():
            branches[int(inner.schema_path[0])].append(inner)
        null = {"type": "null"} in schemas
        real = next(b for b, schema in zip(branches, schemas, strict=True) if schema != {"type": "null"})
        for inner in real:
            yield from _leaves([inner], null and not inner.path)


def _defect(error: ValidationError, nullable: bool, path: Path, place: dict[str, Any]) -> Defect:
    made = _RULES[str(error.validator)]
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    instance: Any = error.instance
    value: str | None = shorten(error.instance)
    legal = describe(schema) + (", or null" if nullable else "")
    message = _SENTENCES.get(made.id, "")
    if made is MISSING_FIELD:
        name = next(n for n in schema["required"] if error.message == f"{n!r} is a required property")
        path, value, legal, message = (*path, name), None, "a value", "is missing"
        properties = schema.get("properties", {})
        if name in properties:
            legal = describe(properties[name])
    elif made is UNKNOWN_FIELD:
        unknown = [str(name) for name in instance if name not in schema.get("properties", {})]
        legal = ", ".join(schema.get("properties", {}))
        value, message = ", ".join(unknown)[:80], "holds a field that the contract does not know"
    return Defect(rule=made.id, field=dotted(path) or None, value=value, legal=legal, message=message, **place)


def describe(schema: dict[str, Any]) -> str:
    """A contract's node in words, such as "a number from 0 to 1, or null"."""
    if "anyOf" in schema:
        return ", or ".join(describe(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return f"a {schema['$ref'].rpartition('/')[2]} object"
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    limits = ""
    for key, word in _LIMITS:
        if key in schema:
            limits += f" {word} {schema[key]}"
    if kind in ("number", "integer"):
        return ("a whole number" if kind == "integer" else "a number") + limits
    if kind == "string":
        # (?!\n) before $ only keeps Python's $ from matching before a closing newline
        form = schema.get("pattern", "").replace(r"(?!\n)$", "$")
        return f"a text that matches {form}" if form else f"a text{limits}"
    if kind == "array":
        inner = f" of {describe(schema['items'])}" if isinstance(schema.get("items"), dict) else ""
        return f"a list{limits}{inner}"
    return {"null": "null", "boolean": "true or false", "object": "an object"}.get(str(kind), "anything")


def dotted(path: Path) -> str:
    """A JSON path as people write it: ("rewards", 0, "value", 3) is rewards[0].value[3]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _list_of(path: Path, value: Any) -> Path:
    """Where a scalar stands in a list, the list: defects of one list of numbers are told in one sentence."""
    return path[:-1] if path and isinstance(path[-1], int) and not isinstance(value, dict | list) else path


def _nonfinite(row: Any) -> Iterator[tuple[Path, float, int]]:
    """Path and value of each number that is NaN or infinite; of a list the first, and how many more there are."""
    stack: list[tuple[Path, Any]] = [((), row)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack.extend(((*path, str(key)), one) for key, one in reversed(value.items()))
        elif isinstance(value, list | tuple):
            wrong = [i for i, one in enumerate(value) if isinstance(one, float) and not math.isfinite(one)]
            if wrong:
                yield (*path, wrong[0]), value[wrong[0]], len(wrong) - 1
            nested = ((i, one) for i, one in enumerate(value) if isinstance(one, dict | list | tuple))
            stack.extend(reversed([((*path, i), one) for i, one in nested]))
        elif isinstance(value, float) and not math.isfinite(value):
            yield path, value, 0
