"""The chain: a recipe's stages, run shard by shard, then joined and packaged. The only place that knows every room.

    source -> screen -> license -> scrub -> distill -> reward    per shard of sessions, in any order, on any worker
    duplicates -> split -> package                               once, over all shards, in the sources' order

Each (stage, shard) has a folder in the work folder that is written beside its place and renamed into it, with a mark
that holds the hash of its input, its parameters and the code that made it. Killed anywhere and started again, a build
goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
from tqdm import tqdm

from bad_robot_behavior import __version__
from bad_robot_behavior.builder.package import PARTNER_REJECTED, write_release
from bad_robot_behavior.builder.paperwork import public_recipe
from bad_robot_behavior.curation import sources
from bad_robot_behavior.curation.distill import Distill
from bad_robot_behavior.curation.license import License, verdicts
from bad_robot_behavior.curation.reward import Reward
from bad_robot_behavior.curation.screen import DUPLICATE, Duplicates, Screen
from bad_robot_behavior.curation.scrub import Scrub, scrub_text
from bad_robot_behavior.curation.scrub.walk import walk
from bad_robot_behavior.curation.split import SplitItem, assign_splits, read_test_ids, split_item
from bad_robot_behavior.curation.stage import Source, Stage, Store
from bad_robot_behavior.engine import is_complete, run_local, writing
from bad_robot_behavior.errors import BadRobotError, EndpointError
from bad_robot_behavior.schema import (
    EndpointSettings,
    LicenseVerdict,
    ModelUse,
    Preference,
    Recipe,
    Rejection,
    ReleaseManifest,
    Rollout,
    SplitName,
    read_recipe,
    reject,
)
from bad_robot_behavior.vlm.client import Client

SESSIONS_PER_SHARD = 16
"""Small enough that a kill costs little, large enough that marks and folders stay few. Does not change any byte."""

MAX_FAILED_SHARDS = 3
"""After so many shards that no endpoint answered for, it is taken to be down and the build stops."""


class Shard(msgspec.Struct, frozen=True):
    """Some sessions of one source, and where their results go. Sent to workers, so it holds no open things."""

    number: int
    source: int
    sessions: tuple[str, ...]
    recipe_path: Path
    work: Path

    def __str__(self) -> str:
        return f"shard {self.number} (sessions {self.sessions[0]} to {self.sessions[-1]})"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one shard: all of it had been done before; or what the endpoint it needs failed with."""

    reused: bool
    error: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a build did. `manifest` is None where only a part of the shards was asked for."""

    release: str | None
    work: str
    manifest: ReleaseManifest | None
    shards: int
    shards_reused: int
    rejections_by_code: dict[str, int]
    unexpected_rejections: dict[str, int]
    stages: dict[str, dict[str, Any]]


def build(
    recipe_path: Path,
    out: Path,
    *,
    work: Path | None = None,
    workers: int = 1,
    part: tuple[int, int] | None = None,
    limit: int | None = None,
) -> Report:
    """Build the release that a recipe describes.

    `work` is the folder for intermediate results (default: `<out>.work`); it holds raw text and must not be published.
    `part` (k, n) runs the shards k, k + n, k + 2 n, ... (k from 0) and stops before the join. `limit` takes only the
    first sessions of each source. Raises BadRobotError; a bad rollout is a rejection in the release instead.
    """
    recipe = read_recipe(recipe_path)
    work = work or out.with_name(out.name + ".work")
    earlier_test = _earlier_test(recipe, recipe_path)
    _stages(recipe, recipe_path, work)  # a missing key, extra or endpoint is said before any work is done
    shards = _shards(recipe, recipe_path, work, limit)
    work.mkdir(parents=True, exist_ok=True, mode=0o700)  # raw text and raw names: for nobody else on this machine
    mine = [shard for shard in shards if part is None or shard.number % part[1] == part[0]]
    reused = _curate(mine, workers)
    manifest = None
    if part is None:
        manifest = _join(recipe, shards, out, earlier_test)
    rejections = (
        Counter(r.code for r in _raw_rejections(mine))
        if manifest is None
        else Counter(manifest.counts.rejections_by_code)
    )
    expected = Counter(recipe.expected_rejections)
    return Report(
        release=None if manifest is None else str(out),
        work=str(work),
        manifest=manifest,
        shards=len(mine),
        shards_reused=reused,
        rejections_by_code=dict(sorted(rejections.items())),
        unexpected_rejections=dict(sorted((rejections - expected).items())),
        stages=_stage_reports(mine),
    )


def _curate(shards: list[Shard], workers: int) -> int:
    """Run the shards; how many of them had been done before.

    Raises EndpointError where an endpoint failed: after all other shards, or at once after MAX_FAILED_SHARDS.
    """
    reused = 0
    failed: list[str] = []
    with tqdm(total=len(shards), unit="shard", desc="curate", disable=None) as progress:
        for _, outcome in run_local(run_shard, shards, workers):
            reused += outcome.reused
            if outcome.error is not None:
                failed.append(outcome.error)
            if len(failed) >= MAX_FAILED_SHARDS:
                break
            progress.update()
    if failed:
        raise EndpointError(
            f"{len(failed)} of {len(shards)} shards could not be finished: {failed[0]}. What was done is kept: "
            "run the same command again once the endpoint answers"
        )
    return reused


def summary(report: Report) -> str:
    """The report in a few lines for a person, ending with where the release lies."""
    lines = [f"shards: {report.shards}, of which {report.shards_reused} were done before"]
    for stage, counters in report.stages.items():
        lines.append(f"{stage}: " + ", ".join(f"{name} {value}" for name, value in counters.items()))
    for code, count in report.rejections_by_code.items():
        surprise = "" if code not in report.unexpected_rejections else "  <- not expected by the recipe"
        lines.append(f"rejected: {count} x {code}{surprise}")
    if report.manifest is None:
        lines.append(f"work: {report.work} (run without --shard to package, once every shard is done)")
        return "\n".join(lines)
    counts = report.manifest.counts
    lines.append(
        f"rollouts: {counts.rollouts_read} read = {counts.rollouts_packaged} packaged "
        f"+ {counts.rollouts_rejected} rejected"
    )
    lines.append("splits: " + ", ".join(f"{name} {count}" for name, count in counts.rollouts_by_split.items()))
    wanted = report.manifest.recipe["split"]
    lines += [
        f"split {name} is empty: the rollouts fall into too few groups that may be torn apart"
        for name in get_args(SplitName)
        if wanted[name] > 0 and name not in counts.rollouts_by_split
    ]
    lines.append(f"work: {report.work} (raw text and model answers; do not publish)")
    lines.append(f"release: {report.release}")
    return "\n".join(lines)


def run_shard(shard: Shard) -> Outcome:
    """Take one shard through every stage up to reward. An endpoint that does not answer fails this shard alone."""
    try:
        return Outcome(reused=_run_shard(shard))
    except EndpointError as error:
        return Outcome(reused=False, error=str(error))


def _run_shard(shard: Shard) -> bool:
    recipe = read_recipe(shard.recipe_path)
    store = Store(shard.work / "files")
    source = _source(recipe, shard.recipe_path, shard.source)
    key = _hash("source", msgspec.to_builtins(recipe.sources[shard.source]), _listing(source, shard), _code())
    folder = _folder(shard, "source")
    reused = is_complete(folder, key) and _files_are_there(folder)
    if not reused:
        _write(folder, key, (item for session in shard.sessions for item in source.read(session, store)))
    for stage in _stages(recipe, shard.recipe_path, shard.work):
        before, folder = folder, _folder(shard, stage.name)
        # The files' hashes are in the records, so the records' hash covers the videos too.
        key = _hash(stage.name, dict(stage.parameters()), _digest(before / "rollouts.jsonl"), _code())
        if is_complete(folder, key) and _files_are_there(folder):
            continue
        reused = False
        _write(folder, key, stage.run(_read(before / "rollouts.jsonl"), store), stage)
    return reused


def _write(folder: Path, key: str, items: Iterable[Rollout | Rejection], stage: Stage | None = None) -> None:
    encode = msgspec.json.Encoder().encode
    with writing(folder, key) as part:
        with (part / "rollouts.jsonl").open("wb") as kept, (part / "rejections.jsonl").open("wb") as rejected:
            for item in items:
                (rejected if isinstance(item, Rejection) else kept).write(encode(item) + b"\n")
        report = getattr(stage, "report", None)
        if report is not None:
            (part / "report.json").write_text(json.dumps(report(), sort_keys=True), encoding="utf-8")


def _files_are_there(folder: Path) -> bool:
    """Someone may have tidied up the work folder: a stage whose files are gone has to run again."""
    return all(Path(path).is_file() for rollout in _read(folder / "rollouts.jsonl") for path in _files_of(rollout))


def _files_of(rollout: Rollout) -> Iterator[str]:
    for video in msgspec.structs.astuple(rollout.videos):
        if video is not None and video.path is not None:
            yield video.path
    if rollout.trajectory is not None:
        yield rollout.trajectory


def _read(path: Path) -> Iterator[Rollout]:
    decode = msgspec.json.Decoder(Rollout).decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)


def _raw_rejections(shards: Iterable[Shard]) -> Iterator[Rejection]:
    decode = msgspec.json.Decoder(Rejection).decode
    for shard in shards:
        for name in STAGES:
            with (_folder(shard, name) / "rejections.jsonl").open("rb") as file:
                for line in file:
                    yield decode(line)


class _Raw(msgspec.Struct, frozen=True):
    """What only the raw records tell of a source: who must not be named, which sessions were read, what is lost."""

    people: frozenset[str]
    sessions: frozenset[str]
    lost_preferences: tuple[Rejection, ...]


def _survey_raw(shards: list[Shard], left: set[str]) -> _Raw:
    """One pass over the records as the sources gave them. `left`: sessions of which a rollout is left; the preferences
    of the others would otherwise vanish with their rollouts, those of these are packaging's to see to."""
    people: set[str | None] = set()
    sessions: set[str] = set()
    lost: list[Rejection] = []
    for shard in shards:
        raw = _read(_folder(shard, "source") / "rollouts.jsonl")
        for _, members in itertools.groupby(raw, key=lambda rollout: rollout.session_id):
            rollouts = list(members)
            first = rollouts[0]
            sessions.add(first.session_id)
            people |= {rollout.evaluator for rollout in rollouts} | {p.evaluator for p in first.session.preferences}
            if first.session_id not in left:
                lost += [_lost(preference, first) for preference in first.session.preferences]
    return _Raw(frozenset(name for name in people if name), frozenset(sessions), tuple(lost))


def _lost(preference: Preference, first: Rollout) -> Rejection:
    return Rejection(
        subject="preference",
        subject_id=preference.pair_id,
        session_id=preference.session_id,
        source=first.source,
        source_ref=first.source_ref,
        stage="package",
        code=PARTNER_REJECTED.id,
        detail="both of its rollouts were rejected",
    )


def _publishable(rejections: Iterable[Rejection], recipe: Recipe, raw: _Raw) -> Iterator[Rejection]:
    """Rejections without personal data: most of what is rejected never came as far as the scrub stage.

    A lab names its folders as it likes. Where the session could not be read, nobody knows whose names to look for, and
    its id stands for its folder; the work folder's rejections.jsonl has both.
    """
    labs = {source.name for source in recipe.sources if source.kind == "folder"}
    for rejection in rejections:
        unread = rejection.source in labs and rejection.session_id not in raw.sessions
        ref = f"session {rejection.session_id}" if unread else scrub_text(rejection.source_ref, raw.people)
        yield msgspec.structs.replace(rejection, source_ref=ref, detail=scrub_text(rejection.detail, raw.people))


def _join(recipe: Recipe, shards: list[Shard], out: Path, earlier_test: frozenset[str]) -> ReleaseManifest:
    """What needs all rollouts at once: duplicates, splits, packaging. Reads the records twice, holds none."""
    items, duplicates, licenses = _survey(recipe, shards)
    splits = assign_splits(items, recipe.split, earlier_test)
    raw = _survey_raw(shards, {item.session_id for item in items})
    public = walk(recipe, lambda text, _: scrub_text(text, raw.people))
    recipe_sha256 = _hash("recipe", public_recipe(public))
    read = sum(_count(_folder(shard, "source") / "rollouts.jsonl") for shard in shards) + sum(
        r.subject == "rollout" and r.stage == "source" for r in _raw_rejections(shards)
    )
    rejections = itertools.chain(_raw_rejections(shards), duplicates, raw.lost_preferences)
    return write_release(
        out,
        recipe=public,
        recipe_sha256=recipe_sha256,
        rollouts=tqdm(
            _finished(shards, splits, recipe_sha256), total=len(splits), unit="rollout", desc="package", disable=None
        ),
        rejections=_publishable(rejections, recipe, raw),
        rollouts_read=read,
        licenses=licenses,
        models=_models(recipe, shards),
        earlier_test=earlier_test,
    )


def _survey(recipe: Recipe, shards: list[Shard]) -> tuple[list[SplitItem], list[Rejection], tuple[LicenseVerdict, ...]]:
    seen = Duplicates()
    items: list[SplitItem] = []
    rejections: list[Rejection] = []
    licensed: dict[tuple[str | None, ...], Rollout] = {}
    for rollout in _curated(shards):
        original = seen.seen(rollout)
        if original is not None:
            rejections.append(reject(rollout, "screen", DUPLICATE, f"the same frames as rollout {original}"))
            continue
        items.append(split_item(rollout))
        terms = (rollout.source, rollout.license, rollout.license_evidence, rollout.attribution)
        licensed.setdefault(terms, rollout)
    return items, rejections, verdicts(licensed.values(), recipe.license, recipe.sources)


def _finished(shards: list[Shard], splits: dict[str, SplitName], recipe_sha256: str) -> Iterator[Rollout]:
    for rollout in _curated(shards):
        if rollout.rollout_id in splits:
            yield msgspec.structs.replace(
                rollout,
                split=splits[rollout.rollout_id],
                provenance=msgspec.structs.replace(rollout.provenance, recipe_sha256=recipe_sha256),
            )


def _curated(shards: list[Shard]) -> Iterator[Rollout]:
    for shard in shards:
        yield from _read(_folder(shard, STAGES[-1]) / "rollouts.jsonl")


def _shards(recipe: Recipe, recipe_path: Path, work: Path, limit: int | None) -> list[Shard]:
    shards: list[Shard] = []
    for index in range(len(recipe.sources)):
        sessions = _source(recipe, recipe_path, index).sessions()[:limit]
        for start in range(0, len(sessions), SESSIONS_PER_SHARD):
            chosen = tuple(sessions[start : start + SESSIONS_PER_SHARD])
            shards.append(Shard(len(shards), index, chosen, recipe_path.resolve(), work.resolve()))
    if not shards:
        raise BadRobotError(f"{recipe_path}: none of the sources holds a session; there is nothing to build")
    return shards


STAGES = ("source", "screen", "license", "scrub", "distill", "reward")
"""Names of the stages that run per shard, in order. License and scrub stand before whatever can call a model."""


def _source(recipe: Recipe, recipe_path: Path, index: int) -> Source:
    settings = recipe.sources[index]
    return sources.open_source(settings, recipe_path.resolve().parent / settings.path)


def _stages(recipe: Recipe, recipe_path: Path, work: Path) -> list[Stage]:
    folder = recipe_path.resolve().parent
    stages: list[Stage] = [
        Screen(recipe.screen),
        License(recipe.license, recipe.sources),
        Scrub(recipe.scrub, folder),
        Distill(recipe.distill, _client(recipe.distill.endpoint, work)),
        Reward(recipe.reward, _client(recipe.reward.endpoint, work)),
    ]
    return stages


def _client(settings: EndpointSettings | None, work: Path) -> Client | None:
    if settings is None:
        return None
    from bad_robot_behavior.vlm.cache import Cache
    from bad_robot_behavior.vlm.openai_client import OpenAIClient

    return OpenAIClient(settings, Cache(work / "requests.sqlite"))


def _models(recipe: Recipe, shards: list[Shard]) -> list[ModelUse]:
    used: list[ModelUse] = []
    for stage in _stages(recipe, shards[0].recipe_path, shards[0].work):
        parameters = dict(stage.parameters())
        model = parameters.pop("model", None)
        if model is not None:
            prompt = parameters.pop("prompt_sha256", None)
            used.append(ModelUse(stage=stage.name, model=model, prompt_sha256=prompt, parameters=parameters))  # type: ignore[arg-type]
    return used


def _stage_reports(shards: list[Shard]) -> dict[str, dict[str, Any]]:
    """The counters of each stage that keeps some, summed over shards."""
    totals: dict[str, dict[str, Any]] = {}
    for name in STAGES:
        total: Counter[str] = Counter()
        for shard in shards:
            path = _folder(shard, name) / "report.json"
            if path.is_file():
                total.update(json.loads(path.read_text(encoding="utf-8")))
        if total:
            totals[name] = dict(sorted(total.items()))
    return totals


def _earlier_test(recipe: Recipe, recipe_path: Path) -> frozenset[str]:
    if recipe.split.keep_test is None:
        return frozenset()
    return read_test_ids(recipe_path.resolve().parent / recipe.split.keep_test)


def _folder(shard: Shard, stage: str) -> Path:
    # The hash keeps the results of another --limit or of a source that has grown apart: same number, other sessions.
    digest = _hash(shard.source, shard.sessions)[:12]
    return shard.work / stage / f"{shard.number:05d}-{digest}"


def _listing(source: Source, shard: Shard) -> list[tuple[str, int, int]]:
    """(path, size, time of change) of the sessions' files: raw videos are too large to hash for every start."""
    listing = []
    for session in shard.sessions:
        for path in sorted(source.files(session)):
            status = path.lstat()  # a link counts as itself: sources refuse those that lead out
            listing.append((str(path), status.st_size, status.st_mtime_ns))
    return listing


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=msgspec.to_builtins)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Hash of the code that curates: a change of it makes all shards stale, whatever their version number says."""
    package = Path(__file__).parent
    digest = hashlib.sha256(__version__.encode())
    for room in ("schema", "media", "vlm", "scorers", "curation"):
        for path in sorted((package / room).rglob("*")):
            if path.suffix in {".py", ".txt", ".yaml"}:
                digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
