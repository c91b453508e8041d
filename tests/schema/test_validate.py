"""Named rules on records: one invalid record for each, readable causes, and one verdict from both validators."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_robot_behavior.builder.features import arrow_schema
from bad_robot_behavior.schema import Defect
from bad_robot_behavior.schema.contracts import CONTRACTS
from bad_robot_behavior.schema.validate import validate_rows, validate_table
from tests.schema.rows import VALID, changed, places, removed

Broken = tuple[str, tuple[str | int, ...], Any]
NAN, INF = math.nan, math.inf


def defects_of(contract: str, *rows: Any) -> list[Defect]:
    return list(validate_rows(rows, contract, "x"))


def only(contract: str, row: Any) -> Defect:
    (defect,) = defects_of(contract, row)
    return defect


@pytest.mark.parametrize("contract", CONTRACTS)
def test_valid_records_have_no_defect(contract: str) -> None:
    rows = [VALID[contract](i) for i in range(3)]
    assert list(validate_rows(rows, contract, "x")) == []
    assert list(validate_table(pa.Table.from_pylist(rows), contract, "x")) == []


def check(rule: str, contract: str, place: tuple[str | int, ...], value: Any, field: str, legal: str) -> None:
    row = changed(VALID[contract](), place, value)
    defect = only(contract, row)
    assert (defect.rule, defect.field, defect.row, defect.file) == (rule, field, 0, "x")
    assert defect.legal is not None
    assert legal in defect.legal
    assert str(defect).startswith(f"x row 0 {field}: ")
    assert defect.cure in str(defect)


@pytest.mark.rule("schema.type")
@pytest.mark.parametrize(
    ("contract", "place", "value", "field", "legal"),
    [
        ("rollout", ("score",), "0.5", "score", "a number from 0 to 1, or null"),
        ("rollout", ("success",), 1, "success", "true or false, or null"),
        ("rollout", ("source",), None, "source", "a text of a length from 1"),
        ("rollout", ("failures",), None, "failures", "a list of a Failure object"),
        ("rollout", ("videos",), [], "videos", "an object"),
        ("rollout", ("videos", "wrist", "width"), True, "videos.wrist.width", "a whole number above 0"),
        ("rollout", ("critique", "text"), 3, "critique.text", "a text"),
        ("rollout", ("reward", 2), None, "reward[2]", "a number from -1 to 1"),
        ("rollout", ("rewards", 0, "frame_index", 1), 4.5, "rewards[0].frame_index[1]", "a whole number from 0"),
        ("rollout", ("failures", 0, "start_s"), Decimal("0.5"), "failures[0].start_s", "a number from 0, or null"),
        ("trajectory", ("state", 1, 0), "1", "state[1][0]", "a number"),
    ],
)
def test_type(contract: str, place: tuple[str | int, ...], value: Any, field: str, legal: str) -> None:
    check("schema.type", contract, place, value, field, legal)


@pytest.mark.rule("schema.range")
@pytest.mark.parametrize(
    ("place", "value", "legal"),
    [
        (("score",), 1.01, "a number from 0 to 1"),
        (("score",), -0.01, "a number from 0 to 1"),
        (("control_hz",), 0, "a number above 0"),
        (("videos", "exterior_1", "num_frames"), 0, "a whole number above 0"),
    ],
)
def test_range(place: tuple[str | int, ...], value: Any, legal: str) -> None:
    check("schema.range", "rollout", place, value, ".".join(map(str, place)), legal)


def test_a_list_of_bad_numbers_is_one_defect_with_the_first_place_and_the_count() -> None:
    row = changed(VALID["rollout"](), ("reward",), [0.0, 1.5, 0.5, -1.5])
    defect = only("rollout", row)
    assert (defect.field, defect.value) == ("reward[1]", "1.5")
    assert "1 more in this list" in defect.message


@pytest.mark.rule("schema.choice")
def test_choice() -> None:
    check("schema.choice", "rollout", ("outcome",), "won", "outcome", "one of failure, success,")
    check("schema.choice", "failure", ("severity",), "high", "severity", "catastrophic, low, medium, none")


@pytest.mark.rule("schema.pattern")
def test_pattern() -> None:
    check("schema.pattern", "rollout", ("rollout_id",), "G" * 20, "rollout_id", "^[0-9a-f]{20}$")
    check("schema.pattern", "release", ("version",), "1.0.0\n", "version", "a text that matches ^[0-9]+")
    check("schema.pattern", "recipe", ("sources", 0, "name"), "lab\n", "sources[0].name", "^[a-z0-9_]{1,40}$")


@pytest.mark.rule("schema.length")
def test_length() -> None:
    check("schema.length", "rollout", ("instruction",), "", "instruction", "a text of a length from 1")
    check("schema.length", "recipe", ("sources",), [], "sources", "a list of a length from 1")
    check("schema.length", "session", ("labels", 0), ["A"], "labels[0]", "a list of a length from 2 to 2")
    assert {
        d.rule for d in defects_of("rejection", changed(VALID["rejection"](), ("subject_id",), "0" * 20 + "\n"))
    } == {"schema.length"}


@pytest.mark.rule("schema.missing_field")
def test_missing_field() -> None:
    defect = only("rollout", removed(VALID["rollout"](), ("instruction",)))
    assert (defect.rule, defect.field) == ("schema.missing_field", "instruction")
    defect = only("rollout", removed(VALID["rollout"](), ("videos", "wrist", "fps")))
    assert (defect.rule, defect.field, defect.legal) == ("schema.missing_field", "videos.wrist.fps", "a number above 0")
    (defect,) = validate_table(pa.table({"rollout_id": ["a"] * 9, "value": [[0.0]] * 9, "model": ["m"] * 9,
                                         "parameters": ["{}"] * 9}), "prediction", "p.parquet")  # fmt: skip
    assert (defect.rule, defect.field, defect.row) == ("schema.missing_field", "frame_index", None)


@pytest.mark.rule("schema.unknown_field")
def test_unknown_field() -> None:
    defect = only("rollout", VALID["rollout"]() | {"scor": 0.5})
    assert (defect.rule, defect.field, defect.value) == ("schema.unknown_field", None, "scor")
    assert defect.legal is not None
    assert "score, success" in defect.legal
    rows = [VALID["preference"](i) | {"extra": 1} for i in range(5)]
    (defect,) = validate_table(pa.Table.from_pylist(rows), "preference", "x")
    assert (defect.rule, defect.field, defect.row) == ("schema.unknown_field", "extra", None)


def test_a_column_that_stands_twice() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["rollout_id", "rollout_id"])
    found = [d for d in validate_table(table, "prediction", "x") if d.rule == "schema.unknown_field"]
    assert [d.field for d in found] == ["rollout_id"]


@pytest.mark.rule("schema.nonfinite")
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("contract", "place"),
    [
        ("rollout", ("score",)),
        ("rollout", ("videos", "exterior_1", "fps")),
        ("rollout", ("failures", 0, "end_s")),
        ("rollout", ("rewards", 1, "value", 3)),
        ("rollout", ("rewards", 0, "margin")),
        ("prediction", ("value", 1)),
        ("trajectory", ("action", 1, 1)),
        ("reward_curve", ("value", 0)),
        ("release", ("models", 0, "parameters", "temperature")),
    ],
)
def test_nonfinite(contract: str, place: tuple[str | int, ...], bad: float) -> None:
    row = changed(VALID[contract](), place, bad)
    assert [d.rule for d in defects_of(contract, row)] == ["schema.nonfinite"]
    assert [d.rule for d in validate_table(pa.Table.from_pylist([row]), contract, "x")] == ["schema.nonfinite"]


CROSS: list[tuple[str, str, tuple[str | int, ...], Any, str]] = [
    ("schema.no_video", "rollout", ("videos",), {"exterior_1": None}, "videos"),
    ("schema.outcome", "rollout", ("success",), True, "outcome"),
    ("schema.outcome", "rollout", ("outcome",), "success_side_effect", "outcome"),
    ("schema.reward_pair", "rollout", ("reward",), None, "reward"),
    ("schema.reward_pair", "rollout", ("reward_frame_index",), None, "reward_frame_index"),
    ("schema.curve_length", "rollout", ("reward",), [0.5], "reward"),
    ("schema.curve_length", "rollout", ("rewards", 1, "value"), [0.5], "rewards[1].value"),
    ("schema.curve_length", "prediction", ("value",), [], "value"),
    ("schema.curve_length", "demonstration", ("value",), [0.5, 0.5, 0.5], "value"),
    ("schema.curve_length", "reward_curve", ("frame_index",), [1], "value"),
    ("schema.curve_order", "rollout", ("reward_frame_index", 2), 4, "reward_frame_index[2]"),
    ("schema.curve_order", "rollout", ("rewards", 0, "frame_index", 3), 7, "rewards[0].frame_index[3]"),
    ("schema.curve_order", "prediction", ("frame_index",), [4, 3], "frame_index[1]"),
    ("schema.curve_order", "reward_curve", ("frame_index", 0), 4, "frame_index[1]"),
    ("schema.curve_frames", "rollout", ("rewards", 1, "frame_index", 3), 12, "rewards[1].frame_index"),
    ("schema.curve_frames", "rollout", ("rewards", 0, "role"), "exterior_2", "rewards[0].role"),
    ("schema.progress_range", "rollout", ("rewards", 0, "value", 2), -0.25, "rewards[0].value[2]"),
    ("schema.progress_range", "reward_curve", ("value", 0), -0.25, "value[0]"),
    ("schema.kept_sample", "rollout", ("rewards", 1, "kept_sample"), 10, "rewards[1].kept_sample"),
    ("schema.kept_sample", "rollout", ("rewards", 0, "samples"), None, "rewards[0].kept_sample"),
    ("schema.kept_sample", "reward_curve", ("samples",), 3, "kept_sample"),
    ("schema.failure_span", "rollout", ("failures", 0, "end_s"), 0.25, "failures[0].end_s"),
    ("schema.failure_span", "failure", ("start_s",), None, "start_s"),
    ("schema.failure_slug", "rollout", ("failures", 0, "category"), "grip", "failures[0].category"),
    ("schema.failure_slug", "rollout", ("failures", 0, "kind"), "spill", "failures[0].kind"),
    ("schema.failure_slug", "failure", ("category",), "Grasp", "category"),
    ("schema.json_object", "rollout", ("synthetic", "parameters"), "seed: 1", "synthetic.parameters"),
    ("schema.json_object", "prediction", ("parameters",), "[1]", "parameters"),
    ("schema.json_object", "prediction", ("parameters",), '{"t": NaN}', "parameters"),
    ("schema.json_object", "prediction", ("parameters",), "[" * 100_000, "parameters"),
    ("schema.same_rollout", "preference", ("rollout_b",), VALID["preference"]()["rollout_a"], "rollout_b"),
    ("schema.demonstration_level", "demonstration", ("level",), "text_video", "value"),
    ("schema.demonstration_level", "demonstration", ("role",), None, "role"),
    ("schema.sample_error", "reward_sample", ("error",), "no JSON", "value"),
    ("schema.sample_error", "reward_sample", ("mean",), None, "mean"),
    ("schema.prediction_error", "prediction", ("error",), "no answer", "error"),
    ("schema.trajectory_shape", "trajectory", ("state", 1), [0.5], "state[1]"),
    ("schema.trajectory_shape", "trajectory", ("action_columns",), [], "action[0]"),
    ("schema.count_identity", "release", ("counts", "rollouts_rejected"), 0, "counts.rollouts_read"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "contract", "place", "value", "field"),
    [pytest.param(*case, marks=pytest.mark.rule(case[0]), id=f"{case[0]}-{case[1]}-{case[4]}") for case in CROSS],
)
def test_rules_across_fields(rule: str, contract: str, place: tuple[str | int, ...], value: Any, field: str) -> None:
    row = changed(VALID[contract](), place, value)
    found = defects_of(contract, row)
    assert (rule, field) in [(d.rule, d.field) for d in found]
    assert all(d.legal and d.message and d.cure for d in found)
    assert {d.rule for d in found} <= {rule, "schema.curve_frames"}  # a rollout without videos has curves of none
    assert list(validate_table(pa.Table.from_pylist([row]), contract, "x")) == found


def test_a_prediction_needs_a_curve_or_a_reason() -> None:
    row = VALID["prediction"]() | {"frame_index": [], "value": []}
    assert only("prediction", row).rule == "schema.prediction_error"
    assert defects_of("prediction", row | {"error": "no answer"}) == []


def test_a_session_holds_its_preferences_to_the_same_rule() -> None:
    row = changed(VALID["session"](), ("preferences", 0, "rollout_b"), VALID["preference"]()["rollout_a"])
    assert only("session", row).field == "preferences[0].rollout_b"


def test_what_is_unknown_contradicts_nothing() -> None:
    row = VALID["rollout"]()
    assert defects_of("rollout", row | {"success": None}) == []
    assert defects_of("rollout", row | {"outcome": "unknown"}) == []
    assert defects_of("rollout", row | {"success": True, "outcome": "success_suboptimal"}) == []
    assert (
        defects_of("rollout", row | {"reward": None, "reward_frame_index": None, "rewards": [], "failures": []}) == []
    )


@pytest.mark.rule("schema.duplicate_id")
def test_duplicate_id() -> None:
    rows = [VALID["rollout"](i) for i in (0, 1, 0)]
    (defect,) = validate_rows(rows, "rollout", "x")
    assert (defect.rule, defect.row, defect.field) == ("schema.duplicate_id", 2, "rollout_id")
    assert list(validate_table(pa.Table.from_pylist(rows), "rollout", "x")) == [defect]


def test_duplicates_are_found_across_the_files_of_a_table() -> None:
    first = pa.Table.from_pylist([VALID["preference"](i) for i in range(3)])
    seen: set[tuple[Any, ...]] = set()
    assert list(validate_table(first, "preference", "a", seen=seen)) == []
    (defect,) = validate_table(first.slice(2), "preference", "b", offset=3, seen=seen)
    assert (defect.file, defect.row) == ("b", 3)


def test_predictions_of_two_models_are_no_duplicates() -> None:
    row = VALID["prediction"]()
    assert defects_of("prediction", row, row | {"model": "other"}, row | {"role": "wrist"}) == []
    assert [d.rule for d in defects_of("prediction", row, dict(row))] == ["schema.duplicate_id"]


@pytest.mark.parametrize(
    "row",
    [None, 3, "text", [], [1], {}, {"rollout_id": None}, {1: 2}, {"rollout_id": [[]]}, {"videos": object()}, b"x"],
)
def test_no_row_is_too_strange(row: Any) -> None:
    assert defects_of("rollout", row)
    assert all(str(d) for d in defects_of("rollout", row))


def test_strange_arrow_types_are_named_not_raised() -> None:
    day = datetime.date(2026, 1, 1)
    for value in (day, b"bytes", Decimal("1.5"), [day], {"a": day}):
        table = pa.Table.from_pylist([VALID["preference"]() | {"feedback": value}])
        assert [d.rule for d in validate_table(table, "preference", "x")] == ["schema.type"]
    for number in (Decimal("0.5"), "0.5", b"1", True, day):
        table = pa.Table.from_pylist([VALID["rollout"]() | {"score": number}])
        assert [d.rule for d in validate_table(table, "rollout", "x")] == ["schema.type"]
        table = pa.Table.from_pylist([VALID["prediction"]() | {"value": [number, number]}])
        assert [d.rule for d in validate_table(table, "prediction", "x")] == ["schema.type"]


def test_an_unknown_contract_is_refused() -> None:
    with pytest.raises(ValueError, match="no contract 'rollouts'; there are rollout"):
        list(validate_rows([], "rollouts", "x"))


def test_row_numbers_run_on_over_batches() -> None:
    rows = [VALID["preference"](i) for i in range(10)]
    rows[7]["preference"] = "c"
    batches = pa.Table.from_pylist(rows).to_batches(max_chunksize=3)
    (defect,) = validate_table(batches, "preference", "x", offset=100)
    assert defect.row == 107


VALUES = [
    None,
    True,
    0,
    1,
    -1,
    3,
    0.5,
    -0.5,
    1.5,
    NAN,
    INF,
    "",
    "x",
    "tie",
    "wrist",
    [],
    [0.5],
    [3, 2],
    {},
    {"a": 1},
    2**62,
]


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if c not in ("release", "recipe")])
def test_both_validators_agree_at_every_place(contract: str) -> None:
    """Every value at every place of a record, as Arrow has it: the defects, not only the verdict, are the same."""
    valid = VALID[contract]()
    some = [(place, value) for place in places(valid) if place for value in VALUES]
    compared = 0
    for place, value in some[:: 1 + len(some) // 700]:  # a rollout has too many places to try all
        try:
            table = pa.Table.from_pylist([changed(valid, place, value)])
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            continue  # Arrow has no column of two types
        assert list(validate_table(table, contract, "x")) == defects_of(contract, *table.to_pylist()), (place, value)
        compared += 1
    assert compared > 50


NUMBERS = [-2.0, -1.0, -0.25, 0.0, 0.25, 1.0, 1.5, NAN, INF, None]
INDICES = [-1, 0, 3, 4, 8, 11, 12, None]


def typed_changes() -> st.SearchStrategy[tuple[tuple[str | int, ...], Any]]:
    """Changes that fit the Arrow schema of a release, so that many broken rows share one table."""
    values = st.lists(st.sampled_from(NUMBERS), max_size=6)
    indices = st.lists(st.sampled_from(INDICES), max_size=6)
    text = st.sampled_from(["", "x", "progress", "reward", "failure", "success", "wrist", "exterior_2", None])
    return st.one_of(
        st.tuples(st.sampled_from([("reward",), ("rewards", 0, "value"), ("rewards", 1, "value")]), values | st.none()),
        st.tuples(
            st.sampled_from([("reward_frame_index",), ("rewards", 0, "frame_index"), ("rewards", 1, "frame_index")]),
            indices | st.none(),
        ),
        st.tuples(
            st.sampled_from([("score",), ("failures", 0, "end_s"), ("control_hz",), ("videos", "exterior_1", "fps")]),
            st.sampled_from(NUMBERS),
        ),
        st.tuples(
            st.sampled_from(
                [
                    ("outcome",),
                    ("rewards", 0, "kind"),
                    ("rewards", 0, "role"),
                    ("failures", 0, "kind"),
                    ("task_category",),
                    ("instruction",),
                    ("synthetic", "parameters"),
                ]
            ),
            text,
        ),
        st.tuples(
            st.sampled_from(
                [
                    ("rewards",),
                    ("failures",),
                    ("rewards", 1),
                    ("videos", "exterior_1"),
                    ("videos",),
                    ("synthetic",),
                    ("privacy",),
                    ("success",),
                ]
            ),
            st.none(),
        ),
        st.tuples(
            st.sampled_from([("rewards", 0, "kept_sample"), ("rewards", 0, "samples")]), st.sampled_from(INDICES)
        ),
    )


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(typed_changes(), max_size=3), min_size=1, max_size=12), st.integers(0, 5))
def test_both_validators_agree_on_tables(changes: list[list[tuple[tuple[str | int, ...], Any]]], start: int) -> None:
    rows = []
    for i, some in enumerate(changes):
        row = VALID["rollout"](i)
        for place, value in some:
            try:
                row = changed(row, place, value)
            except TypeError:
                continue  # an earlier change took the holder away
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=arrow_schema(CONTRACTS["rollout"]))  # type: ignore[arg-type]
    table = pa.concat_tables([table.slice(start), table.slice(0, start)])  # slices and chunks with offsets
    assert list(validate_table(table, "rollout", "x")) == defects_of("rollout", *table.to_pylist())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.none() | st.lists(st.sampled_from(INDICES), max_size=4),
            st.none() | st.lists(st.sampled_from(NUMBERS), max_size=4),
            st.none() | st.just("no answer"),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int32())]),
)
def test_both_validators_agree_on_predictions(some: list[Any], kind: pa.DataType) -> None:
    whole = pa.types.is_integer(kind.value_type)
    rows = [VALID["prediction"](i) for i in range(len(some))]
    for row, (indices, values, error) in zip(rows, some, strict=True):
        numbers = [v if v is None or not whole else int(v) for v in values if v is None or not whole or abs(v) < 9] if (
            values is not None
        ) else None  # fmt: skip
        row.update(frame_index=indices, value=numbers, error=error)
    table = pa.Table.from_pylist(rows)
    at = table.schema.get_field_index("value")
    table = table.set_column(at, "value", pa.array([row["value"] for row in rows], kind))
    assert list(validate_table(table, "prediction", "x")) == defects_of("prediction", *table.to_pylist())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.lists(st.sampled_from(NUMBERS), max_size=3) | st.none(), max_size=3) | st.none(),
        min_size=1,
        max_size=8,
    )
)
def test_both_validators_agree_on_trajectories(states: list[Any]) -> None:
    rows = [VALID["trajectory"](i) | {"state": state} for i, state in enumerate(states)]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(CONTRACTS["trajectory"]))  # type: ignore[arg-type]
    assert list(validate_table(table, "trajectory", "x")) == defects_of("trajectory", *table.to_pylist())
