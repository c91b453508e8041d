"""New splits for a release, and the leakage report of any: the library side of `bad-robot split`.

A splits file is a parquet file like the splits.parquet of a release: rollout_id, split, in_release. It can be cited,
and the release stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bad_robot_behavior.builder.features import SPLITS, SPLITS_SCHEMA
from bad_robot_behavior.builder.leakage import LeakageReport, read_items, report
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.curation.split import assign_splits
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import SplitSettings

OWN = "splits.parquet"
_SHOWN = 20  # leaks that are named in the summary


def read_splits(path: Path) -> dict[str, str]:
    """rollout_id to split, of a splits file or of a release (with what earlier releases had in test).

    Raises ReleaseError where it is neither, names a rollout twice, or names an unknown split.
    """
    file = path if path.is_file() else path / OWN
    if not file.is_file():
        raise ReleaseError(f"{path}: is no splits file and no release; `bad-robot split RELEASE -o FILE` writes one")
    try:
        table = pq.read_table(file, columns=["rollout_id", "split"])
    except (OSError, pa.ArrowException) as error:
        raise ReleaseError(
            f"{file}: is no splits file that can be read ({error}); `bad-robot split RELEASE -o FILE` writes one"
        ) from error
    ids, names = table["rollout_id"].to_pylist(), table["split"].to_pylist()
    unknown = next((name for name in names if name not in SPLITS), None)
    if unknown is not None or None in names:
        raise ReleaseError(f"{file}: has the split {unknown!r}; legal: {', '.join(SPLITS)}")
    if len(set(ids)) != len(ids):
        raise ReleaseError(f"{file}: names a rollout more than once; write it again")
    return dict(zip(ids, names, strict=True))


def split_release(
    release: Release, settings: SplitSettings, *, keep: Iterable[Mapping[str, str]] = ()
) -> dict[str, str]:
    """rollout_id to split for every rollout of a release, and `test` for what was in test earlier and is not in it.

    keep: splits of earlier versions; what any of them has in test stays there.
    """
    earlier = frozenset(rollout for splits in keep for rollout, split in splits.items() if split == "test")
    made: dict[str, str] = dict(assign_splits(read_items(release), settings, earlier))
    return made | dict.fromkeys(sorted(earlier - made.keys()), "test")


def write_splits(path: Path, release: Release, splits: Mapping[str, str]) -> str:
    """Write a splits file whole or not at all, sorted by rollout, and return its SHA-256."""
    here = set(release.rollout_ids)
    rows = [{"rollout_id": name, "split": splits[name], "in_release": name in here} for name in sorted(splits)]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        pq.write_table(pa.Table.from_pylist(rows, schema=SPLITS_SCHEMA), part, compression="zstd")
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return digest


def examine(
    release: Release, splits: Mapping[str, str] | None = None, *, bits: int, earlier: Sequence[Mapping[str, str]] = ()
) -> LeakageReport:
    """The leakage report of a release under its own splits, or under those given.

    Raises ReleaseError where the splits lack a rollout of the release.
    """
    items = read_items(release)
    if splits is None:
        table = release.table("rollouts", columns=["rollout_id", "split"])
        splits = dict(zip(table["rollout_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    lost = [item.rollout_id for item in items if item.rollout_id not in splits]
    if lost:
        raise ReleaseError(f"the splits lack {len(lost)} rollouts of {release.path}, such as {lost[0]}")
    before: dict[str, str] = {}
    for known in earlier:  # once in test counts more than what came before or after
        before |= {rollout: split for rollout, split in known.items() if before.get(rollout) != "test"}
    return report(items, splits, bits=bits, earlier=before)


def summary(found: LeakageReport) -> str:
    """The report in lines for a person: sizes, strata, and each leak with its cure."""
    lines = ["rollouts: " + ", ".join(f"{split} {count}" for split, count in found.rollouts.items())]
    for family, strata in (("category", found.by_category), ("site", found.by_site), ("outcome", found.by_outcome)):
        for value, counts in strata.items():
            lines.append(f"{family} {value}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    if found.without_fingerprint:
        lines.append(f"{found.without_fingerprint} rollouts have no fingerprint: their near duplicates are not known")
    lines += [
        f"leak: {leak.kind} {leak.shared!r} in {', '.join(leak.splits)}: {', '.join(leak.rollouts)}"
        for leak in found.leaks[:_SHOWN]
    ]
    if len(found.leaks) > _SHOWN:
        lines.append(f"and {len(found.leaks) - _SHOWN} more leaks; --json lists all")
    kinds = ", ".join(f"{kind} {count}" for kind, count in found.leaks_by_kind.items())
    lines.append(f"leaks: {len(found.leaks)} ({kinds})")
    return "\n".join(lines)
