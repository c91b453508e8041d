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
_PATIENCE_S = 10.0
"""How long a worker that was told to end may take for it before it is killed."""


def run_local(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    """(item, work(item)) for every item, as they get done; in order where `workers` is 1.

    `work` must be importable and must leave its output whole or not at all: when a worker dies, a new one takes its
    place and begins with the same item, while the others work on. The last attempt comes once all else is done, with no
    other worker beside it: several may be too large for the memory where one is not. Raises what `work` raises, with
    the worker's traceback as a note (as EngineError where that cannot be sent between processes), and EngineError for
    an item that keeps killing its worker.
    """
    if workers == 1 or len(items) <= 1:
        for item in items:
            yield item, work(item)
        return
    queue, alone, deaths = deque(range(len(items))), deque[int](), Counter[int]()
    crew: list[_Worker] = []
    leaving: list[_Worker] = []

    def hire(number: int) -> None:
        crew.append(_Worker(work))
        crew[-1].begin(number, items)

    try:
        for _ in range(min(workers, len(items))):
            hire(queue.popleft())
        while crew or alone:
            if not crew:
                while leaving:
                    leaving.pop().end()
                hire(alone.popleft())
            ready = wait([worker.pipe for worker in crew])
            for worker in [one for one in crew if one.pipe in ready]:
                number, outcome = worker.number, worker.outcome()
                if outcome is not None and queue:
                    worker.begin(queue.popleft(), items)
                else:
                    crew.remove(worker)
                    leaving.append(worker)
                    worker.pipe.close()  # which a worker that waits for an item takes as its end
                if outcome is None:
                    deaths[number] += 1
                    _tell_of_death(items[number], deaths[number])
                    if deaths[number] == ATTEMPTS - 1:
                        alone.append(number)
                    else:
                        queue.appendleft(number)
                    if queue:
                        hire(queue.popleft())
                    continue
                done, value = outcome
                if not done:
                    raise value
                yield items[number], value
    finally:
        # Reached with work under way on Ctrl-C or an error: what runs is not worth waiting for, its folder is not
        # in place yet.
        for worker in crew:
            worker.terminate()
        for worker in [*crew, *leaving]:
            worker.end()


def _tell_of_death(item: object, deaths: int) -> None:
    """Raise EngineError where the item's worker died for the last time, else warn."""
    if deaths == ATTEMPTS:
        raise EngineError(
            f"a worker process died {ATTEMPTS} times on {item} (killed, or out of memory), the last time with no other "
            "beside it; what was done is kept. Give it more memory and run the same command again to go on"
        )
    how = "it is tried alone once all else is done" if deaths == ATTEMPTS - 1 else "a new one takes its place"
    _LOG.warning("a worker process died on %s; %s (attempt %d of %d)", item, how, deaths + 1, ATTEMPTS)


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
            packed = self.pipe.recv_bytes()
        except (EOFError, OSError):
            return None
        outcome: tuple[bool, Any] = pickle.loads(packed)  # noqa: S301 - of our own worker
        return outcome

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        """See that the process is gone."""
        self.pipe.close()
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
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
            outcome = _packed(error)
        pipe.send_bytes(outcome)


def _packed(error: Exception) -> bytes:
    """The error for the parent: itself, or its name and words where it does not survive the way."""
    try:
        packed = pickle.dumps((False, error))
        pickle.loads(packed)  # noqa: S301 - made in the line above
    except Exception:  # noqa: BLE001 - whatever its class does when it is taken apart and made anew
        told = EngineError(f"{type(error).__name__}: {error}")
        told.__notes__ = error.__notes__
        return pickle.dumps((False, told))
    return packed
