"""Runs the cases one by one, each in a child with limits on memory and processor time, and tells a JSON line of each:

python -m tests.hostile [NAME ...]
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.hostile.cases import CASES

MEMORY = 6 << 30
"""Of address space, which libraries claim much of and fill little; what is filled is told as `mb`."""
CPU_S = 60
WALL_S = 300
"""Only for what would hang: a machine that is busy must not decide a test."""


def run(name: str) -> dict[str, Any]:
    """How a case ended, the processor time that it took, and the largest memory of its process and those below it."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(WALL_S)
        os.write(tell, outcome(name, folder).encode())
        finish()
    os.close(tell)
    with os.fdopen(told) as lines:
        ended = lines.read()
    _, status, used = os.wait4(child, 0)
    shutil.rmtree(folder)
    if not ended:
        ended = f"died: {signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status}"
    return {
        "name": name,
        "reader": CASES[name].reader,
        "expects": CASES[name].expects,
        "outcome": ended,
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "mb": used.ru_maxrss // 1024,
    }


def finish() -> None:
    """End without the parent's exit handlers, but with the child's own helper, so that its time is counted."""
    from bad_robot_behavior.media import containing

    if containing._running is not None and containing._running.stdin is not None:
        containing._running.stdin.close()
        containing._running.wait()
    os._exit(0)


def outcome(name: str, folder: Path) -> str:
    from bad_robot_behavior.errors import BadRobotError

    try:
        result = CASES[name].run(folder)
    except BadRobotError as error:
        rule = getattr(error, "rule", None)
        return rule.id if rule is not None else type(error).__name__
    except Exception as error:  # noqa: BLE001 - this is what is tested
        rule = getattr(error, "rule", None)  # Refusal and Broken, which their adapter makes rejections of
        return rule.id if rule is not None else f"escaped: {type(error).__name__}: {error}"[:300]
    return result if isinstance(result, str) else "read"


if __name__ == "__main__":
    # what every reader loads is loaded once
    from bad_robot_behavior import media  # noqa: F401
    from bad_robot_behavior.benchmark import predictions, results_file  # noqa: F401
    from bad_robot_behavior.curation.sources import folder, roboarena, synthetic  # noqa: F401

    for wanted in sys.argv[1:] or CASES:
        print(json.dumps(run(wanted)), flush=True)
