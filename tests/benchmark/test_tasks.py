"""The task files: valid, complete, documented, and never changed without a new version."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from bad_robot_behavior.benchmark import tasks
from bad_robot_behavior.benchmark.measures import MEASURES
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.tasks import ORDER, Task
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.errors import BadRobotError

# What a number means: version -> hash of all but the words. A changed task gets a new version and a new line here.
FROZEN = {
    "score_ordering 1.0.0": "8f6e06c1a4977866",
    "preference 1.0.0": "0ac7ad642e2e2ecc",
    "success_detection 1.0.0": "6245ab49873a3ccb",
    "localisation 2.0.0": "fc57990c262f4728",
    "violation_pairs 1.1.0": "5402286f239e4415",
    "counterfactual_twins 1.1.0": "a22f281ceb241628",
    "instruction_sensitivity 1.0.0": "d84448131d5cffcb",
    "value_order 1.0.0": "264f8eb8e369b078",
}


def meaning(task: Task) -> str:
    fields = ("kind", "truth", "split", "aggregation", "other_aggregations", "groups", "headline")
    metrics = [(metric.name, metric.higher_is_better) for metric in task.metrics]
    content = msgspec.json.encode([[getattr(task, name) for name in fields], metrics])
    return hashlib.sha256(content).hexdigest()[:16]


def test_every_file_is_a_task_and_every_task_a_file() -> None:
    folder = resources.files("bad_robot_behavior.benchmark").joinpath("tasks")
    assert {Path(str(path)).stem for path in folder.iterdir() if path.name.endswith(".yaml")} == set(ORDER)
    for name in ORDER:
        assert tasks.get(name).name == name


@pytest.mark.parametrize("name", ORDER)
def test_a_task_is_not_changed_without_a_new_version(name: str) -> None:
    task = tasks.get(name)
    assert FROZEN[f"{task.name} {task.version}"] == meaning(task)


@pytest.mark.parametrize("name", ORDER)
def test_a_task_says_all_that_is_needed(name: str) -> None:
    task = tasks.get(name)
    assert task.kind in MEASURES
    assert task.metric(task.headline)
    names = [metric.name for metric in task.metrics]
    assert len(set(names)) == len(names)
    assert task.aggregation not in task.other_aggregations
    for text in (task.question, task.floors, task.source, *(metric.definition for metric in task.metrics)):
        assert len(text) > 10
    page = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text(encoding="utf-8")
    for word in (task.name, *names):
        assert f"`{word}`" in page, word


def test_every_metric_of_every_task_is_computed(twins: Release) -> None:
    results = evaluate(twins, [], draws=0)
    for result in results.tasks:
        found = {row.metric for row in result.rows(scorer="random", group="pooled")}
        assert found == {metric.name for metric in result.task.metrics}


def test_an_unknown_task_is_named_with_the_legal_ones() -> None:
    with pytest.raises(BadRobotError, match="no task 'x'; legal: score_ordering, preference"):
        tasks.get("x")
