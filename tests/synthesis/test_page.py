"""Measured parts of a documentation page."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_robot_behavior.synthesis.faults.__main__ import lines
from bad_robot_behavior.synthesis.page import replace, table

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_a_part_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin sums -->\nold\n<!-- end sums -->\nafter\n", encoding="utf-8")
    replace(page, "sums", table(["a", "b"], [["1", "2"]]))
    replace(page, "sums", table(["a", "b"], [["1", "3"]]))
    text = page.read_text(encoding="utf-8")
    assert text.startswith(
        "before\n<!-- begin sums -->\n\n| a | b |\n| --- | --- |\n| 1 | 3 |\n\n<!-- end sums -->\nafter"
    )


def test_a_page_without_the_part_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no part sums"):
        replace(page, "sums", [])


def test_the_page_says_which_fault_can_bite_where() -> None:
    text = (DOCS / "synthesis.md").read_text(encoding="utf-8")
    assert "\n".join(lines()) in text, "run: python -m bad_robot_behavior.synthesis.faults docs/synthesis.md"
