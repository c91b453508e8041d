"""Which pairs of rollouts to look at: those where the scorers contradict the human most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from bad_robot_behavior.benchmark.metrics import Floats, Ints, pairs_by_score, returns
from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.results import Part

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

Judgement = Literal["score", "preference"]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two rollouts of a session that a human ordered, and by how much the scorers contradict that.

    contradiction: the largest over the scorers of (return of worse - return of better) / spread of the scorer's
    returns; above 0 at least one of them is wrong. Without scorers it is the gap in score.
    """

    better: str
    worse: str
    truth: Judgement
    contradiction: float


def worst_pairs(
    release: Release, predictions: Sequence[Predictions], *, split: Part = "all", limit: int = 12
) -> list[Pair]:
    """At most `limit` pairs, one a session, the worst contradiction first; none that no scorer orders wrongly."""
    part = None if split == "all" else split
    table = release.table("rollouts", columns=["rollout_id", "session_id", "score"], split=part)
    table = table.sort_by([("session_id", "ascending"), ("rollout_id", "ascending")])
    ids: list[str] = table["rollout_id"].to_pylist()
    row = {rollout: i for i, rollout in enumerate(ids)}
    _names, session = np.unique(np.array(table["session_id"].to_pylist(), dtype=str), return_inverse=True)
    score: Floats = table["score"].cast("float64").to_numpy(zero_copy_only=False)
    scaled = [_scaled_returns(item, row) for item in predictions]
    found: list[tuple[float, int, int, Judgement]] = []
    pairs = pairs_by_score(score, session)
    found += _candidates(pairs.better, pairs.worse, "score", scaled, score, session)
    choices = release.table("preferences", columns=["rollout_a", "rollout_b", "preference"], split=part).to_pylist()
    chosen = [(c["rollout_a"], c["rollout_b"]) for c in choices if c["preference"] == "a"]
    chosen += [(c["rollout_b"], c["rollout_a"]) for c in choices if c["preference"] == "b"]
    order = np.array([(row[a], row[b]) for a, b in chosen], np.int64).reshape(-1, 2)
    found += _candidates(order[:, 0], order[:, 1], "preference", scaled, score, session)
    found.sort(key=lambda pair: (-pair[0], ids[pair[1]], ids[pair[2]], pair[3]))
    shown: dict[int, Pair] = {}
    for contradiction, better, worse, truth in found:
        if len(shown) == limit:
            break
        pair = Pair(better=ids[better], worse=ids[worse], truth=truth, contradiction=contradiction)
        shown.setdefault(int(session[better]), pair)
    return list(shown.values())


def _scaled_returns(item: Predictions, row: dict[str, int]) -> Floats:
    placed = np.full(len(row), np.nan)
    numbers = returns(item.value, item.offset, "mean")
    for rollout, number in zip(item.rollout_id, numbers, strict=True):
        if rollout in row:
            placed[row[rollout]] = number
    known = placed[~np.isnan(placed)]
    spread = float(known.std()) if known.size else 0.0
    return placed / (spread or 1.0)


def _candidates(
    better: Ints, worse: Ints, truth: Judgement, scaled: list[Floats], score: Floats, session: Ints
) -> list[tuple[float, int, int, Judgement]]:
    """The worst pair of each session, where a scorer contradicts the human at all."""
    if scaled:
        gaps = np.stack([values[worse] - values[better] for values in scaled])
        contradiction = np.where(gaps > 0, gaps, -np.inf).max(axis=0)  # NaN, where there is no answer, is not above 0
    else:
        contradiction = np.nan_to_num(score[better] - score[worse], nan=0.0)
    order = np.argsort(-contradiction, kind="stable")
    _sessions, first = np.unique(session[better][order], return_index=True)
    return [
        (float(contradiction[i]), int(better[i]), int(worse[i]), truth)
        for i in order[first]
        if np.isfinite(contradiction[i])
    ]
