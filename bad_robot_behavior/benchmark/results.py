"""What an evaluation found, as records that turn into JSON as they are. An undefined number is None, never 0."""

from __future__ import annotations

from typing import Any, Literal

from bad_robot_behavior.benchmark.metrics import Aggregation
from bad_robot_behavior.benchmark.tasks import Task
from bad_robot_behavior.schema import Record, SplitName

Part = SplitName | Literal["all"]
Interval = tuple[float, float]

POOLED = "pooled"
COMBINED: dict[str, tuple[str, ...]] = {"simple": ("pick_place", "push_pull"), "complex": ("tool_use", "pour")}
"""The two groups of categories that arXiv 2606.01036 compares in-context failures on."""


class Number(Record, frozen=True, kw_only=True):
    """A number and its 95 % interval by bootstrap over sessions; None where undefined."""

    value: float | None
    interval: Interval | None


class Measure(Number, frozen=True, kw_only=True):
    """One number of one scorer, with all that it rests on."""

    scorer: str
    metric: str
    group: str
    """`pooled`, or the part of the task that the number is about."""
    aggregation: Aggregation | None
    n: int
    """What the number is over: pairs, or rollouts; answered or not."""
    covered: int
    """Those of them that it could be had for."""
    sessions: int
    """Sessions that it rests on: the clusters of the interval."""
    tie_rate: float | None
    """Share of the covered pairs that the scorer calls equal; None for a metric without pairs."""

    @property
    def coverage(self) -> float | None:
        return self.covered / self.n if self.n else None


class Comparison(Number, frozen=True, kw_only=True):
    """Headline number of `first` less that of `second`, over what both answered, paired on the same draws."""

    first: str
    second: str
    metric: str
    n: int
    sessions: int


class TaskResult(Record, frozen=True, kw_only=True):
    """Everything that was found for one task."""

    task: Task
    left_out: dict[str, int]
    """What is in no number of the task, by reason, such as pairs that the human called equal."""
    measures: tuple[Measure, ...]
    comparisons: tuple[Comparison, ...]

    def rows(self, **wanted: Any) -> list[Measure]:
        """The measures whose fields equal those given, such as `group="pooled"`."""
        return [row for row in self.measures if all(getattr(row, name) == value for name, value in wanted.items())]

    def headline(self, scorer: str, group: str = POOLED) -> Measure:
        """The number that stands for the task. Raises KeyError for an unknown scorer or group."""
        for row in self.rows(scorer=scorer, group=group, metric=self.task.headline, aggregation=self.task.aggregation):
            return row
        raise KeyError((scorer, group))


class Contamination(Record, frozen=True, kw_only=True):
    """Whether a scorer was trained on what it is judged on, as far as anyone says, and how that is known."""

    flag: Literal["contaminated", "unknown", "clean"]
    why: str


class Scored(Record, frozen=True, kw_only=True):
    """A scorer, and how much of the release it answered."""

    name: str
    floor: bool
    model: str
    parameters: dict[str, Any]
    file: str | None
    origin: dict[str, Any] | None
    """What the file says of how it was made: arguments, versions, git state."""
    interventions: tuple[str, ...]
    """The changed inputs for which there is a file too, such as `reversed`."""
    rollouts: int
    predicted: int
    failed: int
    """Rollouts for which the file has an error in place of a curve."""
    errors: dict[str, int]
    """The most frequent errors, shortened, with their counts."""
    left_out: dict[str, int]
    """Rows of the file that belong to no rollout of the release or to one that stands there already, by rule."""
    missing: int
    """Rollouts that the file does not hold."""
    missing_ids: tuple[str, ...]
    """The first of them."""
    contamination: Contamination = Contamination(flag="unknown", why="the results do not say")


class GroundTruths(Record, frozen=True, kw_only=True):
    """How far the two human judgements agree, over the pairs that were put to a choice and scored."""

    pairs: int
    both_decided: int
    agree: int
    score_tied_only: int
    preference_tied_only: int
    both_tied: int


class Counted(Number, frozen=True, kw_only=True):
    """A number about the humans, with what it is over and the sessions that it rests on."""

    n: int
    sessions: int


class Site(Record, frozen=True, kw_only=True):
    """One place where rollouts were judged: their mean score, and the share of its choices that were ties."""

    site: str
    score: Counted
    ties: Counted


class PolicyRank(Number, frozen=True, kw_only=True):
    """A policy and its strength on the log scale of `ranking`; None where its wins and losses leave it without one."""

    policy: str
    comparisons: int
    wins: int
    ties: int
    losses: int


class Evaluators(Record, frozen=True, kw_only=True):
    """What the humans' judgements say about the humans, and about the policies. `evaluators` defines the numbers."""

    evaluators: int
    agreement: Counted
    """On the choice of a, b or tie, over pairs that several evaluators judged."""
    failure_agreement: Counted
    """On what went wrong, over rollouts whose failures several annotators named, people or not, and each category."""
    first_preferred: Counted
    first_scored_higher: Counted
    sites: tuple[Site, ...]
    site_share: float | None
    site_p: float | None
    policies: tuple[PolicyRank, ...]


class Results(Record, frozen=True, kw_only=True):
    """Everything an evaluation found."""

    release: dict[str, str]
    engine_version: str
    split: Part
    draws: int
    seed: int
    rollouts: int
    sessions: int
    scorers: tuple[Scored, ...]
    tasks: tuple[TaskResult, ...]
    ground_truths: GroundTruths
    evaluators: Evaluators

    def task(self, name: str) -> TaskResult:
        """The result of that task. Raises KeyError where it was not asked for."""
        return {result.task.name: result for result in self.tasks}[name]
