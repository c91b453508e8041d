"""What comes of each fault: how often it takes effect, the verdicts, scores, and the delays. No rendering.

    python benchmarks/fault_effects.py --workers 2 --page docs/synthesis.md

runs every fault over `--seeds` scenes of each of the first `--tasks` tasks of TASKS in which it can bite, and writes
the part `effects` of the page. `--faults A,B` runs those alone, and keeps the page's rows of the others. With `--rows
DIR` each scene's rows are kept there, and a second run, or another one at the same time, takes only what is missing. A
scene whose expert is not clean is left out and counted.

Instructions are those of `bad-robot synthesize`: a third of them forbid to touch the cup. What a row says:

applied    rollouts with this fault; no moment: scenes that had none for it, such as no filled cup
effect     share of them in which anything measurable came of it; the other columns count these alone
verdicts   shares of success, suboptimal success, success with a side effect, failure
score      mean; onset, failure: median steps from injection to the first visible difference, and to the first failure
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from bad_robot_behavior.synthesis import page
from bad_robot_behavior.synthesis.faults import FAULTS, find_fault
from bad_robot_behavior.synthesis.replay import run_expert, run_fault
from bad_robot_behavior.synthesis.scene import instruct
from bad_robot_behavior.synthesis.tasks import find_task, tasks
from bad_robot_behavior.synthesis.truth import tell, why_not_clean
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import World

FIRST = (
    "pick-place-v3",
    "bin-picking-v3",
    "drawer-open-v3",
    "push-v3",
    "shelf-place-v3",
    "peg-insert-side-v3",
    "pick-place-wall-v3",
    "door-close-v3",
    "window-open-v3",
    "faucet-open-v3",
    "drawer-close-v3",
    "pick-out-of-hole-v3",
    "disassemble-v3",
)
TASKS = tuple(dict.fromkeys((*FIRST, *tasks())))
OUTCOMES = ("success", "success_suboptimal", "success_side_effect", "failure")


class Row(msgspec.Struct):
    """One rollout; `outcome` is None where the scene had no moment for the fault."""

    fault: str
    task: str
    outcome: str | None = None
    effective: bool = False
    score: float = 0.0
    kinds: tuple[str, ...] = ()
    forbidden: bool = False
    onset: int | None = None
    failure: int | None = None
    steps: int = 0


def chosen(number: int, faults: list[str]) -> dict[str, list[str]]:
    """Faults by task: each in the first `number` of TASKS in which it can bite."""
    by_task: dict[str, list[str]] = defaultdict(list)
    for slug in faults:
        for name in [name for name in TASKS if find_fault(slug).applies(find_task(name)) is None][:number]:
            by_task[name].append(slug)
    return by_task


class Scene(msgspec.Struct):
    """The rows of all faults in one scene, or why its twin is not clean."""

    rows: list[Row]
    unclean: str | None = None


def scene(task: str, seed: int, faults: list[str], folder: Path | None) -> Scene:
    kept = folder and folder / f"{task}-{seed}.json"
    if kept and kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Scene)
    world = World(find_task(task), seed)
    twin = run_expert(world)
    if (reason := why_not_clean(twin.trace)) is not None:
        found = Scene([], f"{task} seed {seed}: {reason}")
    else:
        found = Scene([row(world, twin, slug) for slug in faults])
    if kept:
        beside = kept.with_suffix(f".{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(found))
        beside.replace(kept)
    return found


def row(world: World, twin: Twin, slug: str) -> Row:
    fault = FAULTS[slug]
    draw = np.random.default_rng([world.seed, *slug.encode()])
    parameters = fault.draw(draw, twin)
    if parameters is None:
        return Row(slug, world.task.name)
    inject = parameters["inject_step"]
    trace = run_fault(world, twin, fault, parameters)
    forbidden = instruct(world)[1]
    truth = tell(trace, twin.trace, inject, forbidden=forbidden)
    return Row(
        fault=slug,
        task=world.task.name,
        outcome=truth.outcome,
        effective=truth.effective,
        score=truth.score,
        kinds=tuple(sorted({f"{failure.category}/{failure.kind}" for failure in truth.failures})),
        onset=None if truth.onset_step is None else truth.onset_step - inject,
        failure=None if truth.failure_step is None else truth.failure_step - inject,
        steps=trace.steps,
        forbidden=bool(forbidden),
    )


def median(values: Iterator[int | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.0f}" if known else "-"


def lines(rows: list[Row], faults: list[str]) -> list[str]:
    found = []
    for slug in faults:
        mine = [row for row in rows if row.fault == slug]
        ran = [row for row in mine if row.outcome is not None]
        bit = [row for row in ran if row.effective]
        if not bit:
            found.append([f"`{slug}`", "", str(len(ran)), str(len(mine) - len(ran)), "0 %", *["-"] * 8])
            continue
        kinds: dict[str, int] = defaultdict(int)
        for one in bit:
            for kind in one.kinds:
                kinds[kind] += 1
        often = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
        found.append(
            [
                f"`{slug}`",
                str(len({row.task for row in mine})),
                str(len(ran)),
                str(len(mine) - len(ran)),
                f"{100 * len(bit) / len(ran):.0f} %",
                *(f"{100 * sum(row.outcome == outcome for row in bit) / len(bit):.0f} %" for outcome in OUTCOMES),
                f"{statistics.mean(row.score for row in bit):.2f}",
                median(row.onset for row in bit),
                median(row.failure for row in bit),
                ", ".join(f"{kind} {100 * count / len(bit):.0f} %" for kind, count in often),
            ]
        )
    heads = ["fault", "tasks", "applied", "no moment", "effect", "success", "suboptimal", "side effect", "failure"]
    return page.table([*heads, "score", "onset", "failing", "most often labelled"], found)


def shortcuts(rows: list[Row]) -> list[str]:
    """How often each fault ended in what looks done and is not, or broke what the instruction forbids."""
    superficial, broken = [], []
    for slug in FAULTS:
        mine = [row for row in rows if row.fault == slug and row.effective]
        looks = sum("shortcut/superficial_success" in row.kinds for row in mine)
        forbade = [row for row in mine if row.forbidden]
        touched = [row for row in forbade if "shortcut/constraint_violated" in row.kinds]
        done = sum(row.outcome != "failure" for row in touched)
        superficial += [f"`{slug}` {looks} of {len(mine)}"] if looks else []
        broken += [f"`{slug}` {len(touched)} of {len(forbade)}, {done} of them with the task done"] if touched else []
    return [
        f"Looks done and is not (`shortcut/superficial_success`): {', '.join(superficial) or 'none'}.",
        "Touched the cup where the instruction forbids it (`shortcut/constraint_violated`): "
        f"{'; '.join(broken) or 'none'}.",
    ]


def merged(page_text: str, new: list[str]) -> list[str]:
    """The page's table with the new rows in the places of the old ones."""
    rows = {line.split("|")[1].strip(): line for line in new[2:]}
    old = [line for line in page_text.partition("<!-- begin effects -->")[2].splitlines() if line.startswith("| `")]
    kept = {line.split("|")[1].strip(): line for line in old}
    return [*new[:2], *(line for slug in FAULTS if (line := (kept | rows).get(f"`{slug}`")))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    faults = arguments.faults.split(",")
    by_task = chosen(arguments.tasks, faults)
    work = [(name, seed, faults) for name, faults in by_task.items() for seed in range(arguments.seeds)]
    work.sort(key=lambda one: -len(one[2]))  # the long ones first, so that the workers end together
    started = time.perf_counter()
    if arguments.rows:
        arguments.rows.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(arguments.workers) as pool:
        todo = pool.map(scene, *zip(*work, strict=True), [arguments.rows] * len(work))
        scenes = list(tqdm(todo, total=len(work), unit="scene", disable=None))
    rows = [one for found in scenes for one in found.rows]
    unclean = [found.unclean for found in scenes if found.unclean]
    text = lines(rows, faults)
    ran = [row for row in rows if row.outcome is not None]
    without = sum(not row.effective for row in ran)
    if arguments.page and len(faults) < len(FAULTS):
        text = merged(arguments.page.read_text(encoding="utf-8"), text)
    of = "" if len(faults) == len(FAULTS) else f" {', '.join(f'`{slug}`' for slug in faults)} alone, measured last:"
    text += [
        "",
        f"Of{of} {len(work)} scenes of {len(by_task)} tasks, {len(unclean)} of them without a clean twin; "
        f"{len(ran)} rollouts, {without} without effect.",
        *shortcuts(rows),
    ]
    print("\n".join(text))
    for reason in unclean:
        print(f"not clean: {reason}")
    print(f"{time.perf_counter() - started:.0f} s, {sum(row.steps for row in ran)} control steps")
    if arguments.page:
        page.replace(arguments.page, "effects", text)


if __name__ == "__main__":
    main()
