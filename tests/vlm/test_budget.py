from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import pytest

from bad_robot_behavior.errors import BudgetError
from bad_robot_behavior.vlm.budget import Budget, Spent
from bad_robot_behavior.vlm.cache import Cache


def test_a_limit_of_requests_is_never_passed_and_counts_over_runs(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    for _ in range(2):
        Budget(Cache(path), max_requests=3).take(0.0)
    last = Budget(Cache(path), max_requests=3)
    last.take(0.0)
    with pytest.raises(BudgetError, match="3 requests have been sent of the 3"):
        last.take(0.0)
    assert last.spent().requests == 3
    Budget(Cache(path), max_requests=4).take(0.0)


def test_a_request_is_paid_in_advance_and_given_back_what_it_did_not_cost(tmp_path: Path) -> None:
    budget = Budget(Cache(tmp_path / "cache.sqlite"), max_cost=1.0)
    budget.take(0.7)
    budget.settle(0.7, 0.2, 100, 10)
    budget.take(0.7)
    assert budget.spent() == Spent(requests=2, prompt_tokens=100, completion_tokens=10, cost=0.9)
    with pytest.raises(BudgetError, match=r"0\.9000 has been spent of the 1"):
        budget.take(0.2)
    budget.close()
    with pytest.raises(BudgetError):
        budget.take(0.01)  # it would fit, but what was stopped stays stopped
    with pytest.raises(BudgetError):
        budget.check()
    budget.open()
    budget.check()
    budget.take(0.01)


def _spend(path: Path) -> None:
    budget = Budget(Cache(path), max_requests=50)
    try:
        while True:
            budget.take(0.0)
    except BudgetError:
        pass


def test_processes_share_one_account(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_spend, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert Budget(Cache(path)).spent().requests == 50


def test_without_limits_a_full_disk_stops_no_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    budget = Budget(cache)
    budget.take(0.0)
    cache.read(lambda database: database.execute("PRAGMA query_only = 1"))  # nothing can be written any more
    with caplog.at_level(logging.WARNING):
        budget.take(0.0)
    assert "not being stored" in caplog.text
