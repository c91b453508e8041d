"""The evaluation: a release and predictions in, every number with its n, interval, ties and coverage out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import __version__, scorers
from bad_robot_behavior.benchmark.intervals import ratio_intervals
from bad_robot_behavior.benchmark.metrics import (
    AGGREGATIONS,
    Aggregation,
    Floats,
    Ints,
    PairCounts,
    Ratio,
    accuracies,
    count_by_preference,
    count_by_score,
    returns,
    voc,
)
from bad_robot_behavior.benchmark.predictions import Predictions, describe
from bad_robot_behavior.benchmark.results import (
    COMBINED,
    POOLED,
    GroundTruth,
    GroundTruths,
    Group,
    Number,
    Ordering,
    Results,
    Scored,
    Shape,
)
from bad_robot_behavior.errors import PredictionsError, ReleaseError
from bad_robot_behavior.schema import SplitName, TaskCategory
from bad_robot_behavior.scorers.run import clip_without_frames, pick_role, stated_parameters

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

RISING = 0.8
"""VOC above which a curve counts as rising throughout."""
_CHUNK = 10_000  # rollouts whose floors are held at a time
_LISTED = 20  # missing rollouts and errors that are named
_LENGTH = 120  # of an error that is named
_DIGITS = 10  # decimals that are kept, so that no number differs between machines in its last bit
_CATEGORIES: tuple[str, ...] = get_args(TaskCategory)


def evaluate(
    release: Release,
    predictions: Sequence[Predictions],
    *,
    split: SplitName | None = None,
    ground_truths: Sequence[GroundTruth] = ("score", "preference"),
    draws: int = 1000,
    seed: int = 0,
    with_floors: bool = True,
) -> Results:
    """Score every predictions file and the floors against the human judgements of a release, or of one split of it.

    For each scorer, ground truth, aggregation and category (pooled, each task category, and the groups of `COMBINED`)
    the result has one `Ordering`; for each scorer and group of rollouts one `Shape`. Scorers share the bootstrap's
    draws. A prediction for a rollout outside the split is ignored. Reads table columns only, no video.
    Raises PredictionsError for a rollout that the release does not have, ReleaseError where there is nothing to score.
    """
    world = _World(release, split)
    scored = [_read(world, item, name) for item, name in zip(predictions, _names(predictions), strict=True)]
    if with_floors:
        scored += _floors(world)
    return Results(
        release=describe(release),
        engine_version=__version__,
        split=split,
        draws=draws,
        seed=seed,
        rollouts=len(world.ids),
        sessions=world.sessions,
        scorers=tuple(item.summary for item in scored),
        ordering=tuple(row for truth in ground_truths for row in _order(world, scored, truth, draws, seed)),
        shapes=tuple(_shapes(world, scored, draws, seed)),
        ground_truths=world.agreement(),
    )


class _World:
    """The human side: rollouts sorted by id as arrays, sessions as numbers, and the pairs put to a choice."""

    def __init__(self, release: Release, split: SplitName | None) -> None:
        columns = ["rollout_id", "session_id", "instruction", "task_category", "score", "success", "outcome", "videos"]
        table = release.table("rollouts", columns=columns, split=split).sort_by("rollout_id")
        if not table.num_rows:
            raise ReleaseError(f"{release.path}: has no rollouts{f' in split {split}' if split else ''} to evaluate on")
        self.ids: list[str] = table["rollout_id"].to_pylist()
        self.row = {rollout: i for i, rollout in enumerate(self.ids)}
        whole = type(release)(release.path)  # a prediction for a rollout of another split is no mistake
        self.known = set(whole.table("rollouts", columns=["rollout_id"])["rollout_id"].to_pylist())
        self.instructions: list[str] = table["instruction"].to_pylist()
        self.videos = table["videos"]
        names, self.session = np.unique(np.array(table["session_id"].to_pylist(), dtype=str), return_inverse=True)
        self.sessions = len(names)
        self.score: Floats = table["score"].cast("float64").to_numpy(zero_copy_only=False)
        self.failed, self.succeeded = _verdicts(table["success"].to_pylist(), table["outcome"].to_pylist())
        self.category = self._categories(table["task_category"].to_pylist())
        self._read_choices(release, split)

    def _categories(self, labels: list[str]) -> NDArray[np.str_]:
        """The category of each session: that of its rollouts, `other` where they differ."""
        number = np.array([_CATEGORIES.index(label) for label in labels])
        low = np.full(self.sessions, len(_CATEGORIES))
        high = np.full(self.sessions, -1)
        np.minimum.at(low, self.session, number)
        np.maximum.at(high, self.session, number)
        return np.array(_CATEGORIES)[np.where(low == high, low, _CATEGORIES.index("other"))]

    def _read_choices(self, release: Release, split: SplitName | None) -> None:
        a: list[str] = []
        b: list[str] = []
        choice: list[str] = []
        if "preferences" in release.manifest.configs:
            columns = ["rollout_a", "rollout_b", "preference"]
            table = release.table("preferences", columns=columns, split=split)
            a, b, choice = (table[name].to_pylist() for name in columns)
        lost = [rollout for rollout in (*a, *b) if rollout not in self.row]
        if lost:
            raise ReleaseError(
                f"{release.path}: preferences name rollout {lost[0]}, which is not among the rollouts of the same "
                "split. Build the release again"
            )
        self.a: Ints = np.array([self.row[rollout] for rollout in a], np.int64)
        self.b: Ints = np.array([self.row[rollout] for rollout in b], np.int64)
        self.preferred: Floats = np.array([{"a": 1.0, "b": -1.0, "tie": 0.0}[c] for c in choice])

    def count(self, truth: GroundTruth, prediction: Floats) -> PairCounts:
        if truth == "score":
            return count_by_score(self.score, prediction, self.session, self.sessions)
        first, second = prediction[self.a], prediction[self.b]
        return count_by_preference(self.preferred, first, second, self.session[self.a], self.sessions)

    def human_ties(self, truth: GroundTruth) -> Ints:
        """Pairs of each session that the human called equal."""
        if truth == "preference":
            return np.bincount(self.session[self.a], self.preferred == 0, self.sessions).astype(np.int64)
        known = np.bincount(self.session, ~np.isnan(self.score), self.sessions).astype(np.int64)
        return known * (known - 1) // 2 - self.count("score", self.score).pairs

    def agreement(self) -> GroundTruths:
        """Score against preference, over the pairs that have both."""
        first, second = self.score[self.a], self.score[self.b]
        scored = ~np.isnan(first) & ~np.isnan(second)
        by_score, chosen = np.sign(first - second)[scored], self.preferred[scored]
        return GroundTruths(
            pairs=int(scored.sum()),
            both_decided=int(((by_score != 0) & (chosen != 0)).sum()),
            agree=int(((by_score == chosen) & (chosen != 0)).sum()),
            score_tied_only=int(((by_score == 0) & (chosen != 0)).sum()),
            preference_tied_only=int(((by_score != 0) & (chosen == 0)).sum()),
            both_tied=int(((by_score == 0) & (chosen == 0)).sum()),
        )


def _verdicts(success: list[bool | None], outcome: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rollouts failed and which succeeded, by `success`, or by `outcome` where that is null; some are neither."""
    good = [s if s is not None else o.startswith("success") for s, o in zip(success, outcome, strict=True)]
    known = [s is not None or o != "unknown" for s, o in zip(success, outcome, strict=True)]
    succeeded = np.array(good) & np.array(known)
    return np.array(known) & ~succeeded, succeeded


class _Scored(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer in the order of the world's rollouts; NaN where it has no answer."""

    summary: Scored
    returns: dict[Aggregation, Floats]
    voc: Floats
    covered: NDArray[np.bool_]


def _names(predictions: Sequence[Predictions]) -> list[str]:
    """What the tables call each file: its scorer, with the file's name where two are called the same."""
    names = [item.name for item in predictions]
    files = [
        f"{name} [{item.path.name}]" if names.count(name) > 1 and item.path else name
        for name, item in zip(names, predictions, strict=True)
    ]
    seen: Counter[str] = Counter()
    for i, name in enumerate(files):
        seen[name] += 1
        if seen[name] > 1 or name in scorers.FLOORS:
            files[i] = f"{name} #{seen[name] + (name in scorers.FLOORS)}"
    return files


def _read(world: _World, item: Predictions, name: str) -> _Scored:
    unknown = [rollout for rollout in item.rollout_id if rollout not in world.known]
    if unknown:
        raise PredictionsError(
            f"{item.path or name}: {len(unknown)} rollouts are not in the release, such as {unknown[0]}. Evaluate "
            "against the release that was scored"
        )
    rows = np.array([world.row.get(rollout, -1) for rollout in item.rollout_id], np.int64)
    inside = rows >= 0
    answered = np.diff(item.offset) > 0
    errors = Counter(error for error, here in zip(item.error, inside, strict=True) if here and error is not None)
    missing = sorted(set(world.ids).difference(item.rollout_id))
    summary = Scored(
        name=name,
        floor=False,
        model=item.model,
        parameters=item.parameters,
        file=item.path.name if item.path else None,
        rollouts=len(world.ids),
        predicted=int((inside & answered).sum()),
        failed=int((inside & ~answered).sum()),
        errors=_most_frequent(errors),
        missing=len(missing),
        missing_ids=tuple(missing[:_LISTED]),
    )
    return _place(world, summary, rows, item.value, item.offset)


def _most_frequent(errors: Counter[str]) -> dict[str, int]:
    shortened: Counter[str] = Counter()
    for error, count in errors.items():
        shortened[error if len(error) <= _LENGTH else f"{error[: _LENGTH - 3]}..."] += count
    return dict(sorted(shortened.items(), key=lambda pair: (-pair[1], pair[0]))[:_LISTED])


def _place(world: _World, summary: Scored, rows: Ints, value: Floats, offset: Ints) -> _Scored:
    """Put each curve's numbers at its rollout's place; rows of -1 are outside the split."""
    inside = rows >= 0

    def at_place(numbers: Floats) -> Floats:
        placed = np.full(len(world.ids), np.nan)
        placed[rows[inside]] = numbers[inside]
        return placed

    by_aggregation = {how: at_place(returns(value, offset, how)) for how in AGGREGATIONS}
    return _Scored(
        summary=summary,
        returns=by_aggregation,
        voc=at_place(voc(value, offset)),
        covered=~np.isnan(by_aggregation["mean"]),
    )


def _floors(world: _World) -> list[_Scored]:
    made = [scorers.get(name) for name in scorers.FLOORS]
    values: list[list[Floats]] = [[] for _ in made]
    for start in range(0, len(world.ids), _CHUNK):
        videos = world.videos.slice(start, _CHUNK).to_pylist()
        names = zip(world.ids[start:], world.instructions[start:], videos, strict=False)
        for rollout, instruction, views in names:
            role = pick_role(views)
            if role is None:
                raise ReleaseError(f"rollout {rollout} has no video; validate the release")
            clip = clip_without_frames(rollout, instruction, views[role], made[0].num_frames)
            for floor, column in zip(made, values, strict=True):
                value = floor.score([clip])[0].value
                assert value is not None  # noqa: S101 - a floor needs nothing that could be missing
                column.append(value)
    placed = []
    for floor, column in zip(made, values, strict=True):
        summary = Scored(
            name=floor.name,
            floor=True,
            model=floor.name,
            parameters=stated_parameters(floor),
            file=None,
            rollouts=len(world.ids),
            predicted=len(world.ids),
            failed=0,
            errors={},
            missing=0,
            missing_ids=(),
        )
        offset = np.concatenate([[0], np.cumsum([len(value) for value in column])]).astype(np.int64)
        placed.append(_place(world, summary, np.arange(len(world.ids)), np.concatenate(column), offset))
    return placed


def _order(world: _World, scored: list[_Scored], truth: GroundTruth, draws: int, seed: int) -> list[Ordering]:
    counts = {
        (item.summary.name, how): world.count(truth, item.returns[how]) for item in scored for how in AGGREGATIONS
    }
    ties = world.human_ties(truth)
    groups: dict[str, tuple[str, ...]] = {POOLED: _CATEGORIES, **{c: (c,) for c in _CATEGORIES}, **COMBINED}
    rows = []
    for category, members in groups.items():
        here = np.isin(world.category, members)
        for (name, how), numbers, count in _with_intervals(counts, here, draws, seed):
            rows.append(
                Ordering(
                    scorer=name,
                    ground_truth=truth,
                    category=category,
                    aggregation=how,
                    strict=numbers["strict"],
                    half=numbers["half"],
                    macro=numbers["macro"],
                    answered=numbers["answered"],
                    tie_rate=numbers["tie_rate"].value,
                    coverage=numbers["coverage"].value,
                    pairs=int(count.pairs.sum()),
                    covered=int(count.covered.sum()),
                    sessions=int((count.pairs > 0).sum()),
                    human_ties=int(ties[here].sum()),
                )
            )
    return rows


def _with_intervals(
    counts: dict[tuple[str, Aggregation], PairCounts], here: NDArray[np.bool_], draws: int, seed: int
) -> list[tuple[tuple[str, Aggregation], dict[str, Number], PairCounts]]:
    """The numbers of each scorer and aggregation over the sessions `here`, all on the same draws of sessions."""
    keys = list(counts)
    if not keys:
        return []
    use = here & (counts[keys[0]].pairs > 0)  # the pairs are the human's, the same for every scorer
    parts = [
        PairCounts(pairs=c.pairs[use], covered=c.covered[use], agreed=c.agreed[use], tied=c.tied[use])
        for c in counts.values()
    ]
    ratios = [accuracies(part) for part in parts]
    flat = [ratio for group in ratios for ratio in group.values()]
    intervals = iter(ratio_intervals(flat, draws=draws, seed=seed))
    numbers = [{name: _number(ratio, next(intervals)) for name, ratio in group.items()} for group in ratios]
    return list(zip(keys, numbers, parts, strict=True))


def _shapes(world: _World, scored: list[_Scored], draws: int, seed: int) -> list[Shape]:
    groups: dict[Group, NDArray[np.bool_]] = {
        "all": np.ones(len(world.ids), bool),
        "success": world.succeeded,
        "failure": world.failed,
    }
    rows = []
    for group, members in groups.items():
        present = np.unique(world.session[members])

        def per_session(weight: Any, present: Ints = present) -> Floats:
            return np.bincount(world.session, weight, world.sessions)[present].astype(np.float64)

        ratios = []
        for item in scored:
            defined = members & ~np.isnan(item.voc)
            covered = per_session(members & item.covered)
            correlation = np.where(defined, item.voc, 0.0)
            ratios.append(Ratio(numerator=per_session(correlation), denominator=per_session(defined)))
            ratios.append(Ratio(numerator=per_session(defined & (correlation > RISING)), denominator=covered))
        intervals = ratio_intervals(ratios, draws=draws, seed=seed) if present.size else [None] * len(ratios)
        numbers = [_number(ratio, interval) for ratio, interval in zip(ratios, intervals, strict=True)]
        for i, item in enumerate(scored):
            covered_n = int((members & item.covered).sum())
            defined_n = int((members & ~np.isnan(item.voc)).sum())
            rows.append(
                Shape(
                    scorer=item.summary.name,
                    group=group,
                    rollouts=int(members.sum()),
                    covered=covered_n,
                    voc=numbers[2 * i],
                    voc_n=defined_n,
                    voc_undefined=covered_n - defined_n,
                    rising=numbers[2 * i + 1],
                    sessions=len(present),
                )
            )
    return rows


def _number(ratio: Ratio, interval: tuple[float, float] | None) -> Number:
    value = ratio.value
    return Number(
        value=None if value is None else round(value, _DIGITS),
        interval=None if interval is None else (round(interval[0], _DIGITS), round(interval[1], _DIGITS)),
    )
