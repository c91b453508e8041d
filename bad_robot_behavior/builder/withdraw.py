"""Takedown: a release without a rollout, session, site or contributor, as a new version of it.

What is left is packaged again by the code that packaged it first, so tables, shards, index, splits, counts, card,
croissant and hashes are those of a release that never held the rest. What is gone leaves a tombstone in
rejections.parquet: its id and the rule `package.withdrawn`, nothing else. The count identity still holds.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from bad_robot_behavior.builder.features import SPLITS
from bad_robot_behavior.builder.loader import Release, open_release
from bad_robot_behavior.builder.package import write_release
from bad_robot_behavior.builder.paperwork import REWARD_QUALITY
from bad_robot_behavior.builder.reading import RowFile, inside, parquet_files
from bad_robot_behavior.builder.videos import views
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import (
    SCHEMA_VERSION,
    Column,
    Preference,
    Recipe,
    Record,
    Rejection,
    ReleaseManifest,
    RewardQuality,
    RewardSample,
    Rollout,
    RolloutRow,
    Session,
    rule,
    shorten,
)
from bad_robot_behavior.schema.trajectory_file import Arrays, write_arrays

WITHDRAWN = rule(
    "package.withdrawn",
    "A rollout or preference that was withdrawn is in no later release.",
    cure="Nothing to mend: who is in it, or owns it, asked for it to be taken out.",
)

_GONE = "withdrawn"
_KINDS = {
    "rollout": "rollout_id",
    "session": "session_id",
    "evaluator": "evaluator",
    "site": "site",
    "source": "source",
    "attribution": "attribution",
}
T = TypeVar("T", bound=Record)


class Withdrawal(msgspec.Struct, frozen=True):
    """What is to go: the ids of rollouts, and all of which nothing is left then or whose name is to go."""

    rollouts: frozenset[str]
    sessions: frozenset[str]
    evaluators: frozenset[str]
    sources: frozenset[str]
    attributions: frozenset[str]


def withdraw(
    release: Path, names: Sequence[str], *, out: Path | None = None, version: str | None = None
) -> ReleaseManifest:
    """Write the release without what `names` name, and return its manifest.

    names: rollout and session ids, evaluator pseudonyms, sites, sources or attributions as the rows have them; where
    one is several of these, `site=...` says which. out: where the new release goes (default: in the place of the old
    one, which is swapped out whole at the end). version: default is the next minor version. Raises ReleaseError for a
    name that the release does not have, for a release of another schema, and where nothing would be left.
    """
    old = open_release(release, videos=True)
    manifest = old.manifest
    if manifest.schema_version != SCHEMA_VERSION:
        raise ReleaseError(
            f"{release}: has schema {manifest.schema_version}, this version writes {SCHEMA_VERSION}; "
            "withdraw with the version of bad-robot-behavior that built it"
        )
    gone = find(old, names)
    version = version or _next_minor(manifest.version)
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version) or _order(version) <= _order(manifest.version):
        raise ReleaseError(f"version {version}: give one like 1.2.0 that is above {manifest.version}")
    terms = old.table("rollouts", ["rollout_id", "source", "license", "license_evidence", "attribution"]).to_pylist()
    kept = {tuple(list(row.values())[1:]) for row in terms if row["rollout_id"] not in gone.rollouts}
    if not kept:
        raise ReleaseError(f"{release}: nothing would be left; delete the release instead")
    taken = _Taken(gone)
    with tempfile.TemporaryDirectory(dir=release.resolve().parent, prefix=".withdraw-") as scratch:
        return write_release(
            release if out is None else out,
            recipe=_recipe(manifest, gone, version),
            recipe_sha256=manifest.recipe_sha256,
            rollouts=taken.left(_rollouts(old, Path(scratch))),
            rejections=taken.rejections(old),
            rollouts_read=manifest.counts.rollouts_read,
            licenses=[v for v in manifest.licenses if (v.source, v.license, v.evidence, v.attribution) in kept],
            models=manifest.models,
            changelog=_changelog(old, version, gone),
            earlier_test=_ever_in_test(old),
            quality=_quality(old),
        )


def find(release: Release, names: Sequence[str]) -> Withdrawal:
    """What the names stand for in a release. Raises ReleaseError for a name that it does not have."""
    rows = release.table("rollouts", list(_KINDS.values())).to_pylist()
    judges = {row["evaluator"] for row in release.table("preferences", ["evaluator"]).to_pylist()} - {None}
    found: dict[str, set[str]] = {kind: set() for kind in _KINDS}
    for name in names:
        kind, value = _split_name(name)
        matching = [
            one
            for one, column in _KINDS.items()
            if kind in (None, one)
            and (any(row[column] == value for row in rows) or (one == "evaluator" and value in judges))
        ]
        if not matching and value in release.table("rejections", ["subject_id"])["subject_id"].to_pylist():
            raise ReleaseError(f"{release.path}: {value} was withdrawn or rejected before; there is nothing left of it")
        if not matching:
            raise ReleaseError(
                f"{release.path}: has no rollout, session, evaluator, site, source or attribution {shorten(name)}; "
                "write it exactly as the rows have it"
            )
        if len(matching) > 1:
            raise ReleaseError(f"{shorten(name)} is {' and '.join(matching)}; say which: {matching[0]}={value}")
        found[matching[0]].add(value)
    rollouts = {row["rollout_id"] for row in rows if any(row[_KINDS[kind]] in found[kind] for kind in _KINDS)}
    emptied = {}
    for column in ("session_id", "source", "attribution"):
        left = {row[column] for row in rows if row["rollout_id"] not in rollouts}
        emptied[column] = frozenset({row[column] for row in rows} - left - {None})
    return Withdrawal(
        rollouts=frozenset(rollouts),
        sessions=emptied["session_id"],
        evaluators=frozenset(found["evaluator"]),
        sources=emptied["source"],
        attributions=emptied["attribution"],
    )


def _split_name(name: str) -> tuple[str | None, str]:
    kind, equals, value = name.partition("=")
    return (kind, value) if equals and kind in _KINDS else (None, name)


class _Taken:
    """Takes out what is to go from a stream of rollouts, and keeps the tombstones."""

    def __init__(self, gone: Withdrawal) -> None:
        self._gone = gone
        self._tombstones: list[Rejection] = []

    def left(self, rollouts: Iterable[Rollout]) -> Iterator[Rollout]:
        buried: set[str] = set()
        for rollout in rollouts:
            kept = tuple(p for p in rollout.session.preferences if not self._is_gone(p))
            for preference in rollout.session.preferences:
                if preference not in kept and preference.pair_id not in buried:
                    buried.add(preference.pair_id)
                    self._bury("preference", preference.pair_id, rollout)
            if rollout.rollout_id in self._gone.rollouts:
                self._bury("rollout", rollout.rollout_id, rollout)
                continue
            yield msgspec.structs.replace(
                rollout,
                session=msgspec.structs.replace(rollout.session, preferences=kept),
                failures=tuple(f for f in rollout.failures if f.annotator not in self._gone.evaluators),
            )

    def rejections(self, release: Release) -> Iterator[Rejection]:
        """Those that the release has, without the words of what is gone, and the tombstones; read it after `left`."""
        for row in release.table("rejections").to_pylist():
            rejection = msgspec.convert(row, Rejection)
            if rejection.session_id in self._gone.sessions or rejection.source in self._gone.sources:
                rejection = msgspec.structs.replace(rejection, source_ref=_GONE, detail=_GONE)
            yield self._unnamed(rejection)
        yield from self._tombstones

    def _is_gone(self, preference: Preference) -> bool:
        pair = {preference.rollout_a, preference.rollout_b}
        return bool(pair & self._gone.rollouts) or preference.evaluator in self._gone.evaluators

    def _bury(self, subject: Any, subject_id: str, rollout: Rollout) -> None:
        stone = Rejection(
            subject=subject,
            subject_id=subject_id,
            session_id=None,
            source=rollout.source,
            source_ref=_GONE,
            stage="package",
            code=WITHDRAWN.id,
            detail="withdrawn on request",
        )
        self._tombstones.append(self._unnamed(stone))

    def _unnamed(self, rejection: Rejection) -> Rejection:
        return msgspec.structs.replace(rejection, source=_GONE) if rejection.source in self._gone.sources else rejection


def _rollouts(release: Release, scratch: Path) -> Iterator[Rollout]:
    """The rollouts of a release as they were given to packaging, split by split, with their videos as files."""
    for split in SPLITS:
        preferences, samples, trajectories = (
            _Rows(release, config, split, key)
            for config, key in (
                ("preferences", "session_id"),
                ("reward_samples", "rollout_id"),
                ("trajectories", "rollout_id"),
            )
        )
        session: Session | None = None
        for row in _read(release, "rollouts", split):
            made = _record(row, RolloutRow, release)
            if session is None or session.session_id != made.session_id:
                judged = tuple(_record(one, Preference, release) for one in preferences.of(made.session_id))
                session = Session(session_id=made.session_id, preferences=judged)
            moved = next(trajectories.of(made.rollout_id), None)
            fields = {name: getattr(made, name) for name in made.__struct_fields__}
            with tempfile.TemporaryDirectory(dir=scratch) as place:
                yield Rollout(
                    **fields | {"videos": _videos(release, made, Path(place))},
                    session=session,
                    samples=tuple(_record(one, RewardSample, release) for one in samples.of(made.rollout_id)),
                    trajectory=None if moved is None else _trajectory(moved, Path(place)),
                )
        for rows in (preferences, samples, trajectories):
            rows.end()


class _Rows:
    """The rows of a table that belong to one key after another, in the order in which packaging wrote them."""

    def __init__(self, release: Release, config: str, split: str, key: str) -> None:
        self._what = f"{release.path}: {config}/{split}"
        self._rows = _read(release, config, split)
        self._key = key
        self._next = next(self._rows, None)

    def of(self, value: str) -> Iterator[dict[str, Any]]:
        while self._next is not None and self._next[self._key] == value:
            row, self._next = self._next, next(self._rows, None)
            yield row

    def end(self) -> None:
        """Raise ReleaseError where rows are left: they are of no rollout, or in another order."""
        if self._next is not None:
            raise ReleaseError(
                f"{self._what}: its rows do not follow those of rollouts; `bad-robot validate` tells what is wrong"
            )


def _read(release: Release, config: str, split: str) -> Iterator[dict[str, Any]]:
    for path in parquet_files(release.path / config, (split,)):
        yield from RowFile.open(path, release.path).rows()


def _record(row: dict[str, Any], kind: type[T], release: Release) -> T:
    try:
        return msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        raise ReleaseError(f"{release.path}: a row is not valid: {error}; see `bad-robot validate`") from error


def _videos(release: Release, rollout: RolloutRow, place: Path) -> Any:
    files = {}
    for role, video in views(rollout):
        if video.path is not None:
            path = inside(release.path, video.path).resolve()
        else:
            path = place / f"{role}.mp4"
            path.write_bytes(release.video_bytes(rollout.rollout_id, role))
        files[role] = msgspec.structs.replace(video, path=str(path))
    return msgspec.structs.replace(rollout.videos, **files)


def _trajectory(row: dict[str, Any], place: Path) -> str:
    columns = {name: msgspec.convert(row[f"{name}_columns"], tuple[Column, ...]) for name in ("state", "action")}
    arrays = {name: np.array(row[name], np.float32).reshape(len(row[name]), len(columns[name])) for name in columns}
    write_arrays(
        place / "trajectory.npz", Arrays(arrays["state"], arrays["action"], columns["state"], columns["action"])
    )
    return str(place / "trajectory.npz")


def _recipe(manifest: ReleaseManifest, gone: Withdrawal, version: str) -> Recipe:
    """The recipe that release.json shows, with what it leaves out filled in by words that say so."""
    data = msgspec.json.decode(msgspec.json.encode(manifest.recipe))
    data["version"] = version
    for stage in ("distill", "reward"):
        endpoint = data[stage].get("endpoint")
        if endpoint is not None:
            endpoint["base_url"] = "https://not.published/v1"
    data["sources"] = [source for source in data["sources"] if source["name"] not in gone.sources]
    for source in data["sources"]:
        if source.get("attribution") in gone.attributions:
            source["attribution"] = None
    try:
        return msgspec.convert(data, Recipe)
    except msgspec.ValidationError as error:
        raise ReleaseError(f"the recipe in release.json is not one of this version: {error}") from error


def _changelog(release: Release, version: str, gone: Withdrawal) -> str:
    path = release.path / "CHANGELOG.md"
    old = path.read_text(encoding="utf-8") if path.is_file() else "# Changes\n"
    title, _, rest = old.partition("\n")
    count = len(gone.rollouts)
    entry = (
        f"## {version}\n\nWithdrawn on request: {count} rollout{'s' * (count != 1)} and what belongs to them. "
        f"`rejections.parquet` has their ids under `{WITHDRAWN.id}`, and nothing else of them. Results on earlier "
        "versions cannot be compared with results on this one.\n"
    )
    return f"{title}\n\n{entry}\n{rest.lstrip()}"


def _ever_in_test(release: Release) -> set[str]:
    """Ids that were ever in test, withdrawn ones too: should they come back, they may not come back into train."""
    path = release.path / "splits.parquet"
    table = RowFile.open(path, release.path).read(["rollout_id", "split"])
    return {row["rollout_id"] for row in table.to_pylist() if row["split"] == "test"}


def _quality(release: Release) -> RewardQuality | None:
    """What self-distillation came to when the release was built; it is not measured again."""
    path = release.path / REWARD_QUALITY
    return msgspec.json.decode(path.read_bytes(), type=RewardQuality) if path.is_file() else None


def _next_minor(version: str) -> str:
    major, minor, _ = _order(version)
    return f"{major}.{minor + 1}.0"


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def summary(before: ReleaseManifest, after: ReleaseManifest) -> str:
    """What a withdrawal did, in a line for each count that changed."""
    counts = (Counter(msgspec.to_builtins(m.counts)["rejections_by_code"]) for m in (before, after))
    old, new = counts
    lines = [f"version: {before.version} -> {after.version}"]
    for name in ("rollouts_packaged", "sessions", "preferences", "trajectories", "demonstrations", "videos"):
        was, now = getattr(before.counts, name), getattr(after.counts, name)
        if was != now:
            lines.append(f"{name}: {was} -> {now}")
    lines.append(f"tombstones: {new[WITHDRAWN.id] - old[WITHDRAWN.id]} in rejections.parquet")
    return "\n".join(lines)
