"""The command line: thin, and every heavy import is inside the command that needs it.

Exit codes: 0 fine, 1 found problems, 2 used wrongly, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from bad_robot_behavior import __version__
from bad_robot_behavior.cli import releases, scoring, sources, training
from bad_robot_behavior.errors import BadRobotError


class Group(click.Group):
    """Turns errors that a user can cause into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BadRobotError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("stopped; nothing is half written. Run the same command again to go on", 130)
        except BrokenPipeError:
            # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except OSError as error:
            # A full disk, a folder without write permission: the user can mend it, a traceback would not help.
            place = f"{error.filename}: " if error.filename else ""
            cure = ". Free some space and run the same command again" if error.errno == errno.ENOSPC else ""
            _fail(f"{place}{error.strerror or error}{cure}", 1)


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
