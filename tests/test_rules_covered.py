"""Every named rule has an invalid fixture: a test marked with its id. Every mark names a rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_robot_behavior.schema import all_rules

TESTS = Path(__file__).parent


@pytest.fixture
def marked(request: pytest.FixtureRequest) -> dict[str, str]:
    """Rule id to one test that is marked with it. Skips where this run does not hold all tests."""
    items = request.session.items
    chosen = [name for name in ("keyword", "markexpr", "deselect", "lf") if request.config.getoption(name, None)]
    if chosen:
        pytest.skip(f"only a part of the tests is collected: {', '.join(chosen)} was given")
    collected = {item.path for item in items}
    missing = sorted(str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py") if path not in collected)
    if missing or any("::" in argument for argument in request.config.args):
        pytest.skip(f"only a part of the tests is collected: {', '.join(missing[:3]) or 'single tests were named'}")
    return {rule: item.nodeid for item in items for rule in _ids(item)}


def _ids(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("rule"):
        yield from mark.args


def test_every_rule_has_an_invalid_fixture(marked: dict[str, str]) -> None:
    without = [rule.id for rule in all_rules() if rule.id not in marked]
    assert not without, f"rules with no test marked @pytest.mark.rule(id): {', '.join(without)}"


def test_every_mark_names_a_rule(marked: dict[str, str]) -> None:
    known = {rule.id for rule in all_rules()}
    wrong = {rule: test for rule, test in marked.items() if rule not in known}
    assert not wrong, f"marks that name no rule: {wrong}"


def test_rules_are_sentences() -> None:
    for rule in all_rules():
        assert rule.sentence.endswith("."), rule.id
        assert rule.cure, rule.id
