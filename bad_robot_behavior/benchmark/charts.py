"""The drawings of the report, as SVG text: bars by category, and reward curves that stand under a film strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from bad_robot_behavior.benchmark.results import COMBINED, POOLED, GroundTruth, Ordering, Results

STRIP = 8
"""Frames of a film strip."""
_WIDTH, _LEFT, _RIGHT = 900, 190, 250
_ROW, _GAP = 20, 16
_CURVE_WIDTH, _CURVE_HEIGHT, _MARGIN = 800, 190, 14


def classes(results: Results) -> dict[str, str]:
    """The CSS class of each scorer: c0..c5 for models, f0.. for floors."""
    models = [item.name for item in results.scorers if not item.floor]
    floors = [item.name for item in results.scorers if item.floor]
    return {name: f"c{i % 6}" for i, name in enumerate(models)} | {name: f"f{i % 4}" for i, name in enumerate(floors)}


def shortened(name: str, limit: int) -> str:
    """A name of at most `limit` characters, cut in its middle: scorers often differ at the end only."""
    tail = limit // 3
    return name if len(name) <= limit else f"{name[: limit - tail - 1]}…{name[-tail:]}"


def label(name: str, limit: int = 60) -> str:
    """A name as HTML; one that is cut has the whole of it as its title."""
    cut = shortened(name, limit)
    return escape(name) if cut == name else f'<span title="{escape(name)}">{escape(cut)}</span>'


def category_title(category: str) -> str:
    """What a category is called on the page."""
    if category in COMBINED:
        return f"{category} ({', '.join(COMBINED[category])})"
    return "all pairs" if category == POOLED else category


def bars(results: Results, truth: GroundTruth) -> str:
    """Strict accuracy of each scorer in each category that has pairs, with interval, chance line and n."""
    colours = classes(results)
    rows = [row for row in results.ordering if row.ground_truth == truth and row.aggregation == "mean" and row.pairs]
    groups: dict[str, list[Ordering]] = {}
    for row in rows:
        groups.setdefault(row.category, []).append(row)
    if not groups:
        return '<p class="note">No pair that a human decided.</p>'
    parts, y = [], 26
    for category, members in groups.items():
        first = members[0]
        count = f"{first.pairs} pairs, {first.sessions} sessions"
        parts.append(f'<text x="0" y="{y + 4}" class="head">{escape(category_title(category))}</text>')
        parts.append(f'<text x="{_WIDTH}" y="{y + 4}" class="dim" text-anchor="end">{count}</text>')
        y += 14
        for row in members:
            parts.append(_bar(row, y, colours[row.scorer]))
            y += _ROW
        y += _GAP
    ticks = "".join(
        f'<line x1="{_x(v)}" x2="{_x(v)}" y1="16" y2="{y - _GAP}" class="{"chance" if v == 0.5 else "grid"}"/>'
        f'<text x="{_x(v)}" y="10" class="dim" text-anchor="middle">{v:g}</text>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    )
    label = f"Strict ordering accuracy by category, ground truth {truth}"
    return f'<svg class="bars" viewBox="0 0 {_WIDTH} {y}" role="img" aria-label="{label}">{ticks}{"".join(parts)}</svg>'


def _x(value: float) -> float:
    return round(_LEFT + value * (_WIDTH - _LEFT - _RIGHT), 1)


def _bar(row: Ordering, y: int, colour: str) -> str:
    middle = y + _ROW // 2
    name = shortened(row.scorer, 22)
    title = "" if name == row.scorer else f"<title>{escape(row.scorer)}</title>"
    parts = [f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}{title}</text>']
    number = row.strict
    if number.value is None:
        text = "no answer"
    else:
        text = f"{number.value:.2f}"
        width = round(_x(number.value) - _x(0), 1)
        parts.append(f'<rect x="{_LEFT}" y="{middle - 6}" width="{width}" height="12" rx="2" class="fill {colour}"/>')
    if number.interval is not None:
        low, high = (_x(v) for v in number.interval)
        text += f" [{number.interval[0]:.2f}, {number.interval[1]:.2f}]"
        parts.append(
            f'<path class="whisker" d="M{low} {middle}H{high}M{low} {middle - 4}V{middle + 4}'
            f'M{high} {middle - 4}V{middle + 4}"/>'
        )
    if row.tie_rate:
        text += f", ties {row.tie_rate:.0%}"
    if row.coverage is not None and row.coverage < 1:
        text += f", coverage {row.coverage:.0%}"
    parts.append(f'<text x="{_WIDTH - _RIGHT + 12}" y="{middle + 4}" class="num">{text}</text>')
    return "".join(parts)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer's curve of one rollout, with the range its axis has."""

    scorer: str
    colour: str
    frame_index: Sequence[int]
    value: Sequence[float]
    low: float
    high: float


def axis_range(kind: Any, values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis: that of the curve's kind, wider where values lie outside; their own for other kinds."""
    fixed = {"progress": (0.0, 1.0), "reward": (-1.0, 1.0)}.get(kind) if isinstance(kind, str) else None
    low, high = min(values, default=0.0), max(values, default=1.0)
    if fixed is not None:
        low, high = min(low, fixed[0]), max(high, fixed[1])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def curves(lines: Sequence[Line], failures: Sequence[Mapping[str, Any]], num_frames: int, fps: float) -> str:
    """The curves of one rollout over the time of its strip: frame k of `STRIP` stands above its own moment."""

    def x(frame: float) -> float:
        share = min(max(frame / max(num_frames - 1, 1), 0.0), 1.0)
        return round((0.5 + (STRIP - 1) * share) / STRIP * _CURVE_WIDTH, 1)

    def y(value: float, line: Line) -> float:
        share = (value - line.low) / (line.high - line.low)
        return round(_CURVE_HEIGHT - _MARGIN - share * (_CURVE_HEIGHT - 2 * _MARGIN - 18), 1)

    bottom, top = _CURVE_HEIGHT - _MARGIN, _MARGIN + 18
    heights = (top, (top + bottom) / 2, bottom)
    parts = [f'<line x1="0" x2="{_CURVE_WIDTH}" y1="{at}" y2="{at}" class="grid"/>' for at in heights]
    for failure in failures:
        if failure["start_s"] is None:
            continue
        start = x(failure["start_s"] * fps)
        end = start + 3 if failure["end_s"] is None else max(x(failure["end_s"] * fps), start + 3)
        parts.append(
            f'<rect class="span" x="{start}" y="{_MARGIN}" width="{round(end - start, 1)}" '
            f'height="{bottom - _MARGIN}"/>'
            f'<text x="{min(start + 3, _CURVE_WIDTH - 120)}" y="{_MARGIN + 12}" class="spanname">'
            f"{escape(failure['kind'])}</text>"
        )
    for line in lines:
        points = [(x(t), y(v, line)) for t, v in zip(line.frame_index, line.value, strict=True)]
        parts.append(f'<polyline class="line {line.colour}" points="{" ".join(f"{a},{b}" for a, b in points)}"/>')
        parts += [f'<circle class="dot {line.colour}" cx="{a}" cy="{b}" r="3"/>' for a, b in points]
    if lines:
        parts.append(f'<text x="4" y="{top + 12}" class="dim">{lines[0].high:.3g}</text>')
        parts.append(f'<text x="4" y="{bottom - 3}" class="dim">{lines[0].low:.3g}</text>')
    else:
        parts.append(f'<text x="{_CURVE_WIDTH // 2}" y="{_CURVE_HEIGHT // 2 + 6}" text-anchor="middle">no curve</text>')
    return (
        f'<svg class="curves" viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" role="img" aria-label="Reward curves over '
        f'time">{"".join(parts)}</svg>'
    )
