"""A picture for each fault: its success twin above, the faulted rollout below, at the same steps.

    python examples/contact_sheets.py docs/synthesis.md

writes docs/synthesis/<fault>.jpg and the part `sheets` of the page. The bar under a frame is grey before the fault is
active, yellow from then on, orange from the first visible difference, red from the first failure. The captions are the
labels, told from physics. `--only A,B` makes those alone, and keeps what the page says of the others.
"""

from __future__ import annotations

import argparse
import itertools
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bad_robot_behavior import media
from bad_robot_behavior.synthesis import page
from bad_robot_behavior.synthesis.faults import FAULTS
from bad_robot_behavior.synthesis.renderer import Studio
from bad_robot_behavior.synthesis.replay import run_again, run_expert, run_fault
from bad_robot_behavior.synthesis.tasks import find_task
from bad_robot_behavior.synthesis.truth import Truth, tell, why_not_clean
from bad_robot_behavior.synthesis.world import World

SIZE, COLUMNS = 144, 7
GREY, YELLOW, ORANGE, RED = (150, 150, 150), (240, 210, 40), (240, 130, 20), (200, 30, 30)
TASKS = {
    "wrong_action": "drawer-open-v3",
    "shove": "push-v3",
    "almost": "bin-picking-v3",
    "press_table": "push-v3",
    "yaw": "peg-insert-side-v3",
    "early_stop": "push-v3",
    "drag": "assembly-v3",
    "slow": "window-open-v3",
    "jitter": "drawer-open-v3",
    "push_limit": "drawer-open-v3",
    "bump_other": "push-v3",
}
"""Where a fault is shown; the others are shown in OTHERWISE. The first seed at which it took effect is taken."""
SHOWN = {"spill": "manipulation/spill", "almost": "shortcut/superficial_success"}
"""What has to come of a fault that is shown for that; docs/synthesis.md says how often it does."""
OTHERWISE = "pick-place-v3"


def shoot(studio: Studio, world: World, run: Any) -> tuple[Any, list[Any]]:
    """What `run(watch)` returns, and a frame after every step."""
    frames: list[Any] = []
    done = run(lambda world: frames.append(studio.draw(world, "exterior_1")))
    return done, frames


def columns(truth: Truth, steps: int) -> list[int]:
    """Seven steps: the first and the last, those at which something begins where they are apart, and the widest gaps
    between them halved."""
    shown = {0, steps - 1}
    for begins in (truth.inject_step, truth.failure_step, truth.onset_step):
        if begins is not None and all(abs(begins - step) >= 5 for step in shown):
            shown.add(begins)
    while len(shown) < COLUMNS:
        order = sorted(shown)
        gaps = [b - a for a, b in itertools.pairwise(order)]
        at = int(np.argmax(gaps))
        shown.add((order[at] + order[at + 1]) // 2)
    return sorted(shown)[:COLUMNS]


def bar(step: int, truth: Truth) -> tuple[int, int, int]:
    for since, colour in ((truth.failure_step, RED), (truth.onset_step, ORANGE), (truth.inject_step, YELLOW)):
        if since is not None and step >= since:
            return colour
    return GREY


def sheet(slug: str, studio: Studio) -> tuple[Any, str]:
    """(picture, caption)."""
    task = find_task(TASKS.get(slug, OTHERWISE))
    for seed in range(1, 20):
        world = World(task, seed)
        twin = run_expert(world)
        fault = FAULTS[slug]
        parameters = fault.draw(np.random.default_rng([seed, zlib.crc32(slug.encode())]), twin)
        if parameters is None or why_not_clean(twin.trace) is not None:
            continue
        truth = tell(run_fault(world, twin, fault, parameters), twin.trace, parameters["inject_step"])
        kinds = {f"{failure.category}/{failure.kind}" for failure in truth.failures}
        if truth.effective and kinds and SHOWN.get(slug) in {None, *kinds}:
            break
    else:
        raise SystemExit(f"{slug} took effect in none of 19 scenes of {task.name}")
    _, above = shoot(studio, world, lambda watch: run_again(world, twin, watch, every=1))
    trace, below = shoot(studio, world, lambda watch: run_fault(world, twin, fault, parameters, watch, every=1))
    rows = []
    for step in columns(truth, trace.steps):
        strip = np.full((6, SIZE, 3), bar(step, truth), dtype=np.uint8)
        rows.append(np.concatenate([above[min(step, len(above) - 1)], below[step], strip]))
    times = f"injected at step {truth.inject_step}, visible from {truth.onset_step}, fails from {truth.failure_step}"
    told = " ".join(
        f"`{f.category}/{f.kind}`{' (not visible)' if f.observable is False else ''}: {f.description}"
        for f in truth.failures
    )
    caption = f"{task.name}, seed {seed}; {times}. **{truth.outcome}**, score {truth.score:.2f}. {told}"
    return np.concatenate(rows, axis=1), caption


def shown(path: Path) -> dict[str, list[str]]:
    """The lines that the page has of each fault."""
    text = path.read_text(encoding="utf-8").partition("<!-- begin sheets -->")[2].partition("<!-- end sheets -->")[0]
    parts = [f"### `{part}".strip().splitlines() for part in text.split("### `")[1:]]
    return {lines[0].split("`")[1]: lines for lines in parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", default=",".join(FAULTS), metavar="A,B")
    arguments = parser.parse_args()
    folder = arguments.page.with_suffix("")
    folder.mkdir(exist_ok=True)
    studio, parts = Studio(SIZE, SIZE), shown(arguments.page)
    for slug, fault in FAULTS.items():
        if slug not in arguments.only.split(","):
            continue
        picture, caption = sheet(slug, studio)
        (folder / f"{slug}.jpg").write_bytes(media.jpeg(picture, quality=78))
        parts[slug] = [f"### `{slug}`: {fault.title}", "", f"![{slug}]({folder.name}/{slug}.jpg)", "", caption]
        print(slug, caption, flush=True)
    studio.close()
    lines = [line for slug in FAULTS if slug in parts for line in (*parts[slug], "")]
    page.replace(arguments.page, "sheets", lines[:-1])


if __name__ == "__main__":
    main()
