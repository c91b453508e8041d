"""What may be asked of endpoints and spent on them, and what has been."""

from __future__ import annotations

import sqlite3

import msgspec

from bad_robot_behavior.errors import BudgetError
from bad_robot_behavior.vlm.cache import Cache, transaction


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Requests sent, faults included, and what they took. cost: in the unit of the prices; 0 where there are none."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Budget:
    """One account for all processes of a build, kept in the file of the cache: it goes on after a stop.

    A request is paid for in advance with all that it could cost, and what it did not cost is given back with its
    answer. So a limit is never passed, and a process that is killed leaves what it had sent as spent. Limits count all
    that was ever spent over this cache, not what one run spends.
    """

    def __init__(self, cache: Cache, max_requests: int | None = None, max_cost: float | None = None) -> None:
        self.cache = cache
        self.max_requests = max_requests
        self.max_cost = max_cost

    def open(self) -> None:
        """Let requests pass again after a stop, up to the limits. For whoever starts the work, once."""
        self._add(closed=None)

    def take(self, cost: float) -> None:
        """Count a request that costs at most `cost`, before it is sent. Raises BudgetError where a limit would be
        passed; `settle` of another request may make room."""

        if self.max_requests is None and self.max_cost is None:
            self._add(requests=1.0, cost=cost)
            return

        def pay(database: sqlite3.Connection) -> str | None:
            with transaction(database):
                spent = _amounts(database)
                problem = self._problem(spent, cost)
                if problem is None:
                    _change(database, {"requests": 1.0, "cost": cost})
            return problem

        problem = self.cache.read(pay)
        if problem is not None:
            raise BudgetError(problem)

    def close(self) -> None:
        """Let no request pass any more until `open`: one was refused, and smaller ones shall not slip by."""
        self._add(closed=1.0)

    def settle(self, paid: float, cost: float, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Put what a request took in the place of what was paid in advance."""
        self._add(cost=cost - paid, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def spent(self) -> Spent:
        """All that was spent over this cache."""
        amounts = self.cache.read(_amounts)
        return Spent(
            requests=round(amounts.get("requests", 0)),
            prompt_tokens=round(amounts.get("prompt_tokens", 0)),
            completion_tokens=round(amounts.get("completion_tokens", 0)),
            cost=round(amounts.get("cost", 0), 9),
        )

    def check(self) -> None:
        """Raises BudgetError where no request has passed any more since `open`."""
        amounts = self.cache.read(_amounts)
        if amounts.get("closed") and (problem := self._problem(amounts, 0.0)):
            raise BudgetError(problem)

    def _problem(self, spent: dict[str, float], cost: float) -> str | None:
        """Why a request of that cost may not be sent, or None."""
        requests, so_far = round(spent.get("requests", 0)), spent.get("cost", 0)
        if self.max_requests is not None and requests + 1 > self.max_requests:
            return f"{requests} requests have been sent of the {self.max_requests} that --max-requests allows"
        closed = self.max_cost is not None and bool(spent.get("closed"))
        if self.max_cost is not None and (closed or so_far + cost > self.max_cost):
            return (
                f"{so_far:.4f} has been spent of the {self.max_cost:g} that --max-cost allows, and the next request "
                "might cost more than the rest"
            )
        return None

    def _add(self, **changes: float | None) -> None:
        def change(database: sqlite3.Connection) -> None:
            with transaction(database):
                _change(database, changes)

        if self.max_requests is None and self.max_cost is None:
            self.cache.write(change)  # nothing hangs on the account, so a full disk does not stop the work here
        else:
            self.cache.read(change)


def _amounts(database: sqlite3.Connection) -> dict[str, float]:
    return dict(database.execute("SELECT name, amount FROM spent").fetchall())


def _change(database: sqlite3.Connection, changes: dict[str, float | None] | dict[str, float]) -> None:
    """Add to the amounts; None empties one."""
    for name, amount in changes.items():
        if amount is None:
            database.execute("DELETE FROM spent WHERE name = ?", (name,))
        else:
            database.execute(
                "INSERT INTO spent VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount",
                (name, amount),
            )
