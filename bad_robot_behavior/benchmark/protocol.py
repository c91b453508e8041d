"""The evaluation: a release and predictions in, every number with its n, interval, ties and coverage out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from tqdm import tqdm

from bad_robot_behavior import __version__
from bad_robot_behavior.benchmark import tasks as task_files
from bad_robot_behavior.benchmark.contamination import contamination
from bad_robot_behavior.benchmark.evaluators import study
from bad_robot_behavior.benchmark.intervals import DIGITS, Difference, estimate
from bad_robot_behavior.benchmark.measures import MEASURES, Counted, Measured
from bad_robot_behavior.benchmark.metrics import Aggregation, Ints
from bad_robot_behavior.benchmark.predictions import Predictions, describe
from bad_robot_behavior.benchmark.results import (
    POOLED,
    Comparison,
    Measure,
    Number,
    Part,
    Results,
    Scored,
    TaskResult,
)
from bad_robot_behavior.benchmark.runs import Run, floors, read_runs
from bad_robot_behavior.benchmark.tasks import Task
from bad_robot_behavior.benchmark.world import World
from bad_robot_behavior.errors import BadRobotError

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release


def evaluate(
    release: Release,
    predictions: Sequence[Predictions],
    *,
    split: Part | None = None,
    splits: Mapping[str, str] | None = None,
    tasks: Sequence[str] = task_files.ORDER,
    draws: int = 1000,
    seed: int = 0,
    with_floors: bool = True,
    seen_faults: Sequence[str] = (),
) -> Results:
    """Score every predictions file and the floors against the judgements of a release.

    split: the rollouts that count; None: the split that the tasks name; `all`: every rollout. splits: rollout_id to
    split, in place of the release's own. seen_faults: injected faults that a scorer was trained on; where they are
    named, the groups `seen_faults` and `held_out_faults` keep them apart.
    Each task gives its metrics for each scorer and group, with other returns for all its units together, and the
    paired difference of its headline number between every two files. All scorers share the bootstrap's draws. A
    prediction for a rollout outside the split is ignored. Reads table columns only, no video.
    Raises PredictionsError for a rollout that the release does not have, ReleaseError where there is nothing to score,
    BadRobotError for an unknown task.
    """
    chosen = [task_files.get(name) for name in tasks]
    part = split or _split_of(chosen)
    world = World(release, part, splits, seen_faults)
    runs = read_runs(world, predictions)
    beside = floors(world) if with_floors else []
    return Results(
        release=describe(release) | ({} if splits is None else {"splits_sha256": _hash(splits)}),
        engine_version=__version__,
        split=part,
        draws=draws,
        seed=seed,
        rollouts=len(world.ids),
        sessions=world.sessions,
        scorers=tuple(_flagged(run.summary, release, part) for run in (*runs, *beside)),
        tasks=tuple(
            _run(world, task, runs, beside, draws, seed)
            for task in tqdm(chosen, desc="evaluate", unit="task", disable=None, leave=False)
        ),
        ground_truths=world.agreement(),
        evaluators=study(world, draws=draws, seed=seed),
    )


def _flagged(scorer: Scored, release: Release, part: Part) -> Scored:
    manifest = release.manifest
    flag = contamination(scorer.parameters, manifest.recipe.get("sources", []), manifest.name, part)
    return msgspec.structs.replace(scorer, contamination=flag)


def _hash(splits: Mapping[str, str]) -> str:
    lines = "\n".join(f"{rollout} {split}" for rollout, split in sorted(splits.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _split_of(tasks: Sequence[Task]) -> Part:
    names = {task.split for task in tasks}
    if len(names) != 1:
        raise BadRobotError(f"these tasks count on different splits ({', '.join(sorted(names))}); name one split")
    return names.pop()


def _run(world: World, task: Task, runs: list[Run], beside: list[Run], draws: int, seed: int) -> TaskResult:
    measured = MEASURES[task.kind](world, task)
    rows: list[Measure] = []
    for group, mask in measured.groups.items():
        also = task.other_aggregations if group == POOLED else ()
        cells = [
            (run.summary.name, how, metric.name, counted[metric.name])
            for how in (task.aggregation, *also)
            for run in (*runs, *beside)
            for counted in [_count(measured, run, how, np.flatnonzero(mask))]
            for metric in task.metrics
        ]
        sessions = len(np.unique(measured.session[mask]))
        numbers = _numbers([cell for *_, cell in cells], sessions, draws, seed)
        for (scorer, how, metric, cell), number in zip(cells, numbers, strict=True):
            rows.append(
                Measure(
                    scorer=scorer,
                    metric=metric,
                    group=group,
                    aggregation=how,
                    value=number.value,
                    interval=number.interval,
                    n=cell.n,
                    covered=cell.covered,
                    sessions=cell.statistic.support,
                    tie_rate=None if cell.tie_rate is None else round(cell.tie_rate, DIGITS),
                )
            )
    return TaskResult(
        task=task,
        left_out={reason: count for reason, count in measured.left_out.items() if count},
        measures=tuple(rows),
        comparisons=tuple(_compare(measured, task, runs, draws, seed)),
    )


def _compare(measured: Measured, task: Task, runs: list[Run], draws: int, seed: int) -> Iterator[Comparison]:
    """The headline number of each file less that of each later one, over the units that both answered."""
    for first, second in combinations(runs, 2):
        units = np.flatnonzero(measured.answered(first) & measured.answered(second))
        cells = [_count(measured, run, task.aggregation, units)[task.headline] for run in (first, second)]
        gap = Counted(
            statistic=Difference(cells[0].statistic, cells[1].statistic),
            n=min(cell.n for cell in cells),
            covered=min(cell.covered for cell in cells),
        )
        [number] = _numbers([gap], len(np.unique(measured.session[units])), draws, seed)
        yield Comparison(
            first=first.summary.name,
            second=second.summary.name,
            metric=task.headline,
            value=number.value,
            interval=number.interval,
            n=gap.n,
            sessions=gap.statistic.support,
        )


def _count(measured: Measured, run: Run, how: Aggregation | None, units: Ints) -> dict[str, Counted]:
    """The metrics over some units, with their sessions numbered anew so that a draw holds as many as there are."""
    present, context = np.unique(measured.session[units], return_inverse=True)
    return measured.count(run, how, units, context, len(present))


def _numbers(cells: Sequence[Counted], sessions: int, draws: int, seed: int) -> list[Number]:
    if not sessions:
        return [Number(value=None, interval=None) for _ in cells]
    found = estimate([cell.statistic for cell in cells], sessions, draws=draws, seed=seed)
    return [Number(value=value, interval=interval) for value, interval in found]
