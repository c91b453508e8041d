"""What can be wrong with a predictions file, by named rules. Vectorised: no loop over values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bad_robot_behavior.schema import Defect, Role, Rule, rule, shorten
from bad_robot_behavior.scorers import MAX_VALUE

SCHEMA = pa.schema(
    [
        pa.field("rollout_id", pa.string(), nullable=False),
        pa.field("role", pa.string()),
        pa.field("frame_index", pa.list_(pa.int64()), nullable=False),
        pa.field("value", pa.list_(pa.float64()), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("parameters", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("instruction", pa.string()),
    ]
)
METADATA_KEY = b"bad_robot_behavior.release"
ORIGIN_KEY = b"bad_robot_behavior.origin"
INTERVENTIONS = ("wrong_instruction", "reversed")
_OPTIONAL = ("role", "error", "instruction")
_SHOWN = 100  # rows named for one rule; the rest are counted
MAX_BYTES = 8 << 30
MAX_TEXT = 1 << 30
_BATCH = 64  # rows that are unpacked at a time
_ID = re.compile("[0-9a-f]{20}")

UNREADABLE = rule(
    "predictions.unreadable",
    "A predictions file must be a parquet file that can be read.",
    cure="Write it with pyarrow or pandas as docs/benchmark.md shows.",
)
TOO_LARGE = rule(
    "predictions.too_large",
    f"A predictions file must hold at most {MAX_BYTES >> 30} GiB of data.",
    cure="Sample fewer frames of each rollout; 30 are usual.",
)
MISSING_COLUMN = rule(
    "predictions.missing_column",
    "A predictions file must have the columns rollout_id, frame_index, value, model, parameters.",
    cure="Add the column; docs/benchmark.md lists them all.",
)
WRONG_TYPE = rule(
    "predictions.wrong_type",
    "Each column must have its type: text, list of integers for frame_index, list of numbers for value.",
    cure="Cast the column before writing.",
)
EMPTY = rule(
    "predictions.empty",
    "A predictions file must have a row for each rollout that was scored.",
    cure="Score at least one rollout; one that cannot be scored gets a row with an error.",
)
NULL_VALUE = rule(
    "predictions.null_value",
    "Only role, error and instruction may be null.",
    cure="Give the value; a rollout that could not be scored has empty lists and an error.",
)
MALFORMED_ID = rule(
    "predictions.malformed_id",
    "A rollout_id is 20 lower-case hex digits.",
    cure="Copy rollout_id from the release.",
)
DUPLICATE = rule(
    "predictions.duplicate_rollout",
    "A rollout may be in a predictions file once.",
    cure="Keep one row a rollout; write a second file for a second camera or setting.",
)
CURVE_OR_ERROR = rule(
    "predictions.curve_or_error",
    "A row has either a curve or an error, not both and not neither.",
    cure="Give values, or empty lists and the reason in error.",
)
LENGTHS = rule(
    "predictions.lengths_differ",
    "frame_index and value must have the same length.",
    cure="Give one value for each frame index.",
)
NOT_FINITE = rule(
    "predictions.not_finite",
    "Values must be finite.",
    cure="A rollout on which the model gives NaN or infinity gets empty lists and an error.",
)
TOO_BIG = rule(
    "predictions.value_too_big",
    f"Values must lie within -{MAX_VALUE:g} and {MAX_VALUE:g}, so that ties can be told from rounding.",
    cure="Scale all values of the model by the same factor; the order does not change.",
)
PROGRESS_RANGE = rule(
    "predictions.progress_range",
    'Where the parameters say "kind": "progress", values must lie from 0 to 1.',
    cure='Say "kind": "reward" for signed values, or leave kind out; do not clamp.',
)
NOT_INCREASING = rule(
    "predictions.frame_index_not_increasing",
    "Frame indices must be 0 or more, and increase.",
    cure="Sort the frames by time, and give each once.",
)
UNKNOWN_ROLE = rule(
    "predictions.unknown_role",
    "role must be a camera that the rollout has: exterior_1, exterior_2 or wrist.",
    cure="Use the role names of the release, or leave role null.",
)
MIXED_MODELS = rule(
    "predictions.mixed_models",
    "All rows of a file must have the same model and parameters.",
    cure="Write one file for each model and setting.",
)
BAD_PARAMETERS = rule(
    "predictions.bad_parameters",
    "parameters must be a JSON object.",
    cure='Write json.dumps of everything the model was run with, "{}" where that is nothing.',
)
UNKNOWN_INTERVENTION = rule(
    "predictions.unknown_intervention",
    "What was changed of the input must be one of the interventions that the benchmark knows.",
    cure='Give {"intervention": {"name": "wrong_instruction"}} or {"name": "reversed"}, or leave intervention out.',
)
INSTRUCTION = rule(
    "predictions.instruction",
    "A file with the intervention wrong_instruction says in each row which other instruction was given; no other file "
    "gives one.",
    cure="Write the instruction that the model was told into the column instruction, and choose another task's.",
)


ROW_RULES = frozenset(
    f"predictions.{name}"
    for name in (
        *("malformed_id", "duplicate_rollout", "curve_or_error", "lengths_differ", "not_finite", "value_too_big"),
        *("progress_range", "frame_index_not_increasing", "frame_index_past_end", "unknown_role", "unknown_rollout"),
        "instruction",
    )
)
"""Rules that a row can break without spoiling the others."""


class Report:
    """Collects defects; of one rule at most `_SHOWN` rows are named and the rest counted."""

    def __init__(self, path: Path) -> None:
        self.file = str(path)
        self.defects: list[Defect] = []
        self.bad_rows: dict[int, Rule] = {}
        """Rows with a defect of their own, and the first rule that each breaks."""
        self.doubtful: set[int] = set()
        """Rows whose rollout stands again in a later row: nobody knows which is meant."""
        self.whole_file = False
        """Is there a defect that is not of single rows?"""

    def file_defect(self, broken: Rule, message: str, **details: Any) -> None:
        self.whole_file = True
        self._tell(broken, message, **details)

    def _tell(self, broken: Rule, message: str, **details: Any) -> None:
        self.defects.append(Defect(rule=broken.id, file=self.file, message=message, **details))

    def rows(self, broken: Rule, field: str, rows: Iterable[int], value: Callable[[int], Any], message: str) -> None:
        numbers = [int(row) for row in rows]
        self.whole_file |= bool(numbers) and broken.id not in ROW_RULES
        for row in numbers:
            self.bad_rows.setdefault(row, broken)
        for row in numbers[:_SHOWN]:
            self._tell(broken, message, field=field, row=row, value=shorten(value(row)))
        if len(numbers) > _SHOWN:
            self._tell(broken, f"{message}, in {len(numbers) - _SHOWN} more rows", field=field)


def examine_file(path: Path, report: Report) -> pa.Table | None:
    """The file as a table of `SCHEMA`, None where it cannot be made into one; every defect goes into the report."""
    table = _load(path, report)
    if table is None:
        return None
    if table.num_rows == 0:
        report.file_defect(EMPTY, "has no rows")
        return table
    _check_nulls(table, report)
    if not report.defects:
        _check_rows(table, report)
        _check_curves(table, report)
    return table


def _load(path: Path, report: Report) -> pa.Table | None:
    if not path.exists():
        report.file_defect(UNREADABLE, "is not there")
        return None
    if not path.is_file():
        report.file_defect(UNREADABLE, f"is a {'folder' if path.is_dir() else 'pipe or device'}, not a parquet file")
        return None
    try:
        file = pq.ParquetFile(path)
        # Not column by column: Arrow ends the whole process where the footer's facts of a column contradict each other.
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if size > MAX_BYTES:
            report.file_defect(TOO_LARGE, f"holds {size / 2**30:.1f} GiB")
            return None
        names = file.schema_arrow.names
        for name in SCHEMA.names:
            if name not in names and name not in _OPTIONAL:
                report.file_defect(MISSING_COLUMN, f"has no column {name}", field=name)
        for name in sorted({name for name in names if names.count(name) > 1} & set(SCHEMA.names)):
            report.file_defect(WRONG_TYPE, f"has column {name} more than once", field=name)
        if report.defects:
            return None
        table = _read(file, [name for name in SCHEMA.names if name in names])
        if table is None:
            report.file_defect(
                TOO_LARGE, f"unpacks to more than {MAX_BYTES >> 30} GiB, or {MAX_TEXT >> 30} GiB of text"
            )
            return None
        table.validate(full=True)  # text that is not UTF-8
    except OSError as error:
        report.file_defect(UNREADABLE, "cannot be read", value=shorten(str(error)))
        return None
    except (pa.ArrowException, ValueError, RuntimeError) as error:  # Arrow's own, and what it lets through of C++
        report.file_defect(UNREADABLE, "is not a parquet file that can be read", value=shorten(str(error)))
        return None
    columns = [_cast(table, field, report) for field in SCHEMA]
    if report.defects:
        return None
    return pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata(file.schema_arrow.metadata))


def _read(file: pq.ParquetFile, columns: list[str]) -> pa.Table | None:
    """The columns, or None past the limit: one long text that a dictionary repeats takes a byte a row until it is
    unpacked, so what the footer says is not enough."""
    batches, held, text = [], 0, 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        held += batch.nbytes
        text += sum(column.nbytes for column in batch.columns if pa.types.is_string(column.type))
        if held > MAX_BYTES or text > MAX_TEXT:
            return None
        batches.append(batch)
    schema = pa.schema([file.schema_arrow.field(name) for name in columns])
    return pa.Table.from_batches(batches, batches[0].schema if batches else schema).select(columns)


def _cast(table: pa.Table, field: pa.Field, report: Report) -> pa.ChunkedArray | None:
    """The column in the type of the schema, where the cast loses nothing."""
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    column = table[field.name]
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_list(field.type):
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        inner = kind.value_type if lists else pa.null()
        floats = field.name == "value" and pa.types.is_floating(inner)
        legal = pa.types.is_integer(inner) or floats or (lists and pa.types.is_null(inner))
    else:
        optional = field.name in _OPTIONAL and pa.types.is_null(kind)
        legal = pa.types.is_string(kind) or pa.types.is_large_string(kind) or optional
    if legal:
        try:
            return column.cast(field.type)
        except pa.ArrowException:
            legal = False
    report.file_defect(
        WRONG_TYPE, "has the wrong type", field=field.name, value=shorten(str(column.type)), legal=str(field.type)
    )
    return None


def _check_nulls(table: pa.Table, report: Report) -> None:
    for name in SCHEMA.names:
        if name in _OPTIONAL:
            continue
        column = table[name].combine_chunks()
        rows = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        if pa.types.is_list(column.type):
            inner = np.flatnonzero(column.flatten().is_null().to_numpy(zero_copy_only=False))
            rows = np.union1d(rows, column.value_parent_indices().to_numpy()[inner] if inner.size else rows)
        report.rows(NULL_VALUE, name, rows, lambda _row: None, "is null or holds a null")


def _check_rows(table: pa.Table, report: Report) -> None:
    ids = table["rollout_id"].to_pylist()
    report.rows(
        MALFORMED_ID, "rollout_id", (i for i, x in enumerate(ids) if not _ID.fullmatch(x)), ids.__getitem__, "is no id"
    )
    first: dict[str, int] = {}
    again = [i for i, x in enumerate(ids) if first.setdefault(x, i) != i]
    report.doubtful.update(first[ids[i]] for i in again)
    report.rows(DUPLICATE, "rollout_id", again, ids.__getitem__, "was in an earlier row")
    roles = table["role"].to_pylist()
    strange = (i for i, x in enumerate(roles) if x is not None and x not in get_args(Role))
    report.rows(UNKNOWN_ROLE, "role", strange, roles.__getitem__, "is not a role")
    for name in ("model", "parameters"):
        values = table[name].combine_chunks()
        others = np.flatnonzero(pc.not_equal(values, values[0]).to_numpy(zero_copy_only=False))
        report.rows(MIXED_MODELS, name, others, values.to_pylist().__getitem__, "differs from row 0")
    parameters = table["parameters"][0].as_py()
    stated = json_object(parameters)
    if stated is None:
        report.rows(BAD_PARAMETERS, "parameters", [0], lambda _row: parameters, "is not a JSON object")
        return
    changed = stated.get("intervention")
    intervention = changed.get("name") if isinstance(changed, dict) else changed
    if changed is not None and (not isinstance(changed, dict) or intervention not in INTERVENTIONS):
        report.rows(UNKNOWN_INTERVENTION, "parameters", [0], lambda _row: changed, "has an unknown intervention")
    told = table["instruction"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(told != (intervention == "wrong_instruction"))
    flaw = "names no instruction" if intervention == "wrong_instruction" else "names an instruction"
    report.rows(INSTRUCTION, "instruction", wrong, lambda row: table["instruction"][row].as_py(), flaw)


def _check_curves(table: pa.Table, report: Report) -> None:
    value, index = table["value"].combine_chunks(), table["frame_index"].combine_chunks()
    length = value.value_lengths().to_numpy()
    failed = table["error"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((length > 0) == failed)
    both, neither = wrong[failed[wrong]], wrong[~failed[wrong]]
    errors = table["error"]
    beside = "the error stands beside a curve; remove one of them"
    report.rows(CURVE_OR_ERROR, "error", both, lambda row: errors[row].as_py(), beside)
    nothing = "there is neither a curve nor an error; give one of them"
    report.rows(CURVE_OR_ERROR, "error", neither, lambda row: errors[row].as_py(), nothing)
    index_length = index.value_lengths().to_numpy()
    differ = np.flatnonzero(length != index_length)
    report.rows(
        LENGTHS,
        "frame_index",
        differ,
        lambda row: (int(index_length[row]), int(length[row])),
        "and value have other lengths",
    )
    numbers = value.flatten().to_numpy(zero_copy_only=False)
    parent = value.value_parent_indices().to_numpy()
    infinite = np.unique(parent[~np.isfinite(numbers)])
    report.rows(NOT_FINITE, "value", infinite, lambda row: value[row].as_py(), "holds NaN or infinity")
    big = np.unique(parent[np.isfinite(numbers) & (np.abs(numbers) > MAX_VALUE)])
    report.rows(TOO_BIG, "value", big, lambda row: value[row].as_py(), "holds a value that is too big")
    if (json_object(table["parameters"][0].as_py()) or {}).get("kind") == "progress":
        outside = np.unique(parent[np.isfinite(numbers) & ((numbers < 0) | (numbers > 1))])
        report.rows(
            PROGRESS_RANGE, "value", outside, lambda row: value[row].as_py(), "is called progress and leaves 0 to 1"
        )
    frames = index.flatten().to_numpy(zero_copy_only=False)
    owner = index.value_parent_indices().to_numpy()
    falls = np.zeros(len(frames), bool)
    falls[1:] = (owner[1:] == owner[:-1]) & (frames[1:] <= frames[:-1])
    report.rows(
        NOT_INCREASING,
        "frame_index",
        np.unique(owner[falls | (frames < 0)]),
        lambda row: index[row].as_py(),
        "does not increase from 0 or more",
    )


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object in a text; None where it is none, or one that could not be written again."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        parsed = json.loads(text, parse_constant=refuse)
        json.dumps(parsed, ensure_ascii=False).encode()  # a lone surrogate, or nesting past any sense
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
