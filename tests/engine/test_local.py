"""Workers: every item's result arrives once, whatever dies on the way."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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


def test_a_killed_worker_costs_time_not_results(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [(i, str(tmp_path)) for i in range(6)]
    results = list(run_local(die_once, items, 2))
    assert sorted(results) == [(item, item[0]) for item in items]
    told = f"a worker process died on {items[3]}; a new one takes its place (attempt 2 of 3)"
    assert [record.getMessage() for record in caplog.records] == [told]


def meet(item: tuple[int, str]) -> int:
    """The first worker at item 0 dies; all other work takes until there was a third worker, with the mark of death."""
    number, folder = item
    (Path(folder) / str(os.getpid())).touch()
    if number == 0 and not (Path(folder) / "died").exists():
        wait_until(lambda: len(list(Path(folder).iterdir())) >= 2)
        (Path(folder) / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    wait_until(lambda: len(list(Path(folder).iterdir())) >= 4)
    return os.getpid()


def test_a_new_worker_takes_the_place_of_a_killed_one(tmp_path: Path) -> None:
    """And the other one is left at its work."""
    workers = dict(run_local(meet, [(i, str(tmp_path)) for i in range(6)], 2))
    assert len(workers) == 6
    assert len(list(tmp_path.iterdir())) == 4, "three workers in all, and the mark of the one that died"
    assert len(set(workers.values())) == 2


def die_beside_others(item: tuple[int, str]) -> int:
    """Item 0 dies twice; meanwhile, and for a second more, item 1 is at work. How many others are alive at the end."""
    number, folder = item
    deaths = Path(folder) / "deaths"
    if number == 1:
        (Path(folder) / str(os.getpid())).touch()
        wait_until(lambda: deaths.exists() and deaths.stat().st_size == 2)
        time.sleep(1)
        return 0
    if not deaths.exists() or deaths.stat().st_size < 2:
        with deaths.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(alive(int(path.name)) for path in Path(folder).iterdir() if path != deaths)


def test_the_last_attempt_has_no_other_worker_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [(i, str(tmp_path)) for i in range(2)]
    assert list(run_local(die_beside_others, items, 2)) == [(items[1], 0), (items[0], 0)]
    assert "it is tried alone once all else is done (attempt 3 of 3)" in caplog.records[-1].getMessage()


def hang_at_exit(_item: int) -> int:
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


def test_a_worker_that_hangs_at_its_exit_holds_back_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bad_robot_behavior.engine.local._PATIENCE_S", 0.5)
    results = run_local(hang_at_exit, range(2), 2)
    workers = [next(results)[1], next(results)[1]]
    assert all(alive(worker) for worker in workers)
    assert list(results) == []
    assert not any(alive(worker) for worker in workers)


class LockError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class OddError(Exception):
    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} {reason}")


class Arriving:
    """Raises OSError where it is made anew."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.stat, ("/there is no such file",)


def arriving(_item: int) -> object:
    return Arriving()


def test_an_error_on_arrival_is_no_death(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        list(run_local(arriving, range(3), 2))
    assert not caplog.records


def raise_lock(_item: int) -> None:
    raise LockError("the item is broken")


def raise_odd(_item: int) -> None:
    raise OddError("the item", "is broken")


@pytest.mark.parametrize(("work", "name"), [(raise_lock, "LockError"), (raise_odd, "OddError")])
def test_an_error_that_cannot_be_sent_is_told(
    work: Callable[[int], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError, match=f"^{name}: the item is broken") as raised:
        list(run_local(work, range(3), 2))
    assert f"in {work.__name__}" in "".join(raised.value.__notes__)
    assert not caplog.records, "no worker died"


def unlike_pickle(_item: int) -> object:
    return lambda: None


def test_what_cannot_be_sent_back_is_an_error_of_the_work() -> None:
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match="pickle") as raised:
        list(run_local(unlike_pickle, range(3), 2))
    assert "in _serve" in "".join(raised.value.__notes__)


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


def sleep_and_tell(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a worker that its parent died")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "from bad_robot_behavior.engine import run_local; from tests.engine.test_local import sleep_and_tell\n"
        f"if __name__ == '__main__': list(run_local(sleep_and_tell, [{str(tmp_path)!r}] * 2, 2))\n"
    )
    program = tmp_path.with_suffix(".py")
    program.write_text(script, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen([sys.executable, str(program)], env=os.environ | {"PYTHONPATH": root})
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(alive(worker) for worker in workers))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
