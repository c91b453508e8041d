"""Stage `reward`: preference-guided self-distillation (arXiv 2606.01036).

A vision-language model is asked m times how each rollout of an A/B pair progressed, or a small reward model in this
process is sampled as often (`Sampler`). Samples of one are compared with
samples of the other (`selection`), and of those that order the pair as the human did, those with the largest margin are
kept. Where none agrees there is no reward, and the rollout says so (`no_match`); nothing is put in its place. All
samples are stored beside the rollout, each with the reason why it was kept or not.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.curation.selection import (
    Selected,
    Value,
    paired_margins,
    sample_return,
    select,
    usable_pairs,
    verdict,
)
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import (
    ROLES,
    Asked,
    Preference,
    Rejection,
    RewardCurve,
    RewardSample,
    RewardSettings,
    Role,
    Rollout,
    Video,
    reject,
    rule,
    stable_id,
)
from bad_robot_behavior.scorers.gvl import GVL
from bad_robot_behavior.scorers.scorer import Clip, Curve, Sampler, moments
from bad_robot_behavior.vlm.answers import without_server_words
from bad_robot_behavior.vlm.client import Client, Usage, all_usage

NO_READABLE_SAMPLE = rule(
    "reward.no_readable_sample",
    "Where a model judges a rollout, at least one of the samples asked of it can be read, at the latest on repair.",
    cure="Take a model that reads pictures and keeps to a JSON schema, and build again. `--ask-again` asks the "
    "same model once more.",
)

_ROLLOUTS_AT_ONCE = 32  # a shard: as many requests as an endpoint is usually let to work on at a time

Shown = tuple[Role, tuple[int, ...], Any]
"""The view, the indices of its frames, and the clip as the sampler encodes it."""


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """The m samples of one rollout. values[k] is (N,) in [0, 1] at `frame_index`, None where it was not readable for
    the reason errors[k]; returns[k] is its mean. usage: what asking took, None where nobody was asked."""

    role: Role
    frame_index: tuple[int, ...]
    values: tuple[Value | None, ...]
    errors: tuple[str | None, ...]
    returns: tuple[float | None, ...]
    usage: Usage | None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What its pair came to for one rollout. kept and margin are None for no_match; margins: (m,)."""

    pair: Preference
    preferred: bool
    kept: int | None
    margin: float | None
    margins: tuple[float | None, ...]


class Reward:
    """Reward curves by self-distillation. Without anything to sample, rollouts pass through as they are.

    client: the model that GVL asks. `settings.checkpoint`, for ReWiND, is relative to `folder`.

    Each rollout gets its m `samples`, and one entry more in `rewards`. Only a kept sample (`self_distilled`, agreement
    `match`) becomes the rollout's `reward`, and only where none was chosen before, such as a simulator's true one.
    Otherwise the entry is the mean of the samples that could be read (`sampled`), with agreement `no_match`, or
    `not_usable` where the rollout stands in no usable pair (`usable_pairs`), or in one with no two samples to compare
    since a side could not be read. A rollout in several is judged by the
    first in the session's order. Where no sample could be read, there is no entry, `report()` counts it, and a
    rejection of subject `reward_curve` follows.

    Raises EndpointError where the endpoint does not answer, and MediaError for a video that does not decode: the screen
    stage has let pass only those that do.
    """

    name: ClassVar[str] = "reward"

    def __init__(self, settings: RewardSettings, client: Client | None = None, folder: Path = Path()) -> None:
        self.settings = settings
        self.sampler = open_sampler(settings, client, folder)
        self._counters: Counter[str] = Counter()

    def parameters(self) -> Mapping[str, Any]:
        if self.sampler is None:
            return {}
        chosen = {"samples": self.settings.samples, "selection": self.settings.selection, "roles": list(ROLES)}
        return {**self.sampler.parameters(), **chosen}

    def report(self) -> dict[str, int]:
        """Counters over all that this stage has read. samples_agreeing of samples_compared is the rate before any
        selection; pairs_match of pairs_usable the rate after it."""
        return dict(sorted(self._counters.items()))

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        if self.sampler is None:
            yield from rollouts
            return
        with ThreadPoolExecutor(1) as aside:
            # While the model is asked about one batch, the frames of the next are decoded.
            waiting: tuple[list[list[Rollout]], Future[list[Shown]]] | None = None
            for batch in _batches(rollouts):
                following = batch, aside.submit(_show_all, batch, self.sampler)
                if waiting is not None:
                    yield from self._judge(self.sampler, *waiting)
                waiting = following
            if waiting is not None:
                yield from self._judge(self.sampler, *waiting)

    def _judge(
        self, scorer: Sampler, sessions: list[list[Rollout]], decoded: Future[list[Shown]]
    ) -> Iterator[Rollout | Rejection]:
        rollouts = [rollout for session in sessions for rollout in session]
        shown = decoded.result()
        curves = scorer.sample_encoded([clip for _, _, clip in shown], self.settings.samples)
        drawn: dict[str, Drawn] = {}
        for rollout, (role, index, _), found in zip(rollouts, shown, curves, strict=True):
            self._count(found)
            drawn[rollout.rollout_id] = _drawn(role, index, found)
        for session in sessions:
            pairs = usable_pairs(session)
            selected = {pair.pair_id: self._select(pair, drawn) for pair in dict.fromkeys(pairs.values())}
            for rollout in session:
                pair = pairs.get(rollout.rollout_id)
                judged = None if pair is None else _judged(rollout, pair, selected[pair.pair_id])
                mine = drawn[rollout.rollout_id]
                yield self._with(scorer, rollout, mine, judged)
                if not any(value is not None for value in mine.values):
                    yield reject(rollout, "reward", NO_READABLE_SAMPLE, _why(mine.errors), subject="reward_curve")

    def _select(self, pair: Preference, drawn: Mapping[str, Drawn]) -> Selected:
        a, b = drawn[pair.rollout_a].returns, drawn[pair.rollout_b].returns
        selected = select(pair, a, b, self.settings.selection)
        margins = [margin for margin in paired_margins(pair, a, b) if margin is not None]
        self._counters["pairs_usable"] += 1
        compared = any(margin is not None for margin in selected.margins_a)
        result = "match" if selected.margin is not None else "no_match" if compared else "unread"
        self._counters[f"pairs_{result}"] += 1
        self._counters["samples_compared"] += len(margins)
        self._counters["samples_agreeing"] += sum(margin > 0 for margin in margins)
        return selected

    def _with(self, scorer: Sampler, rollout: Rollout, drawn: Drawn, judged: Judged | None) -> Rollout:
        readable = [value for value in drawn.values if value is not None]
        agreement: Literal["match", "no_match", "not_usable"]
        if judged is not None and judged.kept is not None:
            chosen, agreement = drawn.values[judged.kept], "match"
        else:
            chosen = np.mean(readable, axis=0) if readable else None
            compared = judged is not None and any(margin is not None for margin in judged.margins)
            agreement = "no_match" if compared else "not_usable"
        self._counters[f"rollouts_{agreement}"] += 1
        asked = rollout.asked
        if drawn.usage is not None:
            asked += (Asked(stage="reward", model=scorer.model, **msgspec.structs.asdict(drawn.usage)),)
        samples = tuple(_samples(scorer, rollout, drawn, judged))
        rollout = msgspec.structs.replace(rollout, samples=samples, asked=asked)
        if chosen is None:
            self._counters["rollouts_without_curve"] += 1
            return rollout
        value = _rounded(chosen)
        curve = RewardCurve(
            name=scorer.name,
            kind=scorer.kind,
            scorer=scorer.name,
            model=scorer.model,
            role=drawn.role,
            frame_index=drawn.frame_index,
            value=value,
            provenance="self_distilled" if agreement == "match" else "sampled",
            samples=self.settings.samples,
            kept_sample=None if judged is None else judged.kept,
            margin=None if judged is None else judged.margin,
            agreement=agreement,
            preferred=None if judged is None else judged.preferred,
        )
        rewards = (*rollout.rewards, curve)
        if agreement != "match" or rollout.reward is not None:
            return msgspec.structs.replace(rollout, rewards=rewards)
        return msgspec.structs.replace(rollout, rewards=rewards, reward=value, reward_frame_index=drawn.frame_index)

    def _count(self, curves: Sequence[Curve]) -> None:
        self._counters["samples_drawn"] += len(curves)
        self._counters["samples_unreadable"] += sum(curve.value is None for curve in curves)


def open_sampler(settings: RewardSettings, client: Client | None, folder: Path) -> Sampler | None:
    """What the settings want to be sampled; None where that is GVL and there is no client for it to ask.

    Raises MissingExtraError and BadRobotError as ReWiND does for its checkpoint, relative to `folder`.
    """
    if settings.scorer == "rewind":
        from bad_robot_behavior.scorers.rewind.scorer import ReWiND

        checkpoint = None if settings.checkpoint is None else folder / settings.checkpoint
        return ReWiND(checkpoint, num_frames=settings.num_frames, seed=settings.seed)
    if client is None:
        return None
    return GVL(
        client,
        num_frames=settings.num_frames,
        image_size=settings.image_size,
        temperature=settings.temperature,
        seed=settings.seed,
        prompt=settings.prompt,
        cameras=settings.cameras,
        orders=settings.orders,
    )


def _drawn(role: Role, index: tuple[int, ...], curves: Sequence[Curve]) -> Drawn:
    usages = [curve.usage for curve in curves if curve.usage is not None]
    return Drawn(
        role=role,
        frame_index=index,
        values=tuple(curve.value for curve in curves),
        errors=tuple(
            without_server_words(curve.error or "no answer") if curve.value is None else None for curve in curves
        ),
        returns=tuple(sample_return(curve.value) for curve in curves),
        usage=all_usage(usages) if usages else None,
    )


def _judged(rollout: Rollout, pair: Preference, selected: Selected) -> Judged:
    is_a = rollout.rollout_id == pair.rollout_a
    return Judged(
        pair=pair,
        preferred=is_a == (pair.preference == "a"),
        kept=selected.kept_a if is_a else selected.kept_b,
        margin=selected.margin,
        margins=selected.margins_a if is_a else selected.margins_b,
    )


def _samples(scorer: Sampler, rollout: Rollout, drawn: Drawn, judged: Judged | None) -> Iterator[RewardSample]:
    """All that was drawn, kept or not, each with the reason."""
    for k, (value, error, mean) in enumerate(zip(drawn.values, drawn.errors, drawn.returns, strict=True)):
        margin = None if judged is None else judged.margins[k]
        kept = judged is not None and judged.kept == k
        yield RewardSample(
            sample_id=stable_id("reward_sample", rollout.rollout_id, scorer.name, str(k)),
            rollout_id=rollout.rollout_id,
            session_id=rollout.session_id,
            task_category=rollout.task_category,
            scorer=scorer.name,
            model=scorer.model,
            sample=k,
            role=drawn.role,
            frame_index=None if value is None else drawn.frame_index,
            value=None if value is None else _rounded(value),
            mean=mean,
            error=error,
            pair_id=None if judged is None else judged.pair.pair_id,
            preferred=None if judged is None else judged.preferred,
            margin=margin,
            verdict=verdict(mean, margin, kept=kept, usable=judged is not None),
        )


def _rounded(value: Value) -> tuple[float, ...]:
    return tuple(round(float(number), 6) for number in value)


def _why(errors: Sequence[str | None]) -> str:
    """Why no curve of a rollout could be read: the commonest reason, the earliest of equals."""
    reason, count = Counter(errors).most_common(1)[0]
    return f"{count} of {len(errors)} samples: {reason}"


def _batches(rollouts: Iterable[Rollout]) -> Iterator[list[list[Rollout]]]:
    """Whole sessions, of _ROLLOUTS_AT_ONCE rollouts and more together."""
    batch: list[list[Rollout]] = []
    for _, group in itertools.groupby(rollouts, key=lambda rollout: rollout.session_id):
        batch.append(list(group))
        if sum(map(len, batch)) >= _ROLLOUTS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _show_all(sessions: list[list[Rollout]], scorer: Sampler) -> list[Shown]:
    return [show(rollout, scorer) for session in sessions for rollout in session]


def show(rollout: Rollout, scorer: Sampler) -> Shown:
    """The view that is judged, the indices of its sampled frames, and these as they are sent, with the same moments of
    the other cameras where the scorer looks at all. Decoded once."""
    role, video = view(rollout)
    index = media.sample_index(video.num_frames, scorer.num_frames)
    seen = {role: (video, index)}
    if scorer.cameras == "all":
        for other in ROLES:
            further: Video | None = getattr(rollout.videos, other)
            if other != role and further is not None:
                seen[other] = further, moments(further.num_frames, len(index))
    shown = [_decode(rollout, camera, *place) for camera, place in seen.items()]
    clip = Clip(
        rollout_id=rollout.rollout_id,
        instruction=rollout.instruction,
        frames=shown[0],
        frame_index=index,
        num_frames=video.num_frames,
        fps=video.fps,
        others=tuple(shown[1:]),
    )
    return role, tuple(int(i) for i in index), scorer.encode(clip)


def _decode(rollout: Rollout, role: Role, video: Video, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    if video.path is None:
        raise MediaError(rollout.rollout_id, "open", f"the video of {role} has no file")
    return media.sample(video.path, index)


def view(rollout: Rollout) -> tuple[Role, Video]:
    """The first view of ROLES that the rollout has: a wrist view alone is the last resort.

    Raises ValueError for a rollout without any."""
    for role in ROLES:
        video: Video | None = getattr(rollout.videos, role)
        if video is not None:
            return role, video
    raise ValueError(f"rollout {rollout.rollout_id} has no video")
