"""How often the scripted expert of each task succeeds in our scenes, and whether progress orders its steps in time.

    python benchmarks/expert_success.py --seeds 20 --write docs/synthesis-tasks.md

No frames are drawn. Success is the strict one of tasks.yaml, in scenes with distractors; Spearman is the rank
correlation of progress with time over the steps up to the first success, per successful seed. A task is offered only
where success is at least 95 % and the mean correlation at least 0.9; the command exits 1 where one falls short.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from bad_robot_behavior.synthesis.replay import run_expert
from bad_robot_behavior.synthesis.tasks import find_task, tasks
from bad_robot_behavior.synthesis.world import World

START, END = "<!-- measured by benchmarks/expert_success.py -->", "<!-- end -->"
SUCCESS, ORDER = 0.95, 0.9


def measure(work: tuple[str, int]) -> dict[str, float]:
    name, seed = work
    world = World(find_task(name), seed)
    began = time.process_time()
    twin = run_expert(world)
    cost = time.process_time() - began
    trace = twin.trace
    order = float("nan")
    if trace.success[-1]:
        steps = twin.success_step + 1
        order = float(spearmanr(trace.progress[:steps], np.arange(steps)).statistic)
    touched = max(trace.forces["robot_distractor"].max(), trace.forces["object_distractor"].max())
    return {
        "success": float(trace.success[-1]),
        "order": order,
        "steps": trace.steps,
        "distractors": float(bool(world.distractors)),
        "touched": float(touched > 0),
        "ms": 1000 * cost / trace.steps,
    }


def row(name: str, measured: list[dict[str, float]]) -> tuple[str, bool]:
    task = find_task(name)
    won = [entry for entry in measured if entry["success"]]
    rate = len(won) / len(measured)
    orders = [entry["order"] for entry in won]
    order = statistics.mean(orders) if orders else 0.0
    cells = [
        f"`{name}`",
        task.category,
        task.instructions[0],
        f"{len(won)}/{len(measured)}",
        f"{order:.2f}",
        f"{min(orders, default=0.0):.2f}",
        f"{statistics.median(entry['steps'] for entry in measured):.0f}",
        f"{sum(entry['distractors'] for entry in measured):.0f}/{len(measured)}",
        f"{sum(entry['touched'] for entry in measured):.0f}",
    ]
    return "| " + " | ".join(cells) + " |", rate >= SUCCESS and order >= ORDER


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tasks", nargs="*", default=list(tasks()))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", type=Path, help="page in which to replace the table")
    arguments = parser.parse_args()
    names = [find_task(name).name for name in arguments.tasks]
    head = ["task", "category", "instruction", "expert", "order", "least", "steps", "distractors", "touched"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    print(*lines, sep="\n")
    short, costs = [], []
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        work = [(name, seed) for name in names for seed in range(arguments.seeds)]
        results = pool.imap(measure, work, chunksize=arguments.seeds)
        for name in names:
            measured = [next(results) for _ in range(arguments.seeds)]
            line, enough = row(name, measured)
            lines.append(line)
            costs += [entry["ms"] for entry in measured]
            short += [] if enough else [name]
            print(line, flush=True)
    print(f"{statistics.median(costs):.2f} ms of CPU a control step", file=sys.stderr)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, rest = page.split(START)
        after = rest.split(END)[1]
        arguments.write.write_text(before + "\n".join([START, *lines, END]) + after, encoding="utf-8")
    if short:
        print(f"below {SUCCESS:.0%} success or {ORDER} order: {', '.join(short)}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
