"""Curated rollouts in, a release out. One pass; what is held of a rollout that was written is its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Literal

import msgspec

from bad_robot_behavior import __version__
from bad_robot_behavior.builder.asking_tally import AskingTally
from bad_robot_behavior.builder.demonstrations import demonstrations
from bad_robot_behavior.builder.features import (
    CONFIGS,
    REJECTION_SCHEMA,
    SPLITS,
    SPLITS_SCHEMA,
    TABLES,
    VIDEO_CONFIG,
    arrow_schema,
    to_row,
)
from bad_robot_behavior.builder.folder import release_folder
from bad_robot_behavior.builder.paperwork import public_recipe, taxonomy_version, write_paperwork
from bad_robot_behavior.builder.privacy_report import PrivacyTally
from bad_robot_behavior.builder.tables import SplitWriter, open_writer, write_rows
from bad_robot_behavior.builder.trajectory import read_trajectory
from bad_robot_behavior.builder.videos import choose_layout, video_writer, views
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import (
    SCHEMA_VERSION,
    Counts,
    LicenseVerdict,
    ModelUse,
    Preference,
    Recipe,
    Record,
    Rejection,
    ReleaseManifest,
    RewardQuality,
    Rollout,
    RolloutRow,
    rule,
)

PARTNER_REJECTED = rule(
    "package.partner_rejected",
    "A preference is packaged only with both of its rollouts.",
    cure="See why the other rollout was left out in rejections.parquet, mend that and build again.",
)

# Rows in one row group. A random read takes a whole group of `rollouts`, and every group costs 15 KB of footer for
# its hundred or so columns, so neither tiny nor huge; benchmarks/release_access.py measures it.
_GROUP_ROWS = {"rollouts": 100, "preferences": 1000, "trajectories": 50, "demonstrations": 1000, "reward_samples": 2000}
_GROUP_BYTES = 64 << 20
_FILE_BYTES = 400_000_000
_FILE_GROUPS = 20  # a writer keeps about 100 KB of what it knows of each group of `rollouts` until its file is closed
_ROW_FIELDS = tuple(field.name for field in msgspec.structs.fields(RolloutRow))


def reject_pair(preference: Preference, first: Rollout, detail: str) -> Rejection:
    """The rejection of a preference without its rollouts. first: the rollout of its session that it was read with."""
    return Rejection(
        subject="preference",
        subject_id=preference.pair_id,
        session_id=preference.session_id,
        source=first.source,
        source_ref=first.source_ref,
        stage="package",
        code=PARTNER_REJECTED.id,
        detail=detail,
    )


def write_release(
    out: Path,
    *,
    recipe: Recipe,
    recipe_sha256: str,
    rollouts: Iterable[Rollout],
    rejections: Iterable[Rejection],
    rollouts_read: int,
    licenses: Sequence[LicenseVerdict],
    models: Sequence[ModelUse] = (),
    changelog: str | None = None,
    earlier_test: Collection[str] = (),
    quality: RewardQuality | None = None,
) -> ReleaseManifest:
    """Write the release folder `out` and return its manifest.

    rollouts: scrubbed, each with its `split`, those of a session next to each other, their videos' `path` pointing at
    clean mp4 files; read once, and to its end before `rejections` is touched. rollouts_read: how many the sources gave.
    quality: what self-distillation came to, for the card and reward_quality.json; None: nothing was sampled.
    earlier_test: ids that earlier releases had in test; splits.parquet carries on those that are not in this one.
    The folder is made beside `out` and renamed into place; an earlier release at `out` is replaced. Same input, same
    bytes. Raises ReleaseError where `out` holds something else, where nothing is left to package, where a privacy
    detector did not run and no reason is given, or where rollouts were lost on the way (count identity).
    """
    with release_folder(out) as root:
        packager = _Packager(root, recipe, choose_layout(recipe.package.videos, rollouts_read))
        packager.add_all(rollouts)
        packager.close(rejections, earlier_test)
        packager.check_counts(rollouts_read)
        draft = ReleaseManifest(
            name=recipe.name,
            version=recipe.version,
            schema_version=SCHEMA_VERSION,
            taxonomy_version=taxonomy_version(),
            engine_version=__version__,
            recipe=public_recipe(recipe),
            recipe_sha256=recipe_sha256,
            counts=packager.counts(rollouts_read),
            models=packager.asking.of(models),
            licenses=tuple(licenses),
            waived_detectors=packager.privacy.waived(),
            video_layout=packager.layout,
            configs=packager.configs(),
            files=(),
        )
        manifest = write_paperwork(root, recipe, draft, changelog, packager.privacy.report(), quality)
    return manifest


class _Packager:
    """Takes rollouts in order and writes all tables at once, one parquet writer a table and split."""

    def __init__(self, root: Path, recipe: Recipe, layout: Literal["files", "shards"]) -> None:
        self.root = root
        self.recipe = recipe
        self.layout = layout
        self.videos = video_writer(layout, root, recipe.package)
        self._rejected_pairs: list[Rejection] = []
        self._writers: dict[tuple[str, str], SplitWriter] = {}
        self._sessions: set[str] = set()
        self._rollouts: dict[str, str] = {}  # id -> split
        self._rows: Counter[str] = Counter()
        self._by_split: Counter[str] = Counter()
        self._by_code: Counter[str] = Counter()
        self._rejected = 0
        self.privacy = PrivacyTally()
        self.asking = AskingTally()

    def add_all(self, rollouts: Iterable[Rollout]) -> None:
        for session, members in groupby(rollouts, key=lambda rollout: rollout.session_id):
            if session in self._sessions:
                raise ReleaseError(f"session {session} came in two parts; its rollouts must be next to each other")
            self._sessions.add(session)
            self._add_session(members)

    def _add_session(self, rollouts: Iterator[Rollout]) -> None:
        ids: set[str] = set()
        first: Rollout | None = None
        for rollout in rollouts:
            first = first or rollout
            if rollout.split is None or rollout.split != first.split:
                raise ReleaseError(
                    f"rollout {rollout.rollout_id} is in split {rollout.split}, its session in {first.split}; "
                    "every rollout needs a split, and a session is never divided"
                )
            if rollout.rollout_id in self._rollouts:
                raise ReleaseError(f"rollout {rollout.rollout_id} came twice; ids must be unique")
            self._rollouts[rollout.rollout_id] = rollout.split
            ids.add(rollout.rollout_id)
            self._add_rollout(rollout, rollout.split)
        if first is not None:
            for preference in first.session.preferences:
                self._add_preference(preference, ids, first)

    def _add_rollout(self, rollout: Rollout, split: str) -> None:
        paths = {}
        for role, video in views(rollout):
            if video.path is None:
                raise ReleaseError(f"rollout {rollout.rollout_id}: {role} has no file")
            path = self.videos.add(rollout.rollout_id, role, split, Path(video.path), video)
            paths[role] = msgspec.structs.replace(video, path=path)
            self._rows[VIDEO_CONFIG] += 1
        packaged = msgspec.structs.replace(rollout, videos=msgspec.structs.replace(rollout.videos, **paths))
        self._add_row("rollouts", split, RolloutRow(**{name: getattr(packaged, name) for name in _ROW_FIELDS}))
        self._by_split[split] += 1
        if rollout.trajectory is not None:
            trajectory = read_trajectory(Path(rollout.trajectory), rollout)
            weight = 4 * sum(len(row) for row in (*trajectory["state"], *trajectory["action"]))
            self._writer("trajectories", split).add(trajectory, weight=weight)
            self._rows["trajectories"] += 1
        for demonstration in demonstrations(rollout, self.recipe.reward.num_frames):
            self._add_row("demonstrations", split, demonstration)
        for sample in rollout.samples:
            self._add_row("reward_samples", split, msgspec.structs.replace(sample, split=rollout.split))
        self.privacy.add(rollout.rollout_id, rollout.privacy)
        self.asking.add(rollout.session_id, rollout.asked)

    def _add_preference(self, preference: Preference, ids: set[str], first: Rollout) -> None:
        missing = sorted({preference.rollout_a, preference.rollout_b} - ids)
        if not missing:
            assert first.split is not None  # noqa: S101 - checked in _add_session
            self._add_row("preferences", first.split, msgspec.structs.replace(preference, split=first.split))
            return
        self._rejected_pairs.append(reject_pair(preference, first, f"rejected: {', '.join(missing)}"))

    def _add_row(self, config: str, split: str, record: Record) -> None:
        self._writer(config, split).add(to_row(record))
        self._rows[config] += 1

    def _writer(self, config: str, split: str) -> SplitWriter:
        if (config, split) not in self._writers:
            self._writers[config, split] = SplitWriter(
                self.root / config,
                split,
                arrow_schema(TABLES[config]),
                group_rows=_GROUP_ROWS[config],
                group_bytes=_GROUP_BYTES,
                file_bytes=_FILE_BYTES,
                file_groups=_FILE_GROUPS,
            )
        return self._writers[config, split]

    def close(self, rejections: Iterable[Rejection], earlier_test: Collection[str]) -> None:
        """Finish all tables and write splits.parquet and rejections.parquet."""
        self.videos.close()
        for writer in self._writers.values():
            writer.close()
        absent = sorted(set(earlier_test) - self._rollouts.keys())
        rows = chain(
            ({"rollout_id": name, "split": split, "in_release": True} for name, split in self._rollouts.items()),
            ({"rollout_id": name, "split": "test", "in_release": False} for name in absent),
        )
        with open_writer(self.root / "splits.parquet", SPLITS_SCHEMA) as writer:
            write_rows(writer, SPLITS_SCHEMA, rows, 2000)
        with open_writer(self.root / "rejections.parquet", REJECTION_SCHEMA) as writer:
            write_rows(writer, REJECTION_SCHEMA, map(to_row, self._counted(rejections)), 2000)

    def _counted(self, rejections: Iterable[Rejection]) -> Iterator[Rejection]:
        for source in (rejections, self._rejected_pairs):
            for rejection in source:
                self._by_code[rejection.code] += 1
                self._rejected += rejection.subject == "rollout"
                yield rejection

    def check_counts(self, rollouts_read: int) -> None:
        """Raise ReleaseError where rollouts were lost, or where none is left."""
        packaged = self._rows["rollouts"]
        if packaged + self._rejected != rollouts_read:
            raise ReleaseError(
                f"{rollouts_read} rollouts were read, but {packaged} came to packaging and {self._rejected} were "
                "rejected; the rest is lost, which is a bug in a stage of this program. Nothing was written"
            )
        if not packaged:
            codes = ", ".join(f"{code} {count}" for code, count in self._by_code.most_common()) or "no rejection"
            raise ReleaseError(f"no rollout is left to package: {rollouts_read} read, all rejected ({codes})")

    def counts(self, rollouts_read: int) -> Counts:
        return Counts(
            rollouts_read=rollouts_read,
            rollouts_packaged=self._rows["rollouts"],
            rollouts_rejected=self._rejected,
            sessions=len(self._sessions),
            preferences=self._rows["preferences"],
            trajectories=self._rows["trajectories"],
            demonstrations=self._rows["demonstrations"],
            reward_samples=self._rows["reward_samples"],
            videos=self._rows[VIDEO_CONFIG],
            rejections_by_code=dict(sorted(self._by_code.items())),
            rollouts_by_split={split: self._by_split[split] for split in SPLITS if self._by_split[split]},
        )

    def configs(self) -> tuple[str, ...]:
        """The configs that hold rows; mp4 files are no config."""
        return tuple(name for name in CONFIGS if self._rows[name] and (name != VIDEO_CONFIG or self.layout == "shards"))
