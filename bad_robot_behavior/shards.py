"""One shard through every stage up to reward, and what it left in the work folder.

Each (stage, shard) has a folder that is written beside its place and renamed into it, with a mark that holds the hash
of its input, its parameters and the code that made it: rollouts.jsonl, rejections.jsonl, and report.json where the
stage counts something.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior import __version__
from bad_robot_behavior.curation import sources
from bad_robot_behavior.curation.distill import Distill
from bad_robot_behavior.curation.license import License
from bad_robot_behavior.curation.reward import Reward
from bad_robot_behavior.curation.screen import Screen
from bad_robot_behavior.curation.scrub import Scrub
from bad_robot_behavior.curation.stage import Source, Stage, Store, sha256_file
from bad_robot_behavior.engine import MARK, is_complete, writing
from bad_robot_behavior.errors import BadRobotError, BudgetError, EndpointDownError, EndpointError
from bad_robot_behavior.schema import DistillSettings, Recipe, Rejection, RewardSettings, Rollout, read_recipe
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import CachedClient
from bad_robot_behavior.vlm.choose import DryClient, Limits, Plan, open_client

SESSIONS_PER_SHARD = 16
"""Small enough that a kill costs little, large enough that marks and folders stay few. Does not change any byte."""

STAGES = ("source", "screen", "license", "scrub", "distill", "reward")
"""Names of the stages that run per shard, in order. License and scrub stand before whatever can call a model."""


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
    """What became of one shard: all of it had been done before; or what the endpoint it needs failed with.

    final: no other shard will fare better, because nobody is at the endpoint; spent: the budget is.
    """

    reused: bool
    error: str | None = None
    final: bool = False
    spent: bool = False


def run_shard(shard: Shard, limits: Limits | None = None) -> Outcome:
    """Take one shard through every stage up to reward. An endpoint that does not answer fails this shard alone."""
    limits = limits or Limits()
    try:
        if requests_of(shard.work).exists():
            Budget(Cache(requests_of(shard.work)), **msgspec.structs.asdict(limits)).check()
        return Outcome(reused=_run_shard(shard, limits))
    except BudgetError as error:
        return Outcome(reused=False, error=str(error), spent=True)
    except EndpointError as error:
        return Outcome(reused=False, error=str(error), final=isinstance(error, EndpointDownError))


def plan_shard(shard: Shard) -> dict[str, Plan]:
    """What the stages would ask of models about this shard, by stage. Nothing is sent; the stages before them run, and
    a model in this process that asks nobody only has its rollouts counted."""
    recipe = read_recipe(shard.recipe_path)
    clients = make_clients(recipe, shard.recipe_path, shard.work)
    dry = {name: DryClient(client) for name, client in clients.items() if client is not None}
    stages = make_stages(recipe, shard.recipe_path, shard.work, dry)
    own = recipe.reward.scorer == "rewind"
    if own:
        stages = [stage for stage in stages if stage.name != "reward"]
    first = next((place for place, stage in enumerate(stages) if stage.name in dry), len(stages))
    store = Store(shard.work / "files")
    before, _ = _take(shard, recipe, stages[:first], {}, store)
    here = {"reward": Plan(here=count_rollouts(before / "rollouts.jsonl"))} if own else {}
    rollouts: Iterable[Rollout] | None = None
    for stage in stages[first:]:
        if rollouts is None:
            folder = folder_of(shard, stage.name)
            if is_complete(folder, _key(stage, before)) and _files_are_there(folder):
                before = folder  # asked and answered
                continue
            rollouts = read_rollouts(before / "rollouts.jsonl")
        rollouts = [item for item in stage.run(rollouts, store) if isinstance(item, Rollout)]
    return {name: client.plan for name, client in dry.items()} | here


def _run_shard(shard: Shard, limits: Limits) -> bool:
    recipe = read_recipe(shard.recipe_path)
    clients = make_clients(recipe, shard.recipe_path, shard.work, limits)
    stages = make_stages(recipe, shard.recipe_path, shard.work, clients)
    return _take(shard, recipe, stages, clients, Store(shard.work / "files"))[1]


def _take(
    shard: Shard, recipe: Recipe, stages: Sequence[Stage], clients: Mapping[str, CachedClient | None], store: Store
) -> tuple[Path, bool]:
    """Take a shard from its source through `stages`; the last folder, and whether all had been done before."""
    source = source_of(recipe, shard.recipe_path, shard.source)
    key = hash_of("source", msgspec.to_builtins(recipe.sources[shard.source]), _listing(source, shard), _code())
    folder = folder_of(shard, "source")
    reused = is_complete(folder, key) and _files_are_there(folder)
    if not reused:
        _write(folder, key, (item for session in shard.sessions for item in source.read(session, store)))
    for stage in stages:
        before, folder = folder, folder_of(shard, stage.name)
        key = _key(stage, before)
        if is_complete(folder, key) and _files_are_there(folder):
            continue
        reused = False
        _write(folder, key, stage.run(read_rollouts(before / "rollouts.jsonl"), store), stage, clients.get(stage.name))
    return folder, reused


def _key(stage: Stage, before: Path) -> str:
    """What decides a stage's results. The files' hashes are in the records, so the records' hash covers the videos."""
    return hash_of(stage.name, dict(stage.parameters()), sha256_file(before / "rollouts.jsonl"), _code())


def forget_unusable(shards: Iterable[Shard], work: Path) -> int:
    """See that what models could not answer usably is asked anew: drop such answers from the cache, and open the shards
    that hold one. How many shards those are."""
    if requests_of(work).exists():
        Cache(requests_of(work)).forget_unusable()
    opened = set()
    for shard in shards:
        for name in STAGES:
            folder = folder_of(shard, name)
            if _report(folder).get("answers_unusable"):
                (folder / MARK).unlink(missing_ok=True)
                opened.add(shard.number)
    return len(opened)


def _write(
    folder: Path,
    key: str,
    items: Iterable[Rollout | Rejection],
    stage: Stage | None = None,
    client: CachedClient | None = None,
) -> None:
    encode = msgspec.json.Encoder().encode
    with writing(folder, key) as part:
        with (part / "rollouts.jsonl").open("wb") as kept, (part / "rejections.jsonl").open("wb") as rejected:
            for item in items:
                (rejected if isinstance(item, Rejection) else kept).write(encode(item) + b"\n")
        counters = dict(getattr(stage, "report", dict)()) | (dict(client.counters) if client is not None else {})
        if counters:
            (part / "report.json").write_text(json.dumps(counters, sort_keys=True), encoding="utf-8")


def _report(folder: Path) -> dict[str, int]:
    """The counters that a stage left beside its results."""
    try:
        counters: dict[str, int] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return counters


def _files_are_there(folder: Path) -> bool:
    """Someone may have tidied up the work folder: a stage whose files are gone has to run again."""
    return all(
        Path(path).is_file() for rollout in read_rollouts(folder / "rollouts.jsonl") for path in _files_of(rollout)
    )


def _files_of(rollout: Rollout) -> Iterator[str]:
    for video in msgspec.structs.astuple(rollout.videos):
        if video is not None and video.path is not None:
            yield video.path
    if rollout.trajectory is not None:
        yield rollout.trajectory


def read_rollouts(path: Path) -> Iterator[Rollout]:
    """The rollouts that a stage left, one at a time."""
    decode = msgspec.json.Decoder(Rollout).decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)


def rejections_of(shards: Iterable[Shard]) -> Iterator[Rejection]:
    """What the stages rejected, as they said it: not scrubbed yet."""
    decode = msgspec.json.Decoder(Rejection).decode
    for shard in shards:
        for name in STAGES:
            with (folder_of(shard, name) / "rejections.jsonl").open("rb") as file:
                for line in file:
                    yield decode(line)


def curated(shards: list[Shard]) -> Iterator[Rollout]:
    """The rollouts that came through all stages, in the sources' order."""
    for shard in shards:
        yield from read_rollouts(folder_of(shard, STAGES[-1]) / "rollouts.jsonl")


def cut_shards(recipe: Recipe, recipe_path: Path, work: Path, limit: int | None) -> list[Shard]:
    """The sessions of all sources in their order, cut into shards; of each source only the first `limit`.

    Raises SourceError where a source is none, and BadRobotError where there is no session at all.
    """
    shards: list[Shard] = []
    for index in range(len(recipe.sources)):
        sessions = source_of(recipe, recipe_path, index).sessions()[:limit]
        for start in range(0, len(sessions), SESSIONS_PER_SHARD):
            chosen = tuple(sessions[start : start + SESSIONS_PER_SHARD])
            shards.append(Shard(len(shards), index, chosen, recipe_path.resolve(), work.resolve()))
    if not shards:
        raise BadRobotError(f"{recipe_path}: none of the sources holds a session; there is nothing to build")
    return shards


def source_of(recipe: Recipe, recipe_path: Path, index: int) -> Source:
    """The adapter of the recipe's source of that number; its path is relative to the recipe's folder."""
    settings = recipe.sources[index]
    return sources.open_source(settings, recipe_path.resolve().parent / settings.path)


def make_stages(
    recipe: Recipe, recipe_path: Path, work: Path | None, clients: Mapping[str, CachedClient | None] | None = None
) -> list[Stage]:
    """The stages after the source, in order, with `clients` (default: `make_clients`) for those that ask a model.

    Raises BadRobotError where a key, an extra or an endpoint's setting is missing.
    """
    folder = recipe_path.resolve().parent
    if clients is None:
        clients = make_clients(recipe, recipe_path, work)
    stages: list[Stage] = [
        Screen(recipe.screen),
        License(recipe.license, recipe.sources),
        Scrub(recipe.scrub, folder),
        Distill(recipe.distill, clients.get("distill")),
        Reward(recipe.reward, clients.get("reward"), folder),
    ]
    return stages


def make_clients(
    recipe: Recipe, recipe_path: Path, work: Path | None, limits: Limits | None = None
) -> dict[str, CachedClient | None]:
    """The model of each stage that can have one, by the stage's name. Without `work` answers are not cached, and
    nothing is written. Raises BadRobotError as the clients do."""
    cache = None if work is None else Cache(requests_of(work))
    folder = recipe_path.resolve().parent
    asking: dict[str, DistillSettings | RewardSettings] = {"distill": recipe.distill, "reward": recipe.reward}
    return {name: open_client(own.endpoint, own.model, folder, cache, limits) for name, own in asking.items()}


def requests_of(work: Path) -> Path:
    """The file with the answers of models, and the account of what they cost."""
    return work / "requests.sqlite"


def folder_of(shard: Shard, stage: str) -> Path:
    """Where a stage leaves what it made of a shard."""
    # The hash keeps the results of another --limit or of a source that has grown apart: same number, other sessions.
    digest = hash_of(shard.source, shard.sessions)[:12]
    return shard.work / stage / f"{shard.number:05d}-{digest}"


def _listing(source: Source, shard: Shard) -> list[tuple[str, int, int]]:
    """(path, size, time of change) of the sessions' files: raw videos are too large to hash for every start."""
    listing = []
    for session in shard.sessions:
        for path in sorted(source.files(session)):
            status = path.lstat()  # a link counts as itself: sources refuse those that lead out
            listing.append((str(path), status.st_size, status.st_mtime_ns))
    return listing


def count_rollouts(path: Path) -> int:
    """How many rollouts a stage left."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def hash_of(*parts: Any) -> str:
    """SHA-256 of the parts as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=msgspec.to_builtins)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()  # a file's name need not be UTF-8


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
