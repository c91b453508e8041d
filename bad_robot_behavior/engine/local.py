"""Shards in this process or in worker processes on this machine."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from bad_robot_behavior.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal to get when the parent dies
ATTEMPTS = 3
"""How often an item may take its worker down (killed, out of memory) before the run stops."""


def run_local(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    """(item, work(item)) for every item, as they get done; in order where `workers` is 1.

    `work` must be importable and must leave its output whole or not at all: when a worker dies, all items that were
    under way are run again. Raises what `work` raises, and EngineError for items that keep killing their worker.
    """
    if workers == 1 or len(items) <= 1:
        for item in items:
            yield item, work(item)
        return
    attempts = dict.fromkeys(range(len(items)), 0)
    while attempts:
        # Once a worker has died, items run one at a time, so that the one that kills is known and blamed alone.
        alone = any(attempts.values())
        done: set[int] = set()
        try:
            for number, result in _run_pool(work, items, list(attempts), 1 if alone else workers):
                done.add(number)
                yield items[number], result
        except BrokenProcessPool as error:
            remaining = [number for number in attempts if number not in done]
            # With one worker the first that is not done was running; with several, any could have been.
            for number in remaining[:1] if alone else remaining:
                attempts[number] += 1
            worst = max(remaining, key=lambda number: attempts[number])
            if attempts[worst] >= ATTEMPTS:
                raise EngineError(
                    f"a worker process died {ATTEMPTS} times on {items[worst]} (killed, or out of memory); "
                    "the other shards are kept. Run the same command with fewer --workers to go on"
                ) from error
        for number in done:
            del attempts[number]


def _run_pool(
    work: Callable[[Item], Result], items: Sequence[Item], numbers: Sequence[int], workers: int
) -> Iterator[tuple[int, Result]]:
    # spawn: a forked child of a process with threads (pyarrow, FFmpeg) can deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(numbers)), mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
    )
    waiting: dict[Future[Result], int] = {}
    queue = iter(numbers)
    try:
        while True:
            while len(waiting) < 2 * workers and (number := next(queue, None)) is not None:
                waiting[pool.submit(work, items[number])] = number
            if not waiting:
                break
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda f: waiting[f]):
                number = waiting.pop(future)
                yield number, future.result()
    finally:
        # Reached with work under way on Ctrl-C or an error: what runs is not worth waiting for, its folder is not
        # in place yet.
        for process in list((pool._processes or {}).values()):
            if waiting:
                process.terminate()
        pool.shutdown(wait=not waiting, cancel_futures=True)


def _start_worker(parent: int) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what happens to the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # A parent that is killed cannot end its workers, and they would write on beside those of the next run.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)
