"""Task categories: each one, the known traps, and the confusion on hand-labelled instructions.

`python -m tests.schema.test_task` writes docs/task-categories.md.
"""

from __future__ import annotations

import csv
import textwrap
import typing
from collections import Counter
from pathlib import Path

import pytest

from bad_robot_behavior.schema import TaskCategory, task_category
from bad_robot_behavior.schema.contracts import write_text

LABELLED = Path(__file__).parent / "instructions.tsv"
PAGE = Path(__file__).parent.parent.parent / "docs" / "task-categories.md"
CATEGORIES = typing.get_args(TaskCategory)

INTRODUCTION = """The paper sorts its rollouts into seven task categories and does not say how. Here keyword
rules on the instruction do it (`bad_robot_behavior/schema/task.py`): the most specific category is tried first,
and an instruction that no rule matches is `other`. `task_category_source` says where a person or a model did it
instead."""
METHOD = """How well they do was measured on instructions in the style of RoboArena's evaluators (lower case,
typos, compound tasks), written and labelled by hand for this project: `tests/schema/instructions.tsv`. The
rules were corrected on the part `tune`, so only `check` says what to expect; the same author wrote both, and it
is small, so take it as an upper bound. The label is what a person would call the main thing asked for; of a
compound task, the most specific part. Written by `python -m tests.schema.test_task`."""
CLOSING = """Instructions in other languages, and misspelt verbs, end in `other`. Expect few rollouts in `pour`
and `tool_use`: read their numbers with the interval."""


def labelled() -> list[dict[str, str]]:
    with LABELLED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def accuracy(rows: list[dict[str, str]]) -> tuple[int, int]:
    return sum(task_category(row["instruction"]) == row["category"] for row in rows), len(rows)


def page() -> str:
    rows = labelled()
    counted = Counter((row["category"], task_category(row["instruction"])) for row in rows)
    lines = [
        "# Task categories",
        "",
        *textwrap.wrap(INTRODUCTION, 118),
        "",
        *textwrap.wrap(METHOD, 118),
        "",
        "| part | right | of | accuracy |",
        "|---|---|---|---|",
    ]
    for part in ("tune", "check"):
        right, total = accuracy([row for row in rows if row["part"] == part])
        lines.append(f"| {part} | {right} | {total} | {right / total:.2f} |")
    lines += ["", "## Confusion, both parts", "", "Rows: what a person says. Columns: what the rules say.", ""]
    lines += ["| | " + " | ".join(CATEGORIES) + " |", "|---" * (len(CATEGORIES) + 1) + "|"]
    for wanted in CATEGORIES:
        lines.append(f"| {wanted} | " + " | ".join(str(counted[wanted, got] or "") for got in CATEGORIES) + " |")
    lines += ["", "## What they get wrong", "", "| instruction | a person | the rules |", "|---|---|---|"]
    for row in rows:
        got = task_category(row["instruction"])
        if got != row["category"]:
            lines.append(f"| {row['instruction']} | {row['category']} | {got} |")
    lines += [
        "",
        *textwrap.wrap(CLOSING, 118),
    ]
    return "\n".join(lines) + "\n"


def test_the_labelled_set_is_sound() -> None:
    rows = labelled()
    assert len(rows) >= 80
    assert len({row["instruction"] for row in rows}) == len(rows)
    for part in ("tune", "check"):
        counted = Counter(row["category"] for row in rows if row["part"] == part)
        assert set(counted) == set(CATEGORIES)
        assert min(counted.values()) >= 3


def test_accuracy_does_not_fall() -> None:
    for part, least in (("tune", 0.95), ("check", 0.88)):
        right, total = accuracy([row for row in labelled() if row["part"] == part])
        assert right / total >= least


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.schema.test_task"


@pytest.mark.parametrize(
    ("instruction", "category"),
    [
        ("put the marker in the cup", "pick_place"),
        ("push the button", "push_pull"),
        ("open the drawer", "open_close"),
        ("stack the cups", "stack"),
        ("flip the mug", "reorient"),
        ("pour the beans into the bowl", "pour"),
        ("wipe the table", "tool_use"),
        ("point at the kettle.", "other"),
        # traps: nouns that look like verbs, tools that are only carried, the order of specific and general
        ("pick up the dish brush", "pick_place"),
        ("put the spoon in the cup", "pick_place"),
        ("pick up the cup with the spoon in it", "pick_place"),
        ("put the ring on the peg", "pick_place"),
        ("put the toilet roll on the shelf", "pick_place"),
        ("put the cup on the cutting board", "pick_place"),
        ("pick up the lid", "pick_place"),
        ("put the lid on the pot", "open_close"),
        ("cover the bowl with the towel", "open_close"),
        ("push the drawer closed", "open_close"),
        ("turn on the lamp", "push_pull"),
        ("turn the lamp around", "reorient"),
        ("put the red block on the blue block", "stack"),
        ("put the red block on the blue bowl", "pick_place"),
        ("move the cup from left to right and rotate it by 90 degrees", "reorient"),
        ("use the towel to pull the bowl", "tool_use"),
        ("OPEN   The\tDrawer", "open_close"),
        ("pouring water", "pour"),
        # words that only contain a keyword
        ("look at the computer", "other"),
        ("touch the drawer", "other"),
        ("show the opener", "other"),
        # what no rule knows is never silently pick_place
        ("", "other"),
        ("stelle die Tasse auf den Teller", "other"),
        ("\u628a\u676f\u5b50\u653e\u5728\u76d8\u5b50\u4e0a", "other"),
        ("pu the cup on the plate", "other"),
    ],
)
def test_categories_and_traps(instruction: str, category: str) -> None:
    assert task_category(instruction) == category


def test_a_long_hostile_instruction_takes_no_time_to_speak_of() -> None:
    assert task_category("use " + "a " * 20_000) == "other"
    assert task_category("block in " * 5_000) == "other"


if __name__ == "__main__":
    write_text(PAGE, page())
