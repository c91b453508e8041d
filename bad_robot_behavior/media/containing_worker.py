"""The process that `containing` talks to: reads a question a line, answers with a line, within its limits."""

from __future__ import annotations

import importlib
import inspect
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media.containing import Answer, Question


def main() -> None:
    """Serve until there are no more questions."""
    _limit_memory(int(sys.argv[1]))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a word where whoever asked is gone
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        question = msgspec.json.decode(line, type=Question)
        _limit_time(question.max_cpu_s)
        answers.write(msgspec.json.encode(_answer(question)) + b"\n")
        answers.flush()


def _answer(question: Question) -> Answer:
    try:
        function = getattr(importlib.import_module(question.module), question.name)
        return Answer(result=msgspec.Raw(msgspec.json.encode(function(*_arguments(function, question)))))
    except MediaError as error:
        return Answer(where=error.where, reason=error.reason)
    except MemoryError:
        return Answer(where="limit of memory", reason=f"needs more than {int(sys.argv[1]) >> 20} MiB")
    except Exception:  # noqa: BLE001 - told in full by whoever asked
        return Answer(defect=traceback.format_exc())


def _arguments(function: Callable[..., Any], question: Question) -> list[Any]:
    names = inspect.signature(function, eval_str=True).parameters.values()
    return [
        msgspec.json.decode(given, type=wanted.annotation)
        for given, wanted in zip(question.arguments, names, strict=False)
    ]


def _limit_memory(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    own = size if hard == resource.RLIM_INFINITY else min(size, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (own, hard))
    except ValueError:  # macOS knows the limit and does not take it
        sys.stderr.write("this system sets no limit on the memory of a decoder\n")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: int) -> None:
    """From now on. The soft limit may be raised again for the next question, and is fatal all the same."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    main()
