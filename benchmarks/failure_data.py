"""Does bad behaviour data help? ReWiND trained with and without failures, over the same simulated set.

    python benchmarks/failure_data.py OUT   # the reduced form: two cores, no GPU
    python benchmarks/failure_data.py OUT --size small --steps 20000 --batch 256 --device cuda --seeds 5  # in full

Makes the sets where they are not there (`--main`, `--extra`; extras `sim`, `train`), builds releases of them, makes
features once, trains every arm with every seed, each into OUT/runs, and leaves OUT/results.json;
`failure_data_results.py` makes the tables and the plot of it. What is done is not done again.

    a   successes alone, with ReWiND's own negatives: rewound clips, other tasks' instructions
    b   the same and failed or violating rollouts, so many per cent of the training set, with their dense reward
    c   the same rollouts, with the binary label alone (a success with a side effect counts as a failure)
    d   as many further successes instead

Every arm takes the same number of steps. Whole tasks, the last seeds of all others, and eight faults are never trained
on. Rollouts of a larger share hold those of a smaller one; which they are is drawn by the seed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core a training

import argparse
import hashlib
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import yaml
from tqdm import tqdm

from bad_robot_behavior import load
from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.scorers.rewind.choose import choose
from bad_robot_behavior.scorers.rewind.extract import Extracted, extract
from bad_robot_behavior.scorers.rewind.features import Embedded, FeaturePair
from bad_robot_behavior.scorers.run import clip_without_frames, to_prediction
from bad_robot_behavior.scorers.scorer import Curve

RECIPE = Path(__file__).parent.parent / "recipes" / "synthetic.yaml"
SETS = {"main": ("0:6", "6"), "extra": ("6:11", "1")}
HELD_OUT_TASKS = frozenset(
    f"{name}-v3"
    for name in (
        *("drawer-close", "coffee-button", "shelf-place", "push-wall", "faucet-close", "window-open"),
        *("peg-unplug-side", "stick-push"),
    )
)
HELD_OUT_FAULTS = frozenset(("slip", "overshoot", "undo", "detour", "knock_cup", "shove", "excessive_grip", "almost"))
FRAMES = 16  # of each rollout, in training and in judging: what the network reads at a time
FAILURES: dict[str, Any] = {"a": "none", "b": "dense", "c": "binary", "d": "none"}


class Arm(NamedTuple):
    letter: str
    share: int
    seed: int

    def __str__(self) -> str:
        return f"{self.letter}-{self.share}-seed-{self.seed}"


class Known(NamedTuple):
    """Sentence vectors, made once: a process that was forked asks no encoder."""

    pair: FeaturePair
    texts: dict[str, Any]

    def text(self, sentence: str) -> Any:
        return self.texts[sentence]


class World(NamedTuple):
    """good, bad, extra: what may be trained on; judged: by release, what is judged."""

    good: list[Extracted]
    bad: list[Extracted]
    extra: list[Extracted]
    judged: dict[Path, list[Extracted]]
    known: Known


WORLD: World | None = None  # of forked processes


def run(command: list[str]) -> None:
    print(f"$ bad-robot {' '.join(command)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "bad_robot_behavior", *command], check=True)


def release_of(out: Path, name: str, given: Path | None, workers: int) -> Path:
    """The release of a set, both made where they are not there."""
    place = given or out / name
    if not (place / "synthetic.json").is_file():
        seeds, faults = SETS[name]
        told = ["--seeds", seeds, "--per-scene", faults, "--cameras", "exterior_1", "--workers", str(workers)]
        run(["synthesize", "-o", str(place), *told])
    release = out / f"{name}-release"
    if not release.is_dir():
        recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
        recipe["sources"][0]["path"] = str(place.resolve())
        recipe["scrub"]["pseudonym_key_file"] = str(RECIPE.parent / "example.key")
        (out / f"{name}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        run(["build", str(out / f"{name}.yaml"), "-o", str(release), "--workers", str(workers)])
    return release


def scene(rollout: Any) -> tuple[str, int, str]:
    """Task, seed and fault of a rollout; the expert's fault is its name in the set."""
    place, episode = rollout["source_ref"].rsplit("/", 1)
    task, seed = place.rsplit("-", 1)
    return task, int(seed), episode


def is_test(rollout: Any, first: int) -> bool:
    task, seed, _ = scene(rollout)
    return task in HELD_OUT_TASKS or seed >= first


def first_test_seed(release: Any) -> int:
    """The last third of the seeds is for tests."""
    seeds = sorted({scene(rollout)[1] for rollout in release})
    return seeds[-max(1, len(seeds) // 3)]


def look(out: Path, release: Path, encoders: Embedded, workers: int) -> list[Extracted]:
    loaded = load(release)
    cache = out / "features"
    return list(extract(loaded, encoders, cache, max_frames=FRAMES, workers=workers, total=len(loaded)))


def prepare(out: Path, main: Path, extra: Path | None, others: list[Path], workers: int) -> World:
    """What is trained on and judged, with its features."""
    encoders = Embedded()
    seen = {path: look(out, path, encoders, workers) for path in (main, extra, *others) if path is not None}
    first = first_test_seed(load(main))
    train = [found for found in seen[main] if usable(found) and not is_test(found.rollout, first)]
    train = [found for found in train if scene(found.rollout)[2] not in HELD_OUT_FAULTS]
    further = [] if extra is None else [f for f in seen[extra] if scene(f.rollout)[0] not in HELD_OUT_TASKS]
    sentences = dict.fromkeys(found.rollout["instruction"] for all_of in seen.values() for found in all_of)
    return World(
        good=[found for found in train if found.rollout["outcome"] == "success"],
        bad=[found for found in train if found.rollout["outcome"] != "success"],
        extra=[found for found in further if found.rollout["outcome"] == "success" and usable(found)],
        judged={
            main: [found for found in seen[main] if is_test(found.rollout, first)],
            **{path: seen[path] for path in others},
        },
        known=Known(encoders.pair, {text: encoders.text(text) for text in sentences}),
    )


def usable(found: Extracted) -> bool:
    return found.frames is not None and len(found.places) >= 3


def members(world: World, arm: Arm) -> list[Extracted]:
    """What an arm trains on. A share is of the whole training set."""
    count = round(arm.share / (100 - arm.share) * len(world.good))
    pool = {"a": [], "b": world.bad, "c": world.bad, "d": world.extra}[arm.letter]
    if count > len(pool):
        raise SystemExit(f"{arm}: needs {count} rollouts, and there are {len(pool)}; make larger sets")
    order = np.random.default_rng([7, arm.seed]).permutation(len(pool))
    return world.good + [pool[i] for i in order[:count]]


def train_and_judge(out: Path, arm: Arm, settings: Any, device: str) -> str:
    """One training, and its curves of all that is judged, as predictions files in OUT/runs."""
    import torch

    from bad_robot_behavior.scorers.rewind.dataset import Pool
    from bad_robot_behavior.scorers.rewind.judge import judge
    from bad_robot_behavior.scorers.rewind.scorer import prefixes
    from bad_robot_behavior.scorers.rewind.training import fit

    torch.set_num_threads(1)
    assert WORLD is not None
    chosen = choose(members(WORLD, arm), WORLD.known, FAILURES[arm.letter])  # type: ignore[arg-type]
    settings = msgspec.structs.replace(settings, seed=arm.seed, failures=FAILURES[arm.letter])
    stated = {
        "scorer": f"rewind {arm}",
        "kind": "progress",
        **{name: getattr(arm, name) for name in arm._fields},
        "rollouts": len(chosen.trajectories),
        "added": len(chosen.trajectories) - len(WORLD.good),
        "data_sha256": chosen.sha256,
        "settings": msgspec.to_builtins(settings),
        "features": msgspec.to_builtins(WORLD.known.pair),
    }
    wanted = [(path, out / "runs" / f"{path.name}-{arm}.parquet") for path in WORLD.judged]
    if all(file.exists() and predictions.read(file).parameters == stated for _, file in wanted):
        return f"{arm}: done before"
    trained = fit(Pool(chosen.trajectories), WORLD.known.pair, settings, device, data=chosen.sha256)
    weights = {name: tensor.astype(np.float64) for name, tensor in trained.weights.items()}
    for path, file in wanted:

        def curves(path: Path = path) -> Iterator[Any]:
            for found in WORLD.judged[path]:
                rollout = found.rollout
                video = rollout["videos"][found.role]
                clip = clip_without_frames(rollout["rollout_id"], rollout["instruction"], video, FRAMES)
                text = WORLD.known.text(rollout["instruction"]).astype(np.float64)
                seen, shown = found.frames.astype(np.float64), prefixes(len(found.places))
                curve = Curve(value=judge(weights, trained.dimensions, seen, text, shown))
                yield to_prediction(rollout, clip, curve, f"rewind {arm}", stated)

        predictions.write(file, curves(), predictions.describe(load(path)))
    return f"{arm}: {stated['rollouts']} rollouts, loss {trained.loss[0]:.4f} to {trained.loss[-1]:.4f}"


def arms(shares: dict[str, list[int]], seeds: int) -> list[Arm]:
    """What answers most comes first: arms a and b."""
    found = [Arm("a", 0, seed) for seed in range(seeds)]
    for letters in ("b", "dc"):
        found += [
            Arm(letter, share, seed)
            for seed in range(seeds)
            for letter in letters
            for share in sorted(shares[letter], reverse=True)
        ]
    return found


def main() -> None:
    global WORLD
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--main", type=Path, help="a set made as `bad-robot synthesize --per-scene 6` does")
    parser.add_argument("--extra", type=Path, help="a set with other seeds, for its successes")
    parser.add_argument("--judge", type=Path, action="append", default=[], help="another release that is judged too")
    parser.add_argument("--seeds", type=int, default=3)
    for letter in "bcd":
        parser.add_argument(f"--{letter}", default="1,2,5,10,20,50", help="per cent of the training set")
    parser.add_argument("--size", choices=["tiny", "small", "published"], default="tiny")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    from bad_robot_behavior.scorers.rewind.training import Settings

    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "runs").mkdir(exist_ok=True)
    main = release_of(given.out, "main", given.main, given.workers)
    shares = {letter: [int(part) for part in getattr(given, letter).split(",") if part] for letter in "bcd"}
    extra = release_of(given.out, "extra", given.extra, given.workers) if shares["d"] else None
    WORLD = prepare(given.out, main, extra, given.judge, given.workers)
    epochs = max(1, given.steps // 100)
    settings = Settings(
        epochs=epochs,
        steps=given.steps // epochs,
        batch=given.batch,
        size=given.size,
        max_frames=FRAMES,
        rate=given.rate,
        final_rate=given.rate / 50,
        rate_steps=given.steps,
    )
    todo = arms(shares, given.seeds)
    counts = {name: len(getattr(WORLD, name)) for name in ("good", "bad", "extra")}
    print(json.dumps({**counts, "judged": len(WORLD.judged[main]), "trainings": len(todo)}), file=sys.stderr)
    how = multiprocessing.get_context("fork") if given.device == "cpu" else multiprocessing.get_context("spawn")
    if given.device == "cuda":  # one at a time, in this process
        for arm in tqdm(todo, unit="training", disable=None):
            print(train_and_judge(given.out, arm, settings, "cuda"), file=sys.stderr)
    else:
        with ProcessPoolExecutor(given.workers, mp_context=how) as pool:
            waiting = [pool.submit(train_and_judge, given.out, arm, settings, "cpu") for arm in todo]
            for future in tqdm(waiting, unit="training", disable=None):
                print(future.result(), file=sys.stderr, flush=True)
    from failure_data_results import dump, results

    found = results(given.out, main, given.judge)
    text = dump(found | {"counts": counts, "settings": msgspec.to_builtins(settings)})
    (given.out / "results.json").write_text(text, encoding="utf-8")
    print(f"{given.out / 'results.json'}: SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}")


if __name__ == "__main__":
    main()
