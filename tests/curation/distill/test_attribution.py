from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.curation.distill.attribution import attribute, sentences
from bad_robot_behavior.curation.distill.keywords import read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Policy A was good. Policy B was bad.", [("Policy A was good.", "A"), ("Policy B was bad.", "B")]),
        ("A dropped the cup, while B placed it.", [("A dropped the cup", "A"), ("B placed it.", "B")]),
        ("policy a froze but policy b moved", [("policy a froze", "A"), ("policy b moved", "B")]),
        ("A: dropped it. B: moved 0.5 m.", [("A: dropped it.", "A"), ("B: moved 0.5 m.", "B")]),
        ("The first policy froze. The second won.", [("The first policy froze.", "A"), ("The second won.", "")]),
        ("The second one moved.", [("The second one moved.", "B")]),
        ("A and B both froze.", [("A and B both froze.", "AB")]),
        ("Both policies froze.", [("Both policies froze.", "AB")]),
        ("Neither policy moved.", [("Neither policy moved.", "AB")]),
        ("Neither A nor B moved.", [("Neither A nor B moved.", "AB")]),
        ("Neither policy A nor B grasped it.", [("Neither policy A nor B grasped it.", "AB")]),
        ("I think neither A nor B moved.", [("I think neither A nor B moved.", "")]),
        ("A was better than B.", [("A was better than B.", "")]),
        ("A cup was dropped.", [("A cup was dropped.", "")]),
        ("A red block fell.", [("A red block fell.", "")]),
        ("It dropped the cup.", [("It dropped the cup.", "")]),
    ],
)  # fmt: skip
def test_who_a_sentence_speaks_of(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(said.text, "".join(said.labels)) for said in attribute(text, ("A", "B"))] == expected


def test_feedback_on_a_single_rollout_is_all_about_it() -> None:
    assert [said.labels for said in attribute("It dropped it. Then it stopped.", ("A",))] == [("A",), ("A",)]


@given(st.text(max_size=300), st.sampled_from([("A", "B"), ("A", "B", "C"), ("1", "2"), ("(", "*"), ("A",)]))
def test_every_piece_stands_in_the_text(text: str, labels: tuple[str, ...]) -> None:
    for said in attribute(text, labels):
        assert said.text in text
        assert said.text.strip() == said.text != ""
        assert set(said.labels) <= set(labels)
    assert all(sentence in text for sentence in sentences(text))


@pytest.mark.parametrize(
    "piece", ["A and B ", "and, ", "A dropped ", "not ", "placed a ", "a.b", "\n", "policy A, but "]
)
def test_hostile_repetition_comes_to_an_end(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    for said in attribute(text, ("A", "B")):
        assert said.text in text
        read(said.text)
