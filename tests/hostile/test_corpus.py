"""Every hostile file ends as it is named to, within limits on memory and processor time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.hostile.cases import CASES

MAX_MB = 1600
"""Memory in use; the text that a dictionary repeats is let grow to 1 GiB before it is refused."""
MAX_CPU_S = 30


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """All cases that are asked for, from one process that runs each in a child of its own."""
    wanted = [item.callspec.params["name"] for item in request.session.items if "outcomes" in item.fixturenames]
    done = subprocess.run([sys.executable, "-m", "tests.hostile", *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_it_is_contained(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    found = outcomes[name]
    assert found["outcome"] == CASES[name].expects
    assert found["mb"] < MAX_MB
    assert found["cpu_s"] < MAX_CPU_S
