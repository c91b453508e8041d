"""The drawings of the report, as SVG text: bars by category, and reward curves that stand under a film strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from bad_robot_behavior.benchmark.report import groups
from bad_robot_behavior.benchmark.results import COMBINED, POOLED, Measure, Results, TaskResult

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


def group_title(group: str) -> str:
    """What a group is called on the page."""
    if group in COMBINED:
        return f"{group} ({', '.join(COMBINED[group])})"
    return "all" if group == POOLED else group.replace("_", " ")


class _Axis(msgspec.Struct, frozen=True):
    low: float
    high: float
    chance: float | None

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


_AXES = {"order": _Axis(-2, 2, 0), "localisation": _Axis(0, 1, None)}


def bars(results: Results, result: TaskResult) -> str:
    """The headline number of each scorer in each group that has units, with interval, chance line and n."""
    found = groups(result)
    if not found:
        return ""
    colours = classes(results)
    axis = _AXES.get(result.task.kind, _Axis(0, 1, 0.5))
    parts, y = [], 26
    for group, members in found.items():
        first = members[0]
        count = f"{first.n} {'pairs' if result.task.kind == 'pairs' else 'rollouts'}"
        parts.append(f'<text x="0" y="{y + 4}" class="head">{escape(group_title(group))}</text>')
        parts.append(f'<text x="{_WIDTH}" y="{y + 4}" class="dim" text-anchor="end">{count}</text>')
        y += 14
        for row in members:
            parts.append(_bar(row, y, colours[row.scorer], axis))
            y += _ROW
        y += _GAP
    step = (axis.high - axis.low) / 4
    ticks = "".join(
        f'<line x1="{axis.x(v)}" x2="{axis.x(v)}" y1="16" y2="{y - _GAP}" '
        f'class="{"chance" if v == axis.chance else "grid"}"/>'
        f'<text x="{axis.x(v)}" y="10" class="dim" text-anchor="middle">{v:g}</text>'
        for v in (axis.low + k * step for k in range(5))
    )
    chance = "" if axis.chance is None else '<p class="note">The dashed line is what a blind guess gets.</p>\n'
    label = escape(f"{result.task.title}: {result.task.headline} by group")
    return (
        f"<h3>{escape(result.task.headline)} by group</h3>\n{chance}"
        f'<div class="wide"><svg class="bars" viewBox="0 0 {_WIDTH} {y}" role="img" aria-label="{label}">{ticks}'
        f"{''.join(parts)}</svg></div>\n"
    )


def _bar(row: Measure, y: int, colour: str, axis: _Axis) -> str:
    middle = y + _ROW // 2
    name = shortened(row.scorer, 22)
    title = "" if name == row.scorer else f"<title>{escape(row.scorer)}</title>"
    parts = [f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}{title}</text>']
    if row.value is None:
        text = "no answer" if not row.covered else "undefined"
    else:
        text = f"{row.value:.2f}"
        start, end = sorted((axis.x(max(axis.low, 0)), axis.x(row.value)))
        parts.append(
            f'<rect x="{start}" y="{middle - 6}" width="{round(end - start, 1)}" height="12" rx="2" '
            f'class="fill {colour}"/>'
        )
    if row.interval is not None:
        low, high = (axis.x(v) for v in row.interval)
        text += f" [{row.interval[0]:.2f}, {row.interval[1]:.2f}]"
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
    for row, failure in enumerate(f for f in failures if f["start_s"] is not None):
        start = x(failure["start_s"] * fps)
        end = start + 3 if failure["end_s"] is None else max(x(failure["end_s"] * fps), start + 3)
        parts.append(
            f'<rect class="span" x="{start}" y="{_MARGIN}" width="{round(end - start, 1)}" '
            f'height="{bottom - _MARGIN}"/>'
            f'<text x="{round(min(start + 3, _CURVE_WIDTH - 9.5 * len(failure["kind"])), 1)}" '
            f'y="{_MARGIN + 12 + 17 * (row % 4)}" class="spanname">'
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
