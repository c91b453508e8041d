"""Arrow schemas come from the records, and rows survive the way through parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from bad_robot_behavior.builder.features import TABLES, arrow_schema, to_row
from bad_robot_behavior.schema import Record, Rejection, ReleaseManifest, RolloutRow, Trajectory
from tests.builder.releases import make_rollouts


@pytest.mark.parametrize("record", [*TABLES.values(), Rejection])
def test_a_schema_has_the_fields_of_its_record_in_order(record: type[Record]) -> None:
    assert arrow_schema(record).names == [field.name for field in msgspec.structs.fields(record)]


def test_curves_and_arrays_are_float32_and_single_numbers_float64() -> None:
    schema = arrow_schema(RolloutRow)
    assert schema.field("reward").type == pa.list_(pa.float32())
    assert schema.field("reward_frame_index").type == pa.list_(pa.int64())
    assert schema.field("score").type == pa.float64()
    assert schema.field("success").type == pa.bool_()
    assert schema.field("split").type == pa.string()
    assert schema.field("videos").type.field("wrist").type.field("num_frames").type == pa.int64()
    assert arrow_schema(Trajectory).field("state").type == pa.list_(pa.list_(pa.float32()))


def test_a_row_survives_arrow(tmp_path: Path) -> None:
    rollout = make_rollouts(tmp_path, sessions=1)[1]
    row = RolloutRow(**{field.name: getattr(rollout, field.name) for field in msgspec.structs.fields(RolloutRow)})
    table = pa.Table.from_pylist([to_row(row)], schema=arrow_schema(RolloutRow))
    assert msgspec.convert(table.to_pylist()[0], RolloutRow) == row


def test_a_type_that_no_table_has_is_refused() -> None:
    with pytest.raises(TypeError, match="no column of type"):
        arrow_schema(ReleaseManifest)

    class Odd(Record, frozen=True, kw_only=True):
        either: int | str
        anything: Any = None

    with pytest.raises(TypeError, match="more than one type"):
        arrow_schema(Odd)
