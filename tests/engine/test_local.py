"""Workers: every item's result arrives once, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bad_robot_behavior.engine import run_local
from bad_robot_behavior.errors import EngineError


def square(item: int) -> int:
    return item * item


def die_once(item: tuple[int, str]) -> int:
    number, folder = item
    mark = Path(folder) / "died"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def fail(item: int) -> int:
    if item == 1:
        raise ValueError("item 1 is broken")
    time.sleep(0.01)
    return item


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_once(workers: int) -> None:
    results = dict(run_local(square, range(7), workers))
    assert results == {i: i * i for i in range(7)}


def test_a_killed_worker_costs_time_not_results(tmp_path: Path) -> None:
    items = [(i, str(tmp_path)) for i in range(6)]
    results = list(run_local(die_once, items, 2))
    assert sorted(results) == [(item, item[0]) for item in items]


def test_an_item_that_always_kills_is_named_and_the_others_are_done() -> None:
    done = []
    with pytest.raises(EngineError, match="died 3 times on 2"):
        for item, _ in run_local(die_always, range(5), 2):
            done.append(item)
    assert 2 not in done


def test_an_exception_reaches_the_caller() -> None:
    with pytest.raises(ValueError, match="item 1 is broken"):
        list(run_local(fail, range(6), 2))


def test_no_items() -> None:
    assert list(run_local(square, [], 2)) == []
