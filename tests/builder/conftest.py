"""A release in each layout, and a Python process that has nothing but them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bad_robot_behavior.schema import Rollout
from tests.builder.releases import make_release, make_rollouts

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> list[Rollout]:
    return make_rollouts(tmp_path_factory.mktemp("videos"), sessions=5)


@pytest.fixture(scope="session", params=["files", "shards"])
def release(request: pytest.FixtureRequest, rollouts: list[Rollout], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that no test changes."""
    out = tmp_path_factory.mktemp(request.param) / "bad-robot-behavior"
    make_release(out, rollouts, request.param)
    return out


@pytest.fixture(scope="session")
def files_release(rollouts: list[Rollout], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with mp4 files that no test changes, where the layout does not matter."""
    out = tmp_path_factory.mktemp("one") / "bad-robot-behavior"
    make_release(out, rollouts, "files")
    return out


@pytest.fixture(scope="session")
def shards_release(rollouts: list[Rollout], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with its videos in parquet that no test changes."""
    out = tmp_path_factory.mktemp("two") / "bad-robot-behavior"
    make_release(out, rollouts, "shards")
    return out


Python = Callable[..., str]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run code in a new process, offline and with caches of its own; returns its standard output."""
    home = tmp_path / "hf"

    def run(code: str, cwd: Path = tmp_path, fails: bool = False, **env: str) -> str:
        cwd.mkdir(exist_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings = {
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=cwd,
            env=clean | settings | env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    return run


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """Environment for a client of a loopback Hub, and the server's log of the files it gave."""
    log = tmp_path / "hub.log"
    with log.open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.loopback_hub"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            yield {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_test"}, log
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(timeout=10)
