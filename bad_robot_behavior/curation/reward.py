"""Stage `reward`: preference-guided self-distillation (arXiv 2606.01036).

A vision-language model is asked m times how each rollout of an A/B pair progressed. Sample k of one is compared with
sample k of the other, and of those that order the pair as the human did, the one with the largest margin is kept. Where
none agrees there is no reward, and the rollout says so (`no_match`); nothing is put in its place.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import (
    Preference,
    Rejection,
    RewardCurve,
    RewardSettings,
    Role,
    Rollout,
    Video,
    reject,
    rule,
)
from bad_robot_behavior.scorers.gvl import GVL, EncodedClip
from bad_robot_behavior.scorers.scorer import Clip, Curve
from bad_robot_behavior.vlm.answers import without_server_words
from bad_robot_behavior.vlm.client import Client

NO_READABLE_SAMPLE = rule(
    "reward.no_readable_sample",
    "Where a model judges a rollout, at least one of the samples asked of it can be read, at the latest on repair.",
    cure="Take a model that reads pictures and keeps to a JSON schema, and build again. To ask the same model again, "
    "first remove `reward` and `requests.sqlite` from the work folder.",
)

ROLES: tuple[Role, ...] = ("exterior_1", "exterior_2", "wrist")
"""The view that is judged: the first of these that a rollout has. A wrist view alone is the last resort."""

_ROLLOUTS_AT_ONCE = 16
Value = NDArray[np.float64]


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """The m samples of one rollout. samples[k] is (N,) in [0, 1] at `frame_index`, None where it was not readable."""

    role: Role
    frame_index: tuple[int, ...]
    samples: tuple[Value | None, ...]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair came to. `sample` and `margin` (mean of preferred minus mean of rejected) are None for no_match."""

    sample: int | None
    margin: float | None


class Reward:
    """Reward curves by self-distillation with GVL. Without a client, rollouts pass through as they are.

    Each rollout gets one entry more in `rewards`. Only a kept sample (`self_distilled`, agreement `match`) becomes the
    rollout's `reward`, and only where none was chosen before, such as a simulator's true one. Otherwise the entry is
    the mean of the samples that could be read (`sampled`), with agreement `no_match`, or `not_usable` where the rollout
    stands in no usable pair (`usable_pairs`). A rollout in several is judged by the first in the session's order. Where
    no sample could be read, there is no entry, `report()` counts it, and a rejection of subject `reward_curve` follows.

    Raises EndpointError where the endpoint does not answer, and MediaError for a video that does not decode: the screen
    stage has let pass only those that do.
    """

    name: ClassVar[str] = "reward"

    def __init__(self, settings: RewardSettings, client: Client | None = None) -> None:
        self.settings = settings
        self.scorer = (
            None
            if client is None
            else GVL(
                client,
                num_frames=settings.num_frames,
                image_size=settings.image_size,
                temperature=settings.temperature,
                seed=settings.seed,
            )
        )
        self._counters: Counter[str] = Counter()

    def parameters(self) -> Mapping[str, Any]:
        if self.scorer is None:
            return {}
        return {**self.scorer.parameters(), "samples": self.settings.samples, "roles": list(ROLES)}

    def report(self) -> dict[str, int]:
        """Counters over all that this stage has read. samples_agreeing of samples_compared is the rate before any
        selection; pairs_match of pairs_usable the rate after it."""
        return dict(sorted(self._counters.items()))

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        if self.scorer is None:
            yield from rollouts
            return
        batch: list[list[Rollout]] = []
        for _, group in itertools.groupby(rollouts, key=lambda rollout: rollout.session_id):
            batch.append(list(group))
            if sum(map(len, batch)) >= _ROLLOUTS_AT_ONCE:
                yield from self._judge(self.scorer, batch)
                batch = []
        yield from self._judge(self.scorer, batch)

    def _judge(self, scorer: GVL, sessions: list[list[Rollout]]) -> Iterator[Rollout | Rejection]:
        rollouts = [rollout for session in sessions for rollout in session]
        shown = [show(rollout, scorer) for rollout in rollouts]
        curves = scorer.sample_encoded([clip for _, _, clip in shown], self.settings.samples)
        drawn: dict[str, Drawn] = {}
        unread: dict[str, str] = {}  # rollout_id -> why there is no curve
        for rollout, (role, index, _), found in zip(rollouts, shown, curves, strict=True):
            self._count(found)
            values = tuple(curve.value for curve in found)
            drawn[rollout.rollout_id] = Drawn(role=role, frame_index=index, samples=values)
            if all(curve.value is None for curve in found):
                unread[rollout.rollout_id] = _why(found)
        for session in sessions:
            pairs = usable_pairs(session)
            kept = {pair.pair_id: self._select(pair, drawn) for pair in dict.fromkeys(pairs.values())}
            for rollout in session:
                pair = pairs.get(rollout.rollout_id)
                yield self._with(
                    scorer, rollout, drawn[rollout.rollout_id], None if pair is None else kept[pair.pair_id]
                )
                if rollout.rollout_id in unread:
                    yield reject(
                        rollout, "reward", NO_READABLE_SAMPLE, unread[rollout.rollout_id], subject="reward_curve"
                    )

    def _select(self, pair: Preference, drawn: Mapping[str, Drawn]) -> Kept:
        margins = pair_margins(pair, drawn[pair.rollout_a].samples, drawn[pair.rollout_b].samples)
        kept = keep(margins)
        self._counters["pairs_usable"] += 1
        self._counters["pairs_no_match" if kept.sample is None else "pairs_match"] += 1
        self._counters["samples_compared"] += sum(margin is not None for margin in margins)
        self._counters["samples_agreeing"] += sum(margin is not None and margin > 0 for margin in margins)
        return kept

    def _with(self, scorer: GVL, rollout: Rollout, drawn: Drawn, kept: Kept | None) -> Rollout:
        valid = [value for value in drawn.samples if value is not None]
        agreement: Literal["match", "no_match", "not_usable"]
        if kept is not None and kept.sample is not None:
            chosen, agreement = drawn.samples[kept.sample], "match"
        else:
            chosen = np.mean(valid, axis=0) if valid else None
            agreement = "not_usable" if kept is None else "no_match"
        self._counters[f"rollouts_{agreement}"] += 1
        if chosen is None:
            self._counters["rollouts_without_curve"] += 1
            return rollout
        value = tuple(round(float(number), 6) for number in chosen)
        curve = RewardCurve(
            name=scorer.name,
            kind=scorer.kind,
            scorer=scorer.name,
            model=scorer.client.model,
            role=drawn.role,
            frame_index=drawn.frame_index,
            value=value,
            provenance="self_distilled" if agreement == "match" else "sampled",
            samples=self.settings.samples,
            kept_sample=None if kept is None else kept.sample,
            margin=None if kept is None else kept.margin,
            agreement=agreement,
        )
        rewards = (*rollout.rewards, curve)
        if agreement != "match" or rollout.reward is not None:
            return msgspec.structs.replace(rollout, rewards=rewards)
        return msgspec.structs.replace(rollout, rewards=rewards, reward=value, reward_frame_index=drawn.frame_index)

    def _count(self, curves: Sequence[Curve]) -> None:
        self._counters["samples_drawn"] += len(curves)
        self._counters["samples_unreadable"] += sum(curve.value is None for curve in curves)


def _why(curves: Sequence[Curve]) -> str:
    """Why no curve of a rollout could be read: the commonest reason, the earliest of equals."""
    reasons = Counter(without_server_words(curve.error or "no answer") for curve in curves)
    reason, count = reasons.most_common(1)[0]
    return f"{count} of {len(curves)} samples: {reason}"


def show(rollout: Rollout, scorer: GVL) -> tuple[Role, tuple[int, ...], EncodedClip]:
    """The view that is judged, the indices of its sampled frames, and these as they are sent. Decoded once."""
    role, video = view(rollout)
    if video.path is None:
        raise MediaError(rollout.rollout_id, "open", f"the video of {role} has no file")
    index = media.sample_index(video.num_frames, scorer.num_frames)
    clip = Clip(
        rollout_id=rollout.rollout_id,
        instruction=rollout.instruction,
        frames=media.sample(video.path, index),
        frame_index=index,
        num_frames=video.num_frames,
        fps=video.fps,
    )
    return role, tuple(int(i) for i in index), scorer.encode(clip)


def view(rollout: Rollout) -> tuple[Role, Video]:
    """The first view of ROLES that the rollout has. Raises ValueError for a rollout without any."""
    for role in ROLES:
        video: Video | None = getattr(rollout.videos, role)
        if video is not None:
            return role, video
    raise ValueError(f"rollout {rollout.rollout_id} has no video")


def usable_pairs(session: Sequence[Rollout]) -> dict[str, Preference]:
    """For each rollout the pair that it is judged by: the first usable one in the session's order.

    A pair is usable where a human chose (no tie), both rollouts are present, and their scores, where both are known,
    differ: of two equal scores the human said in one place that neither is better, whatever was said in the other.
    """
    present = {rollout.rollout_id: rollout for rollout in session}
    pairs: dict[str, Preference] = {}
    for pair in session[0].session.preferences:
        if (
            pair.preference != "tie"
            and pair.rollout_a != pair.rollout_b
            and {pair.rollout_a, pair.rollout_b} <= present.keys()
            and not _equal_scores(present[pair.rollout_a], present[pair.rollout_b])
        ):
            pairs.setdefault(pair.rollout_a, pair)
            pairs.setdefault(pair.rollout_b, pair)
    return pairs


def _equal_scores(a: Rollout, b: Rollout) -> bool:
    return a.score is not None and a.score == b.score


def pair_margins(pair: Preference, a: Sequence[Value | None], b: Sequence[Value | None]) -> list[float | None]:
    """For each k: return of the preferred rollout minus return of the rejected one in sample k, or None where either
    could not be read. Positive: sample k orders the pair as the human did; a tie (0) does not.

    The return is the mean over the sampled frames, so that a longer rollout does not gain by its length.
    """
    sign = 1.0 if pair.preference == "a" else -1.0
    return [
        None if left is None or right is None else sign * float(np.mean(left) - np.mean(right))
        for left, right in zip(a, b, strict=True)
    ]


def keep(margins: Sequence[float | None]) -> Kept:
    """The sample with the largest positive margin, the earliest of equals; nothing where none is positive."""
    best: tuple[float, int] | None = None
    for number, margin in enumerate(margins):
        if margin is not None and margin > 0 and (best is None or margin > best[0]):
            best = (margin, number)
    return Kept(sample=None, margin=None) if best is None else Kept(sample=best[1], margin=round(best[0], 6))
