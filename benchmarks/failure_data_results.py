"""The numbers, tables and plot of `failure_data.py`, from its predictions files alone.

    python benchmarks/failure_data_results.py docs/experiments/failure_data.json docs/experiments/failure_data.svg

prints the tables that docs/experiments.md shows, and draws the plot.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bad_robot_behavior import load
from bad_robot_behavior.benchmark import predictions, tasks
from bad_robot_behavior.benchmark.intervals import Difference, estimate
from bad_robot_behavior.benchmark.measures import MEASURES
from bad_robot_behavior.benchmark.metrics import Ratio
from bad_robot_behavior.benchmark.runs import Run, read_runs
from bad_robot_behavior.benchmark.world import World

Key = tuple[str, int]
MEASURED: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "score_ordering": (("strict",), ("mean", "last")),
    "counterfactual_twins": (("strict",), ("mean", "last")),
    "preference": (("strict",), ("mean", "last")),
    "violation_pairs": (("strict",), ("mean", "last")),
    "success_detection": (("auroc", "fpr_at_half", "recall_at_half", "fpr_at_95_recall"), ("last",)),
    "value_order": (("rising_failure",), (None,)),
}
_GROUPS = ("pooled", "observable", "unobservable")
WORDS = {"a": "successes alone", "b": "failures, dense", "c": "failures, binary", "d": "more successes"}


class Mean:
    """The mean over seeds of a number that is no ratio of sums, as the bootstrap over sessions takes it."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    @property
    def support(self) -> int:
        return min(part.support for part in self._parts)

    def over(self, weights: Any) -> Any:
        return np.mean([part.over(weights) for part in self._parts], axis=0)


def pooled(parts: Sequence[Any]) -> Any:
    """One statistic of several seeds: all have the same units, so the ratio of the sums is the mean."""
    if all(isinstance(part, Ratio) for part in parts):
        return Ratio(
            numerator=sum(part.numerator for part in parts), denominator=sum(part.denominator for part in parts)
        )
    return Mean(parts)


def results(out: Path, main: Path, others: Sequence[Path], draws: int = 1000) -> dict[str, Any]:
    """Every number of every arm, on each part of the test rollouts and on further releases, as plain data."""
    from failure_data import HELD_OUT_FAULTS, HELD_OUT_TASKS, first_test_seed, is_test, scene

    first = first_test_seed(load(main))
    parts: dict[str, dict[str, str]] = defaultdict(dict)
    for rollout in load(main):
        if not is_test(rollout, first):
            continue
        task, _, fault = scene(rollout)
        where = "new tasks" if task in HELD_OUT_TASKS else "new scenes"
        clean = rollout["outcome"] == "success"
        for kind, counted in (
            ("faults seen", fault not in HELD_OUT_FAULTS),
            ("faults held out", fault in HELD_OUT_FAULTS),
        ):
            if clean or counted:
                parts[f"{where}, {kind}"][rollout["rollout_id"]] = "test"
        parts[where][rollout["rollout_id"]] = "test"
    rows = [row for part, splits in sorted(parts.items()) for row in _measure(out, main, part, splits, draws)]
    for path in others:
        every = dict.fromkeys(load(path).rollout_ids, "test")
        rows += _measure(out, path, path.name, every, draws)
    return {"rows": rows}


def _measure(out: Path, release: Path, part: str, splits: dict[str, str], draws: int) -> Iterator[dict[str, Any]]:
    files = sorted((out / "runs").glob(f"{release.name}-*.parquet"))
    read = [predictions.read(file) for file in files]
    world = World(load(release), "test", splits)
    by_arm: dict[Key, list[Run]] = defaultdict(list)
    for item, one in zip(read, read_runs(world, read), strict=True):
        by_arm[item.parameters["letter"], item.parameters["share"]].append(one)
    added = {(item.parameters["letter"], item.parameters["share"]): item.parameters["added"] for item in read}
    for name, (metrics, hows) in tqdm(MEASURED.items(), desc=part, unit="task", disable=None):
        task = tasks.get(name)
        measured = MEASURES[task.kind](world, task)
        for group, mask in measured.groups.items():
            units = np.flatnonzero(mask)
            if not units.size or not (group in _GROUPS or name == "score_ordering"):
                continue
            present, context = np.unique(measured.session[units], return_inverse=True)
            for how in hows:
                counted = {
                    key: [measured.count(one, how, units, context, len(present)) for one in runs]
                    for key, runs in by_arm.items()
                }
                for metric in metrics:
                    told = {"part": part, "task": name, "metric": metric, "group": group, "aggregation": how}
                    yield from _rows(
                        told, {k: [c[metric] for c in v] for k, v in counted.items()}, len(present), added, draws
                    )


def _rows(
    told: dict[str, Any], counted: dict[Key, list[Any]], sessions: int, added: dict[Key, int], draws: int
) -> Iterator[dict[str, Any]]:
    keys = sorted(counted)
    whole = {key: pooled([one.statistic for one in counted[key]]) for key in keys}
    base = whole.get(("a", 0))
    statistics = [whole[key] for key in keys]
    gaps = [key for key in keys if base is not None and key != ("a", 0)]
    found = estimate([*statistics, *(Difference(whole[key], base) for key in gaps)], sessions, draws=draws, seed=0)
    difference = dict(zip(gaps, found[len(keys) :], strict=True))
    for key, (value, interval) in zip(keys, found, strict=False):
        alone = estimate([one.statistic for one in counted[key]], sessions, draws=0)
        gap, around = difference.get(key, (None, None))
        yield told | {
            "arm": key[0],
            "share": key[1],
            "added": added[key],
            "value": _short(value),
            "interval": _short(interval),
            "n": counted[key][0].n,
            "sessions": whole[key].support,
            "seeds": [_short(one) for one, _ in alone],
            "difference": _short(gap),
            "difference_interval": _short(around),
        }


def _short(number: Any) -> Any:
    if number is None:
        return None
    return [round(part, 4) for part in number] if isinstance(number, tuple) else round(number, 4)


def dump(found: dict[str, Any]) -> str:
    """As JSON with a line for each number, which names no column again."""
    columns = list(found["rows"][0])
    rows = [json.dumps([row[name] for name in columns], separators=(",", ":")) for row in found["rows"]]
    rest = json.dumps({name: value for name, value in found.items() if name != "rows"})
    return f'{{"about": {rest},\n"columns": {json.dumps(columns)},\n"rows": [\n' + ",\n".join(rows) + "\n]}\n"


def parse(text: str) -> dict[str, Any]:
    """What `dump` wrote."""
    held = json.loads(text)
    return held["about"] | {"rows": [dict(zip(held["columns"], row, strict=True)) for row in held["rows"]]}


def pick(found: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in found["rows"] if all(row[name] == value for name, value in wanted.items())]


def table(found: dict[str, Any], title: str, columns: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """A row for each arm and a column for each number: its value, and what it gained on arm a."""
    lines = [f"| {title} | added | {' | '.join(name for name, _ in columns)} |", "|---" * (2 + len(columns)) + "|"]
    keys = dict.fromkeys((row["arm"], row["share"], row["added"]) for row in pick(found, **columns[0][1]))
    for arm, share, added in keys:
        cells = [_cell(pick(found, arm=arm, share=share, **wanted)) for _, wanted in columns]
        name = f"{arm}: {WORDS[arm]}" + (f", {share} %" if share else "")
        lines.append(f"| {name} | {added} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(rows: list[dict[str, Any]]) -> str:
    if not rows or rows[0]["value"] is None:
        return "-"
    row = rows[0]
    if row["difference"] is None:
        between = "" if row["interval"] is None else " ({:.2f} to {:.2f})".format(*row["interval"])
        return f"{row['value']:.2f}{between}"
    text = f"{row['value']:.2f}, {row['difference']:+.2f}"
    if row["difference_interval"] is None:
        return text
    low, high = row["difference_interval"]
    text += f" ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 or high < 0 else text


PLACES = ("new scenes", "new tasks")
FAULTS = ("faults seen", "faults held out")


def of(part: str, task: str, metric: str = "strict", how: Any = "mean", group: str = "pooled") -> dict[str, Any]:
    """Which number is meant."""
    return {"part": part, "task": task, "metric": metric, "aggregation": how, "group": group}


def tables(found: dict[str, Any]) -> dict[str, str]:
    """The tables of docs/experiments.md by name: those of the test rollouts, and one for each further release."""
    parts = list(dict.fromkeys(row["part"] for row in found["rows"]))
    made = {part: _of_release(found, part) for part in parts if not part.startswith(PLACES)}
    if not set(PLACES) <= set(parts):
        return made
    cells = [(f"{where}, {faults}", f"{where}, {faults}") for where in PLACES for faults in FAULTS]
    made["ordering"] = table(found, "ordering by score", [(name, of(part, "score_ordering")) for name, part in cells])
    violations = [(name, of(part, "violation_pairs", group="observable")) for name, part in cells]
    hidden = ("new scenes, cannot be seen", of("new scenes", "violation_pairs", group="unobservable"))
    made["violations"] = table(found, "violation pairs", [*violations, hidden])
    made["detection"] = table(
        found,
        "success against failure",
        [
            ("AUROC, new scenes", of("new scenes", "success_detection", "auroc", "last")),
            ("FPR at 95 % recall", of("new scenes", "success_detection", "fpr_at_95_recall", "last")),
            ("FPR at 0.5", of("new scenes", "success_detection", "fpr_at_half", "last")),
            ("recall at 0.5", of("new scenes", "success_detection", "recall_at_half", "last")),
            ("AUROC, new tasks", of("new tasks", "success_detection", "auroc", "last")),
            ("rises on failures, new scenes", of("new scenes", "value_order", "rising_failure", None)),
        ],
    )
    wanted = pick(found, part="new scenes", task="score_ordering", aggregation="mean", arm="a")
    groups = [(row["group"], row["n"]) for row in wanted if row["n"] and row["group"] not in ("simple", "complex")]
    made["categories"] = table(
        found,
        "ordering by category, new scenes",
        [(f"{group} (n {n})", of("new scenes", "score_ordering", group=group)) for group, n in groups],
    )
    return made


def _of_release(found: dict[str, Any], part: str) -> str:
    wanted = {
        "preference, by the mean": of(part, "preference"),
        "preference, by the last": of(part, "preference", how="last"),
        "AUROC": of(part, "success_detection", "auroc", "last"),
        "recall at 0.5": of(part, "success_detection", "recall_at_half", "last"),
    }
    return table(found, part, [(f"{name} (n {pick(found, **one)[0]['n']})", one) for name, one in wanted.items()])


if __name__ == "__main__":
    given = parse(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name, text in tables(given).items():
        print(f"<!-- {name} -->\n{text}\n")
    from failure_data_plot import plot

    Path(sys.argv[2]).write_text(plot(given), encoding="utf-8")
