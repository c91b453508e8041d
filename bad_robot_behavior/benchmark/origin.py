"""What a predictions file was made with: arguments, versions, the state of the code. No time of day, no machine."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from bad_robot_behavior import __version__

_PACKAGES = ("av", "numpy", "pyarrow", "torch", "transformers", "onnxruntime", "openai")


def origin(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the values beside the model: the arguments as resolved, package versions and the git state.

    git is null where the package was not run from a git checkout, or git is not there.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "engine_version": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "git": git_state(Path(__file__).parent),
        "arguments": dict(arguments),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"commit": its hash, "dirty": are there changes to tracked files}; None outside a checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()
