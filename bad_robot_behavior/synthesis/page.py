"""Parts of a documentation page that are measured: each stands between two marks and is written by a command."""

from __future__ import annotations

from pathlib import Path


def replace(page: Path, part: str, lines: list[str]) -> None:
    """Put `lines` between `<!-- begin PART -->` and `<!-- end PART -->` of the page. Raises ValueError where it has no
    such marks."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {part} -->\n", f"<!-- end {part} -->\n"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page} has no part {part}: it needs one line {begin.strip()} and one line {end.strip()}")
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    page.write_text("".join([head, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, tail]), encoding="utf-8")


def table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """A markdown table."""
    return [f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *rows]]
