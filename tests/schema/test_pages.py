"""Generated reference pages are up to date and say all there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_robot_behavior.schema import all_rules
from bad_robot_behavior.schema.contracts import CONTRACTS, contract
from bad_robot_behavior.schema.pages import PAGES

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    stale = "run: python -m bad_robot_behavior.schema --docs docs"
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), stale


def test_every_recipe_field_has_type_default_and_meaning() -> None:
    schema = contract("recipe")
    rows = [
        [cell.strip() for cell in line.strip("| ").replace("\\|", "/").split(" | ")]
        for line in PAGES["recipe.md"]().splitlines()
        if line.startswith("| `")
    ]
    fields = [name for node in (schema, *schema["$defs"].values()) for name in node["properties"]]
    assert [row[0].strip("`") for row in rows] == fields
    for row in rows:
        assert len(row) == 4, row
        assert all(row), row
        assert row[1] != "anything"


def test_every_field_of_every_table_is_listed() -> None:
    page = PAGES["schema.md"]()
    for name in set(CONTRACTS) - {"recipe"}:
        schema = contract(name)
        for node in (schema, *schema.get("$defs", {}).values()):
            assert all(f"| `{field}` |" in page for field in node["properties"])
    assert "| anything |" not in page


def test_every_rule_is_listed() -> None:
    page = PAGES["rules.md"]()
    assert all(f"| `{rule.id}` |" in page for rule in all_rules())
