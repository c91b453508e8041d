"""The command line: thin, and every heavy import is inside the command that needs it.

Exit codes: 0 fine, 1 found problems, 2 used wrongly, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from bad_robot_behavior import __version__
from bad_robot_behavior.cli import releases, scoring, sources, training
from bad_robot_behavior.errors import BadRobotError

_CURES = {
    errno.ENOENT: "give a path that is there",
    errno.EACCES: "change who may read and write there, or give another path",
    errno.EPERM: "change who may read and write there, or give another path",
    errno.EROFS: "give a path that can be written to",
    errno.EEXIST: "move away what is there, or give another path",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "give a path whose parents are all folders",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "mend the link that leads back to itself, or give another path",
}
"""What the operating system refuses because of a path, and what to do about it. Anything else broke on the way."""


# Before anything imports pyarrow: its own pool keeps what is freed, and a build's peak grew by that with its rollouts.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


class Group(click.Group):
    """Turns errors that a user can cause into one sentence and an exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _one_sentence():  # --help and --version are printed in here
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_sentence():
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except BadRobotError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("stopped; nothing is half written. Run the same command again to go on", 130)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        # A file without permission, a full disk: the user can mend it, a traceback would not help.
        place = f"{error.filename}: " if error.filename else ""
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        otherwise = f"{'free some space' if full else 'mend that'} and run the same command again"
        cure = _CURES.get(error.errno or 0, otherwise)
        _fail(f"{place}{error.strerror or error}; {cure}", 2 if error.errno in _CURES else 1)


def _fail(message: str, code: int) -> None:
    click.echo(f"bad-robot: {message}", err=True)
    raise SystemExit(code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bad-robot")
def main() -> None:
    """Turn failed robot rollouts into a dataset that reward models can learn from and be tested on."""


for command in (
    *(sources.init, sources.validate, sources.download, sources.synthesize, sources.edit),
    *(releases.build, releases.split, releases.audit, releases.diff, releases.withdraw, releases.install),
    *(scoring.score, scoring.evaluate, scoring.leaderboard, scoring.run_ladder, training.train),
):
    main.add_command(command)
