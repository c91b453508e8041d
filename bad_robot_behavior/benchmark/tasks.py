"""The tasks of the benchmark: versioned YAML in `tasks/`, one file a task. The files say what is measured; code how.

A change to what a number means is a new version; `tests/benchmark/test_tasks.py` holds each version to its content.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bad_robot_behavior.benchmark.metrics import Aggregation
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Record, SplitName
from bad_robot_behavior.schema.plain_yaml import parse_yaml

Kind = Literal["pairs", "detection", "localisation", "sensitivity", "order"]
Truth = Literal["score", "preference", "violation", "twin", "success", "failure_span", "instruction"]
Grouping = Literal["task_category", "failure"]

ORDER = (
    "score_ordering",
    "preference",
    "success_detection",
    "localisation",
    "violation_pairs",
    "counterfactual_twins",
    "instruction_sensitivity",
    "value_order",
)
"""The tasks in the order in which results list them."""


class Metric(Record, frozen=True, kw_only=True):
    """One number of a task."""

    name: str
    higher_is_better: bool
    definition: str


class Task(Record, frozen=True, kw_only=True):
    """What is asked of a scorer, and which numbers answer it."""

    name: str
    version: Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    title: str
    question: str
    kind: Kind
    """Which of `measures.MEASURES` computes it."""
    truth: Truth
    """What of a release is held to be true."""
    split: SplitName
    """On which rollouts the number counts; `evaluate --split` can ask for others."""
    aggregation: Aggregation | None = None
    """The return by which rollouts are ranked; None where the whole curve counts."""
    other_aggregations: tuple[Aggregation, ...] = ()
    """Returns by which the pooled numbers are given too."""
    groups: Grouping
    """By what the numbers are given apart: the session's task category, or the failure's category and whether a
    camera can see it."""
    headline: str
    """The metric that stands for the task in comparisons and on the leaderboard."""
    source: str
    floors: str
    """What the floors get, and why."""
    metrics: tuple[Metric, ...]

    def metric(self, name: str) -> Metric:
        """The metric of that name. Raises KeyError."""
        return {metric.name: metric for metric in self.metrics}[name]


@cache
def get(name: str) -> Task:
    """The task of that name, as this version of the package has it. Raises BadRobotError that lists the legal names."""
    if name not in ORDER:
        raise BadRobotError(f"there is no task {name!r}; legal: {', '.join(ORDER)}")
    text = resources.files("bad_robot_behavior.benchmark").joinpath(f"tasks/{name}.yaml").read_text(encoding="utf-8")
    return msgspec.convert(parse_yaml(text), Task, strict=True)
