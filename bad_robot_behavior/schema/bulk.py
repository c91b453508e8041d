"""The quick filter behind `validate_table`: which rows of an Arrow batch may be wrong.

It never misses a row that the reference would refuse, and may name one that is right, which only costs time. Lists of
numbers (curves, states, actions) are checked on their flattened buffers with numpy and then emptied; what is left of
the rows is turned into plain data column by column and goes through `jsonschema-rs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bad_robot_behavior.schema import checks

Rows = NDArray[np.int64]
_CURVES = {"rollout": (("reward_frame_index", "reward"),), "prediction": (("frame_index", "value"),)}
_CURVES |= {"demonstration": (("frame_index", "value"),), "reward_curve": (("frame_index", "value"),)}
_CURVES |= {"reward_sample": (("frame_index", "value"),)}


class Filter:
    """Finds suspects in the batches of one table. `schema` is the published contract."""

    def __init__(self, contract: str, schema: dict[str, Any]) -> None:
        self._contract = contract
        self._schema = schema
        self._definitions = schema.get("$defs", {})
        self._validator = jsonschema_rs.Draft202012Validator(schema)
        self._checks = checks.SHORT.get(contract, ())

    def suspects(self, batch: pa.RecordBatch) -> set[int]:
        """Row numbers in the batch that have to go to the reference. Columns must be known to the contract."""
        found: set[int] = set()
        every = np.arange(batch.num_rows, dtype=np.int64)
        hollow: dict[str, list[Any]] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            hollow[name] = self._walk(column, self._schema["properties"][name], every, found)
        self._long_checks(batch, hollow, every, found)
        names = list(hollow)
        for i, values in enumerate(zip(*hollow.values(), strict=True)):
            if i not in found and not self._passes(dict(zip(names, values, strict=True))):
                found.add(i)
        return found

    def _passes(self, row: dict[str, Any]) -> bool:
        return self._validator.is_valid(row) and not any(True for check in self._checks for _ in check(row))

    def _walk(self, array: pa.Array, schema: dict[str, Any], rows: Rows, found: set[int]) -> list[Any]:
        """Check all numbers of an array and return it as plain data with its lists of numbers emptied.

        `rows` gives the batch's row of each entry; rows with a number that is out of bounds, or with a value that JSON
        has no word for, are added to `found` and are not shown to jsonschema-rs.
        """
        node = self._resolve(schema)
        kind = array.type
        if pa.types.is_floating(kind):
            numbers = pc.cast(array, pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
            found.update(rows[~np.isfinite(numbers)].tolist())
        if pa.types.is_struct(kind):
            return self._walk_struct(array, node, rows, found)
        if _is_list(kind):
            return self._walk_list(array, node, rows, found)
        if not _is_json(kind):
            found.update(rows.tolist())
        return _plain(array)

    def _walk_struct(self, array: pa.Array, node: dict[str, Any], rows: Rows, found: set[int]) -> list[Any]:
        names = [field.name for field in array.type]
        there = array.is_valid().to_numpy(zero_copy_only=False)
        properties = node.get("properties", {})
        children = [
            self._walk(child, properties.get(name, {}), rows, found)
            for name, child in zip(names, array.flatten(), strict=True)
        ]
        if not names:
            return [{} if ok else None for ok in there.tolist()]
        made = (dict(zip(names, values, strict=True)) for values in zip(*children, strict=True))
        return [one if ok else None for one, ok in zip(made, there.tolist(), strict=True)]

    def _walk_list(self, array: pa.Array, node: dict[str, Any], rows: Rows, found: set[int]) -> list[Any]:
        lengths = _lengths(array)
        values = array.flatten()
        owners = np.repeat(rows, lengths)
        there = array.is_valid().to_numpy(zero_copy_only=False).tolist()
        items = node.get("items")
        if isinstance(items, dict) and set(node) <= {"type", "items", "description", "default"} and len(values):
            item = self._resolve(items)
            if _is_numeric(values.type) and item.get("type") in ("number", "integer"):
                self._numbers(values, item, owners, found)
                return [[] if ok else None for ok in there]
        inner = self._walk(values, items if isinstance(items, dict) else {}, owners, found)
        ends = np.cumsum(lengths)
        cuts = zip((ends - lengths).tolist(), ends.tolist(), there, strict=True)
        return [inner[start:end] if ok else None for start, end, ok in cuts]

    def _numbers(self, values: pa.Array, item: dict[str, Any], owners: Rows, found: set[int]) -> None:
        if values.null_count:
            found.update(owners[values.is_null().to_numpy(zero_copy_only=False)].tolist())
            values = values.fill_null(0)
        numbers = values.to_numpy(zero_copy_only=False)
        wrong = np.zeros(len(numbers), dtype=bool)
        if numbers.dtype.kind == "f":
            wrong |= ~np.isfinite(numbers)
            if item["type"] == "integer":
                wrong |= numbers != np.floor(numbers)
            numbers = numbers.astype(np.float64)
        if "minimum" in item:
            wrong |= numbers < item["minimum"]
        if "maximum" in item:
            wrong |= numbers > item["maximum"]
        if "exclusiveMinimum" in item:
            wrong |= numbers <= item["exclusiveMinimum"]
        if "exclusiveMaximum" in item:
            wrong |= numbers >= item["exclusiveMaximum"]
        if wrong.any():
            found.update(owners[wrong].tolist())

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        """The node behind `$ref` and `x or null`."""
        while True:
            if "$ref" in node:
                node = self._definitions[node["$ref"].rpartition("/")[2]]
            elif "anyOf" in node:
                real = [part for part in node["anyOf"] if part != {"type": "null"}]
                if len(real) != 1:
                    return {}
                node = real[0]
            else:
                return node

    def _long_checks(self, batch: pa.RecordBatch, hollow: dict[str, list[Any]], every: Rows, found: set[int]) -> None:
        """The vectorised counterparts of `checks.LONG`."""
        names = batch.schema.names
        for index, value in _CURVES.get(self._contract, ()):
            if index in names and value in names:
                kind = batch.column("kind") if self._contract == "reward_curve" and "kind" in names else None
                _curves(batch.column(index), batch.column(value), kind, every, found)
        if self._contract == "rollout" and "rewards" in names:
            _rollout_curves(batch.column("rewards"), hollow, every, found)
        if self._contract == "prediction":
            _prediction_errors(batch, found)
        if self._contract == "trajectory":
            for name in ("state", "action"):
                _widths(batch.column(name), batch.column(f"{name}_columns"), every, found)


def _rollout_curves(rewards: pa.Array, hollow: dict[str, list[Any]], every: Rows, found: set[int]) -> None:
    curves = rewards.flatten() if _is_list(rewards.type) else None
    if curves is None or not pa.types.is_struct(curves.type):
        return  # the wrong type: jsonschema-rs refuses each row that has one
    owners = np.repeat(every, _lengths(rewards))
    parts = dict(zip((field.name for field in curves.type), curves.flatten(), strict=True))
    if not {"frame_index", "value", "kind", "role"} <= parts.keys():
        return
    _curves(parts["frame_index"], parts["value"], parts["kind"], owners, found)
    # Frames behind the end of the video: by the highest index of each curve, against its camera's frame count.
    highest = _highest(parts["frame_index"])
    for owner, role, last in zip(owners.tolist(), parts["role"].to_pylist(), highest, strict=True):
        videos = hollow["videos"][owner]
        video = videos.get(role) if isinstance(videos, dict) and isinstance(role, str) else None
        count = video.get("num_frames") if isinstance(video, dict) else None
        if not isinstance(count, int) or (last is not None and last >= count):
            found.add(owner)


def _curves(index: pa.Array, value: pa.Array, kind: pa.Array | None, owners: Rows, found: set[int]) -> None:
    """Add to `found` the owners of curves with unequal lengths, indices that do not increase, or progress out of range.

    `index`, `value` and `kind` have one entry a curve. What is no list, or no list of numbers, is left to the contract.
    """
    if not _is_list(index.type) or not _is_list(value.type):
        return
    both = index.is_valid().to_numpy(zero_copy_only=False) & value.is_valid().to_numpy(zero_copy_only=False)
    lengths, counts = _lengths(index), _lengths(value)
    found.update(owners[both & (lengths != counts)].tolist())
    if _is_numeric(index.type.value_type):
        flat = index.flatten().fill_null(0).to_numpy(zero_copy_only=False)
        of = np.repeat(np.arange(len(lengths)), lengths)
        falls = (flat[1:] <= flat[:-1]) & (of[1:] == of[:-1])
        found.update(owners[of[1:][falls]].tolist())
    if (
        kind is not None
        and _is_numeric(value.type.value_type)
        and pa.types.is_string(kind.type) | pa.types.is_large_string(kind.type)
    ):
        progress = pc.equal(kind, "progress").fill_null(False).to_numpy(zero_copy_only=False)
        values = value.flatten().fill_null(0).to_numpy(zero_copy_only=False)
        holders = np.repeat(np.arange(len(counts)), counts)
        outside = progress[holders] & ((values < 0) | (values > 1))
        found.update(owners[holders[outside]].tolist())


def _highest(index: pa.Array) -> Iterator[Any]:
    """The highest number of each list, None for an empty one."""
    if not _is_list(index.type) or not _is_numeric(index.type.value_type):
        return iter([None] * len(index))
    lengths = _lengths(index)
    flat = index.flatten().fill_null(0).to_numpy(zero_copy_only=False)
    full = lengths > 0
    starts = (np.cumsum(lengths) - lengths)[full]
    tops = iter(np.maximum.reduceat(flat, starts).tolist() if len(starts) else [])
    return (next(tops) if one else None for one in full.tolist())


def _prediction_errors(batch: pa.RecordBatch, found: set[int]) -> None:
    index = batch.column("frame_index")
    if not _is_list(index.type):
        return
    errors = batch.column("error").to_pylist() if "error" in batch.schema.names else [None] * batch.num_rows
    for i, (error, count) in enumerate(zip(errors, _lengths(index).tolist(), strict=True)):
        if (error is None) == (count == 0):
            found.add(i)


def _widths(steps: pa.Array, columns: pa.Array, every: Rows, found: set[int]) -> None:
    """Steps of a state or action array whose width is not the number of named columns."""
    if not _is_list(steps.type) or not _is_list(columns.type):
        return
    inner = steps.flatten()
    if _is_list(inner.type):
        owners = np.repeat(every, _lengths(steps))
        found.update(owners[_lengths(inner) != _lengths(columns)[owners]].tolist())


def _lengths(array: pa.Array) -> Rows:
    """How many values of `array.flatten()` belong to each entry; 0 for null."""
    lengths: Rows = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_json(kind: pa.DataType) -> bool:
    """Whether a column of scalars holds what JSON has a word for; not so bytes, dates and decimals."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_numeric(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _plain(array: pa.Array) -> list[Any]:
    """An array of scalars as plain data; through numpy where that is the same and faster."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
    if array.null_count == 0 and (_is_numeric(kind) or pa.types.is_boolean(kind)):
        return array.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
    return array.to_pylist()  # type: ignore[no-any-return]
