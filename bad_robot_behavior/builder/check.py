"""Everything that can be wrong with a release, by named rules."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from bad_robot_behavior.builder.asking_tally import AskingTally
from bad_robot_behavior.builder.features import SPLITS, TABLES, VIDEO_CONFIG
from bad_robot_behavior.builder.leakage import SPLIT_COLUMNS, LeakKind, item_of, leaks
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.builder.reading import MANIFEST, inside, parquet_files, read_manifest
from bad_robot_behavior.errors import MediaError, ReleaseError
from bad_robot_behavior.schema import ROLES, Asked, Defect, ReleaseManifest, Rule, SplitSettings, rule, shorten
from bad_robot_behavior.schema.split_item import SplitItem
from bad_robot_behavior.schema.validate import validate_table

AGAIN = "Download or build the release again."
MANIFEST_INVALID = rule("release.manifest_invalid", "release.json is a valid manifest.", cure=AGAIN)
FILE_MISSING = rule("release.file_missing", "Every file of the manifest is there.", cure=AGAIN)
FILE_CHANGED = rule("release.file_changed", "Every file has the SHA-256 that the manifest gives.", cure=AGAIN)
FILE_UNLISTED = rule(
    "release.file_unlisted",
    "Every file of a release is in its manifest.",
    cure="Move the file out of the release folder; what is published must be accounted for.",
)
TABLE_UNREADABLE = rule("release.table_unreadable", "Every table is a readable parquet file.", cure=AGAIN)
COUNT_WRONG = rule("release.count_wrong", "The counts of the manifest are those of the tables.", cure=AGAIN)
COUNT_IDENTITY = rule(
    "release.count_identity",
    "Rollouts read are rollouts packaged and rollouts rejected.",
    cure="Build the release again; where it stays, a stage loses rollouts, which is a bug to report.",
)
VIDEO_MISSING = rule("release.video_missing", "Every video that a row names is in the release.", cure=AGAIN)
VIDEO_OUTSIDE = rule(
    "release.video_outside",
    "A row names files inside the release only.",
    cure="Do not use this release: a path that leads out of it was put there on purpose or by a broken tool.",
)
VIDEO_FRAMES = rule("release.video_frames", "A video has as many frames as its row says.", cure=AGAIN)
VIDEO_CHANGED = rule("release.video_changed", "A video's bytes have the SHA-256 that its row gives.", cure=AGAIN)
UNKNOWN_ROLLOUT = rule(
    "release.unknown_rollout",
    "Preferences, trajectories, demonstrations, samples and videos belong to rollouts.",
    cure=AGAIN,
)
SPLIT_COLUMN = rule("release.split_column", "A row's split is that of the file it stands in.", cure=AGAIN)
SESSION_LEAK = rule(
    "release.session_leak",
    "The rollouts of a session are in one split.",
    cure="Build the release again; scores on a split that leaks are worth nothing.",
)
INSTRUCTION_LEAK = rule(
    "release.instruction_leak",
    "An instruction is in one split.",
    cure="Build the release again; scores on a split that leaks are worth nothing.",
)
TWIN_LEAK = rule(
    "release.twin_leak",
    "A synthetic rollout and its twin are in one split.",
    cure="Build the release again; scores on a split that leaks are worth nothing.",
)
VIDEO_LEAK = rule(
    "release.video_leak",
    "Videos that are nearly the same are in one split.",
    cure="Build the release again; scores on a split that leaks are worth nothing.",
)

_LEAKS: dict[LeakKind, tuple[Rule, str]] = {
    "session": (SESSION_LEAK, "session_id"),
    "instruction": (INSTRUCTION_LEAK, "instruction"),
    "near_duplicate_video": (VIDEO_LEAK, "provenance.fingerprint"),
    "same_video": (VIDEO_LEAK, "videos"),
    "twin": (TWIN_LEAK, "synthetic.parameters"),
}
_CONTRACT = {
    "rollouts": "rollout",
    "preferences": "preference",
    "trajectories": "trajectory",
    "demonstrations": "demonstration",
    "reward_samples": "reward_sample",
    "rejections": "rejection",
}
# What git and huggingface_hub put into a folder that they downloaded.
_FOREIGN = (".git", ".cache", ".gitattributes")


def check(release: Path) -> list[Defect]:
    """Every defect of a release, in a fixed order; an empty list where all is well.

    Files against the manifest, rows against the JSON Schemas, references between tables, counts, splits, and every
    video's bytes and frames. Raises ReleaseError only where the folder has no release.json at all.
    """
    if not (release / MANIFEST).is_file():
        raise ReleaseError(f"{release}: is not a release: it has no {MANIFEST}")
    try:
        manifest = read_manifest(release)
    except ReleaseError as error:
        return [Defect(rule=MANIFEST_INVALID.id, file=MANIFEST, message=str(error))]
    return list(_Check(release, manifest).run())


def _files(root: Path, manifest: ReleaseManifest) -> Iterator[Defect]:
    for entry in tqdm(manifest.files, unit="file", desc="files", disable=None, leave=False):
        try:
            path = inside(root, entry.path)
        except ReleaseError as error:
            yield Defect(rule=VIDEO_OUTSIDE.id, file=MANIFEST, field="files", message=str(error))
            continue
        if not path.is_file():
            yield Defect(rule=FILE_MISSING.id, file=entry.path, message="is missing")
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry.sha256:
            yield Defect(
                rule=FILE_CHANGED.id, file=entry.path, value=digest, legal=entry.sha256, message="has another SHA-256"
            )
    listed = {entry.path for entry in manifest.files} | {MANIFEST}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if relative.parts[0] not in _FOREIGN and path.is_file() and relative.as_posix() not in listed:
            yield Defect(rule=FILE_UNLISTED.id, file=relative.as_posix(), message="is not in the manifest")


class _Check:
    """One pass over each table, keeping ids and counts only."""

    def __init__(self, root: Path, manifest: ReleaseManifest) -> None:
        self.root = root
        self.manifest = manifest
        self.release = Release(root)
        self.rollouts: dict[str, str] = {}  # id -> split
        self.counts: Counter[str] = Counter()
        self.by_code: Counter[str] = Counter()
        self.by_split: Counter[str] = Counter()
        self.items: list[SplitItem] = []
        self.asking = AskingTally()
        self.rejected = 0

    def run(self) -> Iterator[Defect]:
        yield from _files(self.root, self.manifest)
        for config in TABLES:
            seen: set[tuple[Any, ...]] = set()
            for split in SPLITS:
                for path in parquet_files(self.root / config, (split,)):
                    yield from self._table(config, split, path, seen)
        yield from self._table("rejections", None, self.root / "rejections.parquet", set())
        yield from self._leaks()
        yield from self._counts()
        yield from self._videos()

    def _table(self, config: str, split: str | None, path: Path, seen: set[tuple[Any, ...]]) -> Iterator[Defect]:
        name = path.relative_to(self.root).as_posix()
        try:
            inside(self.root, name)
            with pq.ParquetFile(path) as file:
                offset = 0
                for batch in file.iter_batches(batch_size=512):
                    found = list(validate_table([batch], _CONTRACT[config], name, offset=offset, seen=seen))
                    yield from found
                    if any(defect.row is None for defect in found):
                        return  # a column is missing: the rest of the table would say the same
                    yield from self._rows(config, split, name, batch, offset)
                    offset += batch.num_rows
        except FileNotFoundError:
            return  # already told by the manifest's list of files
        except (OSError, pa.ArrowException, ReleaseError, RuntimeError) as error:
            yield Defect(rule=TABLE_UNREADABLE.id, file=name, message=f"cannot be read: {error}")

    def _rows(self, config: str, split: str | None, name: str, batch: pa.RecordBatch, offset: int) -> Iterator[Defect]:
        self.counts[config] += batch.num_rows
        if config == "rejections":
            self.by_code.update(batch["code"].to_pylist())
            self.rejected += batch["subject"].to_pylist().count("rollout")
            return
        for i, value in enumerate(batch["split"].to_pylist(), offset):
            if value != split:
                yield Defect(
                    rule=SPLIT_COLUMN.id,
                    file=name,
                    row=i,
                    field="split",
                    value=shorten(value),
                    legal=split,
                    message="is not the split of the file",
                )
        if config == "rollouts" and split is not None:
            for row in batch.select([*SPLIT_COLUMNS, "asked"]).to_pylist():
                with contextlib.suppress(msgspec.ValidationError):  # told by the schema
                    self.asking.add(row["session_id"], msgspec.convert(row["asked"], list[Asked]))
                item = item_of(row)
                self.rollouts[item.rollout_id] = split
                self.by_split[split] += 1
                self.items.append(item)
            return
        for field in ("rollout_a", "rollout_b") if config == "preferences" else ("rollout_id",):
            for i, identity in enumerate(batch[field].to_pylist(), offset):
                if self.rollouts.get(identity) != split:
                    yield Defect(
                        rule=UNKNOWN_ROLLOUT.id,
                        file=name,
                        row=i,
                        field=field,
                        value=shorten(identity),
                        message=f"is no rollout of split {split}",
                    )

    def _leaks(self) -> Iterator[Defect]:
        bits = self.manifest.recipe.get("split", {}).get("near_duplicate_bits", SplitSettings().near_duplicate_bits)
        for leak in leaks(self.items, self.rollouts, bits=int(bits)):
            broken, field = _LEAKS[leak.kind]
            yield Defect(
                rule=broken.id,
                file="rollouts",
                field=field,
                value=shorten(leak.shared) if leak.kind in ("session", "instruction") else ", ".join(leak.rollouts),
                message=f"is in {', '.join(leak.splits)}",
            )

    def _counts(self) -> Iterator[Defect]:
        told = self.manifest.counts
        if told.rollouts_read != told.rollouts_packaged + told.rollouts_rejected:
            yield Defect(
                rule=COUNT_IDENTITY.id,
                file=MANIFEST,
                field="counts.rollouts_read",
                value=str(told.rollouts_read),
                legal=f"{told.rollouts_packaged} packaged + {told.rollouts_rejected} rejected",
                message="is not their sum",
            )
        pairs: list[tuple[str, object, object]] = [
            ("rollouts_packaged", told.rollouts_packaged, self.counts["rollouts"]),
            ("rollouts_rejected", told.rollouts_rejected, self.rejected),
            ("sessions", told.sessions, len({item.session_id for item in self.items})),
            ("preferences", told.preferences, self.counts["preferences"]),
            ("trajectories", told.trajectories, self.counts["trajectories"]),
            ("demonstrations", told.demonstrations, self.counts["demonstrations"]),
            ("reward_samples", told.reward_samples, self.counts["reward_samples"]),
            ("rejections_by_code", told.rejections_by_code, dict(sorted(self.by_code.items()))),
            ("rollouts_by_split", told.rollouts_by_split, {s: self.by_split[s] for s in SPLITS if self.by_split[s]}),
        ]
        for field, said, counted in pairs:
            if said != counted:
                yield self._count_defect(f"counts.{field}", said, counted)
        for i, (said, counted) in enumerate(
            zip(self.manifest.models, self.asking.of(self.manifest.models), strict=True)
        ):
            if said.took != counted.took:
                yield self._count_defect(f"models[{i}].took", said.took, counted.took)

    def _count_defect(self, field: str, said: object, counted: object) -> Defect:
        return Defect(
            rule=COUNT_WRONG.id,
            file=MANIFEST,
            field=field,
            value=shorten(said),
            legal=shorten(counted),
            message="is not what the tables hold",
        )

    def _videos(self) -> Iterator[Defect]:
        count = 0
        rows = tqdm(self.rollouts.items(), unit="rollout", desc="videos", disable=None, leave=False)
        for identity, split in rows:
            try:
                videos = self.release[identity]["videos"]
            except (ReleaseError, KeyError) as error:
                yield Defect(rule=TABLE_UNREADABLE.id, file="rollouts", value=identity, message=str(error))
                return
            for role in ROLES:
                if videos is not None and videos.get(role) is not None:
                    count += 1
                    yield from self._video(identity, split, role, videos[role])
        if count != self.manifest.counts.videos:
            yield self._count_defect("counts.videos", self.manifest.counts.videos, count)
        if self.manifest.video_layout == "shards":
            yield from self._stray_videos()

    def _video(self, identity: str, split: str, role: str, video: dict[str, Any]) -> Iterator[Defect]:
        from bad_robot_behavior import media

        place: dict[str, Any] = {"file": f"rollouts/{split}", "field": f"videos.{role}", "value": identity}
        if video["path"] is not None:
            try:
                path = inside(self.root, video["path"])
            except ReleaseError as error:
                yield Defect(rule=VIDEO_OUTSIDE.id, message=str(error), **place)
                return
            if not path.is_file():
                yield Defect(rule=VIDEO_MISSING.id, message=f"{video['path']} is missing", **place)
                return
        try:
            data = self.release.video_bytes(identity, role, checked=False)
        except ReleaseError as error:
            yield Defect(rule=VIDEO_MISSING.id, message=str(error), **place)
            return
        if hashlib.sha256(data).hexdigest() != video["sha256"]:
            yield Defect(rule=VIDEO_CHANGED.id, message="has another SHA-256 than its row says", **place)
            return
        try:
            frames = media.probe(data).num_frames
        except MediaError as error:
            yield Defect(rule=VIDEO_FRAMES.id, message=f"breaks at {error.where}: {error.reason}", **place)
            return
        if frames != video["num_frames"]:
            yield Defect(
                rule=VIDEO_FRAMES.id,
                legal=str(frames),
                message=f"has {frames}, its row says {video['num_frames']}",
                **place,
            )

    def _stray_videos(self) -> Iterator[Defect]:
        """Rows of config `videos` that no rollout has."""
        try:
            table = self.release.table(VIDEO_CONFIG)
        except ReleaseError as error:
            yield Defect(rule=TABLE_UNREADABLE.id, file=VIDEO_CONFIG, message=str(error))
            return
        pairs = zip(table["rollout_id"].to_pylist(), table["role"].to_pylist(), strict=True)
        for row, (identity, role) in enumerate(pairs):
            if identity not in self.rollouts:
                yield Defect(
                    rule=UNKNOWN_ROLLOUT.id,
                    file=VIDEO_CONFIG,
                    row=row,
                    value=shorten(identity),
                    message=f"video {role} is of no rollout of this release",
                )
