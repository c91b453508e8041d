"""The predictions file: round trip, one invalid file for each rule, and what an error says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bad_robot_behavior.benchmark import checks
from bad_robot_behavior.benchmark.predictions import check, describe, read, write
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import PredictionsError
from bad_robot_behavior.schema import Prediction

A, B, C = (letter * 20 for letter in "abc")


def table(**changes: Any) -> dict[str, list[Any]]:
    """Two good rows as columns."""
    good: dict[str, list[Any]] = {
        "rollout_id": [A, B],
        "role": ["exterior_1", None],
        "frame_index": [[0, 5], []],
        "value": [[0.25, 0.5], []],
        "model": ["m", "m"],
        "parameters": ["{}", "{}"],
        "error": [None, "no answer"],
    }
    return good | changes


def put(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def rules(path: Path, release: Release | None = None) -> list[str]:
    return [defect.rule for defect in check(path, release)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [
        Prediction(rollout_id=A, role="wrist", frame_index=(0, 2), value=(0.1, -3.5), model="m", parameters='{"t": 1}'),
        Prediction(rollout_id=B, frame_index=(), value=(), model="m", parameters='{"t": 1}', error="timeout"),
        Prediction(rollout_id=C, frame_index=(7,), value=(1.0,), model="m", parameters='{"t": 1}'),
    ]
    path = tmp_path / "deep" / "p.parquet"
    assert write(path, iter(rows), {"name": "x", "version": "1.0.0", "recipe_sha256": "0"}) == 3
    got = read(path)
    assert (got.model, got.parameters, got.rollout_id) == ("m", {"t": 1}, [A, B, C])
    assert got.release == {"name": "x", "version": "1.0.0", "recipe_sha256": "0"}
    assert got.role == ["wrist", None, None]
    assert got.error == [None, "timeout", None]
    np.testing.assert_array_equal(got.offset, [0, 2, 2, 3])
    np.testing.assert_array_equal(got.frame_index, [0, 2, 7])
    np.testing.assert_array_equal(got.value, [0.1, -3.5, 1.0])
    assert [file.name for file in path.parent.iterdir()] == ["p.parquet"]


def test_same_predictions_same_bytes(tmp_path: Path) -> None:
    row = Prediction(rollout_id=A, frame_index=(0,), value=(0.1,), model="m", parameters="{}")
    write(tmp_path / "1", [row])
    write(tmp_path / "2", [row])
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_run_that_breaks_off_leaves_the_earlier_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    good = Prediction(rollout_id=A, frame_index=(0,), value=(0.1,), model="m", parameters="{}")
    write(path, [good])
    before = path.read_bytes()

    def broken() -> Any:
        yield good
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_what_could_not_be_read_is_refused(tmp_path: Path) -> None:
    good = Prediction(rollout_id=A, frame_index=(0,), value=(0.1,), model="m", parameters="{}")
    with pytest.raises(PredictionsError, match="duplicate_rollout"):
        write(tmp_path / "p.parquet", [good, good])
    assert list(tmp_path.iterdir()) == []


def test_a_file_from_another_environment_with_wider_types_is_read(tmp_path: Path) -> None:
    columns = table()
    del columns["role"]
    arrays = {name: pa.array(column) for name, column in columns.items()}
    arrays["rollout_id"] = pa.array(columns["rollout_id"], pa.large_string())
    arrays["value"] = pa.array(columns["value"], pa.large_list(pa.float32()))
    arrays["frame_index"] = pa.array(columns["frame_index"], pa.list_(pa.uint16()))
    arrays["model"] = pa.array(columns["model"]).dictionary_encode()
    arrays["extra"] = pa.array([1, 2])
    got = read(put(tmp_path / "p.parquet", arrays))
    assert got.role == [None, None]
    np.testing.assert_array_equal(got.value, [0.25, 0.5])


@pytest.mark.rule("predictions.unreadable")
@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1", b"\x00" * 100])
def test_unreadable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.parquet"
    if content is not None:
        path.write_bytes(content)
    assert rules(path) == ["predictions.unreadable"]
    with pytest.raises(PredictionsError, match=r"docs/benchmark\.md"):
        read(path)


@pytest.mark.rule("predictions.unreadable")
def test_a_truncated_or_damaged_file_is_a_defect(tmp_path: Path) -> None:
    whole = put(tmp_path / "p.parquet", table()).read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], whole[:4] + b"\xff" * 60 + whole[64:]):
        path = tmp_path / "damaged.parquet"
        path.write_bytes(damaged)
        assert check(path), "damage must not pass unseen"


@pytest.mark.rule("predictions.unreadable")
def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    assert rules(put(tmp_path / "p.parquet", table(model=broken))) == ["predictions.unreadable"]


@pytest.mark.rule("predictions.too_large")
def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "p.parquet", table())
    monkeypatch.setattr(checks, "MAX_BYTES", 10)
    assert rules(path) == ["predictions.too_large"]


@pytest.mark.rule("predictions.missing_column")
@pytest.mark.parametrize("name", ["rollout_id", "frame_index", "value", "model", "parameters"])
def test_missing_column(tmp_path: Path, name: str) -> None:
    columns = table()
    del columns[name]
    [defect] = check(put(tmp_path / "p.parquet", columns))
    assert (defect.rule, defect.field) == ("predictions.missing_column", name)


@pytest.mark.rule("predictions.wrong_type")
@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("rollout_id", [1, 2]),
        ("role", [0.5, 0.5]),
        ("frame_index", [[0.5], [1.5]]),
        ("frame_index", [1, 2]),
        ("value", [["a"], ["b"]]),
        ("value", [[[0.1]], [[0.2]]]),
        ("value", [0.1, 0.2]),
        ("parameters", [{"a": 1}, {"a": 1}]),
        ("frame_index", pa.array([[2**64 - 1], []], pa.list_(pa.uint64()))),
    ],
)
def test_wrong_type(tmp_path: Path, name: str, column: Any) -> None:
    [defect] = check(put(tmp_path / "p.parquet", table(**{name: column})))
    assert (defect.rule, defect.field) == ("predictions.wrong_type", name)
    assert defect.legal


ROW_RULES = [
    ("empty", {name: [] for name in ("role", "model", "parameters", "error", "rollout_id")}, None),
    ("null_value", {"rollout_id": [A, None]}, 1),
    ("null_value", {"value": [[0.1, None], []]}, 0),
    ("null_value", {"frame_index": [[0, 1], None]}, 1),
    ("malformed_id", {"rollout_id": [A, "../../etc/passwd"]}, 1),
    ("malformed_id", {"rollout_id": [A + "\n", B]}, 0),
    ("duplicate_rollout", {"rollout_id": [A, A]}, 1),
    ("curve_or_error", {"error": [None, None]}, 1),
    ("curve_or_error", {"error": ["both", "no answer"]}, 0),
    ("lengths_differ", {"frame_index": [[0], []]}, 0),
    ("not_finite", {"value": [[0.1, float("nan")], []]}, 0),
    ("not_finite", {"value": [[float("-inf"), 0.0], []]}, 0),
    ("value_too_big", {"value": [[0.0, 1.5e6], []]}, 0),
    ("progress_range", {"value": [[0.1, 1.01], []], "parameters": ['{"kind": "progress"}'] * 2}, 0),
    ("progress_range", {"value": [[-0.01, 1.0], []], "parameters": ['{"kind": "progress"}'] * 2}, 0),
    ("frame_index_not_increasing", {"frame_index": [[5, 5], []]}, 0),
    ("frame_index_not_increasing", {"frame_index": [[5, 0], []]}, 0),
    ("frame_index_not_increasing", {"frame_index": [[-1, 0], []]}, 0),
    ("unknown_role", {"role": ["left", None]}, 0),
    ("mixed_models", {"model": ["m", "other"]}, 1),
    ("mixed_models", {"parameters": ["{}", '{"seed": 1}']}, 1),
    ("bad_parameters", {"parameters": ["[1]", "[1]"]}, 0),
    ("bad_parameters", {"parameters": ["seed=1", "seed=1"]}, 0),
    ("bad_parameters", {"parameters": ["[" * 100_000] * 2}, 0),
    ("bad_parameters", {"parameters": ['{"t": NaN}'] * 2}, 0),
    ("bad_parameters", {"parameters": ['{"t": "\\ud800"}'] * 2}, 0),
]


@pytest.mark.rule("predictions.empty")
@pytest.mark.rule("predictions.null_value")
@pytest.mark.rule("predictions.malformed_id")
@pytest.mark.rule("predictions.duplicate_rollout")
@pytest.mark.rule("predictions.curve_or_error")
@pytest.mark.rule("predictions.lengths_differ")
@pytest.mark.rule("predictions.not_finite")
@pytest.mark.rule("predictions.value_too_big")
@pytest.mark.rule("predictions.progress_range")
@pytest.mark.rule("predictions.frame_index_not_increasing")
@pytest.mark.rule("predictions.unknown_role")
@pytest.mark.rule("predictions.mixed_models")
@pytest.mark.rule("predictions.bad_parameters")
@pytest.mark.parametrize(("rule", "changes", "row"), ROW_RULES)
def test_broken_rows(tmp_path: Path, rule: str, changes: dict[str, Any], row: int | None) -> None:
    columns = table(**changes)
    if rule == "empty":
        columns |= {
            "frame_index": pa.array([], pa.list_(pa.int64())),
            "value": pa.array([], pa.list_(pa.float64())),
            **{name: pa.array([], pa.string()) for name in changes},
        }
    path = put(tmp_path / "p.parquet", columns)
    [defect] = check(path)
    assert (defect.rule, defect.row) == (f"predictions.{rule}", row)
    assert defect.cure in str(defect)
    with pytest.raises(PredictionsError, match=rule):
        read(path)


def test_only_progress_is_held_to_its_range(tmp_path: Path) -> None:
    for parameters in ("{}", '{"kind": "reward"}', '{"kind": ["progress"]}'):
        columns = table(value=[[-3.0, 2.0], []], parameters=[parameters] * 2)
        assert rules(put(tmp_path / "p.parquet", columns)) == []
    edges = table(value=[[0.0, 1.0], []], parameters=['{"kind": "progress"}'] * 2)
    assert rules(put(tmp_path / "p.parquet", edges)) == []


def test_a_row_with_a_curve_and_an_error_and_one_with_neither(tmp_path: Path) -> None:
    both, neither = check(put(tmp_path / "p.parquet", table(error=["both", None])))
    assert (both.row, both.message) == (0, "the error stands beside a curve; remove one of them")
    assert (neither.row, neither.message) == (1, "there is neither a curve nor an error; give one of them")


def test_an_error_names_the_file_once_and_each_defect_on_its_line(release: Release, tmp_path: Path) -> None:
    path = put(tmp_path / "p q.parquet", table(error=["both", None]))
    with pytest.raises(PredictionsError) as caught:
        read(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 2 defects"
    assert [line.startswith(f"  row {i} error: ") for i, line in enumerate(lines[1:])] == [True, True]
    assert str(caught.value).count(path.name) == 1
    n = 9
    ids = [f"{i:020x}" for i in range(n)]
    many = {name: [column[0]] * n for name, column in table().items()} | {"rollout_id": ids}
    many |= {"value": [[0.0, float("inf")]] * n, "error": pa.nulls(n, pa.string())}
    with pytest.raises(PredictionsError) as caught:
        read(put(path, many), release)
    assert len(str(caught.value).splitlines()) == 1 + 5 + 1
    assert str(caught.value).endswith(
        f"and 4 more: bad-robot validate '{path}' --release {shlex.quote(str(release.path))} lists all"
    )


def test_a_folder_is_no_predictions_file(release: Release) -> None:
    with pytest.raises(PredictionsError, match=r"is a folder; give a predictions file \(\.parquet\)"):
        read(release.path)
    assert rules(release.path) == ["predictions.unreadable"]


def test_a_rule_broken_in_very_many_rows_is_counted_not_listed(tmp_path: Path) -> None:
    n = 1000
    ids = [f"{i:020x}" for i in range(n)]
    columns = table(
        rollout_id=ids,
        role=[None] * n,
        frame_index=[[0]] * n,
        value=[[float("inf")]] * n,
        model=["m"] * n,
        parameters=["{}"] * n,
        error=pa.nulls(n, pa.string()),
    )
    defects = check(put(tmp_path / "p.parquet", columns))
    assert len(defects) == 101
    assert "in 900 more rows" in defects[-1].message


def real(release: Release, **changes: Any) -> dict[str, list[Any]]:
    ids = release.rollout_ids[:2]
    return table(**({"rollout_id": ids} | changes))


@pytest.mark.rule("predictions.unknown_rollout")
@pytest.mark.rule("predictions.unknown_role")
@pytest.mark.rule("predictions.frame_index_past_end")
def test_against_a_release(release: Release, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    assert rules(put(path, real(release)), release) == []
    [none] = check(put(path, table()), release)
    assert (none.rule, none.message) == ("predictions.unknown_rollout", "0 of 2 ids are in this release")
    [one] = check(put(path, real(release, rollout_id=[release.rollout_ids[0], B])), release)
    assert (one.rule, one.row) == ("predictions.unknown_rollout", 1)
    assert rules(put(path, real(release, role=["wrist", None])), release) == ["predictions.unknown_role"]
    [defect] = check(put(path, real(release, frame_index=[[0, 12], []])), release)
    assert (defect.rule, defect.row, defect.value) == ("predictions.frame_index_past_end", 0, "12")
    assert rules(put(path, real(release, frame_index=[[0, 12], []], role=[None, None])), release) == [defect.rule]
    assert rules(put(path, real(release)), load(release.path, split="train")) == []


@pytest.mark.rule("predictions.other_release")
def test_a_file_made_from_another_release(release: Release, predict: Callable[..., Path], tmp_path: Path) -> None:
    path = predict(lambda row: 0.5)
    assert check(path, release) == []
    whole = pq.read_table(path)
    for stated in (json.dumps(describe(release) | {"version": "9.9.9"}), '["what"]', "no JSON", b"\xff"):
        other = tmp_path / "other.parquet"
        pq.write_table(whole.replace_schema_metadata({checks.METADATA_KEY: stated}), other)
        assert rules(other, release) == ["predictions.other_release"]
        assert rules(other) == ([] if "version" in str(stated) else ["predictions.other_release"])
