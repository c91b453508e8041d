"""What docs/distill.md says of the rules holds, and the labelled set is what its header says."""

from __future__ import annotations

from collections import Counter

import pytest

from bad_robot_behavior.curation.distill.embedded import EmbeddedReader
from bad_robot_behavior.curation.distill.nearness import Nearness
from bad_robot_behavior.schema import taxonomy
from tests.curation.distill.labelled import Part, Score, claimed, items, macro, pairs, scores

KNOWN = taxonomy.load()


def read(part: Part, reader: EmbeddedReader, language: str | None = None) -> dict[str, Score]:
    chosen = [item for item in items(part) if language is None or item.language == language]
    settled = reader.read([item.case for item in chosen], Counter())
    made = [(claimed(one.found), item.wanted) for one, item in zip(settled, chosen, strict=True)]
    return scores(made, 2)


def test_the_set_is_large_enough_and_in_the_taxonomy() -> None:
    sentences = items("dev", "test")
    assert len({item.text for item in sentences}) == len(sentences) >= 120
    assert {item.part for item in sentences} == {"dev", "test"}
    assert all(KNOWN.is_legal(*pair) for pair in pairs(items("dev", "test", "sessions")))
    assert {category for category, _ in pairs(sentences)} == set(KNOWN.categories)
    assert {"en", "de", "es", "fr", "ja", "zh"} == {item.language for item in sentences}
    assert all(set(item.says) <= set(item.labels) for item in sentences)


@pytest.mark.parametrize(("part", "precision", "recall"), [("test", 0.95, 0.85), ("dev", 0.95, 0.85)])
def test_the_rules_are_as_good_as_is_said(part: Part, precision: float, recall: float) -> None:
    found = read(part, EmbeddedReader(KNOWN))["all"]
    assert (found.precision or 0) >= precision
    assert (found.recall or 0) >= recall


def test_rules_claim_nothing_in_other_languages() -> None:
    for language in ("de", "es", "fr", "ja", "zh"):
        for part in ("dev", "test"):
            found = read(part, EmbeddedReader(KNOWN), language)  # type: ignore[arg-type]
            assert found["all"].right + found["all"].extra == 0


def test_embeddings_add_what_rules_miss_and_deny_nothing() -> None:
    rules, both = read("test", EmbeddedReader(KNOWN)), read("test", EmbeddedReader(KNOWN, Nearness()))
    assert both["all"].right >= rules["all"].right
    assert both["all"].extra <= rules["all"].extra + 3


def test_scores_count_triples() -> None:
    one = ({("A", "grasp", "no_grasp"), ("B", "reach", "unknown")}, {("A", "grasp", "unknown")})
    other = (set[tuple[str, str, str]](), {("A", "semantic", "reverted")})
    found = scores([one, other], 2)
    assert found["all"] == Score(right=1, extra=1, missed=1)
    assert (found["grasp"].precision, found["reach"].recall, found["semantic"].precision) == (1.0, None, None)
    assert macro(found, "precision") == 0.5
    assert macro(found, "recall") == 0.5
    assert scores([one], 3)["all"] == Score(right=0, extra=2, missed=1)
    assert scores([], 2)["all"].precision is None
    assert macro(scores([], 2), "recall") is None
