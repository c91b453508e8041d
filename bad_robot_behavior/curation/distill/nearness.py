"""Failures read by likeness: which kind of the taxonomy a sentence is nearest to in meaning.

A kind stands for its definition and for what evaluators might write of it (phrases.yaml); what reports no failure
stands beside them, so that praise has something to be nearest to. Sentence embeddings do not hear a "not" (a sentence
that denies a failure lies beside the one that reports it), so nothing is claimed from one that hedges, asks, wishes or
denies.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from bad_robot_behavior.curation.distill import general, keywords
from bad_robot_behavior.curation.distill.attribution import without_names
from bad_robot_behavior.curation.distill.keywords import Pair
from bad_robot_behavior.schema import taxonomy
from bad_robot_behavior.schema.plain_yaml import parse_yaml
from bad_robot_behavior.vlm import embeddings
from bad_robot_behavior.vlm.embeddings import SentenceEncoder, Vectors

MODEL = f"embeddings:{embeddings.MODEL}"
ANNOTATOR = "nearest_kind"
COSINE, LEAD = 0.60, 0.08
"""Cosine from which a kind is claimed, and its least lead over the nearest text of another category or of no failure.
Chosen on the development parts: `python benchmarks/distill_quality.py --tune`."""
_NONE: Pair = ("none", "none")


class Nearness:
    """Compares sentences with what stands for each kind. Raises MissingExtraError without the extra `text`."""

    def __init__(self) -> None:
        self._encoder = SentenceEncoder()

    def failures(self, sentence: str, labels: Sequence[str]) -> list[Pair]:
        """The pair that the sentence is near enough to, or none."""
        if keywords.is_guarded(sentence):
            return []
        pair, cosine, lead = self.nearest(sentence, labels)
        return [pair] if cosine >= COSINE and lead >= LEAD else []

    def nearest(self, sentence: str, labels: Sequence[str]) -> tuple[Pair, float, float]:
        """The nearest pair of the taxonomy, its cosine in [-1, 1], and how far it leads the nearest text of another
        category or of no failure; negative where one of those is nearer."""
        pairs, vectors = _known()
        vector = self._encoder([without_names(sentence, labels)])[0]
        # Three digits, so that another processor's last bits decide as little as can be.
        found = list(zip(pairs, np.round((vectors @ vector).astype(np.float64), 3).tolist(), strict=True))
        pair, best = max(((pair, cosine) for pair, cosine in found if pair != _NONE), key=lambda one: one[1])
        return pair, best, round(best - max(cosine for other, cosine in found if other[0] != pair[0]), 3)


@functools.cache
def _known() -> tuple[list[Pair], Vectors]:
    """What stands for each kind, as vectors: read once a process, as it takes seconds."""
    found = examples()
    return [pair for pair, _ in found], SentenceEncoder()([text for _, text in found])


def parameters() -> dict[str, object]:
    """What of this module decides a stage's output."""
    phrases = hashlib.sha256(_phrases().encode()).hexdigest()
    return {"weights_sha256": embeddings.MODEL_SHA256, "phrases_sha256": phrases, "cosine": COSINE, "lead": LEAD}


def examples() -> list[tuple[Pair, str]]:
    """(pair, text) of everything that stands for a kind, and of what reports no failure."""
    found: list[tuple[Pair, str]] = []
    for category, kinds in parse_yaml(_phrases()).items():
        if category == "none":
            found += [(_NONE, text) for text in kinds]
        else:
            found += [((category, kind), text) for kind, texts in kinds.items() for text in texts]
    known = taxonomy.load()
    for slug, category in known.categories.items():
        for kind in category.kinds.values():
            if "unknown" not in (slug, kind.slug):
                text = f"The robot failed: {kind.name.lower()}. {general.definition(known, (slug, kind.slug))}"
                found.append(((slug, kind.slug), text))
    return found


def _phrases() -> str:
    return Path(str(resources.files(__package__).joinpath("phrases.yaml"))).read_text("utf-8")
