"""Time pairwise ordering accuracy with its bootstrap interval against two plain loops.

    python benchmarks/pairwise_accuracy.py

`pairs` recomputes the accuracy pair by pair for the sessions of each draw; `sums` counts the pairs of each session once
and adds the counts up in each draw. Both must give the same numbers as the package. Then larger sizes, package only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import combinations

import numpy as np

from bad_robot_behavior.benchmark.intervals import estimate
from bad_robot_behavior.benchmark.metrics import accuracies, count_pairs, pairs_by_score

World = tuple[np.ndarray, np.ndarray, np.ndarray, int]
Result = tuple[float, float, float]


def world(rollouts: int, seed: int = 0) -> World:
    """Random scores of 0..100 and predictions that follow them loosely, ten rollouts a session."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 101, rollouts) / 100
    sessions = rollouts // 10
    return truth, truth + rng.normal(0, 0.4, rollouts), np.arange(rollouts) % sessions, sessions


def package(data: World, draws: int) -> Result:
    truth, prediction, context, contexts = data
    pairs = pairs_by_score(truth, context)
    counts = count_pairs(prediction[pairs.better], prediction[pairs.worse], context[pairs.better], contexts)
    [(value, interval)] = estimate([accuracies(counts)["strict"]], contexts, draws=draws, seed=0)
    assert value is not None
    assert interval is not None
    return value, *interval


def sessions_of(data: World) -> list[list[tuple[float, float]]]:
    truth, prediction, context, contexts = data
    members: list[list[tuple[float, float]]] = [[] for _ in range(contexts)]
    for c, y, p in zip(context.tolist(), truth.tolist(), prediction.tolist(), strict=True):
        members[c].append((y, p))
    return members


def count(session: list[tuple[float, float]]) -> tuple[int, int]:
    right = pairs = 0
    for (y1, p1), (y2, p2) in combinations(session, 2):
        if y1 != y2:
            pairs += 1
            right += p1 != p2 and (y1 > y2) == (p1 > p2)
    return right, pairs


def loop_over_pairs(data: World, draws: int) -> Result:
    sessions = sessions_of(data)

    def accuracy(picks: list[int]) -> float:
        counts = [count(sessions[c]) for c in picks]
        return sum(right for right, _ in counts) / sum(pairs for _, pairs in counts)

    return summary(accuracy, len(sessions), draws)


def loop_over_sums(data: World, draws: int) -> Result:
    counts = [count(session) for session in sessions_of(data)]

    def accuracy(picks: list[int]) -> float:
        return sum(counts[c][0] for c in picks) / sum(counts[c][1] for c in picks)

    return summary(accuracy, len(counts), draws)


def summary(accuracy: Callable[[list[int]], float], contexts: int, draws: int) -> Result:
    picks = np.random.default_rng(0).integers(contexts, size=(draws, contexts)).tolist()
    low, high = np.quantile([accuracy(row) for row in picks], [0.025, 0.975])
    return accuracy(list(range(contexts))), float(low), float(high)


def timed(function: Callable[[World, int], Result], data: World, draws: int, repeats: int = 1) -> tuple[float, Result]:
    """Best of the repeats, in seconds of CPU time (the machine may be busy with other work), and the result."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = function(data, draws)
        seconds.append(time.process_time() - start)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="of the larger sizes")
    parser.add_argument("--loop", type=int, nargs=2, default=[5_000, 200], help="rollouts and draws of the loops")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    rollouts, draws = args.loop
    data = world(rollouts)
    package(data, draws)  # warm
    quick, got = timed(package, data, draws, repeats=5)
    print(f"CPU time\n{rollouts} rollouts, {draws} draws\n{'package':>10}{quick:>10.4f} s")
    for name, loop in (("sums", loop_over_sums), ("pairs", loop_over_pairs)):
        slow, expected = timed(loop, data, draws)
        assert np.allclose(expected, got), (expected, got)
        print(f"{name:>10}{slow:>10.4f} s{slow / quick:>8.0f} times the package's time, same numbers")
    print(f"\n{args.draws} draws\n{'rollouts':>10}{'sessions':>10}{'seconds':>10}{'us/rollout':>12}")
    for size in args.sizes:
        seconds, _ = timed(package, world(size), args.draws, repeats=2)
        print(f"{size:>10}{size // 10:>10}{seconds:>10.2f}{seconds / size * 1e6:>12.2f}")


if __name__ == "__main__":
    main()
