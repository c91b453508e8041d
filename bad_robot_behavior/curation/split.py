"""Splits without leaks: rollouts that share a session, an instruction or a near-duplicate video stay together.

So do a synthetic rollout and its twin. The relations are joined by union-find into groups, and a group goes to one
split as a whole. The largest groups come first, those of equal size in the order of a seeded hash, and each goes where
it keeps the splits closest to the fractions asked for, over all rollouts and within each task category, site and
outcome. The result depends on nothing but the rollouts and the seed.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.media.fingerprint import Fingerprints
from bad_robot_behavior.schema import Rollout, SplitName, SplitSettings
from bad_robot_behavior.schema.split_item import SplitItem, twin_of

__all__ = ["SplitItem", "Splitter", "assign_splits", "read_test_ids", "split_item"]


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
    splitter = Splitter()
    for item in items:
        splitter.add(item)
    return splitter.assign(settings, earlier_test)


class Splitter:
    """Takes rollouts one at a time; holds some three hundred bytes of each: its id, its fingerprints, and numbers for
    what it shares with others."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._parent = array("q")  # of the union-find
        self._first: tuple[dict[str, int], dict[str, int]] = {}, {}  # of a session, of an instruction
        self._fingerprints = Fingerprints()
        self._twins: dict[int, str] = {}
        self._kinds: dict[tuple[str, ...], int] = {}  # which strata there are together
        self._kind = array("q")

    @property
    def sessions(self) -> Collection[str]:
        """The sessions of which a rollout was taken."""
        return self._first[0].keys()

    def add(self, item: SplitItem) -> None:
        number = len(self._ids)
        self._ids.append(item.rollout_id)
        self._parent.append(number)
        self._kind.append(self._kinds.setdefault(_strata(item), len(self._kinds)))
        for first, name in zip(self._first, (item.session_id, item.instruction_key), strict=True):
            self._join(number, first.setdefault(name, number))
        self._fingerprints.add(number, item.fingerprint)
        if item.twin is not None:
            self._twins[number] = item.twin

    def assign(self, settings: SplitSettings, earlier_test: frozenset[str] = frozenset()) -> dict[str, SplitName]:
        """As `assign_splits`."""
        for i, j in self._fingerprints.near(settings.near_duplicate_bits):
            self._join(i, j)
        if self._twins:
            place = {name: i for i, name in enumerate(self._ids)}
            for i, twin in self._twins.items():
                if twin in place:
                    self._join(i, place[twin])
        filling = _Filling(list(self._kinds), self._kind, settings)
        result: dict[str, SplitName] = {}
        for keep, _, _, group in sorted(self._ordered(settings.seed, earlier_test)):
            split = filling.add([self._kind[i] for i in group], None if keep else "test")
            for i in group:
                result[self._ids[i]] = split
        return result

    def _ordered(self, seed: int, earlier_test: frozenset[str]) -> Iterator[tuple[bool, int, bytes, array[int]]]:
        """The groups, each after what it is to be sorted by: those that must go to test come first, so that the
        fractions are filled knowing of them."""
        roots = np.array([self._find(i) for i in range(len(self._ids))], np.int64)
        order = np.argsort(roots, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if len(order) else ():
            ids = [self._ids[i] for i in members]
            digest = hashlib.sha256(f"{seed}:{min(ids)}".encode()).digest()
            yield earlier_test.isdisjoint(ids), -len(ids), digest, array("q", members.tolist())

    def _find(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def _join(self, i: int, j: int) -> None:
        low, high = sorted((self._find(i), self._find(j)))
        self._parent[high] = low


class _Filling:
    """How full each split is, of each stratum: what a category, a site, an outcome has, and of all rollouts.

    A group goes where the sum over strata of (there - wanted)^2 / (size of the stratum) grows least; that of all
    rollouts counts as much as the three families of strata together. Without strata, it goes where most is missing.
    """

    def __init__(self, strata: list[tuple[str, ...]], kinds: Iterable[int], settings: SplitSettings) -> None:
        """strata: those of each kind of rollout; kinds: that of each rollout."""
        shares: dict[SplitName, float] = {
            "train": settings.train,
            "validation": settings.validation,
            "test": settings.test,
        }
        self._strata = strata
        self._shares = {name: share for name, share in shares.items() if share > 0}
        self._size = self._count(kinds)
        self._there: dict[SplitName, Counter[str]] = {name: Counter() for name in shares}

    def add(self, group: Iterable[int], forced: SplitName | None) -> SplitName:
        """Where the group goes, by the kinds of its rollouts."""
        added = self._count(group)
        emptiest = min(self._shares, key=lambda name: self._growth(name, added))
        split = emptiest if forced is None else forced
        self._there[split] += added
        return split

    def _count(self, kinds: Iterable[int]) -> Counter[str]:
        counted: Counter[str] = Counter()
        for kind, count in Counter(kinds).items():
            for stratum in self._strata[kind]:
                counted[stratum] += count
        return counted

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
