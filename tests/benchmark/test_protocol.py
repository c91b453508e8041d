"""The whole evaluation on real releases: numbers by hand, coverage, floors, splits, comparisons."""

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
from bad_robot_behavior.benchmark.report import groups
from bad_robot_behavior.benchmark.results import Measure, Results
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import BadRobotError, PredictionsError, ReleaseError
from bad_robot_behavior.schema import CurveKind, Prediction
from bad_robot_behavior.scorers import Clip, Curve
from bad_robot_behavior.scorers.run import score_release
from tests.benchmark.conftest import make_session, package, write_curves

Predict = Callable[..., Path]
MODEL = "tester (vision-9)"


def measure(
    results: Results, task: str, metric: str, scorer: str = MODEL, group: str = "pooled", how: str = "own"
) -> Measure:
    result = results.task(task)
    aggregation = result.task.aggregation if how == "own" else how
    [row] = result.rows(metric=metric, scorer=scorer, group=group, aggregation=aggregation)
    return row


def ordering(results: Results, metric: str, **where: str) -> Measure:
    return measure(results, "score_ordering", metric, **where)


def test_a_scorer_that_knows_the_score_is_right_everywhere(release: Release, predict: Predict) -> None:
    results = evaluate(release, [read(predict(lambda row: row["score"]), release)], split="all", draws=50)
    # pairs with unequal scores: s1 1, s2 3, s3 none (a tie), s4 1
    for metric in ("strict", "half", "macro", "answered"):
        row = ordering(results, metric)
        assert (row.n, row.covered, row.sessions, row.value, row.interval) == (5, 5, 3, 1.0, (1.0, 1.0))
        assert (row.tie_rate, row.coverage) == (0.0, 1.0)
    assert results.task("score_ordering").left_out == {"pairs that the human scored equally": 1}
    pour = ordering(results, "strict", group="pour")
    assert (pour.n, pour.value, pour.interval) == (1, 1.0, None)  # one session
    assert ordering(results, "strict", group="complex").value == 1.0
    empty = ordering(results, "strict", group="stack")
    assert (empty.value, empty.interval, empty.n, empty.coverage) == (None, None, 0, None)
    # the human preferred a in s1 (right), b in s2 (right), a in s4 although its score is lower, and a tie in s3
    choice = measure(results, "preference", "strict")
    assert (choice.n, choice.value) == (3, round(2 / 3, 10))
    three_way = measure(results, "preference", "three_way")
    assert (three_way.n, three_way.value) == (4, 0.75)
    assert measure(results, "preference", "tie_gap").value == 1.0  # the tied pair has the smallest gap
    truths = results.ground_truths
    assert (truths.pairs, truths.both_decided, truths.agree, truths.both_tied) == (4, 3, 2, 1)


def test_floors_stand_beside(release: Release) -> None:
    results = evaluate(release, [], split="all", draws=20)
    assert [item.name for item in results.scorers] == ["random", "constant", "time_ramp", "duration"]
    for name in ("constant", "time_ramp"):
        for how in ("mean", "sum", "last", "max"):
            strict = ordering(results, "strict", scorer=name, how=how)
            assert (strict.value, strict.tie_rate) == (0.0, 1.0)
        assert ordering(results, "half", scorer=name).value == 0.5
        assert measure(results, "success_detection", "auroc", name).value == 0.5
        assert measure(results, "instruction_sensitivity", "strict", name).value == 0.0
        assert measure(results, "instruction_sensitivity", "half", name).value == 0.5
    # only s1 differs in length, and there the shorter one is better
    assert ordering(results, "strict", scorer="duration").value == 0.2
    assert ordering(results, "strict", scorer="duration").tie_rate == 0.8
    assert ordering(results, "strict", scorer="random").tie_rate == 0.0
    ramp = {name: measure(results, "value_order", name, "time_ramp") for name in ("voc_failure", "rising_failure")}
    assert [(row.value, row.n) for row in ramp.values()] == [(1.0, 8), (1.0, 8)]
    assert measure(results, "value_order", "reversal_gap", "time_ramp").value == 0.0
    assert measure(results, "value_order", "voc_gap", "time_ramp").value == 0.0
    constant = measure(results, "value_order", "voc_failure", "constant")
    assert (constant.value, constant.n, constant.covered) == (None, 8, 0)
    assert measure(results, "value_order", "rising_failure", "constant").value == 0.0


def test_detection_by_the_last_value(release: Release, predict: Predict) -> None:
    # one success (score 1.0 -> 0.4) among eight failures, of which three get more
    path = predict(lambda row: 0.4 if row["success"] else row["score"])
    results = evaluate(release, [read(path, release)], split="all", draws=20)
    values = {
        name: measure(results, "success_detection", name).value
        for name in ("auroc", "auprc", "fpr_at_half", "recall_at_half", "fpr_at_95_recall")
    }
    # scores of the failures: 0.2 0.1 0.6 0.9 0.5 0.5 0.0 0.7
    assert values == {
        "auroc": 3 / 8,
        "auprc": round(1 / 6, 10),
        "fpr_at_half": 5 / 8,
        "recall_at_half": 0.0,
        "fpr_at_95_recall": 5 / 8,
    }
    reward = predict(lambda row: row["score"], parameters=json.dumps({"kind": "reward"}), name="reward.parquet")
    signed = evaluate(release, [read(reward, release)], split="all", draws=0)
    half = measure(signed, "success_detection", "fpr_at_half", "vision-9")
    assert (half.value, half.covered) == (None, 0)  # no threshold is meant by signed values
    assert measure(results, "success_detection", "fpr_at_half", how="sum").value is None


def test_violation_pairs_and_twins(twins: Release, tmp_path: Path) -> None:
    # clean successes get 0.9, the violation that a camera sees 0.95, the one that none sees 0.5, failures 0.9 and 0.1
    def top(row: dict[str, Any]) -> list[float]:
        if row["outcome"] == "success":
            return [0.9]
        if row["outcome"] == "failure":
            return [0.9 if row["instruction"].startswith("put") else 0.1]
        return [0.95 if row["failures"][0]["observable"] else 0.5]

    results = evaluate(twins, [read(write_curves(twins, tmp_path / "p.parquet", top), twins)], draws=20)
    violation = measure(results, "violation_pairs", "strict")
    assert (violation.n, violation.value, violation.sessions) == (2, 0.5, 2)
    assert measure(results, "violation_pairs", "strict", group="observable").value == 0.0
    assert measure(results, "violation_pairs", "strict", group="unobservable").value == 1.0
    assert measure(results, "violation_pairs", "strict", group="unsafe_interaction").n == 2
    left = {"violating successes without a clean one in their session": 1}
    assert results.task("violation_pairs").left_out == left
    twin = measure(results, "counterfactual_twins", "strict")
    assert (twin.n, twin.value, twin.tie_rate) == (2, 0.5, 0.5)
    assert measure(results, "counterfactual_twins", "half").value == 0.75
    assert measure(results, "counterfactual_twins", "strict", group="grasp").value == 0.0
    assert measure(results, "counterfactual_twins", "strict", group="observability_unknown").value == 1.0
    left = {"failures whose twin is no success of their session in this split": 1}
    assert results.task("counterfactual_twins").left_out == left


def test_faults_that_were_seen_in_training_are_told_apart_from_others(twins: Release, tmp_path: Path) -> None:
    seen, held_out = "slip_or_drop", "misplaced"

    def curve(row: dict[str, Any]) -> list[float]:
        return [0.0 if row["synthetic"]["injector"] == seen else 0.5]

    files = [read(write_curves(twins, tmp_path / "p.parquet", curve), twins)]
    results = evaluate(twins, files, draws=20, seen_faults=[seen])
    twin = results.task("counterfactual_twins")
    shown = {row.group: (row.n, row.value) for row in twin.rows(scorer=MODEL, metric="half", aggregation="mean")}
    assert shown["seen_faults"] == shown[f"fault {seen}"] == (1, 1.0)
    assert shown["held_out_faults"] == shown[f"fault {held_out}"] == (1, 0.5)
    assert shown["pooled"] == (2, 0.75)
    assert {"seen_faults", "held_out_faults"} <= groups(twin).keys()
    assert f"fault {seen}" not in groups(twin)
    plain = evaluate(twins, files, draws=0)
    assert "seen_faults" not in {row.group for row in plain.task("localisation").measures}
    near = r"no rollout was made with the fault 'slip_or_drip'; did you mean slip_or_drop\? Faults: collision_object, "
    with pytest.raises(BadRobotError, match=near):
        evaluate(twins, [], draws=0, seen_faults=["slip_or_drip"])


def test_localisation(twins: Release, tmp_path: Path) -> None:
    # t1's failure is marked from 0.4 to 0.8 s and falls there; t2's from 0.2 to 0.6 s rises on. 10 frames a second.
    falls, rises = [0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.1, 0.1, 0.1], [i / 10 for i in range(9)]

    def curve(row: dict[str, Any]) -> list[float] | None:
        return falls if row["instruction"].startswith("put") else rises

    results = evaluate(twins, [read(write_curves(twins, tmp_path / "p.parquet", curve), twins)], draws=20)
    found = {row.metric: row for row in results.task("localisation").rows(scorer=MODEL, group="pooled")}
    assert {name: (row.value, row.covered, row.n) for name, row in found.items()} == {
        "inside": (0.5, 2, 2),
        "rises": (0.5, 2, 2),
        "noticed": (0.5, 2, 2),
        "delay_s": (0.1, 1, 2),
        "false_alarm": (0.0, 2, 2),
    }
    assert measure(results, "localisation", "inside", group="grasp").value == 1.0
    assert results.task("localisation").left_out == {"failed rollouts without a failure marked in time": 1}


def test_wrong_instructions_and_reversed_videos_are_joined_to_their_scorer(twins: Release, tmp_path: Path) -> None:
    stated = {"scorer": "tester", "kind": "progress"}
    rise, fall = [0.0, 0.4, 0.8], [0.8, 0.4, 0.0]
    own = write_curves(twins, tmp_path / "own.parquet", lambda row: rise)
    wrong = write_curves(
        twins,
        tmp_path / "wrong.parquet",
        lambda row: rise if row["instruction"].startswith("put") else fall[1:],
        instruction="sing",
        parameters=json.dumps({**stated, "intervention": {"name": "wrong_instruction", "seed": 0}}),
    )
    # A scorer that looks gives each frame the same value, however the video runs: by frame the curve is unchanged.
    looks = write_curves(
        twins,
        tmp_path / "back.parquet",
        lambda row: rise,
        parameters=json.dumps({**stated, "intervention": {"name": "reversed"}}),
    )
    files = [read(path, twins) for path in (wrong, own, looks)]
    results = evaluate(twins, files, draws=20, with_floors=False)
    assert [(item.name, item.interventions) for item in results.scorers] == [
        (MODEL, ("wrong_instruction", "reversed")),
    ]
    strict = measure(results, "instruction_sensitivity", "strict")
    assert (strict.n, strict.value, strict.tie_rate) == (5, 0.6, 0.4)
    assert measure(results, "instruction_sensitivity", "gap").value == pytest.approx(0.12)
    assert measure(results, "value_order", "voc_reversed").value == -1.0
    assert measure(results, "value_order", "reversal_gap").value == 2.0
    alone = evaluate(twins, [files[1]], draws=20, with_floors=False)
    row = measure(alone, "instruction_sensitivity", "answered")
    assert (row.value, row.n, row.covered) == (None, 5, 0)
    assert measure(alone, "value_order", "reversal_gap").value is None
    with pytest.raises(PredictionsError, match="no file of the same model and parameters"):
        evaluate(twins, [files[0]])
    with pytest.raises(PredictionsError, match="second file with the intervention"):
        evaluate(twins, [*files, files[0]])


def test_missing_and_failed_rollouts_lower_coverage_and_nothing_else(release: Release, predict: Predict) -> None:
    spoilt = {row["rollout_id"]: row["score"] for row in release.table("rollouts").to_pylist()}
    gone = {0.9: "skip", 0.7: None}  # one of s2 is not in the file, one of s4 has an error
    path = predict(lambda row: gone.get(row["score"], row["score"]))
    results = evaluate(release, [read(path, release)], split="all", draws=20)
    strict, answered = ordering(results, "strict"), ordering(results, "answered")
    assert (strict.n, strict.covered, strict.coverage) == (5, 2, 0.4)
    assert (strict.value, answered.value) == (1.0, 0.4)
    [summary] = [item for item in results.scorers if not item.floor]
    assert (summary.rollouts, summary.predicted, summary.failed, summary.missing) == (9, 7, 1, 1)
    assert summary.errors == {"no answer": 1}
    assert [spoilt[rollout] for rollout in summary.missing_ids] == [0.9]
    assert measure(results, "success_detection", "auroc").coverage == 7 / 9


def test_two_files_are_compared_over_what_both_answered(release: Release, predict: Predict) -> None:
    good = read(predict(lambda row: {0.9: None}.get(row["score"], row["score"]), name="good.parquet"), release)
    bad = read(predict(lambda row: {1.0: "skip"}.get(row["score"], -row["score"]), name="bad.parquet", parameters="{}"))
    results = evaluate(release, [good, bad], split="all", draws=50)
    [gap] = results.task("score_ordering").comparisons
    # both answered one pair of s2 and that of s4
    assert (gap.first, gap.second, gap.metric, gap.n, gap.sessions) == (MODEL, "vision-9", "strict", 2, 2)
    assert (gap.value, gap.interval) == (1.0, (1.0, 1.0))
    [none] = results.task("violation_pairs").comparisons
    assert (none.n, none.value, none.interval) == (0, None, None)
    same = evaluate(release, [good, good], split="all", draws=50).task("score_ordering").comparisons[0]
    assert (same.value, same.interval) == (0.0, (0.0, 0.0))


def test_the_test_split_counts_where_none_is_named(release: Release, predict: Predict) -> None:
    predictions = read(predict(lambda row: row["score"]), release)
    train = evaluate(release, [predictions], split="train", draws=20)
    assert (train.split, train.rollouts, train.sessions, ordering(train, "strict").n) == ("train", 2, 1, 0)
    narrowed = evaluate(load(release.path, split="test"), [predictions], split="all", draws=20)
    test = evaluate(release, [predictions], draws=20)
    assert test.split == "test"
    assert narrowed.tasks == test.tasks
    assert test.scorers[0].missing == 0
    with pytest.raises(ReleaseError, match="split validation; --split all takes every rollout"):
        evaluate(release, [], split="validation")


def test_one_task_alone_and_no_draws(release: Release) -> None:
    results = evaluate(release, [], tasks=("score_ordering",), split="all", draws=0)
    assert [result.task.name for result in results.tasks] == ["score_ordering"]
    assert all(row.interval is None for row in results.tasks[0].measures)
    with pytest.raises(BadRobotError, match="no task 'ordering'; legal: score_ordering"):
        evaluate(release, [], tasks=("ordering",))


def test_same_input_same_results_and_they_are_json(release: Release, predict: Predict) -> None:
    predictions = read(predict(lambda row: row["score"]))
    first, second = (evaluate(release, [predictions], split="all", draws=100, seed=4) for _ in range(2))
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
    for task in ("score_ordering", "preference", "success_detection", "value_order", "localisation"):
        row = results.task(task).headline("random")
        assert (row.n, row.sessions, row.value, row.interval) == (0, 0, None, None)
    assert results.task("success_detection").left_out == {"rollouts of unknown outcome": 2}


def test_a_floor_scored_over_the_release_equals_the_floor_inside(release: Release, tmp_path: Path) -> None:
    files = []
    for name in scorers.FLOORS:
        path = tmp_path / f"{name}.parquet"
        assert write(path, score_release(release, scorers.get(name), batch_size=4), describe(release)) == 9
        files.append(read(path, release))
    results = evaluate(release, files, split="all", draws=30)
    for name in scorers.FLOORS:
        for task in ("score_ordering", "preference", "success_detection"):
            from_file = msgspec.structs.replace(results.task(task).headline(f"{name} #2"), scorer=name)
            assert from_file == results.task(task).headline(name)


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
    [summary] = evaluate(release, [read(path, release)], split="all", draws=0, with_floors=False).scorers
    assert (summary.name, summary.predicted, summary.failed) == ("looks", 9, 0)
