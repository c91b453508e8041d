"""The human side of an evaluation: the rollouts of a release, or of one split of it, as arrays."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.metrics import Floats, Ints
from bad_robot_behavior.benchmark.results import COMBINED, POOLED, GroundTruths, Part
from bad_robot_behavior.errors import BadRobotError, ReleaseError
from bad_robot_behavior.schema import TaskCategory
from bad_robot_behavior.schema.split_item import twin_of

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

CATEGORIES: tuple[str, ...] = get_args(TaskCategory)
FAULT = "fault "
"""Begins the name of the group of an injected fault."""
VIOLATIONS = ("success_suboptimal", "success_side_effect")
_COLUMNS = (
    *("rollout_id", "session_id", "instruction", "task_category", "policy", "site", "score", "success", "outcome"),
    *("failures", "videos", "synthetic"),
)
Mask = NDArray[np.bool_]


class World:
    """Rollouts sorted by id as arrays of length N, sessions as numbers, and the pairs that were put to a choice."""

    def __init__(
        self, release: Release, split: Part, splits: Mapping[str, str] | None = None, seen_faults: Sequence[str] = ()
    ) -> None:
        part = None if split == "all" else split
        own = part if splits is None else None
        table = release.table("rollouts", columns=_COLUMNS, split=own).sort_by("rollout_id")
        if splits is not None and part is not None:
            table = table.filter(pa.array([splits.get(name) == part for name in table["rollout_id"].to_pylist()]))
        if not table.num_rows:
            where = "" if part is None else f" in split {part}; --split all takes every rollout"
            raise ReleaseError(f"{release.path}: has no rollouts to evaluate on{where}")
        self.ids: list[str] = table["rollout_id"].to_pylist()
        self.row = {rollout: i for i, rollout in enumerate(self.ids)}
        whole = type(release)(release.path)  # a prediction for a rollout of another split is no mistake
        self.known = set(whole.table("rollouts", columns=["rollout_id"])["rollout_id"].to_pylist())
        self.instructions: list[str] = table["instruction"].to_pylist()
        self.videos = table["videos"]
        self.policies: list[str | None] = table["policy"].to_pylist()
        self.sites: list[str | None] = table["site"].to_pylist()
        names, self.session = np.unique(np.array(table["session_id"].to_pylist(), dtype=str), return_inverse=True)
        self.sessions = len(names)
        self.score: Floats = table["score"].cast("float64").to_numpy(zero_copy_only=False)
        outcome: list[str] = table["outcome"].to_pylist()
        self.failed, self.succeeded = _verdicts(table["success"].to_pylist(), outcome)
        self.clean: Mask = np.array([name == "success" for name in outcome], bool)
        self.violating: Mask = np.array([name in VIOLATIONS for name in outcome], bool)
        self.failures: list[list[dict[str, Any]]] = [found or [] for found in table["failures"].to_pylist()]
        synthetic: list[dict[str, Any]] = [made or {} for made in table["synthetic"].to_pylist()]
        self.twins = [twin_of(made.get("parameters")) for made in synthetic]
        self._faults: list[str | None] = [made.get("injector") for made in synthetic]
        self._seen_faults = frozenset(seen_faults)
        if seen_faults:
            _require_known(self._seen_faults, whole)
        self.category = self._categories(table["task_category"].to_pylist())
        self._read_choices(release, own, narrowed=splits is not None)

    def groups_by_category(self, session: Ints) -> dict[str, Mask]:
        """For units of those sessions: all, each task category, and the groups of `COMBINED`."""
        groups: dict[str, tuple[str, ...]] = {POOLED: CATEGORIES, **{c: (c,) for c in CATEGORIES}, **COMBINED}
        return {name: np.isin(self.category[session], members) for name, members in groups.items()}

    def groups_by_failure(self, rows: Sequence[int], failures: list[list[dict[str, Any]]]) -> dict[str, Mask]:
        """For units of those rows, with those failures each: all, whether a camera can see one of them, their
        categories, the faults that were injected, and these apart by whether they were seen in training.

        A unit is `observable` where one of its failures is, `unobservable` where all are known not to be.
        """
        seen = np.array([any(f["observable"] for f in found) for found in failures], bool)
        hidden = np.array([bool(found) and all(f["observable"] is False for f in found) for found in failures], bool)
        groups = {
            POOLED: np.ones(len(failures), bool),
            "observable": seen,
            "unobservable": hidden,
            "observability_unknown": ~seen & ~hidden,
        }
        for category in sorted({f["category"] for found in failures for f in found}):
            groups[category] = np.array([any(f["category"] == category for f in found) for found in failures], bool)
        faults = np.array([self._faults[row] or "" for row in rows], dtype=str)
        if self._seen_faults:
            groups["seen_faults"] = np.isin(faults, sorted(self._seen_faults))
            groups["held_out_faults"] = (faults != "") & ~groups["seen_faults"]
        groups |= {f"{FAULT}{fault}": faults == fault for fault in np.unique(faults).tolist() if fault}
        return {name: mask for name, mask in groups.items() if name == POOLED or mask.any()}

    def _categories(self, labels: list[str]) -> NDArray[np.str_]:
        """The category of each session: that of its rollouts, `other` where they differ."""
        number = np.array([CATEGORIES.index(label) for label in labels])
        low = np.full(self.sessions, len(CATEGORIES))
        high = np.full(self.sessions, -1)
        np.minimum.at(low, self.session, number)
        np.maximum.at(high, self.session, number)
        return np.array(CATEGORIES)[np.where(low == high, low, CATEGORIES.index("other"))]

    def _read_choices(self, release: Release, split: str | None, *, narrowed: bool) -> None:
        columns = ["rollout_a", "rollout_b", "preference", "evaluator", "presented_first"]
        rows: list[dict[str, Any]] = []
        if "preferences" in release.manifest.configs:
            rows = release.table("preferences", columns=columns, split=split).to_pylist()
        if narrowed:  # a split of sessions: the choices of the others lie outside it
            rows = [row for row in rows if row["rollout_a"] in self.row and row["rollout_b"] in self.row]
        lost = [rollout for row in rows for rollout in (row["rollout_a"], row["rollout_b"]) if rollout not in self.row]
        if lost:
            raise ReleaseError(
                f"{release.path}: preferences name rollout {lost[0]}, which is not among the rollouts of the same "
                "split. Build the release again"
            )
        self.a: Ints = np.array([self.row[row["rollout_a"]] for row in rows], np.int64)
        self.b: Ints = np.array([self.row[row["rollout_b"]] for row in rows], np.int64)
        self.preferred: Floats = np.array([{"a": 1.0, "b": -1.0, "tie": 0.0}[row["preference"]] for row in rows])
        self.judge: list[str | None] = [row["evaluator"] for row in rows]
        self.first: list[str | None] = [row["presented_first"] for row in rows]

    def agreement(self) -> GroundTruths:
        """Score against preference, over the pairs that have both."""
        first, second = self.score[self.a], self.score[self.b]
        scored = ~np.isnan(first) & ~np.isnan(second)
        by_score, chosen = np.sign(first - second)[scored], self.preferred[scored]
        return GroundTruths(
            pairs=int(scored.sum()),
            both_decided=int(((by_score != 0) & (chosen != 0)).sum()),
            agree=int(((by_score == chosen) & (chosen != 0)).sum()),
            score_tied_only=int(((by_score == 0) & (chosen != 0)).sum()),
            preference_tied_only=int(((by_score != 0) & (chosen == 0)).sum()),
            both_tied=int(((by_score == 0) & (chosen == 0)).sum()),
        )


def _require_known(seen: Set[str], release: Release) -> None:
    """Raise BadRobotError for a fault that is injected in no rollout of any split."""
    made = release.table("rollouts", columns=["synthetic"])["synthetic"].to_pylist()
    known = sorted({row["injector"] for row in made if row and row["injector"]})
    for fault in sorted(seen - set(known)):
        near = difflib.get_close_matches(fault, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; leave it out."
        names = ", ".join(known) or "none"
        raise BadRobotError(f"{release.path}: no rollout was made with the fault {fault!r}{hint} Faults: {names}")


def _verdicts(success: list[bool | None], outcome: list[str]) -> tuple[Mask, Mask]:
    """Which rollouts failed and which succeeded, by `success`, or by `outcome` where that is null; some are neither."""
    good = [s if s is not None else o.startswith("success") for s, o in zip(success, outcome, strict=True)]
    known = [s is not None or o != "unknown" for s, o in zip(success, outcome, strict=True)]
    succeeded = np.array(good) & np.array(known)
    return np.array(known) & ~succeeded, succeeded
