"""The offered tasks: whole, spoken of as the project's own rules read them, and named in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bad_robot_behavior.schema.task import task_category
from bad_robot_behavior.synthesis.tasks import SynthesisError, Task, find_task, tasks

PAGE = Path(__file__).parents[2] / "docs" / "synthesis-tasks.md"


def test_enough_tasks_of_every_category_that_the_simulator_can_show() -> None:
    assert len(tasks()) >= 24
    shown = {"pick_place", "push_pull", "open_close", "stack", "reorient", "tool_use"}
    assert {task.category for task in tasks().values()} == shown


@pytest.mark.parametrize("task", tasks().values(), ids=lambda task: task.name)
def test_every_wording_belongs_to_the_category_of_its_task(task: Task) -> None:
    assert {task_category(instruction) for instruction in task.instructions} == {task.category}
    assert len(set(task.instructions)) == len(task.instructions) >= 3


@pytest.mark.parametrize("task", tasks().values(), ids=lambda task: task.name)
def test_stages_add_up_and_a_task_that_carries_asks_for_lifting(task: Task) -> None:
    stages = task.stages
    assert stages.reach + stages.grasp + stages.apply + stages.place == pytest.approx(1)
    assert task.strict.lifted == task.carries
    assert task.grasps or not task.carries
    assert (stages.apply > 0) == task.tool


def test_opposites_are_mutual() -> None:
    for task in tasks().values():
        if task.opposite is not None:
            assert find_task(task.opposite).opposite == task.name


def test_an_unknown_task_names_the_nearest_and_all() -> None:
    with pytest.raises(SynthesisError, match=r"no task 'pickplace-v3'; did you mean pick-place-v3\? Tasks: .*hammer"):
        find_task("pickplace-v3")


def test_the_page_measures_exactly_the_tasks_that_are_offered() -> None:
    row = r"^\| `([a-z0-9-]+)` \|[^|]*\|[^|]*\| (\d+)/(\d+) \| ([\d.]+) \|"
    rows = re.findall(row, PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, *_ in rows] == list(tasks())
    for name, won, seeds, order in rows:
        assert int(seeds) >= 20, name
        assert int(won) / int(seeds) >= 0.95, name
        assert float(order) >= 0.9, name
