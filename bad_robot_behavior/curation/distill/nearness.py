"""Failures read by likeness: which definition of the taxonomy a sentence is nearest to in meaning.

Sentence embeddings do not hear a "not" (a sentence that denies a failure lies beside the one that reports it), so
nothing is claimed from a sentence that hedges, asks, wishes or denies.
"""

from __future__ import annotations

import numpy as np

from bad_robot_behavior.curation.distill import general, keywords
from bad_robot_behavior.curation.distill.attribution import without_names
from bad_robot_behavior.curation.distill.keywords import Pair
from bad_robot_behavior.schema.taxonomy import Taxonomy
from bad_robot_behavior.vlm import embeddings
from bad_robot_behavior.vlm.embeddings import SentenceEncoder, Vectors

MODEL = f"embeddings:{embeddings.MODEL}"
ANNOTATOR = "nearest_definition"
CATEGORY_AT, CATEGORY_GAP, KIND_GAP = 0.40, 0.10, 0.20
"""Cosine from which a category is claimed, its least lead over the next category, and the lead from which the kind is
claimed too. Chosen on the development part: `python benchmarks/distill_quality.py --tune`."""


PARAMETERS = {"weights_sha256": embeddings.MODEL_SHA256, "thresholds": [CATEGORY_AT, CATEGORY_GAP, KIND_GAP]}
"""What of this module decides a stage's output."""


class Nearness:
    """Compares sentences with the taxonomy's definitions. Raises MissingExtraError without the extra `text`."""

    def __init__(self, taxonomy: Taxonomy, encoder: SentenceEncoder | None = None) -> None:
        self._encoder = encoder or SentenceEncoder()
        self._pairs: list[Pair] = [
            (category.slug, kind.slug)
            for category in taxonomy.categories.values()
            for kind in category.kinds.values()
            if "unknown" not in (category.slug, kind.slug)
        ]
        self._texts = [
            f"The robot failed: {taxonomy.categories[c].kinds[k].name.lower()}. {general.definition(taxonomy, (c, k))}"
            for c, k in self._pairs
        ]
        self._middle: Vectors | None = None
        self._definitions: Vectors | None = None

    def failures(self, sentence: str, labels: tuple[str, ...]) -> list[Pair]:
        """The pair that the sentence is near enough to: (category, kind), or kind `unknown` where that is not clear."""
        if keywords.is_guarded(sentence):
            return []
        pair, cosine, lead = self.nearest(sentence, labels)
        if cosine < CATEGORY_AT or lead < CATEGORY_GAP:
            return []
        return [pair if lead >= KIND_GAP else (pair[0], "unknown")]

    def nearest(self, sentence: str, labels: tuple[str, ...]) -> tuple[Pair, float, float]:
        """The nearest pair, its cosine in [-1, 1], and how far it leads the nearest pair of another category."""
        if self._definitions is None or self._middle is None:
            vectors = self._encoder(self._texts)
            self._middle = vectors.mean(axis=0)  # what all of them share says nothing of any
            self._definitions = _centred(vectors, self._middle)
        vector = _centred(self._encoder([without_names(sentence, labels)]), self._middle)[0]
        # Three digits, so that another processor's last bits decide as little as can be.
        cosines = np.round(self._definitions @ vector, 3)
        best = int(cosines.argmax())
        others = [c for pair, c in zip(self._pairs, cosines, strict=True) if pair[0] != self._pairs[best][0]]
        return self._pairs[best], float(cosines[best]), float(cosines[best] - max(others))


def _centred(vectors: Vectors, middle: Vectors) -> Vectors:
    shifted = vectors - middle
    return shifted / np.linalg.norm(shifted, axis=1, keepdims=True)  # type: ignore[no-any-return]
