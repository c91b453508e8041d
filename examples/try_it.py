"""Build a release from the example rollouts, validate it, load it, and compare scorers on it: what the README tries.

    python examples/try_it.py            # the rollouts of examples/roboarena_sim; no endpoint, no simulator
    python examples/try_it.py --fresh    # new ones, made in simulation first (extra `sim`; a few minutes)

It needs the extra `rewind`: rewards are distilled from the small reward model that comes with the package, and that
model stands in the table beside the floors and the simulator's truth. Each step is a command of its own and is printed
before it runs. It leaves the release at ./bad-robot-behavior and a page to look at, ./bad-robot-behavior.html; fresh
rollouts lie in ./fresh.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "example.yaml"
OUT = "bad-robot-behavior"
# What examples/roboarena_sim was made with, but for its seed.
TASKS = (
    "pick-place-v3,bin-picking-v3,shelf-place-v3,assembly-v3,push-v3,plate-slide-v3,drawer-open-v3,door-close-v3,"
    "faucet-open-v3,hammer-v3"
)
MADE_WITH = ("--as", "roboarena", "--tasks", TASKS, "--per-scene", "4", "--cameras", "exterior_1")


def step(*command: str) -> None:
    print(f"$ {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "bad_robot_behavior", *command[1:]], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def fresh(folder: Path, seed: int, tasks: str) -> tuple[Path, Path]:
    """New rollouts in `folder`: the dump, and a recipe for it."""
    dump = folder / "roboarena_sim"
    folder.mkdir(exist_ok=True)
    made_with = [*MADE_WITH[:3], tasks, *MADE_WITH[4:]]
    step("bad-robot", "synthesize", "-o", str(dump), *made_with, "--seeds", f"{seed}:{seed + 1}", "--workers", "2")
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["sources"][0]["path"] = "roboarena_sim"
    sessions = dump.glob("evaluation_sessions/*/metadata.yaml")
    policies = [yaml.safe_load(path.read_text(encoding="utf-8"))["policies"] for path in sessions]
    never_ran = sum(entry is None for entries in policies for entry in entries.values())
    recipe["expected_rejections"] = {"roboarena.null_policy": never_ran} if never_ran else {}
    shutil.copyfile(RECIPE.parent / "example.key", folder / "example.key")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return dump, folder / "recipe.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="make new rollouts in simulation first")
    parser.add_argument("--seed", type=int, default=1, help="of fresh rollouts; the example's own is 0")
    parser.add_argument("--tasks", default=TASKS, help="of fresh rollouts")
    args = parser.parse_args()
    dump, recipe = HERE / "roboarena_sim", RECIPE
    if args.fresh:
        dump, recipe = fresh(Path("fresh"), args.seed, args.tasks)
    step("bad-robot", "build", str(recipe), "-o", OUT)
    step("bad-robot", "validate", OUT)
    print(f"$ python {HERE / 'load.py'}", flush=True)
    subprocess.run([sys.executable, str(HERE / "load.py"), OUT], check=True)
    predictions = f"{OUT}.rewind.parquet"
    step("bad-robot", "score", OUT, "--scorer", "rewind", "--split", "test", "-o", predictions)
    step("bad-robot", "evaluate", OUT, predictions, str(dump / "simulator_truth.parquet"), "--html", f"{OUT}.html")


if __name__ == "__main__":
    main()
