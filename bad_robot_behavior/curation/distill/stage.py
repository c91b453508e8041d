"""The stage itself: cases out of sessions, one way of reading them, and what was found written onto the rollouts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from bad_robot_behavior.curation.distill.asking import ModelReader
from bad_robot_behavior.curation.distill.claims import Case, Found, Reader, Settled
from bad_robot_behavior.curation.distill.embedded import EmbeddedReader
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import (
    Asked,
    Critique,
    DistillSettings,
    Failure,
    Rejection,
    Rollout,
    reject,
    rule,
    taxonomy,
)
from bad_robot_behavior.vlm.client import Client, all_usage

LONG_FEEDBACK = rule(
    "distill.long_feedback",
    "The feedback of a session is read up to 20,000 characters in all; longer feedback gives no critique.",
    cure="See that no log or other file was pasted into the feedback, shorten it and build again.",
)
MAX_FEEDBACK = 20_000
"""Characters of feedback of one session beyond which it is not read: no person writes that about two rollouts."""
_SESSIONS_AT_ONCE = 32


class Distill:
    """Feedback to critique and failures, read in the way that `distill.method` names.

    Every sentence of a critique and every failure rests on a span that stands in the feedback letter by letter. Where a
    session could not be read, its rollouts pass on as they came, and after them comes a rejection of subject `critique`
    for each that was written about. `report()` counts what was dropped and why. Failures that are there already are
    kept. Raises EndpointError where the endpoint does not answer; RecipeError and MissingExtraError when made.
    """

    name: ClassVar[str] = "distill"

    def __init__(self, settings: DistillSettings, client: Client | None = None) -> None:
        self.taxonomy = taxonomy.load()
        self.reader = _reader(settings, client, self.taxonomy)
        self._counters: Counter[str] = Counter()

    def parameters(self) -> Mapping[str, Any]:
        return {**self.reader.parameters(), "taxonomy": self.taxonomy.version, "max_feedback": MAX_FEEDBACK}

    def report(self) -> dict[str, int]:
        """Counters over all that this stage has read: sessions by what became of them, and claims that were dropped."""
        return dict(sorted(self._counters.items()))

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        sessions = (list(group) for _, group in itertools.groupby(rollouts, key=lambda rollout: rollout.session_id))
        while batch := list(itertools.islice(sessions, _SESSIONS_AT_ONCE)):
            for session, settled in zip(batch, self._read([self._case(session) for session in batch]), strict=True):
                for rollout in self._asked(session, settled):
                    yield self._with(rollout, settled.found.get(rollout.rollout_id))
                if settled.broken is not None:
                    for rollout in filter(_is_written_about, session):
                        yield reject(rollout, "distill", settled.broken, settled.detail, subject="critique")

    def _asked(self, session: Sequence[Rollout], settled: Settled) -> list[Rollout]:
        """The rollouts with what was asked about all of them together."""
        if not settled.usages:
            return list(session)
        took = msgspec.structs.asdict(all_usage(settled.usages))
        asked = Asked(stage="distill", model=self.reader.model, rollouts=len(session), **took)
        return [msgspec.structs.replace(rollout, asked=(*rollout.asked, asked)) for rollout in session]

    def _case(self, session: Sequence[Rollout]) -> Case | Settled:
        said = session[0].session
        labels = dict(said.labels)
        known = set(labels.values())
        # A rollout that its session gives no label is still judged by its own feedback, under a label of ours.
        for rollout in session:
            if rollout.rollout_id not in known:
                free = (f"rollout_{number}" for number in itertools.count(1))
                labels[next(label for label in free if label not in labels)] = rollout.rollout_id
        names = {rollout_id: label for label, rollout_id in labels.items()}
        own = {
            names[rollout.rollout_id]: rollout.feedback
            for rollout in session
            if rollout.feedback and rollout.feedback.strip() and rollout.feedback != said.feedback
        }
        feedback = said.feedback if said.feedback and said.feedback.strip() else None
        if feedback is None and not own:
            self._counters["sessions_without_feedback"] += 1
            return Settled(found={})
        length = len(feedback or "") + sum(map(len, own.values()))
        if length > MAX_FEEDBACK:
            self._counters["sessions_with_too_long_feedback"] += 1
            return Settled(found={}, broken=LONG_FEEDBACK, detail=f"the session's feedback has {length:,} characters")
        self._counters["sessions_with_feedback"] += 1
        details = dict.fromkeys(d for r in session for d in (r.site, r.policy, r.robot, r.evaluator) if d)
        return Case(
            instruction=session[0].instruction, labels=labels, feedback=feedback, own=own, details=tuple(details)
        )

    def _read(self, cases: list[Case | Settled]) -> list[Settled]:
        """For each session what came of it."""
        present = [case for case in cases if isinstance(case, Case)]
        read = iter(self.reader.read(present, self._counters))
        return [next(read) if isinstance(case, Case) else case for case in cases]

    def _with(self, rollout: Rollout, found: Found | None) -> Rollout:
        if found is None:
            return rollout
        changes: dict[str, Any] = {}
        if found.statements:
            spans = [statement.span for statement in found.statements] + [claim.span for claim in found.failures]
            described = dict.fromkeys(claim.description for claim in found.failures if claim.description)
            changes["critique"] = Critique(
                text=" ".join(statement.text for statement in found.statements),
                attributed_spans=tuple(dict.fromkeys(spans)),
                general=" ".join(described) or None,
                model=self.reader.model,
                prompt_sha256=self.reader.prompt_sha256,
            )
            self._counters["critiques"] += 1
        made = [
            Failure(
                category=claim.category,
                kind=claim.kind,
                severity=claim.severity,
                description=claim.description,
                span=claim.span,
                annotator=claim.annotator,
                annotator_type=self.reader.annotator_type,
                observable=self.taxonomy.observable(claim.category, claim.kind),
                mapping_version=self.taxonomy.version,
            )
            for claim in found.failures
        ]
        new = [failure for failure in dict.fromkeys(made) if failure not in rollout.failures]
        if new:
            changes["failures"] = (*rollout.failures, *new)
            self._counters["failures"] += len(new)
        return msgspec.structs.replace(rollout, **changes)


def _reader(settings: DistillSettings, client: Client | None, known: taxonomy.Taxonomy) -> Reader:
    method = settings.method or ("rules" if client is None else "model")
    if (method == "model") != (client is not None):
        need = "needs distill.endpoint" if client is None else "asks no model; leave distill.endpoint out"
        raise RecipeError(f"distill.method is {method}, which {need}")
    if client is not None:
        return ModelReader(settings, client, known)
    if method == "rules":
        return EmbeddedReader(known)
    from bad_robot_behavior.curation.distill.nearness import Nearness

    return EmbeddedReader(known, Nearness())


def _is_written_about(rollout: Rollout) -> bool:
    return any(text and text.strip() for text in (rollout.session.feedback, rollout.feedback))
