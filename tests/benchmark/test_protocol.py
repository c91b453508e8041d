"""The whole evaluation on a real release: numbers by hand, coverage, floors, splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bad_robot_behavior import scorers
from bad_robot_behavior.benchmark.predictions import describe, read, write
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.results import Ordering, Results, Shape
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import PredictionsError, ReleaseError
from bad_robot_behavior.schema import CurveKind, Prediction
from bad_robot_behavior.scorers import Clip, Curve
from bad_robot_behavior.scorers.run import score_release
from tests.benchmark.conftest import make_session, package

Predict = Callable[..., Path]


def ordering(
    results: Results, scorer: str, truth: str = "score", category: str = "pooled", how: str = "mean"
) -> Ordering:
    [row] = [
        row
        for row in results.ordering
        if (row.scorer, row.ground_truth, row.category, row.aggregation) == (scorer, truth, category, how)
    ]
    return row


def shape(results: Results, scorer: str, group: str) -> Shape:
    [row] = [row for row in results.shapes if (row.scorer, row.group) == (scorer, group)]
    return row


MODEL = "tester (vision-9)"


def test_a_scorer_that_knows_the_score_is_right_everywhere(release: Release, predict: Predict) -> None:
    results = evaluate(release, [read(predict(lambda row: row["score"]), release)], draws=50)
    row = ordering(results, MODEL)
    # pairs with unequal scores: s1 1, s2 3, s3 none (a tie), s4 1
    assert (row.pairs, row.covered, row.sessions, row.human_ties) == (5, 5, 3, 1)
    assert row.strict.value == row.half.value == row.macro.value == row.answered.value == 1.0
    assert row.strict.interval == (1.0, 1.0)
    assert (row.tie_rate, row.coverage) == (0.0, 1.0)
    assert ordering(results, MODEL, category="pour").pairs == 1
    assert ordering(results, MODEL, category="pour").strict.interval is None  # one session
    assert ordering(results, MODEL, category="complex").strict.value == 1.0
    empty = ordering(results, MODEL, category="stack")
    assert (empty.strict.value, empty.strict.interval, empty.pairs, empty.coverage) == (None, None, 0, None)
    # the human preferred a in s1 (right), b in s2 (right), a in s4 although its score is lower
    choice = ordering(results, MODEL, truth="preference")
    assert (choice.pairs, choice.human_ties, choice.strict.value) == (3, 1, round(2 / 3, 10))
    truths = results.ground_truths
    assert (truths.pairs, truths.both_decided, truths.agree, truths.both_tied) == (4, 3, 2, 1)


def test_floors_stand_beside(release: Release) -> None:
    results = evaluate(release, [], draws=20)
    assert [item.name for item in results.scorers] == ["random", "constant", "time_ramp", "duration"]
    for name in ("constant", "time_ramp"):
        for how in ("mean", "last", "max"):
            row = ordering(results, name, how=how)
            assert (row.strict.value, row.half.value, row.tie_rate) == (0.0, 0.5, 1.0)
    # only s1 differs in length, and there the shorter one is better
    assert ordering(results, "duration").strict.value == 0.2
    assert ordering(results, "duration").tie_rate == 0.8
    assert ordering(results, "random").tie_rate == 0.0
    ramp, constant = shape(results, "time_ramp", "failure"), shape(results, "constant", "failure")
    assert (ramp.voc.value, ramp.rising.value, ramp.rollouts) == (1.0, 1.0, 8)
    assert (constant.voc.value, constant.voc_n, constant.voc_undefined, constant.rising.value) == (None, 0, 8, 0.0)


def test_missing_and_failed_rollouts_lower_coverage_and_nothing_else(release: Release, predict: Predict) -> None:
    spoilt = {row["rollout_id"]: row["score"] for row in release.table("rollouts").to_pylist()}
    gone = {0.9: "skip", 0.7: None}  # one of s2 is not in the file, one of s4 has an error
    path = predict(lambda row: gone.get(row["score"], row["score"]))
    results = evaluate(release, [read(path, release)], draws=20)
    row = ordering(results, MODEL)
    assert (row.pairs, row.covered, row.coverage) == (5, 2, 0.4)
    assert (row.strict.value, row.answered.value) == (1.0, 0.4)
    [summary] = [item for item in results.scorers if not item.floor]
    assert (summary.rollouts, summary.predicted, summary.failed, summary.missing) == (9, 7, 1, 1)
    assert summary.errors == {"no answer": 1}
    assert [spoilt[rollout] for rollout in summary.missing_ids] == [0.9]
    assert shape(results, MODEL, "all").covered == 7


def test_one_split_only(release: Release, predict: Predict) -> None:
    predictions = read(predict(lambda row: row["score"]), release)
    train = evaluate(release, [predictions], split="train", draws=20)
    assert (train.rollouts, train.sessions, ordering(train, MODEL).pairs) == (2, 1, 0)
    narrowed = evaluate(load(release.path, split="test"), [predictions], draws=20)
    test = evaluate(release, [predictions], split="test", draws=20)
    assert narrowed.ordering == test.ordering
    assert test.scorers[0].missing == 0
    with pytest.raises(ReleaseError, match="split validation"):
        evaluate(release, [], split="validation")


def test_score_ground_truth_alone_and_no_draws(release: Release) -> None:
    results = evaluate(release, [], ground_truths=("score",), draws=0)
    assert {row.ground_truth for row in results.ordering} == {"score"}
    assert all(row.strict.interval is None for row in results.ordering)


def test_same_input_same_results_and_they_are_json(release: Release, predict: Predict) -> None:
    predictions = read(predict(lambda row: row["score"]))
    first, second = (evaluate(release, [predictions], draws=100, seed=4) for _ in range(2))
    encoded = msgspec.json.encode(first)
    assert encoded == msgspec.json.encode(second)
    assert msgspec.json.decode(encoded, type=Results) == first
    assert b"NaN" not in encoded
    json.loads(encoded)


def test_files_of_the_same_scorer_are_told_apart(release: Release, predict: Predict) -> None:
    one = read(predict(lambda row: row["score"], name="one.parquet"))
    two = read(predict(lambda row: 0.5, name="two.parquet"))
    fake = read(predict(lambda row: 0.5, name="fake.parquet", model="random", parameters="{}"))
    names = [item.name for item in evaluate(release, [one, two, fake], draws=0).scorers]
    assert names[:3] == [f"{MODEL} [one.parquet]", f"{MODEL} [two.parquet]", "random #2"]
    assert len(set(names)) == len(names)


def test_unknown_rollouts_are_refused_even_when_read_without_the_release(release: Release, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write(path, [Prediction(rollout_id="a" * 20, frame_index=(0,), value=(0.0,), model="m", parameters="{}")])
    with pytest.raises(PredictionsError, match="1 rollouts are not in the release, such as aaaa"):
        evaluate(release, [read(path)])


def test_a_release_without_preferences_or_scores(tmp_path: Path) -> None:
    rollouts = make_session(tmp_path, "s1", [None, None], preference=None)
    results = evaluate(package(tmp_path / "r", rollouts), [], draws=20)
    for truth in ("score", "preference"):
        row = ordering(results, "random", truth=truth)
        assert (row.pairs, row.sessions, row.strict.value, row.strict.interval) == (0, 0, None, None)
    assert shape(results, "random", "failure").rollouts == 0
    assert shape(results, "random", "failure").voc.value is None
    assert shape(results, "random", "all").covered == 2


def test_a_floor_scored_over_the_release_equals_the_floor_inside(release: Release, tmp_path: Path) -> None:
    files = []
    for name in scorers.FLOORS:
        path = tmp_path / f"{name}.parquet"
        assert write(path, score_release(release, scorers.get(name), batch_size=4), describe(release)) == 9
        files.append(read(path, release))
    results = evaluate(release, files, draws=30)
    for name in scorers.FLOORS:
        for truth in ("score", "preference"):
            from_file = msgspec.structs.replace(ordering(results, f"{name} #2", truth), scorer=name)
            assert from_file == ordering(results, name, truth)


def test_a_scorer_that_looks_is_scored_over_real_frames(release: Release, tmp_path: Path) -> None:
    class Looks:
        name = "looks"
        kind: CurveKind = "progress"
        needs_frames = True
        num_frames = 4

        def parameters(self) -> dict[str, Any]:
            return {}

        def score(self, clips: list[Clip]) -> list[Curve]:
            return [Curve(value=clip.frames.mean(axis=(1, 2, 3)) / 255) for clip in clips if clip.frames is not None]

    path = tmp_path / "p.parquet"
    write(path, score_release(release, Looks()), describe(release))
    [summary] = evaluate(release, [read(path, release)], draws=0, with_floors=False).scorers
    assert (summary.name, summary.predicted, summary.failed) == ("looks", 9, 0)
