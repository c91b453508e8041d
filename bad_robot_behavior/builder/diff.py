"""What changed between two releases: rollouts added, removed, withdrawn, changed and moved between splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.builder.features import TABLES, VIDEO_CONFIG
from bad_robot_behavior.builder.loader import Release, open_release
from bad_robot_behavior.builder.reading import RowFile, parquet_files
from bad_robot_behavior.builder.withdraw import WITHDRAWN
from bad_robot_behavior.schema import ReleaseManifest, SplitName

_PLACES = ("split", "provenance")  # a move is told as a move, and another build is no other rollout


class Move(msgspec.Struct, frozen=True):
    """A rollout that is in both releases, in another split."""

    rollout_id: str
    before: SplitName
    after: SplitName


class Change(msgspec.Struct, frozen=True):
    """A rollout that is in both releases with other content, and the fields that differ."""

    rollout_id: str
    fields: tuple[str, ...]


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True):
    """From one release to another. Ids are in the order of the release that has them.

    `removed` has what is gone without a tombstone; `left_test` those that were ever in test and are now in another
    split, which makes results on the two incomparable: training on the later release sees tests of the earlier.
    """

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    withdrawn: tuple[str, ...]
    changed: tuple[Change, ...]
    moved: tuple[Move, ...]
    left_test: tuple[str, ...]
    counts: dict[str, tuple[int, int]]
    about: dict[str, tuple[Any, Any]]


def diff(before: Path, after: Path) -> ReleaseDiff:
    """Compare two releases by their rollouts' ids and rows. Holds a hash for each field of each rollout of the first.

    Raises ReleaseError where one is no release or cannot be read.
    """
    old, new = open_release(before), open_release(after)
    rows = _fields(old)
    splits: dict[str, SplitName] = {}
    added, changed, moved = [], [], []
    for rollout_id, (split, fields) in _fields(new).items():
        splits[rollout_id] = split
        if rollout_id not in rows:
            added.append(rollout_id)
            continue
        was, known = rows[rollout_id]
        if was != split:
            moved.append(Move(rollout_id, was, split))
        names = tuple(sorted(name for name in known.keys() | fields.keys() if known.get(name) != fields.get(name)))
        if names:
            changed.append(Change(rollout_id, names))
    rejections = new.table("rejections", ["subject", "subject_id", "code"]).to_pylist()
    stones = {r["subject_id"] for r in rejections if r["subject"] == "rollout" and r["code"] == WITHDRAWN.id}
    gone = [rollout_id for rollout_id in rows if rollout_id not in splits]
    tested = _ever_in_test(old)
    return ReleaseDiff(
        before=f"{old.manifest.name} {old.manifest.version}",
        after=f"{new.manifest.name} {new.manifest.version}",
        added=tuple(added),
        removed=tuple(rollout_id for rollout_id in gone if rollout_id not in stones),
        withdrawn=tuple(rollout_id for rollout_id in gone if rollout_id in stones),
        changed=tuple(changed),
        moved=tuple(moved),
        left_test=tuple(rollout_id for rollout_id, split in splits.items() if rollout_id in tested and split != "test"),
        counts=_counts(old.manifest, new.manifest),
        about=_about(old.manifest, new.manifest),
    )


def summary(found: ReleaseDiff) -> str:
    """The comparison in lines for a person."""
    lines = [f"{found.before} -> {found.after}"]
    for name, (was, now) in found.about.items():
        lines.append(f"{name}: {was} -> {now}")
    for name, (before, after) in found.counts.items():
        lines.append(f"{name}: {before:,} -> {after:,}")
    for name in ("added", "removed", "withdrawn"):
        ids: tuple[str, ...] = getattr(found, name)
        lines.append(f"{name}: {len(ids):,}" + (f" ({_some(ids)})" if ids else ""))
    lines.append(f"changed: {len(found.changed):,}")
    fields = sorted({field for change in found.changed for field in change.fields})
    lines += [f"  {field}: {sum(field in change.fields for change in found.changed):,}" for field in fields]
    lines.append(f"moved to another split: {len(found.moved):,}")
    ways = sorted({(move.before, move.after) for move in found.moved})
    lines += [f"  {a} -> {b}: {sum((m.before, m.after) == (a, b) for m in found.moved):,}" for a, b in ways]
    if found.left_test:
        lines.append(f"LEFT TEST: {len(found.left_test):,} ({_some(found.left_test)}): what was ever in test must stay")
    return "\n".join(lines)


def _some(ids: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(ids[:most]) + (", ..." if len(ids) > most else "")


def _fields(release: Release) -> dict[str, tuple[SplitName, dict[str, bytes]]]:
    """Of each rollout its split and a hash of each field, its trajectory and demonstrations included."""
    found: dict[str, tuple[SplitName, dict[str, bytes]]] = {}
    for rollout in release:
        content = {name: _hash(rollout[name]) for name in rollout if name not in (*_PLACES, "videos")}
        # By content: a video that lies in a shard and one that is a file are the same video.
        content["videos"] = _hash(_without(rollout["videos"], "path"))
        content["provenance"] = _hash(_without(rollout["provenance"], "recipe_sha256", "engine_version"))
        found[rollout["rollout_id"]] = (rollout["split"], content)
    for config in TABLES:
        if config in ("rollouts", "preferences"):
            continue
        for path in parquet_files(release.path / config, ("train", "validation", "test")):
            for row in RowFile.open(path, release.path).rows():
                known = found.get(row["rollout_id"])
                if known is not None:
                    before = known[1].get(config, b"")
                    known[1][config] = hashlib.sha256(before + _hash(_without(row, "split"))).digest()[:8]
    return found


def _without(value: Any, *names: str) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, *names) for key, item in value.items() if key not in names}
    return value


def _hash(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).digest()[:8]


def _ever_in_test(release: Release) -> frozenset[str]:
    table = RowFile.open(release.path / "splits.parquet", release.path).read(["rollout_id", "split"])
    return frozenset(row["rollout_id"] for row in table.to_pylist() if row["split"] == "test")


def _counts(old: ReleaseManifest, new: ReleaseManifest) -> dict[str, tuple[int, int]]:
    names = ("rollouts_packaged", "rollouts_rejected", "sessions", *TABLES, VIDEO_CONFIG)
    pairs = {name: (getattr(old.counts, name, 0), getattr(new.counts, name, 0)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _about(old: ReleaseManifest, new: ReleaseManifest) -> dict[str, tuple[Any, Any]]:
    """What differs of how the two were made: versions, layout, licences, models."""
    names = ("schema_version", "taxonomy_version", "engine_version", "recipe_sha256", "video_layout")
    pairs: dict[str, tuple[Any, Any]] = {name: (getattr(old, name), getattr(new, name)) for name in names}
    for name, of in (
        ("licenses", lambda m: sorted({v.license or "unknown" for v in m.licenses})),
        ("models", lambda m: sorted({use.model for use in m.models})),
        ("waived_detectors", lambda m: sorted({detector.name for detector in m.waived_detectors})),
    ):
        pairs[name] = (of(old), of(new))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
