"""How good the self-distilled rewards of a release are: agreement before and after selection, a control, the noise.

Selection by the human's choice makes samples agree with the human: the more samples, the more surely, whatever the
model knows. So the share of pairs that kept a sample is read beside the share that would have kept one if the choice
had been a coin's. That control needs no coin: with a fair one, a pair keeps a sample with probability
(1[some sample orders it one way] + 1[some sample orders it the other way]) / 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, get_args

import msgspec
import numpy as np

from bad_robot_behavior.benchmark.intervals import DIGITS, Difference, Statistic, estimate
from bad_robot_behavior.benchmark.metrics import Floats, Ratio
from bad_robot_behavior.benchmark.results import COMBINED, POOLED
from bad_robot_behavior.schema import (
    Agreement,
    Choice,
    Estimate,
    Preference,
    RewardQuality,
    RewardSample,
    Selection,
    TaskCategory,
)

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

_CATEGORIES: tuple[str, ...] = get_args(TaskCategory)


class _Rollout(msgspec.Struct, frozen=True):
    """What is kept of the samples of one rollout: (m,) returns, NaN where unreadable, and their spread at a frame."""

    session: str
    category: str
    pair: str | None
    returns: Floats
    frame_spread: float


class Samples:
    """Takes the samples of a release as they come, and keeps m numbers of each rollout."""

    def __init__(self) -> None:
        self._rollouts: dict[str, _Rollout] = {}
        self._choices: dict[str, tuple[str, str, Choice]] = {}
        self._scorer: tuple[str, str] | None = None

    def add(self, samples: Sequence[RewardSample], preferences: Iterable[Preference] = ()) -> None:
        """Take all samples of one rollout, in order (none is fine), and the choices of its session."""
        for pair in preferences:
            self._choices[pair.pair_id] = (pair.rollout_a, pair.rollout_b, pair.preference)
        if not samples:
            return
        first = samples[0]
        self._scorer = self._scorer or (first.scorer, first.model)
        # Rounded as they were written: tables hold float32.
        values = [np.round(sample.value, 6) for sample in samples if sample.value is not None]
        self._rollouts[first.rollout_id] = _Rollout(
            first.session_id,
            first.task_category,
            first.pair_id,
            np.array([np.nan if sample.mean is None else sample.mean for sample in samples]),
            float(np.std(values, axis=0, ddof=1).mean()) if len(values) > 1 else np.nan,
        )

    def quality(self, selection: Selection, *, draws: int = 1000, seed: int = 0) -> RewardQuality | None:
        """The report; None where there are no samples. A pair of which one rollout is missing is left out."""
        if self._scorer is None:
            return None
        rollouts = list(self._rollouts.values())
        names = {name: i for i, name in enumerate(sorted({rollout.session for rollout in rollouts}))}
        pairs = _Pairs(self._rollouts, self._choices, names, selection)
        session = np.array([names[rollout.session] for rollout in rollouts])
        spreads = np.array([_spread(rollout.returns) for rollout in rollouts])
        frames = np.array([rollout.frame_spread for rollout in rollouts])
        several = ~np.isnan(spreads)
        noise = [
            Ratio.of(pairs.flips, ~np.isnan(pairs.flips), pairs.session, len(names)),
            Ratio.of(spreads, several, session, len(names)),
            Ratio.of(frames, several, session, len(names)),
        ]
        flips, spread_return, spread_frame = _estimates(noise, len(names), draws, seed)
        by_sample = pairs.by_sample()
        known = [share for share in by_sample if share is not None]
        drawn = np.concatenate([rollout.returns for rollout in rollouts])
        groups = {POOLED: _CATEGORIES, **{name: (name,) for name in _CATEGORIES}, **COMBINED}
        return RewardQuality(
            scorer=self._scorer[0],
            model=self._scorer[1],
            selection=selection,
            samples=max(len(rollout.returns) for rollout in rollouts),
            rollouts=len(rollouts),
            sessions=len(names),
            samples_drawn=len(drawn),
            samples_unreadable=int(np.isnan(drawn).sum()),
            agreement=tuple(pairs.agreement(name, members, draws, seed) for name, members in groups.items()),
            flips=flips,
            flips_pairs=int((~np.isnan(pairs.flips)).sum()),
            spread_return=spread_return,
            spread_frame=spread_frame,
            spread_rollouts=int(several.sum()),
            by_sample=tuple(by_sample),
            noise_floor=round(float(np.std(known, ddof=1)), DIGITS) if len(known) > 1 else None,
            draws=draws,
            seed=seed,
        )


def measure(release: Release, *, draws: int = 1000, seed: int = 0) -> RewardQuality | None:
    """The report of a release, made anew from its tables; None where it has no samples."""
    samples = Samples()
    columns = [field for field in msgspec.structs.fields(RewardSample) if field.name != "split"]
    for row in release.table("preferences").to_pylist():
        samples.add((), (msgspec.convert(row, Preference),))
    table = release.table("reward_samples", columns=[field.name for field in columns])
    rows: list[RewardSample] = []
    for row in table.to_pylist():
        sample = msgspec.convert(row, RewardSample)
        if rows and rows[0].rollout_id != sample.rollout_id:
            samples.add(rows)
            rows = []
        rows.append(sample)
    samples.add(rows)
    selection = release.manifest.recipe.get("reward", {}).get("selection", "paired")
    return samples.quality(selection, draws=draws, seed=seed)


class _Pairs:
    """The usable pairs with samples of both rollouts, as arrays of P."""

    def __init__(
        self,
        rollouts: dict[str, _Rollout],
        choices: dict[str, tuple[str, str, Choice]],
        names: dict[str, int],
        selection: Selection,
    ) -> None:
        self.sessions = len(names)
        judged = sorted({rollout.pair for rollout in rollouts.values() if rollout.pair is not None})
        known = [choices[pair] for pair in judged if pair in choices]  # one may have been withdrawn
        found = [(a, b, choice) for a, b, choice in known if {a, b} <= rollouts.keys()]
        margins, session, category = [], [], []
        agrees, opposes, flips = [], [], []
        for a, b, choice in found:
            preferred, rejected = (rollouts[one] for one in ((a, b) if choice == "a" else (b, a)))
            paired = np.round(preferred.returns - rejected.returns, 9)
            each = paired if selection == "paired" else preferred.returns[:, None] - rejected.returns[None, :]
            margins.append(paired)
            agrees.append(bool((np.round(each, 9) > 0).any()))
            opposes.append(bool((np.round(each, 9) < 0).any()))
            flips.append(_flips(paired))
            session.append(names[preferred.session])
            category.append(preferred.category)
        width = max((len(row) for row in margins), default=0)
        self.margins = np.full((len(found), width), np.nan)
        for i, row in enumerate(margins):
            self.margins[i, : len(row)] = row
        self.session = np.array(session, np.int64)
        self.category = np.array(category, dtype=object)
        self.agrees = np.array(agrees, bool)
        self.opposes = np.array(opposes, bool)
        self.flips = np.array(flips, np.float64)

    def by_sample(self) -> list[float | None]:
        """For each k, the share of pairs with a sample k on both sides that it orders as the human did."""
        shares: list[float | None] = []
        for column in self.margins.T:
            known = column[~np.isnan(column)]
            shares.append(round(float((known > 0).mean()), DIGITS) if known.size else None)
        return shares

    def agreement(self, name: str, members: Sequence[str], draws: int, seed: int) -> Agreement:
        compared = ~np.isnan(self.margins)
        readable = compared.any(axis=1)
        use = np.isin(self.category.astype(str), members) & readable
        first = np.zeros(len(use)) if not self.margins.size else self.margins[:, 0]
        context, number = self.session, self.sessions
        agreeing = (self.margins > 0).sum(axis=1)
        kept = Ratio.of(self.agrees, use, context, number)
        control = Ratio.of((self.agrees.astype(float) + self.opposes) / 2, use, context, number)
        shares: list[Statistic] = [
            Ratio.of(first > 0, use & ~np.isnan(first), context, number),
            Ratio(
                numerator=np.bincount(context, np.where(use, agreeing, 0), number).astype(np.float64),
                denominator=np.bincount(context, np.where(use, compared.sum(axis=1), 0), number).astype(np.float64),
            ),
            kept,
            control,
            Difference(kept, control),
        ]
        before, every, after, chance, beyond = _estimates(shares, number, draws, seed)
        return Agreement(
            category=name,
            pairs=int(use.sum()),
            sessions=len(np.unique(context[use])),
            first=before,
            every=every,
            kept=after,
            control=chance,
            beyond_control=beyond,
            no_match=int((use & ~self.agrees).sum()),
        )


def _spread(numbers: Floats) -> float:
    known = numbers[~np.isnan(numbers)]
    return float(np.std(known, ddof=1)) if known.size > 1 else np.nan


def _flips(margins: Floats) -> float:
    """How often two different samples disagree on whether the human was right; NaN for fewer than two."""
    known = margins[~np.isnan(margins)]
    n, right = known.size, int((known > 0).sum())
    return 2 * right * (n - right) / (n * (n - 1)) if n > 1 else np.nan


def _estimates(statistics: Sequence[Statistic], sessions: int, draws: int, seed: int) -> list[Estimate]:
    found = estimate(statistics, sessions, draws=draws, seed=seed)
    return [Estimate(value=value, interval=interval) for value, interval in found]
