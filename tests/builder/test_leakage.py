"""The leakage report: every kind of leak planted and found, and nothing found where nothing leaks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bad_robot_behavior.builder.leakage import LeakageReport, item_of, read_items, report
from bad_robot_behavior.builder.loader import load
from bad_robot_behavior.schema.split_item import SplitItem, twin_of
from tests.builder.releases import make_release, make_rollouts


def print_of(seed: int) -> str:
    return np.random.default_rng(seed).bytes(64).hex()


def rollout(name: str, **changes: object) -> SplitItem:
    """A rollout that shares nothing with any other."""
    seed = int.from_bytes(name.encode(), "big")
    plain = SplitItem(name, f"session {name}", f"task {name}", (print_of(seed),), videos=(f"file {name}",))
    return msgspec.structs.replace(plain, **changes)


SPLITS = {"a": "train", "b": "test", "c": "train", "d": "validation"}


def look(*planted: SplitItem, earlier: dict[str, str] | None = None) -> LeakageReport:
    """The report on rollouts a to d, those that are planted in place of their plain ones."""
    items = {name: rollout(name) for name in SPLITS} | {item.rollout_id: item for item in planted}
    return report(list(items.values()), SPLITS, bits=4, earlier=earlier)


def only(found: LeakageReport, kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    assert {name: count for name, count in found.leaks_by_kind.items() if count} == {kind: 1}
    [leak] = found.leaks
    assert leak.kind == kind
    return leak.splits, leak.rollouts


def test_nothing_shared_is_no_leak() -> None:
    found = look()
    assert found.leaks == ()
    assert set(found.leaks_by_kind.values()) == {0}
    assert found.rollouts == {"test": 1, "train": 2, "validation": 1}


def test_a_session_in_two_splits() -> None:
    assert only(look(rollout("b", session_id="session a")), "session") == (("test", "train"), ("a", "b"))


def test_an_instruction_in_three_splits_names_a_rollout_of_each() -> None:
    found = look(*(rollout(name, instruction_key="task a") for name in "bcd"))
    assert only(found, "instruction") == (("test", "train", "validation"), ("a", "b", "d", "c"))


def test_a_video_that_looks_nearly_the_same() -> None:
    close = f"{int(print_of(97)[:16], 16) ^ 0b1111:016x}" + print_of(97)[16:]
    assert only(look(rollout("b", fingerprint=(close,))), "near_duplicate_video") == (("test", "train"), ("a", "b"))
    assert only(look(rollout("b", fingerprint=(print_of(7), print_of(97)))), "near_duplicate_video")  # any camera
    assert look(rollout("c", fingerprint=(close,))).leaks == ()  # in the same split
    far = "".join(f"{int(print_of(97)[i : i + 16], 16) ^ 0b11111:016x}" for i in range(0, 128, 16))
    assert look(rollout("b", fingerprint=(far,))).leaks == ()


def test_the_same_file_is_found_without_fingerprints_and_told_once() -> None:
    bare = rollout("b", videos=("file a",), fingerprint=())
    found = look(bare)
    assert only(found, "same_video") == (("test", "train"), ("a", "b"))
    assert found.without_fingerprint == 1
    assert only(look(rollout("b", videos=("file a",), fingerprint=(print_of(97),))), "same_video")


def test_a_synthetic_rollout_apart_from_its_twin() -> None:
    assert only(look(rollout("d", twin="b")), "twin") == (("test", "validation"), ("b", "d"))
    assert look(rollout("c", twin="a")).leaks == ()
    assert look(rollout("c", twin="of another release")).leaks == ()


def test_what_left_test_or_came_to_it_from_train() -> None:
    assert only(look(earlier={"a": "test", "b": "test", "gone": "test"}), "left_test") == (("test", "train"), ("a",))
    assert only(look(earlier={"b": "train", "d": "train"}), "was_train") == (("train", "test"), ("b",))


def test_strata_are_counted_by_split() -> None:
    found = look(rollout("a", category="pour", site="north", outcome="failure"), rollout("b", category="pour"))
    assert found.by_category == {"pour": {"test": 1, "train": 1}, "unknown": {"train": 1, "validation": 1}}
    assert found.by_site["north"] == {"train": 1}
    assert found.by_outcome["unknown"] == {"test": 1, "train": 1, "validation": 1}


def test_a_release_is_read_and_its_instructions_normalised_anew(tmp_path: Path) -> None:
    rollouts = make_rollouts(tmp_path / "videos", sessions=3)
    told = [msgspec.structs.replace(r, instruction=" Put MARKER 0 in the cup. ") for r in rollouts[-2:]]
    make_release(tmp_path / "r", [*rollouts[:-2], *told], "files")
    items = read_items(load(tmp_path / "r"))
    splits = {r.rollout_id: str(r.split) for r in rollouts}
    found = report(items, splits, bits=4)
    assert {kind: n for kind, n in found.leaks_by_kind.items() if n} == {"instruction": 1}
    assert found.without_fingerprint == 6  # the factory makes none; files are compared all the same


def test_broken_rows_are_for_validate_to_tell() -> None:
    row = {
        "rollout_id": "a",
        "session_id": None,
        "instruction": None,
        "provenance": {"fingerprint": [None, "xyz", "0" * 15, "0" * 16]},
        "videos": None,
        "synthetic": {"parameters": "{broken"},
        "task_category": None,
        "site": None,
        "outcome": None,
    }
    assert item_of(row) == SplitItem("a", None, "", ("0" * 16,))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [None, "", "no JSON", "[" * 100_000, "[]", '{"twin": 3}', "{}", '{"twin": null}'])
def test_parameters_without_a_twin(text: str | None) -> None:
    assert twin_of(text) is None


def test_parameters_with_a_twin() -> None:
    assert twin_of('{"fault": "slip", "twin": "abc"}') == "abc"
