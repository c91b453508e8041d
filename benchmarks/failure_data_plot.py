"""The plot of `failure_data.py` as SVG: what each arm gained, by how much of the training set it was given."""

from __future__ import annotations

from typing import Any

from failure_data_results import WORDS, of, pick

COLOURS = {"b": "#b3261e", "c": "#c77700", "d": "#2f6f4f"}
WIDTH, HEIGHT, LEFT, TOP, ACROSS, DOWN = 1020, 660, 56, 62, 330, 292
PLOT_W, PLOT_H = 264, 190


PANELS = (
    ("Ordering by score: faults seen", of("new scenes, faults seen", "score_ordering")),
    ("Ordering by score: faults held out", of("new scenes, faults held out", "score_ordering")),
    ("Ordering by score: new tasks", of("new tasks", "score_ordering")),
    ("Violation pairs that can be seen", of("new scenes", "violation_pairs", group="observable")),
    ("AUROC, success against failure", of("new scenes", "success_detection", "auroc", "last")),
    ("FPR at 95 % recall (lower is better)", of("new scenes", "success_detection", "fpr_at_95_recall", "last")),
)


def plot(found: dict[str, Any]) -> str:
    """Six panels; a point is the mean over seeds, its bar the 95 % interval over sessions, small dots the seeds."""
    shares = sorted({row["share"] for row in found["rows"] if row["share"]})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_legend(),
    ]
    for number, (title, wanted) in enumerate(PANELS):
        x, y = LEFT + number % 3 * ACROSS, TOP + number // 3 * DOWN
        parts += _panel(x, y, title, pick(found, **wanted), shares)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> list[str]:
    parts = [f'<text x="{LEFT}" y="22" font-size="13">grey: a, {WORDS["a"]}, with its 95 % interval</text>']
    for place, (arm, colour) in enumerate(COLOURS.items()):
        x = LEFT + 330 + 180 * place
        parts.append(f'<circle cx="{x}" cy="18" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 9}" y="22" font-size="13">{arm}: {WORDS[arm]}</text>')
    return parts


def _panel(x: float, y: float, title: str, rows: list[dict[str, Any]], shares: list[int]) -> list[str]:
    rows = [row for row in rows if row["value"] is not None]
    ends = [end for row in rows for end in (row["interval"] or [row["value"]])]
    low, high = min([*ends, 0.5]) - 0.02, max([*ends, 0.5]) + 0.02

    def up(value: float) -> float:
        return round(y + PLOT_H * (1 - (value - low) / (high - low)), 1)

    def across(share: int) -> float:
        return x + PLOT_W * (shares.index(share) + 0.5) / len(shares)

    parts = [f'<text x="{x}" y="{y - 8}" font-size="12" font-weight="bold">{title}</text>']
    parts.append(f'<rect x="{x}" y="{y}" width="{PLOT_W}" height="{PLOT_H}" fill="none" stroke="#999"/>')
    for tenth in range(11):
        if low <= tenth / 10 <= high:
            at = up(tenth / 10)
            parts.append(f'<line x1="{x}" x2="{x + PLOT_W}" y1="{at}" y2="{at}" stroke="#e4e4e4"/>')
            parts.append(f'<text x="{x - 6}" y="{at + 4}" text-anchor="end">{tenth / 10:.1f}</text>')
    parts += [
        f'<text x="{across(share)}" y="{y + PLOT_H + 15}" text-anchor="middle">{share} %</text>' for share in shares
    ]
    parts.append(f'<text x="{x + PLOT_W / 2}" y="{y + PLOT_H + 32}" text-anchor="middle">of the training set</text>')
    for row in rows:
        if row["arm"] == "a":
            top, bottom = (up(end) for end in reversed(row["interval"]))
            parts.append(f'<rect x="{x}" y="{top}" width="{PLOT_W}" height="{bottom - top:.1f}" fill="#ddd"/>')
            at = up(row["value"])
            parts.append(f'<line x1="{x}" x2="{x + PLOT_W}" y1="{at}" y2="{at}" stroke="#666"/>')
    for place, (arm, colour) in enumerate(COLOURS.items()):
        mine = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["share"])
        shift = 8 * (place - 1)
        line = " ".join(f"{across(row['share']) + shift},{up(row['value'])}" for row in mine)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" opacity="0.5"/>')
        for row in mine:
            at = across(row["share"]) + shift
            if row["interval"]:
                ends = [up(end) for end in row["interval"]]
                parts.append(f'<line x1="{at}" x2="{at}" y1="{ends[0]}" y2="{ends[1]}" stroke="{colour}"/>')
            parts += [
                f'<circle cx="{at + 3}" cy="{up(one)}" r="1.3" fill="{colour}"/>'
                for one in row["seeds"]
                if one is not None and low <= one <= high
            ]
            parts.append(f'<circle cx="{at}" cy="{up(row["value"])}" r="3.4" fill="{colour}"/>')
    return parts
