"""What every page is put together from: a document that loads nothing, tables of scorers, numbers with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from html import escape
from importlib import resources

from bad_robot_behavior.benchmark import charts
from bad_robot_behavior.benchmark.report import percent
from bad_robot_behavior.benchmark.results import Contamination, Number

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: str) -> str:
    """A whole page: one file, no script, nothing loaded from elsewhere. `title` is text, `body` HTML."""
    style = resources.files("bad_robot_behavior.benchmark").joinpath("report.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def number(value: Number, counted: str = "") -> str:
    """A number with its interval below it, and with what it counts where that needs saying."""
    if value.value is None:
        return "–"
    interval = "no interval" if value.interval is None else f"{value.interval[0]:.2f} to {value.interval[1]:.2f}"
    below = interval if not counted else f"{interval}<br>{escape(counted)}"
    return f'{value.value:.3f} <span class="ci">{below}</span>'


def flag(said: Contamination) -> str:
    """Was a scorer trained on what it is judged on? The reason shows where the pointer rests."""
    return f'<span class="{said.flag}" title="{escape(said.why)}">{said.flag}</span>'


def share(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else percent(value)


def table(
    head: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    colours: Mapping[str, str],
    floors: Set[str] = frozenset(),
) -> str:
    """A table whose rows start with a scorer's name; the other cells are HTML."""
    lines, before = [], False
    for scorer, cells in rows:
        floor = scorer in floors
        kind = ("floor first-floor" if not before else "floor") if floor else ""
        before = floor
        key = f'<span class="key {colours[scorer]}"></span>{charts.label(scorer)}'
        lines.append(f'<tr class="{kind}"><td>{key}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n')
    return plain_table(head, "".join(lines))


def plain_table(head: Sequence[str], body: str) -> str:
    """A table; `body` is its rows as HTML."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'
