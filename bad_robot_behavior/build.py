"""The chain: a recipe's stages, run shard by shard, then joined and packaged. The only place that knows every room.

    source -> screen -> license -> scrub -> distill -> reward    per shard of sessions, in any order, on any worker
    duplicates -> split -> package                               once, over all shards, in the sources' order

`shards` runs the first line. Killed anywhere and started again, a build goes on where it was and ends with the same
bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
from tqdm import tqdm

from bad_robot_behavior.benchmark.quality import Samples
from bad_robot_behavior.builder.card import took_sentence
from bad_robot_behavior.builder.folder import check_target
from bad_robot_behavior.builder.package import reject_pair, write_release
from bad_robot_behavior.builder.paperwork import public_recipe
from bad_robot_behavior.curation.license import verdicts
from bad_robot_behavior.curation.screen import DUPLICATE, Duplicates
from bad_robot_behavior.curation.scrub import scrub_text
from bad_robot_behavior.curation.scrub.names import Names
from bad_robot_behavior.curation.scrub.walk import walk
from bad_robot_behavior.curation.split import Splitter, read_test_ids, split_item
from bad_robot_behavior.engine import run_local
from bad_robot_behavior.errors import BadRobotError, BudgetError, EndpointError, RecipeError, naming_disk
from bad_robot_behavior.schema import (
    Asked,
    LicenseVerdict,
    ModelUse,
    Recipe,
    Rejection,
    ReleaseManifest,
    Rollout,
    SplitName,
    all_rules,
    read_recipe,
    reject,
)
from bad_robot_behavior.shards import (
    STAGES,
    Shard,
    count_rollouts,
    curated,
    cut_shards,
    folder_of,
    forget_unusable,
    hash_of,
    make_stages,
    read_rollouts,
    rejections_of,
    requests_of,
    run_shard,
)
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.choose import Limits

MAX_FAILED_SHARDS = 3
"""After so many shards that no endpoint answered for, it is taken to be down and the build stops."""

_WORK = (*STAGES, "files", "requests.sqlite", ".lock")


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
    limits: Limits | None = None,
    ask_again: bool = False,
) -> Report:
    """Build the release that a recipe describes.

    `work` is the folder for intermediate results (default: `<out>.work`); it holds raw text and must not be published.
    `part` (k, n) runs the shards k, k + n, k + 2 n, ... (k from 0) and stops before the join. `limit` takes only the
    first sessions of each source. `limits` stop the build before more is asked of endpoints, over all runs with this
    work folder. `ask_again` asks models anew what they could not answer usably before. Raises BadRobotError; a bad
    rollout is a rejection in the release instead.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow a link that the user chose to have
    check_target(out)
    work = out.with_name(out.name + ".work") if work is None else Path(os.path.abspath(work))  # noqa: PTH100
    recipe = check_recipe(recipe_path)
    with workplace(work, out, shared=part is not None):
        shards = cut_shards(recipe, recipe_path, work, limit)
        mine = [shard for shard in shards if part is None or shard.number % part[1] == part[0]]
        if requests_of(work).exists():
            Budget(Cache(requests_of(work))).open()
        if ask_again:
            forget_unusable(mine, work)
        reused = _curate(mine, workers, limits or Limits())
        manifest = None if part is not None else _join(recipe, shards, out, _earlier_test(recipe, recipe_path))
    rejections = Counter(r.code for r in rejections_of(mine))
    if manifest is not None:  # with those that only the join can tell
        rejections = Counter(manifest.counts.rejections_by_code)
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


def check_recipe(path: Path) -> Recipe:
    """The recipe, once all that it names is there: sources, keys, extras, an earlier release. Raises BadRobotError."""
    recipe = read_recipe(path)
    unknown = sorted(recipe.expected_rejections.keys() - {rule.id for rule in all_rules()})
    if unknown:
        raise RecipeError(f"{path}: expected_rejections names no rule: {', '.join(unknown)}; docs/rules.md lists them")
    _earlier_test(recipe, path)
    make_stages(recipe, path, work=None)
    cut_shards(recipe, path, work=Path(), limit=1)
    return recipe


@contextlib.contextmanager
def workplace(work: Path, out: Path, *, shared: bool) -> Iterator[None]:
    """The work folder, locked: for this build alone, or (`shared`) for builds of parts side by side."""
    if work == out or out in work.parents or work in out.parents:
        raise BadRobotError(f"--work {work} and the release {out} may not lie in each other; give folders side by side")
    if work.exists() and not work.is_dir():
        raise BadRobotError(f"--work {work}: is no folder; give the path of a new one")
    strange = sorted(path.name for path in work.glob("*") if not path.name.startswith(_WORK))
    if strange:
        raise BadRobotError(f"--work {work}: holds {strange[0]}, so it is no work folder; give the path of a new one")
    work.mkdir(parents=True, exist_ok=True, mode=0o700)  # raw text and raw names: for nobody else on this machine
    with naming_disk(work), (work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadRobotError(f"{work}: another build is using it now; wait for it to end") from error
        yield


def _curate(shards: list[Shard], workers: int, limits: Limits) -> int:
    """Run the shards; how many of them had been done before.

    Raises EndpointError where an endpoint failed: after all other shards, at once after MAX_FAILED_SHARDS or where
    nobody is there; and BudgetError where the limits were reached, once what was under way is done.
    """
    reused = 0
    failed: list[str] = []
    spent: list[str] = []
    with tqdm(total=len(shards), unit="shard", desc="curate", disable=None) as progress:
        for _, outcome in run_local(functools.partial(run_shard, limits=limits), shards, workers):
            reused += outcome.reused
            if outcome.error is not None:
                (spent if outcome.spent else failed).append(outcome.error)
            if outcome.final or len(failed) >= MAX_FAILED_SHARDS:
                break
            progress.update()
    if failed:
        raise EndpointError(
            f"{len(failed)} of {len(shards)} shards could not be finished: {failed[0]}. What was done is kept: "
            "run the same command again once the endpoint answers"
        )
    if spent:
        raise BudgetError(
            f"{spent[0]}. {len(shards) - len(spent)} of {len(shards)} shards are done, and what was answered is kept: "
            "run the same command with a higher limit to go on; with --dry-run it says what is left to ask"
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
    lost = counts.rollouts_rejected
    if others := sum(report.rejections_by_code.values()) - lost:
        lines.append(f"rejected: {lost} rollouts in all, and {others} sessions, preferences or parts of rollouts")
    lines.append(
        f"rollouts: {counts.rollouts_read} read = {counts.rollouts_packaged} packaged "
        f"+ {counts.rollouts_rejected} rejected"
    )
    lines += [
        f"{use.stage}: the release rests on {took_sentence(use.took)}"
        for use in report.manifest.models
        if use.took is not None
    ]
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


class _Raw(msgspec.Struct, frozen=True):
    """What only the raw records tell of a source: who must not be named, which sessions were read, what is lost."""

    people: frozenset[str]
    sessions: frozenset[str]
    lost_preferences: tuple[Rejection, ...]


def _survey_raw(shards: list[Shard], left: Collection[str]) -> _Raw:
    """One pass over the records as the sources gave them. `left`: sessions of which a rollout is left; the preferences
    of the others would otherwise vanish with their rollouts, those of these are packaging's to see to."""
    people: set[str | None] = set()
    sessions: set[str] = set()
    lost: list[Rejection] = []
    for shard in shards:
        raw = read_rollouts(folder_of(shard, "source") / "rollouts.jsonl")
        for _, members in itertools.groupby(raw, key=lambda rollout: rollout.session_id):
            rollouts = list(members)
            first = rollouts[0]
            sessions.add(first.session_id)
            people |= {rollout.evaluator for rollout in rollouts} | {p.evaluator for p in first.session.preferences}
            if first.session_id not in left:
                lost += [
                    reject_pair(preference, first, "both of its rollouts were rejected")
                    for preference in first.session.preferences
                ]
    return _Raw(frozenset(name for name in people if name), frozenset(sessions), tuple(lost))


def _publishable(
    rejections: Iterable[Rejection], recipe: Recipe, raw: _Raw, names: Names | None
) -> Iterator[Rejection]:
    """Rejections without personal data: most of what is rejected never came as far as the scrub stage.

    A lab names its folders as it likes. Where the session could not be read, nobody knows whose names to look for, and
    its id stands for its folder; the work folder's rejections.jsonl has both.
    """
    labs = {source.name for source in recipe.sources if source.kind == "folder"}
    for rejection in rejections:
        unread = rejection.source in labs and rejection.session_id not in raw.sessions
        ref = f"session {rejection.session_id}" if unread else scrub_text(rejection.source_ref, raw.people, names)
        yield msgspec.structs.replace(rejection, source_ref=ref, detail=scrub_text(rejection.detail, raw.people, names))


def _join(recipe: Recipe, shards: list[Shard], out: Path, earlier_test: frozenset[str]) -> ReleaseManifest:
    """What needs all rollouts at once: duplicates, splits, packaging. Reads the records twice, holds none."""
    samples = Samples()
    splitter, duplicates, licenses = _survey(recipe, shards, samples)
    splits = splitter.assign(recipe.split, earlier_test)
    raw = _survey_raw(shards, splitter.sessions)
    del splitter  # what follows needs the rollouts' ids alone, which `splits` has
    names = None if recipe.scrub.names.detector == "none" else Names()
    # As in the scrub stage: an attribution keeps its names. The recipe is the maintainer's own text, and only names
    # that the sources are known to hold are taken out of it.
    public = walk(recipe, lambda text, field: scrub_text(text, () if field == "attribution" else raw.people))
    recipe_sha256 = hash_of("recipe", public_recipe(public))
    read = sum(count_rollouts(folder_of(shard, "source") / "rollouts.jsonl") for shard in shards) + sum(
        r.subject == "rollout" and r.stage == "source" for r in rejections_of(shards)
    )
    rejections = itertools.chain(rejections_of(shards), duplicates, raw.lost_preferences)
    return write_release(
        out,
        recipe=public,
        recipe_sha256=recipe_sha256,
        rollouts=tqdm(
            _finished(shards, splits, recipe, recipe_sha256),
            total=len(splits),
            unit="rollout",
            desc="package",
            disable=None,
        ),
        rejections=_publishable(rejections, recipe, raw, names),
        rollouts_read=read,
        licenses=licenses,
        models=_models(recipe, shards),
        earlier_test=earlier_test,
        quality=samples.quality(recipe.reward.selection),
    )


def _survey(
    recipe: Recipe, shards: list[Shard], samples: Samples
) -> tuple[Splitter, list[Rejection], tuple[LicenseVerdict, ...]]:
    seen = Duplicates()
    splitter = Splitter()
    rejections: list[Rejection] = []
    licensed: dict[tuple[str | None, ...], Rollout] = {}
    for rollout in curated(shards):
        original = seen.seen(rollout)
        if original is not None:
            rejections.append(reject(rollout, "screen", DUPLICATE, f"the same frames as rollout {original}"))
            continue
        splitter.add(split_item(rollout))
        samples.add(rollout.samples, rollout.session.preferences)
        terms = (rollout.source, rollout.license, rollout.license_evidence, rollout.attribution)
        licensed.setdefault(terms, rollout)
    return splitter, rejections, verdicts(licensed.values(), recipe.license, recipe.sources)


def _finished(
    shards: list[Shard], splits: dict[str, SplitName], recipe: Recipe, recipe_sha256: str
) -> Iterator[Rollout]:
    for rollout in curated(shards):
        if rollout.rollout_id in splits:
            yield msgspec.structs.replace(
                rollout,
                split=splits[rollout.rollout_id],
                asked=tuple(msgspec.structs.replace(one, cost=_cost(recipe, one)) for one in rollout.asked),
                provenance=msgspec.structs.replace(rollout.provenance, recipe_sha256=recipe_sha256),
            )


def _cost(recipe: Recipe, asked: Asked) -> float | None:
    """By the recipe's prices. No stage's result hangs on them, so a price can be changed without asking again."""
    endpoint = (recipe.distill if asked.stage == "distill" else recipe.reward).endpoint
    if endpoint is None or asked.prompt_tokens is None or asked.completion_tokens is None:
        return None
    cost = endpoint.cost(asked.prompt_tokens, asked.completion_tokens)
    return None if cost is None else round(cost, 9)


def _models(recipe: Recipe, shards: list[Shard]) -> list[ModelUse]:
    used: list[ModelUse] = []
    for stage in make_stages(recipe, shards[0].recipe_path, work=None):
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
            path = folder_of(shard, name) / "report.json"
            if path.is_file():
                total.update(json.loads(path.read_text(encoding="utf-8")))
        if total:
            totals[name] = dict(sorted(total.items()))
    return totals


def _earlier_test(recipe: Recipe, recipe_path: Path) -> frozenset[str]:
    if recipe.split.keep_test is None:
        return frozenset()
    return read_test_ids(recipe_path.resolve().parent / recipe.split.keep_test)
