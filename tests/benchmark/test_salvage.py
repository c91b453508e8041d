"""Predictions with defects, salvaged: every bad row is named, counted and lowers coverage; n never shrinks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bad_robot_behavior.benchmark import report
from bad_robot_behavior.benchmark.predictions import read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import PredictionsError

Predict = Callable[..., Path]


def spoil(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return path


def row_of(rows: list[dict[str, Any]], release: Release, score: float) -> dict[str, Any]:
    [name] = [row["rollout_id"] for row in release.table("rollouts").to_pylist() if row["score"] == score]
    return next(row for row in rows if row["rollout_id"] == name)


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        ({"value": [0.0, float("nan"), 0.9]}, "predictions.not_finite"),
        ({"value": [0.0, 0.9]}, "predictions.lengths_differ"),
        ({"frame_index": [0, 3, 12]}, "predictions.frame_index_past_end"),
        ({"frame_index": [0, 3, 2]}, "predictions.frame_index_not_increasing"),
        ({"value": [0.0, 0.5, 1.5]}, "predictions.progress_range"),
        ({"role": "wrist"}, "predictions.unknown_role"),
        ({"error": "and a curve"}, "predictions.curve_or_error"),
        ({"instruction": "sing"}, "predictions.instruction"),
    ],
)
def test_a_bad_row_is_an_error_that_lowers_coverage(
    release: Release, predict: Predict, edit: dict[str, Any], rule: str
) -> None:
    path = spoil(predict(lambda row: row["score"]), lambda rows: row_of(rows, release, 0.9).update(edit))
    with pytest.raises(PredictionsError, match=rule):
        read(path, release)
    results = evaluate(release, [read(path, release, salvage=True)], split="all", draws=10, with_floors=False)
    [scorer] = results.scorers
    assert (scorer.errors, scorer.predicted, scorer.failed, scorer.missing) == ({rule: 1}, 8, 1, 0)
    strict = results.task("score_ordering").headline(scorer.name)
    assert (strict.n, strict.covered, strict.value) == (5, 3, 1.0)
    assert f"1 x {rule}" in report.table(results)


def test_a_repeated_rollout_has_no_answer_and_is_counted_once(release: Release, predict: Predict) -> None:
    path = spoil(
        predict(lambda row: row["score"]),
        lambda rows: rows.append(row_of(rows, release, 0.9) | {"value": [0.0, 0.0, 0.0]}),
    )
    item = read(path, release, salvage=True)
    assert len(item.rollout_id) == 9
    assert item.left_out == {"predictions.duplicate_rollout": 1}
    results = evaluate(release, [item], split="all", draws=10, with_floors=False)
    [scorer] = results.scorers
    assert (scorer.errors, scorer.left_out) == ({"predictions.duplicate_rollout": 1}, item.left_out)
    assert results.task("score_ordering").headline(scorer.name).coverage == 0.6


def test_rows_of_no_rollout_are_left_out_and_counted(release: Release, predict: Predict) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        row_of(rows, release, 0.9)["rollout_id"] = "f" * 20
        row_of(rows, release, 0.7)["rollout_id"] = "no id"

    path = spoil(predict(lambda row: row["score"]), change)
    item = read(path, release, salvage=True)
    assert item.left_out == {"predictions.malformed_id": 1, "predictions.unknown_rollout": 1}
    results = evaluate(release, [item], split="all", draws=10, with_floors=False)
    [scorer] = results.scorers
    assert (scorer.missing, scorer.predicted, scorer.rollouts) == (2, 7, 9)
    text = report.table(results)
    assert "1 rows left out: predictions.unknown_rollout" in text
    assert "curves for 7 of 9 rollouts; 2 are not in the file" in text


def test_a_good_file_is_the_same_salvaged(release: Release, predict: Predict) -> None:
    path = predict(lambda row: {0.9: None}.get(row["score"], row["score"]))
    one, two = (evaluate(release, [read(path, release, salvage=s)], draws=10) for s in (True, False))
    assert one == two


def test_what_spoils_the_whole_file_is_refused_all_the_same(release: Release, predict: Predict) -> None:
    path = spoil(predict(lambda row: row["score"]), lambda rows: rows[1].update(model="another"))
    with pytest.raises(PredictionsError, match="mixed_models"):
        read(path, release, salvage=True)
    other = predict(lambda row: row["score"])
    table = pq.read_table(other)
    stated = {b"bad_robot_behavior.release": json.dumps({"name": "other"})}
    pq.write_table(table.replace_schema_metadata(stated), other)
    with pytest.raises(PredictionsError, match="other_release"):
        read(other, release, salvage=True)
    foreign = spoil(
        predict(lambda row: row["score"]), lambda rows: [row.update(rollout_id="f" * 20) for row in rows] and None
    )
    with pytest.raises(PredictionsError, match="9 defects"):
        read(foreign, release, salvage=True)


def test_the_command_line(release: Release, predict: Predict, tmp_path: Path) -> None:
    path = spoil(
        predict(lambda row: row["score"]), lambda rows: row_of(rows, release, 0.9).update(value=[0.0, 2.0, 0.0])
    )
    command = ["evaluate", str(release.path), str(path), "--draws", "10"]
    assert CliRunner().invoke(main, command).exit_code == 2
    done = CliRunner().invoke(main, [*command, "--salvage", "--split", "all", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["scorers"][0]["errors"] == {"predictions.progress_range": 1}
    both = CliRunner().invoke(main, [*command, "--salvage", "-o", str(tmp_path / "r")])
    assert both.exit_code == 2
    assert "without defects" in both.output
