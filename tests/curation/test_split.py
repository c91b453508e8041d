"""Splits: nothing leaks, nothing is lost, the same input gives the same splits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.curation.screen import fingerprint_distance
from bad_robot_behavior.curation.split import SplitItem, assign_splits, read_test_ids
from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import SplitName, SplitSettings, stable_id


def random_fingerprint(seed: int) -> str:
    return np.random.default_rng(seed).bytes(64).hex()


def flip(fingerprint: str, bits: int, shift: int = 0) -> str:
    """The fingerprint with `bits` bits of each frame's hash inverted, from bit `shift` on."""
    mask = ((1 << bits) - 1) << shift
    words = [int(fingerprint[i : i + 16], 16) ^ mask for i in range(0, len(fingerprint), 16)]
    return "".join(f"{word:016x}" for word in words)


def item(n: int, session: int, instruction: str, fingerprint: str | None = None) -> SplitItem:
    return SplitItem(
        stable_id("r", str(n)), stable_id("s", str(session)), instruction, (fingerprint or random_fingerprint(n),)
    )


def leaks(rows: list[SplitItem], splits: Mapping[str, SplitName], bits: int) -> list[tuple[str, str]]:
    """Pairs of rollouts that stand in different splits and may not, by looking at every pair."""
    return [
        (a.rollout_id, b.rollout_id)
        for a, b in itertools.combinations(rows, 2)
        if splits[a.rollout_id] != splits[b.rollout_id]
        and (
            a.session_id == b.session_id
            or a.instruction_key == b.instruction_key
            or any(fingerprint_distance(x, y) <= bits for x in a.fingerprint for y in b.fingerprint)
        )
    ]


items = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=60).map(
    lambda rows: [item(n, s, f"task {i}", random_fingerprint(1000 + f)) for n, (s, i, f) in enumerate(rows)]
)


@given(items, st.integers(0, 5))
def test_no_split_shares_session_instruction_or_video(rows: list[SplitItem], seed: int) -> None:
    settings = SplitSettings(seed=seed, train=0.5, validation=0.2, test=0.3)
    splits = assign_splits(rows, settings)
    assert set(splits) == {row.rollout_id for row in rows}
    assert leaks(rows, splits, settings.near_duplicate_bits) == []
    assert assign_splits(rows, settings) == splits


def test_near_duplicates_stay_together_and_others_do_not_join() -> None:
    original = random_fingerprint(1)
    rows = [item(i, i, f"task {i}") for i in range(40)]
    rows.append(item(100, 100, "copy a", original))
    rows.append(item(101, 101, "copy b", flip(original, 4)))
    rows.append(item(102, 102, "not a copy", flip(original, 5, shift=20)))
    distinct = set()
    for seed in range(30):
        splits = assign_splits(rows, SplitSettings(seed=seed, train=0.4, validation=0.3, test=0.3))
        assert splits[rows[40].rollout_id] == splits[rows[41].rollout_id]
        distinct.add(splits[rows[40].rollout_id] == splits[rows[42].rollout_id])
    assert distinct == {True, False}


def test_fractions_are_met_when_groups_are_small() -> None:
    rows = [item(i, i, f"task {i}") for i in range(1000)]
    splits = list(assign_splits(rows, SplitSettings(train=0.8, validation=0.1, test=0.1)).values())
    assert [splits.count(name) for name in ("train", "validation", "test")] == [800, 100, 100]


def test_a_fraction_of_zero_stays_empty() -> None:
    rows = [item(i, i, f"task {i}") for i in range(10)]
    assert set(assign_splits(rows, SplitSettings(train=1, validation=0, test=0)).values()) == {"train"}


def test_what_was_ever_in_test_stays_there_with_all_its_kin() -> None:
    rows = [item(i, i // 2, f"task {i // 2}") for i in range(40)]
    before = assign_splits(rows[:20], SplitSettings(train=0.5, validation=0, test=0.5))
    earlier = frozenset(r for r, split in before.items() if split == "test")
    after = assign_splits(rows, SplitSettings(seed=9, train=0.9, validation=0, test=0.1), earlier)
    assert all(after[r] == "test" for r in earlier)
    assert leaks(rows, after, 4) == []


def test_keep_test_of_what_is_not_a_release(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a release"):
        read_test_ids(tmp_path)


def test_test_ids_come_from_the_list_that_a_release_carries(tmp_path: Path) -> None:
    columns = {"rollout_id": ["a", "b", "c"], "split": ["test", "train", "test"], "in_release": [True, True, False]}
    pq.write_table(pa.table(columns), tmp_path / "splits.parquet")
    assert read_test_ids(tmp_path) == {"a", "c"}
    (tmp_path / "splits.parquet").write_bytes(b"broken")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_test_ids(tmp_path)


def test_splits_are_stratified_by_category_site_and_outcome() -> None:
    rng = np.random.default_rng(0)
    rows = [
        SplitItem(
            stable_id("r", str(n)),
            stable_id("s", str(n)),
            f"task {n}",
            (random_fingerprint(n),),
            category=str(rng.choice(["pour", "stack", "pick"], p=[0.05, 0.15, 0.8])),
            site=str(rng.choice(["north", "south"], p=[0.2, 0.8])),
            outcome=str(rng.choice(["success", "failure"], p=[0.1, 0.9])),
        )
        for n in range(600)
    ]
    splits = assign_splits(rows, SplitSettings(train=0.7, validation=0.1, test=0.2))
    assert [list(splits.values()).count(name) for name in ("train", "validation", "test")] == [420, 60, 120]
    for field in ("category", "site", "outcome"):
        for value in {getattr(row, field) for row in rows}:
            members = [row.rollout_id for row in rows if getattr(row, field) == value]
            for name, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
                count = sum(splits[member] == name for member in members)
                assert abs(count - share * len(members)) <= 3, (value, name)


def test_a_twin_stays_with_its_success() -> None:
    rows = [item(n, n, f"task {n}") for n in range(30)]
    rows += [msgspec.structs.replace(item(100 + n, 100 + n, f"other {n}"), twin=rows[n].rollout_id) for n in range(10)]
    for seed in range(5):
        splits = assign_splits(rows, SplitSettings(seed=seed, train=0.5, validation=0.2, test=0.3))
        assert all(splits[row.rollout_id] == splits[row.twin] for row in rows if row.twin is not None)
