"""A disk of a given size that really fills up: a tmpfs in namespaces of its own, so that no rights are needed.

Not every kernel lets a user make one; `needed` skips a test there, and `tests/chain.py` has limits on the size of
files for everywhere.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

_RUN = """
import json, os, shutil, subprocess, sys
folder, kept, sizes, command = json.load(sys.stdin)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], check=True)
done = []
for size in sizes:
    subprocess.run(["mount", "-o", f"remount,size={size}k", folder], check=True)
    ran = subprocess.run(command, capture_output=True, text=True)
    done.append([ran.returncode, ran.stdout, ran.stderr])
shutil.copytree(folder, kept, dirs_exist_ok=True)
print(json.dumps(done))
"""
APART = ["unshare", "--user", "--map-root-user", "--mount"]
"""Before a command: it may mount what it likes, and nobody else sees it."""

Run = tuple[int, str, str]
"""Exit code, stdout, stderr."""


@functools.cache
def possible() -> bool:
    """Can such a disk be made here?"""
    mount = "mount -t tmpfs tmpfs /mnt"
    try:
        return subprocess.run([*APART, "sh", "-c", mount], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needed = pytest.mark.skipif(not possible(), reason="this kernel lets a user mount no file system of his own")


def bad_robot(folder: Path, kept: Path, sizes: Sequence[int], *arguments: object) -> list[Run]:
    """The command once for each size of the disk in KiB, which lies at `folder` and only grows. What is on it in the
    end is copied to `kept`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bad_robot_behavior", *map(str, arguments)]
    told = json.dumps([str(folder), str(kept), list(sizes), command])
    done = subprocess.run([*APART, sys.executable, "-c", _RUN], input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]
