"""Arrow schemas of a release's tables, derived from the records in `schema/records.py` by inspection."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
import msgspec.inspect as inspect
import pyarrow as pa

from bad_robot_behavior.schema import Demonstration, Preference, Record, Rejection, RewardSample, RolloutRow, Trajectory

TABLES: dict[str, type[Record]] = {
    "rollouts": RolloutRow,
    "preferences": Preference,
    "trajectories": Trajectory,
    "demonstrations": Demonstration,
    "reward_samples": RewardSample,
}
"""The configs that are tables of records, in the order in which the card lists them."""

DEFAULT_CONFIG = "rollouts"
VIDEO_CONFIG = "videos"
CONFIGS = (*TABLES, VIDEO_CONFIG)
SPLITS = ("train", "validation", "test")

# Without this note `datasets` reads the struct as a struct; with it, as a Video that it can decode.
_VIDEO_FEATURES = {
    "rollout_id": {"dtype": "string", "_type": "Value"},
    "role": {"dtype": "string", "_type": "Value"},
    "video": {"_type": "Video"},
}
VIDEO_SCHEMA = pa.schema(
    [
        ("rollout_id", pa.string()),
        ("role", pa.string()),
        ("video", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _VIDEO_FEATURES}})},
)
"""Config `videos`: the one table that no record describes, because its third column is a file."""


@cache
def arrow_schema(record: type[Record]) -> pa.Schema:
    """The Arrow schema of a record: numbers in lists (curves, arrays) as float32, single numbers as float64.

    All columns are nullable, as `datasets` knows no others; what may be null is the JSON Schema's business.
    Raises TypeError for a type that no release table has.
    """
    described = inspect.type_info(record)
    assert isinstance(described, inspect.StructType)  # noqa: S101 - a Record is a Struct
    return pa.schema(_fields(described))


def to_row(record: Record) -> dict[str, Any]:
    """A record as plain dictionaries and lists, ready for `pa.Table.from_pylist` with its `arrow_schema`."""
    row: dict[str, Any] = msgspec.to_builtins(record)
    return row


def _fields(described: inspect.StructType) -> list[pa.Field]:
    return [pa.field(field.encode_name, _arrow_type(field.type, in_list=False)) for field in described.fields]


def _arrow_type(kind: inspect.Type, *, in_list: bool) -> pa.DataType:
    if isinstance(kind, inspect.Metadata):
        return _arrow_type(kind.type, in_list=in_list)
    if isinstance(kind, inspect.UnionType):
        members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
        if len(members) != 1:
            raise TypeError(f"a release table has no column of more than one type: {kind}")
        return _arrow_type(members[0], in_list=in_list)
    if isinstance(kind, inspect.StructType):
        return pa.struct(_fields(kind))
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return pa.list_(_arrow_type(kind.item_type, in_list=True))
    if isinstance(kind, inspect.FloatType):
        return pa.float32() if in_list else pa.float64()
    if isinstance(kind, inspect.IntType):
        return pa.int64()
    if isinstance(kind, inspect.BoolType):
        return pa.bool_()
    if isinstance(kind, inspect.StrType):
        return pa.string()
    if isinstance(kind, inspect.LiteralType) and all(isinstance(value, str) for value in kind.values):
        return pa.string()
    raise TypeError(f"a release table has no column of type {kind}")


REJECTION_SCHEMA = arrow_schema(Rejection)
# Who is in which split, and who was ever in test though not in this release.
SPLITS_SCHEMA = pa.schema(
    [
        pa.field("rollout_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("in_release", pa.bool_(), nullable=False),
    ]
)
