"""Changed inputs through real scorers: what they are shown, what is stored, and what the rules refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bad_robot_behavior.benchmark.interventions import Reversed, WrongInstruction
from bad_robot_behavior.benchmark.predictions import check, describe, read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.errors import BadRobotError, ReleaseError
from bad_robot_behavior.schema import CurveKind, instruction_key
from bad_robot_behavior.score import score
from bad_robot_behavior.scorers import Clip, Curve
from bad_robot_behavior.scorers.run import score_release
from tests.benchmark.conftest import write_curves


class Looks:
    """Says of each frame where its brightest column is, and adds the length of the instruction."""

    name = "looks"
    kind: CurveKind = "reward"
    needs_frames = True
    num_frames = 6

    def parameters(self) -> dict[str, Any]:
        return {}

    def score(self, clips: list[Clip]) -> list[Curve]:
        made = []
        for clip in clips:
            assert clip.frames is not None
            assert (np.diff(clip.frame_index) > 0).all()
            column = clip.frames.astype(float).sum(axis=(1, 3)).argmax(axis=1)
            made.append(Curve(value=column / 64 + len(clip.instruction)))
        return made


def instructions(release: Release) -> dict[str, str]:
    return {row["rollout_id"]: row["instruction"] for row in release.table("rollouts").to_pylist()}


def test_a_wrong_instruction_is_another_one_of_the_release_and_the_same_each_time(twins: Release) -> None:
    own = instructions(twins)
    told = {p.rollout_id: p for p in map(WrongInstruction(own).mark, score_release(twins, Looks()))}
    assert set(told) == set(own)
    for rollout, prediction in told.items():
        assert prediction.instruction in own.values()
        assert instruction_key(prediction.instruction or "") != instruction_key(own[rollout])
        assert json.loads(prediction.parameters)["intervention"] == {"name": "wrong_instruction", "seed": 0}
    per_task: dict[str, set[str | None]] = {}
    for rollout, prediction in told.items():
        per_task.setdefault(own[rollout], set()).add(prediction.instruction)
    assert all(len(wrong) == 1 for wrong in per_task.values())
    backwards = dict(reversed(list(own.items())))
    assert WrongInstruction(backwards)._told == WrongInstruction(own)._told
    assert len({WrongInstruction(own, seed)._told[next(iter(own))] for seed in range(20)}) > 1


def test_spellings_of_one_instruction_are_not_wrong_for_each_other() -> None:
    with pytest.raises(ReleaseError, match="all rollouts have the same instruction"):
        WrongInstruction({"a": "Push it.", "b": "push it"})


def test_the_scorer_is_told_the_wrong_instruction(twins: Release) -> None:
    change = WrongInstruction(instructions(twins))
    for shown, plain in zip(change.show(twins), twins, strict=True):
        assert shown["instruction"] != plain["instruction"]
        assert shown["rollout_id"] == plain["rollout_id"]
        np.testing.assert_array_equal(
            shown.frames("exterior_1", index=np.arange(3)), plain.frames("exterior_1", index=np.arange(3))
        )


def test_a_scorer_that_looks_gives_each_frame_its_value_whichever_way_the_video_runs(twins: Release) -> None:
    forward = list(score_release(twins, Looks()))
    backward = [Reversed().mark(p) for p in score_release(Reversed().show(twins), Looks())]
    assert [p.value for p in backward] == [p.value for p in forward]
    assert len({p.value for p in forward}) > 1
    assert json.loads(backward[0].parameters)["intervention"] == {"name": "reversed"}


@pytest.mark.parametrize("change", ["wrong_instruction", "reversed"])
def test_a_run_of_a_floor_is_joined_and_is_blind(twins: Release, tmp_path: Path, change: str) -> None:
    paths = [tmp_path / "own.parquet", tmp_path / "changed.parquet"]
    score(twins.path, "time_ramp", paths[0])
    score(twins.path, "time_ramp", paths[1], intervention=change)
    results = evaluate(twins, [read(path, twins) for path in paths], draws=10)
    ours, floor = "time_ramp #2", "time_ramp"
    for task, metric in (("instruction_sensitivity", "half"), ("value_order", "reversal_gap")):
        rows = [results.task(task).rows(scorer=name, metric=metric, group="pooled")[0] for name in (ours, floor)]
        asked = (task == "value_order") == (change == "reversed")
        assert rows[0].value == (rows[1].value if asked else None)


def test_a_predictions_file_says_what_it_was_made_with(twins: Release, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    score(twins.path, "random", path, seed=7, intervention="reversed")
    item = read(path, twins)
    assert item.origin is not None
    made_with = {"scorer": "random", "split": None, "limit": None, "intervention": "reversed", "seed": 7}
    assert item.origin["arguments"] == made_with
    assert item.origin["packages"]["numpy"] == np.__version__
    assert set(item.origin["git"] or {"commit", "dirty"}) == {"commit", "dirty"}
    assert item.release == describe(twins)
    score(twins.path, "random", tmp_path / "again.parquet", seed=7, intervention="reversed")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_an_unknown_intervention_is_named(twins: Release, tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match="no intervention 'upside_down'; legal: wrong_instruction, reversed"):
        score(twins.path, "random", tmp_path / "p.parquet", intervention="upside_down")


@pytest.mark.rule("predictions.unknown_intervention")
@pytest.mark.parametrize("change", ["reversed", {"name": "mirrored"}, {}, ["reversed"], {"name": ["reversed"]}])
def test_unknown_intervention_in_a_file(twins: Release, tmp_path: Path, change: Any) -> None:
    path = write_curves(twins, tmp_path / "p.parquet", lambda row: [0.5])
    table = pq.read_table(path)
    stated = [json.dumps({"intervention": change})] * len(table)
    pq.write_table(table.set_column(table.column_names.index("parameters"), "parameters", [stated]), path)
    assert [defect.rule for defect in check(path)] == ["predictions.unknown_intervention"]


@pytest.mark.rule("predictions.instruction")
def test_the_column_instruction_is_there_where_it_was_swapped_and_only_there(twins: Release, tmp_path: Path) -> None:
    swapped = json.dumps({"intervention": {"name": "wrong_instruction"}})
    path = tmp_path / "p.parquet"
    good = write_curves(twins, path, lambda row: [0.5], instruction="sing", parameters=swapped)
    assert check(good, twins) == []
    own = write_curves(twins, path, lambda row: [0.5], instruction=" Close the drawer.", parameters=swapped)
    assert [defect.rule for defect in check(own, twins)] == ["predictions.instruction"] * 2
    with pytest.raises(BadRobotError, match="names no instruction"):
        write_curves(twins, path, lambda row: [0.5], parameters=swapped)
    with pytest.raises(BadRobotError, match="names an instruction"):
        write_curves(twins, path, lambda row: [0.5], instruction="sing")


@pytest.mark.rule("predictions.other_release")
def test_a_label_that_changed_under_the_same_version_is_another_release(twins: Release, tmp_path: Path) -> None:
    path = write_curves(twins, tmp_path / "p.parquet", lambda row: [0.5])
    stated = describe(twins)
    assert len(stated["data_sha256"]) == 64
    table = pq.read_table(path)
    metadata = {b"bad_robot_behavior.release": json.dumps(stated | {"data_sha256": "0" * 64})}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    [defect] = check(path, twins)
    assert (defect.rule, defect.field) == ("predictions.other_release", "data_sha256")
