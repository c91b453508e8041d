"""Results for people and programs: a table for the terminal, JSON, and one self-contained HTML page."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.results import POOLED, Measure, Number, Results, TaskResult
from bad_robot_behavior.benchmark.world import FAULT
from bad_robot_behavior.errors import BadRobotError, naming_disk

if TYPE_CHECKING:
    from bad_robot_behavior.benchmark.ladder import LadderResults
    from bad_robot_behavior.builder.loader import Release

NOTHING = "nothing to ask here"


def to_json(results: Results | LadderResults) -> str:
    """The results as JSON text, indented; undefined numbers are null."""
    return json.dumps(msgspec.to_builtins(results), indent=2, ensure_ascii=False, allow_nan=False)


def html(results: Results, release: Release, predictions: Sequence[Predictions], path: Path) -> None:
    """Write one HTML page that needs nothing else: tables, bars, and film strips of the worst disagreements.

    The file appears whole or not at all. A video that cannot be decoded is named in its place on the page.
    """
    from bad_robot_behavior.benchmark.page import page  # decodes videos; the terminal table does without

    write_text(Path(path), page(results, release, predictions), "the report")


def write_text(path: Path, text: str, what: str) -> None:
    """Write a text file whole or not at all. Raises BadRobotError where it cannot be written."""
    write_bytes(path, text.encode(), what)


def write_bytes(path: Path, data: bytes, what: str) -> None:
    """Write a file whole or not at all. Raises BadRobotError where it cannot be written."""
    try:
        with naming_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".part")
            part = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                part.chmod(0o644)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise BadRobotError(f"{path}: {what} cannot be written: {error.strerror}") from error


def show(number: Number) -> str:
    """A number with its interval: `0.71 [0.62, 0.79]`; `-` where undefined."""
    if number.value is None:
        return "-"
    if number.interval is None:
        return f"{number.value:.3f} [no interval]"
    return f"{number.value:.3f} [{number.interval[0]:.3f}, {number.interval[1]:.3f}]"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def table(results: Results) -> str:
    """All main numbers as aligned plain text: each with its interval, n, ties and coverage."""
    where = "all splits" if results.split == "all" else f"split {results.split}"
    lines = [
        f"{results.release['name']} {results.release['version']}: {where}, {results.rollouts} rollouts in "
        f"{results.sessions} sessions. 95 % intervals by bootstrap over sessions "
        f"({results.draws} draws, seed {results.seed}).",
    ]
    for result in results.tasks:
        lines += ["", *_task(result)]
    rest = (*_agreement(results), *_evaluators(results), *_contamination(results), *_coverage(results))
    return "\n".join([*lines, "", *rest])


def pooled_rows(result: TaskResult) -> Iterator[tuple[Measure, list[Measure]]]:
    """For each scorer its headline, and all its metrics in the task's order, over all units of the task."""
    metrics = [metric.name for metric in result.task.metrics]
    for head in result.rows(group=POOLED, aggregation=result.task.aggregation, metric=result.task.headline):
        own = result.rows(group=POOLED, aggregation=result.task.aggregation, scorer=head.scorer)
        yield head, sorted(own, key=lambda row: metrics.index(row.metric))


def groups(result: TaskResult) -> dict[str, list[Measure]]:
    """The headline number of each scorer in each group that has units; a task category that has all is left out.

    Single faults stand in the JSON alone: there are too many for a table.
    """
    rows = result.rows(aggregation=result.task.aggregation, metric=result.task.headline)
    whole = max((row.n for row in rows if row.group == POOLED), default=0)
    found: dict[str, list[Measure]] = {}
    for row in rows:
        if (
            row.group != POOLED
            and not row.group.startswith(FAULT)
            and row.n
            and (row.n < whole or result.task.groups == "failure")
        ):
            found.setdefault(row.group, []).append(row)
    return found


def other_returns(result: TaskResult) -> list[tuple[str, list[Measure]]]:
    """The pooled headline number of each scorer by each return, the task's own first."""
    hows = (result.task.aggregation, *result.task.other_aggregations)
    found: dict[str, dict[str | None, Measure]] = {}
    for row in result.rows(group=POOLED, metric=result.task.headline):
        found.setdefault(row.scorer, {})[row.aggregation] = row
    return [(scorer, [numbers[how] for how in hows]) for scorer, numbers in found.items()]


def own_count(row: Measure, head: Measure) -> str:
    """`8 of 9` where a metric rests on other units than the headline beside it; empty where on the same."""
    return "" if (row.n, row.covered) == (head.n, head.covered) else f"{row.covered} of {row.n}"


def _task(result: TaskResult) -> list[str]:
    task = result.task
    by = f", by the {task.aggregation} of the curve" if task.aggregation else ""
    title = f"{task.title} ({task.name} {task.version}{by})"
    left = [f"left out: {count} {reason}" for reason, count in result.left_out.items()]
    rows = list(pooled_rows(result))
    if not any(head.n for head, _ in rows):
        return [f"{title}: {NOTHING}", *left]
    body = [
        (
            head.scorer,
            *(
                f"{show(row)} ({counted})" if (counted := own_count(row, head)) and row.value is not None else show(row)
                for row in own
            ),
            percent(head.tie_rate),
            percent(head.coverage),
            str(head.n),
            str(head.sessions),
        )
        for head, own in rows
    ]
    metrics = [f"{metric.name}{'' if metric.higher_is_better else ' (low)'}" for metric in task.metrics]
    lines = [title, *_align(("scorer", *metrics, "ties", "coverage", "n", "sessions"), body), *left]
    lines += [
        f"paired: {printable(row.first)} less {printable(row.second)}: {row.metric} {show(row)} "
        f"({row.n} that both answered, {row.sessions} sessions)"
        for row in result.comparisons
        if row.value is not None
    ]
    if task.other_aggregations:
        returns = [(scorer, *map(show, numbers)) for scorer, numbers in other_returns(result)]
        hows = (task.aggregation or "", *task.other_aggregations)
        lines += [f"{task.headline} by other returns", *_align(("scorer", *hows), returns)]
    return [*lines, *_groups(result)]


def _groups(result: TaskResult) -> list[str]:
    body = [
        (group, row.scorer, show(row), percent(row.tie_rate), percent(row.coverage), str(row.n), str(row.sessions))
        for group, rows in groups(result).items()
        for row in rows
    ]
    head = ("group", "scorer", result.task.headline, "ties", "coverage", "n", "sessions")
    return _align(head, body) if body else []


def _agreement(results: Results) -> list[str]:
    truths = results.ground_truths
    if not truths.pairs:
        return ["Humans: no pair has both a preference and two scores"]
    share = f" ({truths.agree / truths.both_decided:.1%})" if truths.both_decided else ""
    return [
        f"Humans: of {truths.pairs} pairs with a preference and two scores, {truths.both_decided} are decided by both, "
        f"and these agree on {truths.agree}{share}; tied by score only {truths.score_tied_only}, by preference only "
        f"{truths.preference_tied_only}, by both {truths.both_tied}"
    ]


def _evaluators(results: Results) -> list[str]:
    humans = results.evaluators
    lines = [
        f"Agreement of evaluators (Krippendorff's alpha): {show(humans.agreement)} over {humans.agreement.n} pairs "
        f"that several judged; {humans.evaluators} evaluators",
        f"Agreement on what went wrong, by category: {show(humans.failure_agreement)} over "
        f"{humans.failure_agreement.n} rollouts that several annotators (people, models, rules) described",
        f"Order: the rollout shown first was preferred {show(humans.first_preferred)} of {humans.first_preferred.n} "
        f"decided choices, and scored {show(humans.first_scored_higher)} higher over {humans.first_scored_higher.n}",
    ]
    if humans.site_share is not None:
        chance = "" if humans.site_p is None else f" (by chance as much in {humans.site_p:.3f} of the draws)"
        lines.append(f"Sites: {humans.site_share:.1%} of the variance of scores lies between them{chance}")
        head = ("site", "mean score", "rollouts", "ties", "choices", "sessions")
        body = [
            (row.site, show(row.score), str(row.score.n), show(row.ties), str(row.ties.n), str(row.score.sessions))
            for row in humans.sites
        ]
        lines += _align(head, body)
    if humans.policies:
        head = ("policy", "strength (Bradley-Terry, Davidson)", "comparisons", "won", "tied", "lost")
        rows = [
            (row.policy, show(row), str(row.comparisons), str(row.wins), str(row.ties), str(row.losses))
            for row in humans.policies
        ]
        lines += _align(head, rows)
    return lines


def _contamination(results: Results) -> list[str]:
    """Of each file; the floors were never trained."""
    return [
        f"Trained on what it is judged on? {printable(item.name)}: {item.contamination.flag} ({item.contamination.why})"
        for item in results.scorers
        if not item.floor
    ]


def _coverage(results: Results) -> list[str]:
    lines = []
    for item in results.scorers:
        if item.predicted == item.rollouts and not item.left_out:
            continue
        lines.append(
            f"{printable(item.name)}: curves for {item.predicted} of {item.rollouts} rollouts; {item.missing} are not "
            f"in the file, {item.failed} have an error in place of a curve"
        )
        lines += [f"  {count} x {printable(error)}" for error, count in item.errors.items()]
        lines += [f"  {count} rows left out: {rule_id}" for rule_id, count in item.left_out.items()]
        if item.missing:
            more = ", ..." if item.missing > len(item.missing_ids) else ""
            lines.append(f"  not in the file: {', '.join(item.missing_ids)}{more}")
    return lines


def printable(text: str) -> str:
    """Text from a file, without what could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _align(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    rows = [[printable(cell) for cell in row] for row in (head, *body)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
