from __future__ import annotations

import re

import pytest

from bad_robot_behavior.curation.distill.english import is_english
from bad_robot_behavior.schema import taxonomy
from tests.curation.distill.labelled import items

OTHER = """
Der Roboter ließ den Stift fallen.
Die Tasse fiel um.
Das Objekt wurde nie gegriffen.
El robot dejó caer el vaso.
Se cayó el objeto.
Le robot a renversé le verre.
L'objet est tombé.
Il robot ha fatto cadere la tazza.
O objeto caiu da garra.
De robot liet het kopje vallen.
Roboten tappade koppen och det gick inte av.
Robot upuścił kubek na stół.
Robot bardağı düşürdü.
Robotul a scăpat cana pe masă.
Robotti pudotti kupin pöydälle ja pysähtyi äkisti.
Ρομπότ έριξε το φλιτζάνι.
Робот уронил чашку.
策略A没有抓住杯子。
ロボットはカップを落とした。
로봇이 컵을 떨어뜨렸다.
أسقط الروبوت الكوب.
रोबोट ने कप गिरा दिया।
Robot đã làm rơi cốc.
""".strip().splitlines()


@pytest.mark.parametrize("text", OTHER)
def test_other_languages_are_told(text: str) -> None:
    assert not is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "It fell.",
        "Slow approach.",
        "Dropped cup.",
        "Did not pour.",
        "Gripper met resistance.",
        "Hit toy van.",
        "The robot was said to be \u201cdemasiado lento\u201d.",
        "The caf\u00e9 table was hit, and the cr\u00eape fell.",
        "Rolled die.",
        "Grasped jalape\u00f1o.",
        "Dropped caf\u00e9 mug.",
        "Overshot 5 \u00b5m.",
        "Overshot 5 \u00b5m, turned 90\u00b0, then 5 \u03bcm.",
        "Turned 90\u00ba, 45\u00ba, 10\u00ba.",
        "Collided en route.",
        "Pushed El Paso salsa jar.",
        "12 %",
        "",
    ],
)
def test_english_passes(text: str) -> None:
    assert is_english(text)


def test_a_sentence_with_one_word_that_is_not_english_passes_in_any_language() -> None:
    """What it costs that a caf\u00e9 mug may be dropped."""
    assert is_english("Roboten tappade koppen och stannade.")
    assert is_english("Robot pudotti kupin p\u00f6yd\u00e4lle.")


def test_no_sentence_of_the_labelled_feedback_in_english_is_taken_for_another_language() -> None:
    pieces = [
        piece
        for item in items("dev", "test", "sessions", "late", "held_out")
        if item.language == "en"
        for piece in re.findall(r"[^.!?;\n]+", item.text)
    ]
    assert len(pieces) > 300
    assert [piece for piece in pieces if not is_english(piece)] == []


def test_the_definitions_of_the_taxonomy_are_english() -> None:
    for category in taxonomy.load().categories.values():
        assert all(is_english(kind.definition) for kind in category.kinds.values())
