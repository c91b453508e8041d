"""The whole chain over HTTP against a server that fails.

Each of `FAILINGS` builds one release while something goes wrong, until a build is done; what it ends with must be byte
for byte what `straight` makes with a server that never failed. tests/test_chain.py runs it small,
benchmarks/chain_faults.py with 200 rollouts.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bad_robot_behavior.cli import main
from tests import loopback, small_disk
from tests.dumps import hashes, write_dump, write_recipe

FRAMES = 4


class Chain:
    """Builds over one dump. `reports` holds what the server of each build saw."""

    def __init__(self, root: Path, sessions: int, samples: int) -> None:
        self.root = root
        self.samples = samples
        self.dump = write_dump(root / "dump", sessions)
        self.reports: dict[str, list[dict[str, Any]]] = {}
        self.said = ""
        self.said_first = ""

    def build(self, name: str, *, limit_bytes: int | None = None, ask_again: bool = False, **server: Any) -> int:
        """One `bad-robot build` into the folder of that name; its exit code. limit_bytes: no file gets larger, which
        fails writes as a full disk does."""
        with loopback.serve(**server) as url:
            recipe = self.recipe(name, url)
            arguments = ["build", str(recipe), "-o", str(self.release(name)), *(["--ask-again"] if ask_again else [])]
            if limit_bytes is None:
                done = CliRunner().invoke(main, arguments)
                code, self.said = done.exit_code, done.output
                if done.exception is not None and not isinstance(done.exception, SystemExit):
                    raise done.exception
            else:
                code, self.said = _limited(arguments, limit_bytes)
            if "die_at" not in server:
                self.reports.setdefault(name, []).append(loopback.stats(url))
        return code

    def recipe(self, name: str, url: str) -> Path:
        """The recipe of the build of that name, which asks the server at `url`."""
        place = {"base_url": url, "model": "loopback", "max_attempts": 4, "timeout_s": 2.0, "concurrency": 16}
        place |= {"prompt_price": 2.0, "completion_price": 10.0}
        reward = {"endpoint": place, "num_frames": FRAMES, "samples": self.samples, "image_size": 64}
        path = self.root / name / "recipe.yaml"
        return write_recipe(path, self.dump, distill={"endpoint": dict(place)}, reward=reward)

    def release(self, name: str) -> Path:
        return self.root / name / "release"

    def cache(self, name: str) -> Path:
        return self.root / name / "release.work" / "requests.sqlite"

    def forget(self, name: str) -> None:
        """Drop the release and what the asking stages left, but not the answers: they are asked for again."""
        shutil.rmtree(self.release(name))
        for stage in ("distill", "reward"):
            shutil.rmtree(self.root / name / "release.work" / stage)

    def made(self, name: str) -> dict[str, str]:
        """Path -> SHA-256 of every file of the release."""
        return hashes(self.release(name))

    def answers(self, name: str) -> int:
        with sqlite3.connect(self.cache(name)) as database:
            count: int = database.execute("SELECT count(*) FROM answers").fetchone()[0]
        return count


def straight(chain: Chain) -> None:
    """A server that never fails."""
    assert chain.build("straight") == 0, chain.said
    chain.said_first = chain.said


def mixed(chain: Chain) -> None:
    """Every request fails once, each in one of the ways of `loopback.MIXED`."""
    assert chain.build("mixed", fault="mixed", slow_s=3.0) == 0, chain.said


def death(chain: Chain) -> None:
    """The server dies in the middle, and comes back at another address."""
    assert chain.build("death", die_at=5) == 1, chain.said
    assert not chain.release("death").exists()
    assert chain.build("death") == 0, chain.said


def second(chain: Chain) -> None:
    """All is asked again with the answers of the first run at hand."""
    assert chain.build("second") == 0, chain.said
    chain.forget("second")
    assert chain.build("second") == 0, chain.said


def corrupt(chain: Chain) -> None:
    """The file of answers is damaged between two runs."""
    assert chain.build("corrupt") == 0, chain.said
    chain.forget("corrupt")
    with contextlib.closing(sqlite3.connect(chain.cache("corrupt"))) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else a log beside the file may heal it
    data = bytearray(chain.cache("corrupt").read_bytes())
    data[: len(data) // 2] = b"not a database " * (len(data) // 30) + bytes(len(data) // 2 - len(data) // 30 * 15)
    chain.cache("corrupt").write_bytes(bytes(data))
    assert chain.build("corrupt") == 0, chain.said


def older(chain: Chain) -> None:
    """The file of answers is of a version that this program does not read."""
    assert chain.build("older") == 0, chain.said
    chain.forget("older")
    with sqlite3.connect(chain.cache("older")) as database:
        database.execute("PRAGMA user_version = 0")
    assert chain.build("older") == 0, chain.said


def full(chain: Chain) -> None:
    """No file can grow beyond half the size of the answers; then it can."""
    room = max(40_000, chain.cache("straight").stat().st_size // 2)
    assert chain.build("full", limit_bytes=room) != 0, chain.said
    assert not chain.release("full").exists()
    assert chain.build("full") == 0, chain.said


def disk(chain: Chain) -> None:
    """The disk fills up three times, each time until somebody makes room."""
    folder = chain.root / "disk"
    whole = sum(path.stat().st_size for path in (chain.root / "straight").rglob("*")) // 1024
    with loopback.serve() as url:
        recipe = chain.recipe("disk", url)
        sizes = [whole * percent // 100 for percent in (5, 25, 60, 1000)]
        release = folder / "small" / "release"
        *failed, last = small_disk.bad_robot(folder / "small", folder, sizes, "build", recipe, "-o", release)
        chain.reports["disk"] = [loopback.stats(url)]
    for code, said, why in failed:
        assert (code, said) == (1, ""), why
        assert "no space is left on this disk; free some space and run the same command again" in why, why
        assert "Traceback" not in why
    assert last[0] == 0, last[2]


def refusal(chain: Chain) -> None:
    """The model refuses some requests: nulls with their reasons. Asked again on demand, it answers."""
    assert chain.build("refusal", fault="refusal", share=0.3) == 1, chain.said
    rejected = json.loads((chain.release("refusal") / "release.json").read_bytes())["counts"]["rejections_by_code"]
    assert rejected, "what was refused must be told"
    assert chain.build("refusal", ask_again=True) == 0, chain.said


FAILINGS: dict[str, Callable[[Chain], None]] = {
    function.__name__: function for function in (mixed, death, second, corrupt, older, full, disk, refusal)
}


def _limited(arguments: list[str], size: int) -> tuple[int, str]:
    """The command in a process that may write no file larger than `size` bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "bad_robot_behavior", *arguments],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    if "Traceback" in done.stderr:
        raise AssertionError(done.stderr)
    return done.returncode, done.stdout + done.stderr
