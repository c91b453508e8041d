"""Which pairs are shown first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bad_robot_behavior.benchmark.disagreement import worst_pairs
from bad_robot_behavior.benchmark.predictions import read
from bad_robot_behavior.builder.loader import Release

Predict = Callable[..., Path]


def scores(release: Release) -> dict[str, float]:
    table = release.table("rollouts", columns=["rollout_id", "score"])
    return dict(zip(table["rollout_id"].to_pylist(), table["score"].to_pylist(), strict=True))


def test_the_worst_contradiction_comes_first_one_a_session(release: Release, predict: Predict) -> None:
    score = scores(release)
    upside_down = read(predict(lambda row: 1 - row["score"]))
    pairs = worst_pairs(release, [upside_down])
    assert [(score[pair.better], score[pair.worse]) for pair in pairs] == [(1.0, 0.2), (0.9, 0.1), (0.7, 0.0)]
    assert [pair.truth for pair in pairs] == ["preference", "score", "score"]  # the first is both
    assert pairs[0].contradiction >= pairs[1].contradiction >= pairs[2].contradiction > 0
    assert worst_pairs(release, [upside_down], limit=1) == pairs[:1]


def test_a_preference_against_the_score_is_a_contradiction_of_a_scorer_that_follows_the_score(
    release: Release, predict: Predict
) -> None:
    score = scores(release)
    first = worst_pairs(release, [read(predict(lambda row: row["score"]))])[0]
    assert (score[first.better], score[first.worse], first.truth) == (0.0, 0.7, "preference")
    assert first.contradiction > 0


def test_the_worst_of_several_scorers_decides_whatever_their_scale(release: Release, predict: Predict) -> None:
    good = read(predict(lambda row: row["score"] * 1e-4, name="good.parquet"))
    bad = read(predict(lambda row: -row["score"] * 1e5, name="bad.parquet", parameters="{}"))
    alone = worst_pairs(release, [bad])
    together = worst_pairs(release, [good, bad])
    assert [pair.better for pair in together[:2]] == [pair.better for pair in alone[:2]]


def test_a_pair_on_which_every_scorer_is_right_or_ties_is_no_contradiction(release: Release, predict: Predict) -> None:
    right = read(predict(lambda row: row["score"], name="right.parquet"))
    tied = read(predict(lambda row: 0.5, name="tied.parquet"))
    assert worst_pairs(release, [tied]) == []
    assert len(worst_pairs(release, [right, tied])) == 1  # of three sessions


def test_pairs_without_an_answer_are_left_out(release: Release, predict: Predict) -> None:
    silent = read(predict(lambda row: None if row["score"] != 0.5 else 0.5))
    assert worst_pairs(release, [silent]) == []


def test_without_scorers_the_clearest_pairs_are_shown(release: Release) -> None:
    score = scores(release)
    gaps = [round(score[pair.better] - score[pair.worse], 3) for pair in worst_pairs(release, [])]
    assert gaps == [0.8, 0.8, 0.7]


def test_only_the_split_asked_for(release: Release) -> None:
    assert worst_pairs(release, [], split="train") == []
