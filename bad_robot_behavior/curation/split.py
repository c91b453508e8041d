"""Splits without leaks: rollouts that share a session, an instruction or a near-duplicate video stay together.

The three relations are joined by union-find into groups, and a group goes to one split as a whole. The largest groups
come first, those of equal size in the order of a seeded hash, and each goes where the most is missing: sizes come close
to the fractions asked for, and the result depends on nothing but the rollouts and the seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pyarrow
import pyarrow.parquet

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.media.fingerprint import near_duplicates
from bad_robot_behavior.schema import Rollout, SplitName, SplitSettings


class SplitItem(msgspec.Struct, frozen=True):
    """What decides the split of one rollout; small, so that a release's worth of them fits in memory."""

    rollout_id: str
    session_id: str
    instruction_key: str
    fingerprint: tuple[str, ...]


def split_item(rollout: Rollout) -> SplitItem:
    """The part of a rollout that `assign_splits` looks at."""
    return SplitItem(rollout.rollout_id, rollout.session_id, rollout.instruction_key, rollout.provenance.fingerprint)


def assign_splits(
    items: Iterable[SplitItem], settings: SplitSettings, earlier_test: frozenset[str] = frozenset()
) -> dict[str, SplitName]:
    """rollout_id -> split. A group that holds a rollout of `earlier_test` goes to test whatever the fractions say."""
    rows = list(items)
    groups = _groups(rows, settings.near_duplicate_bits)
    members: dict[int, list[str]] = defaultdict(list)
    for row, group in zip(rows, groups, strict=True):
        members[group].append(row.rollout_id)
    wanted: dict[SplitName, float] = {
        "train": settings.train * len(rows),
        "validation": settings.validation * len(rows),
        "test": settings.test * len(rows),
    }
    filled: Counter[SplitName] = Counter()
    result: dict[str, SplitName] = {}

    def order(group: int) -> tuple[bool, int, str]:
        # Groups that must go to test come first, so that the fractions are filled knowing of them.
        first = min(members[group])
        return (
            earlier_test.isdisjoint(members[group]),
            -len(members[group]),
            hashlib.sha256(f"{settings.seed}:{first}".encode()).hexdigest(),
        )

    for group in sorted(members, key=order):
        ids = members[group]
        if not earlier_test.isdisjoint(ids):
            split: SplitName = "test"
        else:
            split = max((name for name in wanted if wanted[name] > 0), key=lambda name: wanted[name] - filled[name])
        filled[split] += len(ids)
        for rollout_id in ids:
            result[rollout_id] = split
    return result


def read_test_ids(release: Path) -> frozenset[str]:
    """The rollouts that were ever in a test split, up to an earlier release. Raises RecipeError where it is not one."""
    file = release / "splits.parquet"
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
    return [find(i) for i in range(len(rows))]
