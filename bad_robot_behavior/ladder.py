"""The ladder of in-context failures over one split of a release: the library side of `bad-robot ladder`.

Every rollout is decoded and encoded once and judged once in every arm, all arms in the same orders of its frames. The
answers lie in a cache beside the results, so that a run that is stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from bad_robot_behavior.benchmark import predictions
from bad_robot_behavior.benchmark.arms import ARMS, NO_EXAMPLE, Arm, Demo, Plan, make_plan, shuffled
from bad_robot_behavior.benchmark.ladder import BASE, LadderResults, compare, table
from bad_robot_behavior.benchmark.report import to_json
from bad_robot_behavior.builder.loader import LoadedRollout, Release, load
from bad_robot_behavior.errors import BadRobotError, BudgetError, naming_disk
from bad_robot_behavior.schema import EndpointSettings, ModelSettings, Prediction, SplitName
from bad_robot_behavior.scorers.gvl import GVL, EncodedClip, Example
from bad_robot_behavior.scorers.run import stated_parameters, to_prediction, view
from bad_robot_behavior.scorers.scorer import Clip, Curve
from bad_robot_behavior.vlm.budget import Budget
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.cached import CachedClient
from bad_robot_behavior.vlm.choose import DryClient, Limits, open_client
from bad_robot_behavior.vlm.choose import Plan as Cost
from bad_robot_behavior.vlm.client import Client, Image

AGAIN = "none_again"
PLACE = ("base_url", "model", "local_model", "api_key_env", "concurrency", "prompt_price", "completion_price")
"""What says which model is asked, and where."""
_AT_ONCE = 8  # rollouts whose encoded frames are held, and whose questions in all arms are asked together


def ladder(
    release: Path,
    out: Path,
    client: Client,
    *,
    split: SplitName = "test",
    arms: Sequence[str] = tuple(ARMS),
    examples: int = 1,
    frames: int = 8,
    num_frames: int = 30,
    image_size: int = 320,
    temperature: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
    draws: int = 1000,
) -> LadderResults:
    """Judge the rollouts of a split in every arm, and write the results to the folder `out`.

    Written: plan.json (who is shown what), a predictions file an arm, ladder.json and ladder.txt. examples, frames: how
    many demonstrations a prompt holds and how many frames of each; num_frames to seed as in GVL, the seed also draws
    the demonstrations; limit: only the first rollouts. `none` is always run. Raises ReleaseError as `make_plan`,
    EndpointError where the endpoint does not answer, BudgetError where it may be asked no more, DiskFullError where no
    room is left, BadRobotError for an arm that there is not.
    """
    whole = load(release)
    plan = make_plan(whole, split, read_arms(arms), examples=examples, frames=frames, seed=seed)
    options: dict[str, Any] = {"num_frames": num_frames, "image_size": image_size, "temperature": temperature}
    return run_plan(whole, plan, arms, out, client, seed=seed, limit=limit, draws=draws, **options)


def dry_run(
    release: Path,
    client: CachedClient,
    *,
    split: SplitName = "test",
    arms: Sequence[str] = tuple(ARMS),
    examples: int = 1,
    frames: int = 8,
    seed: int = 0,
    limit: int | None = None,
    **options: Any,
) -> Cost:
    """What `ladder` with the same arguments would ask of the model, by an estimate. Sends and writes nothing."""
    whole = load(release)
    chosen = read_arms(arms)
    plan = make_plan(whole, split, chosen, examples=examples, frames=frames, seed=seed)
    dry = DryClient(client)
    Judge(whole, plan, chosen, dry, seed=seed, **options).run(islice(load(release, split=split), limit))
    return dry.plan


def run_plan(
    release: Release,
    plan: Plan,
    arms: Iterable[str],
    out: Path,
    client: Client,
    *,
    seed: int = 0,
    limit: int | None = None,
    draws: int = 1000,
    **options: Any,
) -> LadderResults:
    """`ladder` with a plan of one's own; `options` go to GVL."""
    with naming_disk(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / "plan.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")
    judge = Judge(release, plan, read_arms(arms), client, seed=seed, **options)
    read = {}
    try:
        judged = judge.run(islice(load(release.path, split=plan.split), limit))
    except BudgetError as error:
        raise BudgetError(
            f"{error}. What was answered is kept in {out}: run the same command with a higher limit to go on; with "
            "--dry-run it says what is left to ask"
        ) from error
    for name, rows in judged.items():
        path = out / f"{name}.parquet"
        predictions.write(path, rows, predictions.describe(release))
        read[name] = predictions.read(path)
    results = compare(release, plan, read, draws=draws, seed=seed)
    with naming_disk(out):
        (out / "ladder.json").write_text(to_json(results) + "\n", encoding="utf-8")
        (out / "ladder.txt").write_text(table(results) + "\n", encoding="utf-8")
    return results


def open_model(out: Path, limits: Limits, *, ask_again: bool = False, **place: Any) -> CachedClient:
    """The model that `place` (PLACE) names, over a cache in `out`. ask_again: what it could not answer usably before is
    asked anew. Raises EndpointError where a setting is missing."""
    local = place.pop("local_model", None)
    cache = Cache(out / "requests.sqlite")
    if cache.path.exists():
        Budget(cache).open()
        if ask_again:
            cache.forget_unusable()
    if local is not None:
        model: CachedClient | None = open_client(None, ModelSettings(kind="transformers", path=local), Path(), cache)
    else:
        given = {name: value for name, value in place.items() if value is not None}
        model = open_client(EndpointSettings(**given), None, Path(), cache, limits)
    assert model is not None  # noqa: S101 - one of the two was asked for
    return model


def read_arms(names: Iterable[str]) -> list[Arm]:
    """The arms by name, in the order of `ARMS`, `none` always among them. Raises BadRobotError for an unknown name."""
    wanted = {BASE, *names}
    unknown = sorted(wanted - ARMS.keys())
    if unknown:
        raise BadRobotError(f"there is no arm {unknown[0]!r}; legal: {', '.join(ARMS)}")
    return [arm for arm in ARMS.values() if arm.name in wanted]


class Judge:
    """Asks one model about rollouts in every arm of a plan."""

    def __init__(
        self, release: Release, plan: Plan, arms: Sequence[Arm], client: Client, *, seed: int = 0, **options: Any
    ) -> None:
        self.release = release
        self.plan = plan
        self.arms = arms
        # `again` asks the same in other orders of the frames: what differs between the two is noise.
        self.scorer = GVL(client, seed=seed, **options)
        self.again = GVL(client, seed=seed + 1, **options)
        self._examples: dict[tuple[str, str], Example] = {}
        self._pictures: dict[str, tuple[Image, ...]] = {}

    def run(self, rollouts: Iterable[LoadedRollout]) -> dict[str, list[Prediction]]:
        """A prediction for each arm and rollout. Raises EndpointError where the endpoint does not answer."""
        parameters = {arm.name: self.parameters(arm) for arm in self.arms}
        found: dict[str, list[Prediction]] = {name: [] for name in parameters}
        with tqdm(desc="ladder", unit="rollout", disable=None) as bar:
            stream = iter(rollouts)
            while batch := list(islice(stream, _AT_ONCE)):
                views = [view(rollout, self.scorer) for rollout in batch]
                clips = [self.scorer.encode(shown) if isinstance(shown, Clip) else None for shown in views]
                curves = self._ask(batch, clips)
                for rollout, shown in zip(batch, views, strict=True):
                    for name, stated in parameters.items():
                        curve = curves.get((name, rollout["rollout_id"]))
                        found[name].append(to_prediction(rollout, shown, curve, self.scorer.client.model, stated))
                bar.update(len(batch))
        return found

    def parameters(self, arm: Arm) -> dict[str, Any]:
        """What a prediction keeps of the arm that it was made in."""
        scorer = self.again if arm.name == AGAIN else self.scorer
        stated = stated_parameters(scorer)
        example = {"arm": msgspec.to_builtins(arm), "examples": self.plan.examples, "frames": self.plan.frames}
        digest = hashlib.sha256(msgspec.json.encode(self.plan, order="deterministic")).hexdigest()
        return {**stated, "scorer": f"{stated['scorer']} {arm.name}", **example, "plan_sha256": digest}

    def _ask(self, batch: Sequence[LoadedRollout], clips: Sequence[EncodedClip | None]) -> dict[tuple[str, str], Curve]:
        """Curves by arm and rollout; all that one scorer is asked goes out together."""
        curves: dict[tuple[str, str], Curve] = {}
        for scorer, arms in (
            (self.scorer, [arm for arm in self.arms if arm.name != AGAIN]),
            (self.again, [arm for arm in self.arms if arm.name == AGAIN]),
        ):
            keys: list[tuple[str, str]] = []
            asked: list[EncodedClip] = []
            for (rollout, clip), arm in ((pair, arm) for pair in zip(batch, clips, strict=True) for arm in arms):
                if clip is None:
                    continue
                key = (arm.name, rollout["rollout_id"])
                examples = self._shown(arm, rollout["session_id"])
                if examples is None:
                    curves[key] = Curve(value=None, error=NO_EXAMPLE)
                else:
                    keys.append(key)
                    asked.append(msgspec.structs.replace(clip, examples=examples))
            answered = scorer.sample_encoded(asked, 1) if asked else []
            curves |= {key: samples[0] for key, samples in zip(keys, answered, strict=True)}
        return curves

    def _shown(self, arm: Arm, session: str) -> tuple[Example, ...] | None:
        """The examples of a session in an arm; none for an arm without, None where nothing is left to show."""
        if arm.pool is None:
            return ()
        names = self.plan.shown[arm.pool].get(session)
        demos = self.plan.demos[arm.pool]
        return None if names is None else tuple(self._example(arm, demos[name]) for name in names)

    def _example(self, arm: Arm, demo: Demo) -> Example:
        """Made once for each arm and demonstration; its pictures once for all arms."""
        key = (arm.name, demo.rollout_id)
        if key not in self._examples:
            self._examples[key] = self._make(arm, demo)
        return self._examples[key]

    def _make(self, arm: Arm, demo: Demo) -> Example:
        if not arm.frames and not arm.values:
            return Example(text=demo.text)
        value = shuffled(demo.value, self.plan.seed, demo.rollout_id) if arm.shuffled else demo.value
        if arm.frames and demo.rollout_id not in self._pictures:
            frames = self.release[demo.rollout_id].frames(demo.role, index=demo.frame_index)
            self._pictures[demo.rollout_id] = self.scorer.pictures(frames)
        return Example(
            instruction=demo.instruction,
            text=demo.text,
            pictures=self._pictures[demo.rollout_id] if arm.frames else (),
            value=value if arm.values else None,
        )
