"""Shards in this process or in worker processes on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from bad_robot_behavior.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal to get when the parent dies
ATTEMPTS = 3
"""How often an item may take its worker down (killed, out of memory) before the run stops."""


def run_local(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    """(item, work(item)) for every item, as they get done; in order where `workers` is 1.

    `work` must be importable and must leave its output whole or not at all: when a worker dies, a new one takes its
    place and begins with the same item, while the others work on. Raises what `work` raises, with the worker's
    traceback as a note, and EngineError for an item that keeps killing its worker.
    """
    if workers == 1 or len(items) <= 1:
        for item in items:
            yield item, work(item)
        return
    queue, deaths = deque(range(len(items))), Counter[int]()
    crew: list[_Worker] = []

    def hire() -> None:
        crew.append(_Worker(work))
        crew[-1].begin(queue.popleft(), items)

    try:
        for _ in range(min(workers, len(items))):
            hire()
        while crew:
            ready = wait([worker.pipe for worker in crew])
            for worker in [one for one in crew if one.pipe in ready]:
                number, outcome = worker.number, worker.outcome()
                if outcome is not None and queue:
                    worker.begin(queue.popleft(), items)
                else:
                    crew.remove(worker)
                    worker.end()
                if outcome is None:
                    deaths[number] += 1
                    if deaths[number] == ATTEMPTS:
                        raise EngineError(
                            f"a worker process died {ATTEMPTS} times on {items[number]} (killed, or out of memory); "
                            "what was done is kept. Run the same command with fewer --workers to go on"
                        )
                    tried = f"attempt {deaths[number] + 1} of {ATTEMPTS}"
                    _LOG.warning("a worker process died on %s; a new one takes its place (%s)", items[number], tried)
                    queue.appendleft(number)
                    hire()
                    continue
                done, value = outcome
                if not done:
                    raise value
                yield items[number], value
    finally:
        # Reached with work under way on Ctrl-C or an error: what runs is not worth waiting for, its folder is not
        # in place yet.
        for worker in crew:
            worker.end(at_once=True)


class _Worker:
    """A process that works on one item at a time. `number` is the item's; `pipe` is ready when it is done or died."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        # spawn: a forked child of a process with threads (pyarrow, FFmpeg) can deadlock.
        context = multiprocessing.get_context("spawn")
        self.number = -1
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs, os.getpid()))
        self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def begin(self, number: int, items: Sequence[Any]) -> None:
        self.number = number
        with contextlib.suppress(BrokenPipeError):  # it has died, as `outcome` will say
            self.pipe.send(items[number])

    def outcome(self) -> tuple[bool, Any] | None:
        """(True, result) or (False, what was raised); None where the process has died."""
        try:
            outcome: tuple[bool, Any] = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return outcome

    def end(self, *, at_once: bool = False) -> None:
        if at_once:
            self._process.terminate()
        self.pipe.close()  # which a worker that waits for an item takes as its end
        self._process.join()


def _serve(work: Callable[[Any], Any], pipe: Connection, parent: int) -> None:
    """What a worker does, until its parent closes the pipe."""
    # Ctrl-C reaches the whole process group; the parent alone decides what happens to the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # A parent that is killed cannot end its workers, and they would write on beside those of the next run.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            outcome = pickle.dumps((True, work(item)))
        except Exception as error:  # noqa: BLE001 - the parent raises it
            error.add_note(traceback.format_exc())
            outcome = pickle.dumps((False, error))
        pipe.send_bytes(outcome)
