"""Does a split leak? Every way in which a rollout of one split can be known from another, by kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.media.fingerprint import near_duplicates
from bad_robot_behavior.schema import Record, instruction_key
from bad_robot_behavior.schema.split_item import SplitItem, twin_of

LeakKind = Literal[
    "session",  # rollouts of one session in several splits
    "instruction",  # one instruction, but for case, spaces and punctuation, in several
    "near_duplicate_video",  # two videos that look nearly the same
    "same_video",  # the same file
    "twin",  # a synthetic rollout and the one it was made from
    "left_test",  # in test in an earlier version, and no more
    "was_train",  # in train in an earlier version, and in test now
]
_NAMED = 5
_HEX = re.compile("[0-9a-f]+")
SPLIT_COLUMNS = (
    *("rollout_id", "session_id", "instruction", "provenance", "videos", "synthetic", "task_category", "site"),
    "outcome",
)
"""The columns of table `rollouts` that `item_of` reads."""


class Leak(Record, frozen=True, kw_only=True):
    """One leak: what is shared, the splits it lies in, and rollouts to look at."""

    kind: LeakKind
    shared: str
    splits: tuple[str, ...]
    rollouts: Annotated[tuple[str, ...], Meta(description="at most five, of all the splits")]


class LeakageReport(Record, frozen=True, kw_only=True):
    """What a split holds, how even it is, and every leak."""

    rollouts: dict[str, int]
    by_category: dict[str, dict[str, int]]
    by_site: dict[str, dict[str, int]]
    by_outcome: dict[str, dict[str, int]]
    near_duplicate_bits: int
    without_fingerprint: Annotated[int, Meta(description="rollouts whose videos could be compared by SHA-256 only")]
    leaks_by_kind: Annotated[dict[str, int], Meta(description="all kinds; 0 where that kind was looked for in vain")]
    leaks: tuple[Leak, ...]


def read_items(release: Release) -> list[SplitItem]:
    """What is looked at, for every rollout of a release."""
    return [item_of(row) for row in release.table("rollouts", columns=SPLIT_COLUMNS).to_pylist()]


def item_of(row: Mapping[str, Any]) -> SplitItem:
    """What is looked at of a row of table `rollouts`, which may be broken: that is for `validate` to tell.

    The instruction is normalised anew, not taken from its key. A fingerprint that is no hash is left out.
    """
    fingerprints = (row["provenance"] or {}).get("fingerprint") or ()
    return SplitItem(
        row["rollout_id"],
        row["session_id"],
        instruction_key(row["instruction"] or ""),
        tuple(text for text in fingerprints if text and len(text) % 16 == 0 and _HEX.fullmatch(text)),
        videos=tuple(video["sha256"] for video in (row["videos"] or {}).values() if video),
        twin=twin_of((row["synthetic"] or {}).get("parameters")),
        category=row["task_category"],
        site=row["site"],
        outcome=row["outcome"],
    )


def report(
    items: Sequence[SplitItem], splits: Mapping[str, str], *, bits: int, earlier: Mapping[str, str] | None = None
) -> LeakageReport:
    """Look for every kind of leak. splits: rollout_id to split, for all items; earlier: the same of an earlier version.

    bits: mean differing bits of 64 a frame up to which videos are nearly the same.
    """
    found = [*leaks(items, splits, bits=bits), *_moved(splits, earlier or {})]
    counted = Counter(leak.kind for leak in found)

    def spread(values: Iterable[str | None]) -> dict[str, dict[str, int]]:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for item, value in zip(items, values, strict=True):
            counts[value or "unknown"][splits[item.rollout_id]] += 1
        return {value: dict(sorted(counts[value].items())) for value in sorted(counts)}

    return LeakageReport(
        rollouts=dict(sorted(Counter(splits[item.rollout_id] for item in items).items())),
        by_category=spread(item.category for item in items),
        by_site=spread(item.site for item in items),
        by_outcome=spread(item.outcome for item in items),
        near_duplicate_bits=bits,
        without_fingerprint=sum(not item.fingerprint for item in items),
        leaks_by_kind={kind: counted[kind] for kind in get_args(LeakKind)},
        leaks=tuple(found),
    )


def leaks(items: Sequence[SplitItem], splits: Mapping[str, str], *, bits: int) -> Iterator[Leak]:
    """Every leak between the splits, kind by kind; of near duplicates and twins one for each pair."""
    shared: tuple[tuple[LeakKind, list[tuple[str, str]]], ...] = (
        ("session", [(item.session_id, item.rollout_id) for item in items]),
        ("instruction", [(item.instruction_key, item.rollout_id) for item in items]),
        ("same_video", [(video, item.rollout_id) for item in items for video in item.videos]),
    )
    for kind, pairs in shared:
        members: dict[str, list[str]] = defaultdict(list)
        for key, rollout in pairs:
            members[key].append(rollout)
        for key, rollouts in members.items():
            if len({splits[rollout] for rollout in rollouts}) > 1:
                yield _leak(kind, key, rollouts, splits)
    for i, j in near_duplicates([item.fingerprint for item in items], bits):
        one, other = items[i], items[j]
        if splits[one.rollout_id] == splits[other.rollout_id] or set(one.videos) & set(other.videos):
            continue  # the same file has been told
        yield _leak("near_duplicate_video", f"up to {bits} bits", [one.rollout_id, other.rollout_id], splits)
    for item in items:
        if item.twin is not None and splits.get(item.twin, splits[item.rollout_id]) != splits[item.rollout_id]:
            yield _leak("twin", item.twin, [item.rollout_id, item.twin], splits)


def _moved(splits: Mapping[str, str], earlier: Mapping[str, str]) -> Iterator[Leak]:
    for rollout, before in sorted(earlier.items()):
        now = splits.get(rollout)
        if now is None or now == before:
            continue
        if before == "test":
            yield Leak(kind="left_test", shared=rollout, splits=(before, now), rollouts=(rollout,))
        elif before == "train" and now == "test":
            yield Leak(kind="was_train", shared=rollout, splits=(before, now), rollouts=(rollout,))


def _leak(kind: LeakKind, shared: str, rollouts: Sequence[str], splits: Mapping[str, str]) -> Leak:
    """Named are the first rollouts, one of each split before a second of any."""
    seen: Counter[str] = Counter()
    order = []
    for rollout in sorted(rollouts):
        order.append((seen[splits[rollout]], rollout))
        seen[splits[rollout]] += 1
    return Leak(
        kind=kind,
        shared=shared,
        splits=tuple(sorted(seen)),
        rollouts=tuple(rollout for _, rollout in sorted(order)[:_NAMED]),
    )
