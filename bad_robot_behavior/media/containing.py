"""Work on a stranger's video in a process of its own, with limits on memory and time: what kills it kills no build.

A decoder is a million lines of C that parse hostile bytes. Here one that crashes, that takes more memory or processor
time than any rollout needs, or that hangs, costs the one video. It is a fence, not a sandbox: a decoder that is taken
over does what its user may do, so untrusted dumps are built in a container all the same.

One process serves all videos of a worker, one after the other, and a new one takes its place when it dies. Questions
and answers are lines of JSON and never a pickle, so that a broken process cannot answer with code. It is given neither
the environment nor any open file of the build.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
from typing import Any, TypeVar

import msgspec

from bad_robot_behavior.errors import MediaError

MAX_MEMORY = 4 << 30
"""Bytes of address space; 8192x4352 frames of 16 references take about 2 GiB."""
MAX_CPU_S = 300
"""Seconds of processor time for one video; 400 frames of 640x360 in three passes take about 2."""
MAX_WALL_S = 3600.0
"""Seconds in all, for what waits without working, such as a disk that went away."""

_PASSED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line that comes back: `result`, or what MediaError is to say, or the traceback of a defect of our own."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    where: str | None = None
    reason: str = ""
    defect: str | None = None


class Question(msgspec.Struct, frozen=True):
    """One line that goes out: a function of this package by module and name, and its arguments."""

    module: str
    name: str
    arguments: list[msgspec.Raw]
    max_cpu_s: int


_running: subprocess.Popen[bytes] | None = None


def contained(module: str, name: str, path: str, *arguments: Any, returns: type[T], max_cpu_s: int = MAX_CPU_S) -> T:
    """`module.name(path, *arguments)`, computed in the other process. Arguments and result travel as JSON and take the
    types that the function's annotations give.

    Raises MediaError as the function does, and where the process died of the video: at "limit of memory", "limit of
    time" or "crash". Raises RuntimeError, with the traceback, for any other exception of the function.
    """
    encode = msgspec.json.encode
    question = Question(module, name, [msgspec.Raw(encode(item)) for item in (path, *arguments)], max_cpu_s)
    process = _process()
    line = _ask(process, encode(question) + b"\n")
    if not line.endswith(b"\n"):
        raise MediaError(path, *_cause(_end(process), max_cpu_s))
    answer = msgspec.json.decode(line, type=Answer)
    if answer.defect is not None:
        raise RuntimeError(f"{module}.{name} failed on {path}:\n{answer.defect}")
    if answer.where is not None:
        raise MediaError(path, answer.where, answer.reason)
    return msgspec.json.decode(answer.result, type=returns)


def _process() -> subprocess.Popen[bytes]:
    global _running
    if _running is None or _running.poll() is not None:
        environment = {key: os.environ[key] for key in _PASSED if key in os.environ}
        # Threads of a matrix library would each take address space, and none is used.
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "bad_robot_behavior.media.containing_worker", str(MAX_MEMORY)]
        # In a group of its own, since Ctrl-C reaches a whole group; it ends when its input does.
        _running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0
        )
        atexit.register(_end, _running)
    return _running


def _ask(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """The line that comes back, without its end where the process died or was too slow."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except BrokenPipeError:
        return b""
    ready, _, _ = select.select([process.stdout], [], [], MAX_WALL_S)
    return process.stdout.readline() if ready else b""


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """Kill what still runs; how it ended of itself, None where it did not."""
    global _running
    if process is _running:
        _running = None
    atexit.unregister(_end)
    try:
        ended: int | None = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        ended = None
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return ended


def _cause(ended: int | None, max_cpu_s: int) -> tuple[str, str]:
    if ended is None or -ended in (signal.SIGXCPU, signal.SIGKILL):
        return "limit of time", f"took more than {max_cpu_s} s of processor time, hung, or was killed"
    name = signal.Signals(-ended).name if ended < 0 else f"status {ended}"
    return "crash", f"the decoder's process ended with {name}"
