"""Feedback read without an endpoint: by rules, and where the recipe says so by sentence embeddings too.

The critique of a rollout is the sentences that name it, as they stand. A failure is claimed from words that say it, or
from a sentence that is near enough to a kind of the taxonomy, and taken back where another sentence about the same
rollout denies it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from bad_robot_behavior.curation.distill import attribution, general, keywords, nearness
from bad_robot_behavior.curation.distill.attribution import Said
from bad_robot_behavior.curation.distill.claims import Case, Claim, Found, Settled, Statement
from bad_robot_behavior.curation.distill.keywords import Pair
from bad_robot_behavior.curation.distill.nearness import Nearness
from bad_robot_behavior.schema import AnnotatorType
from bad_robot_behavior.schema.taxonomy import Taxonomy

_UNKNOWN: Pair = ("unknown", "unknown")


class EmbeddedReader:
    """Reads by rules; with `near`, sentences in which the rules find nothing are read by likeness."""

    annotator_type: ClassVar[AnnotatorType] = "rule"
    prompt_sha256 = None

    def __init__(self, taxonomy: Taxonomy, near: Nearness | None = None) -> None:
        self._taxonomy = taxonomy
        self._near = near
        self.model = keywords.MODEL if near is None else f"{keywords.MODEL}+{nearness.MODEL}"

    def parameters(self) -> dict[str, Any]:
        rules = {"model": self.model, "rule_sha256": keywords.sha256()}
        return rules if self._near is None else {**rules, **nearness.parameters()}

    def read(self, cases: Sequence[Case], counters: Counter[str]) -> list[Settled]:
        return [self._read(case, counters) for case in cases]

    def _read(self, case: Case, counters: Counter[str]) -> Settled:
        said = [] if case.feedback is None else attribution.attribute(case.feedback, list(case.labels))
        for label, own in case.own.items():
            said += attribution.attribute_own(own, label, [other for other in case.labels if other != label])
        counters["sentences"] += len(said)
        counters["sentences_of_no_rollout"] += sum(not piece.labels for piece in said)
        found = {}
        for label, rollout_id in case.labels.items():
            pieces = [piece for piece in dict.fromkeys(said) if label in piece.labels]
            if pieces:
                found[rollout_id] = self._about(pieces, case, counters)
        return Settled(found=found)

    def _about(self, pieces: Sequence[Said], case: Case, counters: Counter[str]) -> Found:
        claims: dict[Pair, Claim] = {}
        denied: set[Pair] = set()
        statements = []
        for piece in pieces:
            read = keywords.read(piece.text, case.instruction)
            denied |= set(read.denied)
            pairs, annotator = list(read.said), keywords.ANNOTATOR
            if not pairs and not read.denied and self._near is not None:
                pairs, annotator = self._near.failures(piece.text, list(case.labels)), nearness.ANNOTATOR
            for pair in pairs:
                claims.setdefault(pair, self._claim(pair, piece.text, annotator))
            if pairs or not general.is_abusive(piece.text):
                statements.append(Statement(text=piece.text, span=piece.text))
            else:
                counters["statements_abusive"] += 1
        contradicted = denied & set(claims)
        counters["failures_contradicted"] += len(contradicted)
        kept = {pair: claim for pair, claim in claims.items() if pair not in contradicted}
        if len(kept) > 1:
            kept.pop(_UNKNOWN, None)  # the taxonomy keeps it for where nothing else fits
        return Found(statements=tuple(statements), failures=tuple(kept.values()))

    def _claim(self, pair: Pair, span: str, annotator: str) -> Claim:
        return Claim(
            category=pair[0],
            kind=pair[1],
            severity=keywords.severity(span, pair),
            span=span,
            description=general.definition(self._taxonomy, pair),
            annotator=annotator,
        )
