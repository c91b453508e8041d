"""Results for people and programs: a table for the terminal, JSON, and one self-contained HTML page."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bad_robot_behavior.benchmark.metrics import AGGREGATIONS
from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.protocol import RISING
from bad_robot_behavior.benchmark.results import POOLED, GroundTruth, Number, Ordering, Results
from bad_robot_behavior.errors import BadRobotError

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

TITLES: dict[GroundTruth, str] = {
    "score": "Ordering by human score",
    "preference": "Ordering by human preference",
}


def to_json(results: Results) -> str:
    """The results as JSON text, indented; undefined numbers are null."""
    return json.dumps(msgspec.to_builtins(results), indent=2, ensure_ascii=False, allow_nan=False)


def html(results: Results, release: Release, predictions: Sequence[Predictions], path: Path) -> None:
    """Write one HTML page that needs nothing else: tables, bars, and film strips of the worst disagreements.

    The file appears whole or not at all. A video that cannot be decoded is named in its place on the page.
    """
    from bad_robot_behavior.benchmark.page import page  # decodes videos; the terminal table does without

    path = Path(path)
    text = page(results, release, predictions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise BadRobotError(f"{path}: the report cannot be written: {error.strerror}") from error


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
    split = f" split {results.split}," if results.split else ""
    lines = [
        f"{results.release['name']} {results.release['version']}:{split} {results.rollouts} rollouts in "
        f"{results.sessions} sessions. 95 % intervals by bootstrap over sessions "
        f"({results.draws} draws, seed {results.seed}). Return: mean of the curve.",
    ]
    for truth in dict.fromkeys(row.ground_truth for row in results.ordering):
        lines += ["", *_ordering(results, truth)]
        lines += ["", "strict, by other returns", *_aggregations(results, truth)]
        lines += ["", *_categories(results, truth)]
    lines += ["", *_shapes(results), "", *_agreement(results), *_coverage(results)]
    return "\n".join(lines)


def ordering_rows(results: Results, truth: GroundTruth, *, category: str | None = None) -> list[Ordering]:
    """The rows by mean return of one ground truth, and of one category or all."""
    return [
        row
        for row in results.ordering
        if row.ground_truth == truth and row.aggregation == "mean" and category in (None, row.category)
    ]


def _ordering(results: Results, truth: GroundTruth) -> list[str]:
    rows = ordering_rows(results, truth, category=POOLED)
    first = rows[0] if rows else None
    head = f"{TITLES[truth]}, all categories"
    if first is not None:
        head += f": {first.pairs} pairs in {first.sessions} sessions; {first.human_ties} pairs tied by humans left out"
    body = [
        (
            row.scorer,
            show(row.strict),
            show(row.half),
            show(row.macro),
            show(row.answered),
            percent(row.tie_rate),
            percent(row.coverage),
        )
        for row in rows
    ]
    return [head, *_align(("scorer", "strict", "half", "macro", "answered", "ties", "coverage"), body)]


def by_aggregation(results: Results, truth: GroundTruth) -> list[tuple[str, list[Number]]]:
    """The pooled strict accuracy of each scorer by each return, in the order of `AGGREGATIONS`."""
    found: dict[str, dict[str, Number]] = {}
    for row in results.ordering:
        if row.ground_truth == truth and row.category == POOLED:
            found.setdefault(row.scorer, {})[row.aggregation] = row.strict
    return [(scorer, [numbers[how] for how in AGGREGATIONS]) for scorer, numbers in found.items()]


def _aggregations(results: Results, truth: GroundTruth) -> list[str]:
    body = [(scorer, *map(show, numbers)) for scorer, numbers in by_aggregation(results, truth)]
    return _align(("scorer", *AGGREGATIONS), body)


def _categories(results: Results, truth: GroundTruth) -> list[str]:
    rows = [row for row in ordering_rows(results, truth) if row.category != POOLED]
    empty = list(dict.fromkeys(row.category for row in rows if not row.pairs))
    body = [
        (row.category, row.scorer, show(row.strict), percent(row.tie_rate), str(row.pairs), str(row.sessions))
        for row in rows
        if row.pairs
    ]
    lines = _align(("category", "scorer", "strict", "ties", "pairs", "sessions"), body) if body else []
    return [*lines, *([f"no pairs: {', '.join(empty)}"] if empty else [])]


def _shapes(results: Results) -> list[str]:
    body = [
        (
            row.scorer,
            row.group,
            show(row.voc),
            f"{row.voc_n} of {row.covered}",
            show(row.rising),
            str(row.covered),
            str(row.sessions),
        )
        for row in results.shapes
        if row.rollouts
    ]
    head = f"Shape of the curves (VOC: order in time, no judgement; rising: share with VOC > {RISING:g})"
    return [head, *_align(("scorer", "rollouts", "VOC", "defined", "rising", "n", "sessions"), body)]


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


def _coverage(results: Results) -> list[str]:
    lines = []
    for item in results.scorers:
        if item.predicted == item.rollouts:
            continue
        lines.append(
            f"{printable(item.name)}: curves for {item.predicted} of {item.rollouts} rollouts; {item.missing} are not "
            f"in the file, {item.failed} have an error in place of a curve"
        )
        lines += [f"  {count} x {printable(error)}" for error, count in item.errors.items()]
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
