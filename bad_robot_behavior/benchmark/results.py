"""What an evaluation found, as records that turn into JSON as they are. An undefined number is None, never 0."""

from __future__ import annotations

from typing import Any, Literal

from bad_robot_behavior.benchmark.metrics import Aggregation
from bad_robot_behavior.schema import Record, SplitName

GroundTruth = Literal["score", "preference"]
Group = Literal["all", "success", "failure"]
Interval = tuple[float, float]

POOLED = "pooled"
COMBINED: dict[str, tuple[str, ...]] = {"simple": ("pick_place", "push_pull"), "complex": ("tool_use", "pour")}
"""The two groups of categories that arXiv 2606.01036 compares in-context failures on."""


class Number(Record, frozen=True, kw_only=True):
    """A number and its 95 % interval by bootstrap over sessions; None where undefined."""

    value: float | None
    interval: Interval | None


class Ordering(Record, frozen=True, kw_only=True):
    """How a scorer orders pairs of rollouts of one session. `metrics.accuracies` defines the numbers."""

    scorer: str
    ground_truth: GroundTruth
    category: str
    aggregation: Aggregation
    strict: Number
    half: Number
    macro: Number
    answered: Number
    tie_rate: float | None
    coverage: float | None
    pairs: int
    covered: int
    sessions: int
    """Sessions with at least one pair: the clusters of the intervals."""
    human_ties: int
    """Pairs that the human called equal; they are in no accuracy."""


class Shape(Record, frozen=True, kw_only=True):
    """What the curves of a scorer look like over one group of rollouts, whatever the pairs."""

    scorer: str
    group: Group
    rollouts: int
    covered: int
    """Rollouts with a curve."""
    voc: Number
    """Mean value-order correlation over the `voc_n` curves where it is defined."""
    voc_n: int
    voc_undefined: int
    """Curves that are constant, or shorter than two values."""
    rising: Number
    """Share of the covered rollouts whose VOC is above `RISING`; a constant curve does not rise."""
    sessions: int


class Scored(Record, frozen=True, kw_only=True):
    """A scorer, and how much of the release it answered."""

    name: str
    floor: bool
    model: str
    parameters: dict[str, Any]
    file: str | None
    rollouts: int
    predicted: int
    failed: int
    """Rollouts for which the file has an error in place of a curve."""
    errors: dict[str, int]
    """The most frequent errors, shortened, with their counts."""
    missing: int
    """Rollouts that the file does not hold."""
    missing_ids: tuple[str, ...]
    """The first of them."""


class GroundTruths(Record, frozen=True, kw_only=True):
    """How far the two human judgements agree, over the pairs that were put to a choice and scored."""

    pairs: int
    both_decided: int
    agree: int
    score_tied_only: int
    preference_tied_only: int
    both_tied: int


class Results(Record, frozen=True, kw_only=True):
    """Everything an evaluation found."""

    release: dict[str, str]
    engine_version: str
    split: SplitName | None
    draws: int
    seed: int
    rollouts: int
    sessions: int
    scorers: tuple[Scored, ...]
    ordering: tuple[Ordering, ...]
    shapes: tuple[Shape, ...]
    ground_truths: GroundTruths
