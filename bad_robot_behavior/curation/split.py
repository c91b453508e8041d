"""Splits without leaks: rollouts that share a session, an instruction or a near-duplicate video stay together.

So do a synthetic rollout and its twin. The relations are joined by union-find into groups, and a group goes to one
split as a whole. The largest groups come first, those of equal size in the order of a seeded hash, and each goes where
it keeps the splits closest to the fractions asked for, over all rollouts and within each task category, site and
outcome. The result depends on nothing but the rollouts and the seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.media.fingerprint import near_duplicates
from bad_robot_behavior.schema import Rollout, SplitName, SplitSettings
from bad_robot_behavior.schema.split_item import SplitItem, twin_of

__all__ = ["SplitItem", "assign_splits", "read_test_ids", "split_item"]


def split_item(rollout: Rollout) -> SplitItem:
    """The part of a rollout that `assign_splits` looks at."""
    return SplitItem(
        rollout.rollout_id,
        rollout.session_id,
        rollout.instruction_key,
        rollout.provenance.fingerprint,
        twin=None if rollout.synthetic is None else twin_of(rollout.synthetic.parameters),
        category=rollout.task_category,
        site=rollout.site,
        outcome=rollout.outcome,
    )


def assign_splits(
    items: Iterable[SplitItem], settings: SplitSettings, earlier_test: frozenset[str] = frozenset()
) -> dict[str, SplitName]:
    """rollout_id -> split. A group that holds a rollout of `earlier_test` goes to test whatever the fractions say."""
    rows = list(items)
    groups = _groups(rows, settings.near_duplicate_bits)
    members: dict[int, list[SplitItem]] = defaultdict(list)
    for row, group in zip(rows, groups, strict=True):
        members[group].append(row)
    filling = _Filling(rows, settings)
    result: dict[str, SplitName] = {}
    kept = {group: any(row.rollout_id in earlier_test for row in kin) for group, kin in members.items()}

    def order(group: int) -> tuple[bool, int, str]:
        # Groups that must go to test come first, so that the fractions are filled knowing of them.
        first = min(row.rollout_id for row in members[group])
        digest = hashlib.sha256(f"{settings.seed}:{first}".encode()).hexdigest()
        return not kept[group], -len(members[group]), digest

    for group in sorted(members, key=order):
        split = filling.add(members[group], "test" if kept[group] else None)
        for row in members[group]:
            result[row.rollout_id] = split
    return result


class _Filling:
    """How full each split is, of each stratum: what a category, a site, an outcome has, and of all rollouts.

    A group goes where the sum over strata of (there - wanted)^2 / (size of the stratum) grows least; that of all
    rollouts counts as much as the three families of strata together. Without strata, it goes where most is missing.
    """

    def __init__(self, rows: list[SplitItem], settings: SplitSettings) -> None:
        shares: dict[SplitName, float] = {
            "train": settings.train,
            "validation": settings.validation,
            "test": settings.test,
        }
        self._shares = {name: share for name, share in shares.items() if share > 0}
        self._size = Counter(stratum for row in rows for stratum in _strata(row))
        self._there: dict[SplitName, Counter[str]] = {name: Counter() for name in shares}

    def add(self, group: list[SplitItem], forced: SplitName | None) -> SplitName:
        added = Counter(stratum for row in group for stratum in _strata(row))
        emptiest = min(self._shares, key=lambda name: self._growth(name, added))
        split = emptiest if forced is None else forced
        self._there[split] += added
        return split

    def _growth(self, split: SplitName, added: Counter[str]) -> float:
        total = 0.0
        for stratum, count in added.items():
            size = self._size[stratum]
            missing = self._shares[split] * size - self._there[split][stratum]
            total += (3 if stratum == _ALL else 1) * count * (count - 2 * missing) / size
        return round(total, 9)  # an order that does not hang on the last bit


_ALL = "all"


def _strata(row: SplitItem) -> tuple[str, ...]:
    named = {"category": row.category, "site": row.site, "outcome": row.outcome}
    return (_ALL, *(f"{family}:{value}" for family, value in named.items() if value is not None))


def read_test_ids(release: Path) -> frozenset[str]:
    """The rollouts that were ever in a test split, up to an earlier release, or a splits file of `bad-robot split`.

    Raises RecipeError where it is neither.
    """
    file = release if release.is_file() else release / "splits.parquet"
    if not file.is_file():
        raise RecipeError(f"split.keep_test: {release} is not a release (there is no splits.parquet in it)")
    try:
        table = pyarrow.parquet.read_table(file, columns=["rollout_id", "split"])
    except (OSError, pyarrow.ArrowException) as error:
        raise RecipeError(f"split.keep_test: {file} cannot be read: {error}") from error
    rows = zip(*(table.column(name).to_pylist() for name in ("rollout_id", "split")), strict=True)
    return frozenset(rollout_id for rollout_id, split in rows if split == "test")


def _groups(rows: list[SplitItem], bits: int) -> list[int]:
    parent = list(range(len(rows)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((find(i), find(j)))
        parent[high] = low

    for what in ("session_id", "instruction_key"):
        first: dict[str, int] = {}
        for i, row in enumerate(rows):
            join(i, first.setdefault(getattr(row, what), i))
    for i, j in near_duplicates([row.fingerprint for row in rows], bits):
        join(i, j)
    place = {row.rollout_id: i for i, row in enumerate(rows)}
    for i, row in enumerate(rows):
        if row.twin in place:
            join(i, place[row.twin])
    return [find(i) for i in range(len(rows))]
