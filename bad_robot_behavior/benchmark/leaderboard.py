"""A leaderboard page from a folder of results files, each of which is checked before it is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bad_robot_behavior.benchmark import charts, parts, tasks
from bad_robot_behavior.benchmark.report import percent, write_text
from bad_robot_behavior.benchmark.results import POOLED, Measure, Results, Scored
from bad_robot_behavior.benchmark.results_file import SUFFIX, check
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Defect

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

RANKED_BY = ("score_ordering", "answered")
"""Task and metric of the order: a scorer gains nothing by not answering."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One results file that passed."""

    file: str
    scorer: Scored
    results: Results


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Entries by release (name, version and hash of its truth), the best first; and what is wrong with the others."""

    entries: dict[tuple[str, str, str], tuple[Entry, ...]]
    defects: tuple[Defect, ...]
    rescored: bool


def read_board(folder: Path, release: Release | None = None) -> Board:
    """Check every results file of a folder. With a release, each is scored again, and those of others are refused.

    Raises BadRobotError where the folder has no results file at all.
    """
    if not folder.is_dir():
        raise BadRobotError(f"{folder}: is no folder; give one with results files (*{SUFFIX})")
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise BadRobotError(f"{folder}: has no results files (*{SUFFIX}); `bad-robot evaluate -o` writes them")
    found: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    defects: list[Defect] = []
    for path in paths:
        said, wrong = check(path, release)
        defects += wrong
        if said is None or wrong:
            continue
        about = said.results.release
        own = [item for item in said.results.scorers if not item.floor]
        key = (about["name"], about["version"], about["data_sha256"])
        found[key] += [Entry(file=path.name, scorer=item, results=said.results) for item in own]
    ranked = {key: tuple(sorted(entries, key=_place)) for key, entries in sorted(found.items())}
    return Board(entries=ranked, defects=tuple(defects), rescored=release is not None)


def _ranking_number(entry: Entry) -> Measure | None:
    task, metric = RANKED_BY
    result = entry.results.task(task)
    rows = result.rows(scorer=entry.scorer.name, metric=metric, group=POOLED, aggregation=result.task.aggregation)
    return rows[0] if rows else None


def _place(entry: Entry) -> tuple[bool, float, str]:
    number = _ranking_number(entry)
    value = None if number is None else number.value
    return value is None, -(value or 0.0), entry.file


def write(board: Board, path: Path) -> None:
    """Write the page, whole or not at all."""
    checked = "scored again from its predictions" if board.rescored else "checked, but not scored again"
    body = [
        "<h1>Leaderboard of reward models</h1>\n",
        f"<p>Every row comes from a results file that was {checked}. Rows are ordered by the share of pairs that are "
        "ordered as humans did, a pair without an answer being wrong. Intervals hold 95 %, by bootstrap over sessions. "
        "Grey rows are floors: scorers that see no frame. Training data: whether a scorer was trained on what it is "
        "judged on, as its card or its predictions say.</p>\n",
    ]
    for (name, version, data), entries in board.entries.items():
        first = entries[0].results
        body.append(
            f"<h2>{escape(name)} {escape(version)}</h2>\n<p>{first.rollouts} rollouts in {first.sessions} sessions of "
            f"split {escape(first.split)}; truth <code>{escape(data[:16])}</code>.</p>\n{_table(entries)}"
            f"{_provenance(entries)}"
        )
    if board.defects:
        lines = "".join(f"<li>{escape(str(defect))}</li>\n" for defect in board.defects)
        body.append(f"<h2>Not shown</h2>\n<ul>{lines}</ul>\n")
    body.append(_definitions())
    write_text(path, parts.document("Leaderboard of reward models", "".join(body)), "the page")


def _table(entries: Sequence[Entry]) -> str:
    first = entries[0].results
    asked = [result.task for result in first.tasks if any(row.n for row in result.rows(group=POOLED))]
    names = _unique(entries)
    rows = [(name, _cells(entry.scorer, entry.results, asked)) for name, entry in names.items()]
    floors = [item for item in first.scorers if item.floor]
    rows += [(f"{item.name} (floor)", _cells(item, first, asked)) for item in floors]
    colours = {name: f"c{i % 6}" for i, name in enumerate(names)}
    colours |= {f"{item.name} (floor)": f"f{i % 4}" for i, item in enumerate(floors)}
    head = [
        "scorer",
        "training data",
        *RANKED_BY[1:],
        *(f"{task.title}: {task.headline}" for task in asked),
        "coverage",
    ]
    return parts.table(head, rows, colours, {f"{item.name} (floor)" for item in floors})


def _cells(scorer: Scored, results: Results, asked: Sequence[tasks.Task]) -> list[str]:
    ranked = _ranking_number(Entry(file="", scorer=scorer, results=results))
    cells = [parts.flag(scorer.contamination), "–" if ranked is None else parts.number(ranked)]
    for task in asked:
        row = results.task(task.name).headline(scorer.name)
        missing = "" if row.coverage in (None, 1.0) else f"answered {percent(row.coverage)}"
        cells.append(parts.number(row, missing))
    return [*cells, f"{scorer.predicted} <small>of {scorer.rollouts}</small>"]


def _unique(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Entries by what the table calls them; the file's name stands beside a scorer that is there twice."""
    names = [entry.scorer.name for entry in entries]
    return {
        (entry.scorer.name if names.count(entry.scorer.name) == 1 else f"{entry.scorer.name} [{entry.file}]"): entry
        for entry in entries
    }


def _provenance(entries: Sequence[Entry]) -> str:
    def cell(value: Any) -> str:
        text = msgspec.json.encode(value).decode()
        return f'<td class="text"><code>{escape(charts.shortened(text, 300))}</code></td>'

    rows = "".join(
        f"<tr><td>{charts.label(name)}</td><td><code>{escape(entry.file)}</code></td>"
        f"<td>{escape(entry.results.engine_version)}</td><td>{_code(entry.scorer)}</td>"
        f"{cell(entry.scorer.parameters)}</tr>\n"
        for name, entry in _unique(entries).items()
    )
    head = ("scorer", "results file", "scored with", "made with", "parameters")
    return f"<h3>What was run</h3>\n{parts.plain_table(head, rows)}"


def _code(scorer: Scored) -> str:
    """What the predictions were made with, as their file says: engine version and git commit."""
    said = scorer.origin or {}
    version, git = said.get("engine_version"), said.get("git")
    if not isinstance(version, str):
        return "not said"
    commit = str(git.get("commit", ""))[:12] if isinstance(git, dict) else ""
    changed = " with changes" if isinstance(git, dict) and git.get("dirty") else ""
    return f"{escape(charts.shortened(version, 30))} <code>{escape(commit)}</code>{changed}"


def _definitions() -> str:
    terms = []
    for task in map(tasks.get, tasks.ORDER):
        metric = task.metric(task.headline)
        better = "More is better." if metric.higher_is_better else "Less is better."
        terms.append(
            f"<dt>{escape(task.title)}: {escape(metric.name)}</dt>"
            f"<dd>{escape(metric.definition)} {better} {escape(task.floors)}</dd>\n"
        )
    return f"<h2>Definitions</h2>\n<dl>\n{''.join(terms)}</dl>\n"
