from __future__ import annotations

import contextlib
import logging
import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.vlm.cache import Cache, request_key
from bad_robot_behavior.vlm.client import Answer, Image, Message, Request
from tests import small_disk

ROOT = Path(__file__).parent.parent.parent
BASE = Request(model="m", messages=(Message("user", ("hello", Image(b"abc", "image/png"))),), seed=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n"},
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"seed": None},
        {"seed": 2},
        {"json_schema": {}},
        {"candidates": ("True",)},
        {"messages": (Message("system", ("hello", Image(b"abc", "image/png"))),)},
        {"messages": (Message("user", ("hello", Image(b"abd", "image/png"))),)},
        {"messages": (Message("user", ("hello", Image(b"abc", "image/jpeg"))),)},
        {"messages": (Message("user", (Image(b"abc", "image/png"), "hello")),)},
        {"messages": (Message("user", ("hel", "lo", Image(b"abc", "image/png"))),)},
        {"messages": ()},
    ],
)
def test_everything_that_decides_an_answer_is_in_the_key(changes: dict[str, object]) -> None:
    assert request_key(msgspec.structs.replace(BASE, **changes)) != request_key(BASE)


def test_every_field_of_a_request_is_tried_above() -> None:
    assert set(Request.__struct_fields__) == {
        "model",
        "messages",
        "temperature",
        "max_tokens",
        "seed",
        "json_schema",
        "candidates",
    }


def test_requests_without_candidates_keep_the_key_that_they_had_before_there_were_any() -> None:
    assert request_key(BASE) == "fc59af6552b14697784fbd4b9b27e4cc05a856fbd10811806d82d9e358d747ce"


def test_the_order_of_keys_in_a_schema_does_not_matter() -> None:
    one = msgspec.structs.replace(BASE, json_schema={"a": 1, "b": 2})
    assert request_key(one) == request_key(msgspec.structs.replace(BASE, json_schema={"b": 2, "a": 1}))


def test_an_answer_is_kept_over_processes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cache.sqlite"
    Cache(path).put(BASE, Answer(text="yes", prompt_tokens=3, completion_tokens=1))
    assert Cache(path).get(BASE) == Answer(text="yes", prompt_tokens=3, completion_tokens=1, cached=True)
    assert Cache(path).get(msgspec.structs.replace(BASE, seed=9)) is None


def test_an_answer_without_text_is_never_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never stored"):
        Cache(tmp_path / "cache.sqlite").put(BASE, Answer(text=None, error="no"))


def _write(path: Path, start: int) -> None:
    cache = Cache(path)
    for seed in range(start, start + 40):
        cache.put(msgspec.structs.replace(BASE, seed=seed), Answer(text=f"answer {seed}"))


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, 20 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(Cache(path)) == 80
    assert Cache(path).get(msgspec.structs.replace(BASE, seed=79)) == Answer(text="answer 79", cached=True)


def _text(path: Path) -> None:
    path.write_text("this is no database, though it is long enough to be taken for one" * 20)


def _older(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE answers (key TEXT, text TEXT)")


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE photos (id INTEGER)")
        database.execute("PRAGMA user_version = 1")


def _truncated(path: Path) -> None:
    cache = Cache(path)
    for seed in range(400):
        cache.put(msgspec.structs.replace(BASE, seed=seed), Answer(text="x" * 200))
    cache.close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("spoil", [_text, _older, _foreign, _truncated])
def test_an_unusable_file_is_moved_aside_with_a_warning(
    spoil: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.sqlite"
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes()
    cache = Cache(path)
    with caplog.at_level(logging.WARNING):
        for seed in range(400):
            request = msgspec.structs.replace(BASE, seed=1000 + seed)
            assert cache.get(request) is None
            cache.put(request, Answer(text="fresh"))
    assert cache.get(request) == Answer(text="fresh", cached=True)
    assert (tmp_path / "cache.sqlite.unusable-1").read_bytes() == before
    assert "unusable-1" in caplog.text
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_was_only_begun_is_gone_on_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a disk leaves it that had no room for the tables."""
    path = tmp_path / "cache.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    Cache(path).put(BASE, Answer(text="yes"))
    assert Cache(path).get(BASE) == Answer(text="yes", cached=True)
    assert caplog.text == ""


def test_a_cache_that_cannot_be_written_warns_once_and_loses_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    cache.put(BASE, Answer(text="first"))
    cache._do(lambda database: database.execute("PRAGMA max_page_count = 4"))  # as a full disk: SQLITE_FULL
    with caplog.at_level(logging.WARNING):
        for seed in range(100):
            cache.put(msgspec.structs.replace(BASE, seed=seed), Answer(text="y" * 3000))
    assert caplog.text.count("answers are not being stored") == 1
    assert cache.get(BASE) == Answer(text="first", cached=True)


def test_unusable_answers_are_forgotten_and_no_others(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    requests = [msgspec.structs.replace(BASE, seed=seed) for seed in range(4)]
    for request in requests[:3]:
        cache.put(request, Answer(text="what?"))
    cache.mark_unusable([requests[0], requests[3]])  # the last one was refused, so there is nothing to forget
    cache.mark_unusable([requests[0]])
    assert cache.forget_unusable() == 1
    assert [cache.get(request) is None for request in requests] == [True, False, False, True]
    cache.put(requests[0], Answer(text="yes"))
    assert cache.forget_unusable() == 0
    assert cache.get(requests[0]) is not None


FULL = """
import resource, sys
from pathlib import Path
import msgspec
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Answer
from tests.vlm.test_cache import BASE
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
cache = Cache(Path(sys.argv[1]))
try:
    for seed in range(200):
        cache.put(msgspec.structs.replace(BASE, seed=seed), Answer(text="y" * 3000))
    print("kept", len(cache))
except BadRobotError as error:
    print(error)
"""


@pytest.mark.parametrize(("size", "words"), [(200_000, "kept "), (0, "cannot be used: ")])
def test_a_full_disk_is_told_and_what_was_stored_stays(size: int, words: str, tmp_path: Path) -> None:
    """A real limit on how large files may grow, as a disk has it."""
    path = tmp_path / "cache.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", FULL, path, str(size)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert words in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    if size:
        assert done.stderr.count("answers are not being stored") == 1
        kept = int(done.stdout.removeprefix("kept "))
        assert 0 < kept < 200
        assert len(Cache(path)) == kept
        assert Cache(path).get(msgspec.structs.replace(BASE, seed=0)) is not None


SIZES = """
import subprocess, sys
from pathlib import Path
from bad_robot_behavior.errors import DiskFullError
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Answer
from tests.vlm.test_cache import BASE
folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], check=True)
for size in range(4, 104, 8):
    subprocess.run(["mount", "-o", f"remount,size={size}k", folder], check=True)
    cache = Cache(folder / "cache.sqlite")
    try:
        assert cache.get(BASE) is None
    except DiskFullError as error:
        assert str(error).startswith(str(cache.path)), error
        print("full", end=" ")
        continue
    cache.put(BASE, Answer(text="yes"))
    assert cache.get(BASE).text == "yes"
    print("room", [path.name for path in folder.iterdir() if "unusable" in path.name])
    break
"""


@small_disk.needed
def test_a_disk_without_room_is_said_to_be_full_whatever_there_is_no_room_for(tmp_path: Path) -> None:
    command = [*small_disk.APART, sys.executable, "-c", SIZES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("full full "), done.stderr
    assert done.stdout.endswith("full room []\n"), "and what was begun is gone on with"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRobotError, match="the cache of model answers cannot be used"):
        Cache(tmp_path / "file" / "cache.sqlite").get(BASE)
