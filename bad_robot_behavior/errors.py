"""Every error this package raises on purpose.

    BadRobotError              anything a user can cause and cure; printed as one sentence, never as a traceback
      MediaError               a video that cannot be opened or decoded
      SourceError              a dump or lab folder that cannot be read at all
        DownloadError          a download that broke off
      RecipeError              a recipe that does not say what a build needs
      ReleaseError             a release that is missing, incomplete or not one
      PredictionsError         a predictions file that cannot be joined with a release
      EndpointError            a model endpoint that could not be made to answer
        EndpointDownError      nobody is there at all
      BudgetError              what may be asked or spent is spent
      EngineError              a worker process that kept dying
      DiskFullError            no room where something was to be written
      MissingExtraError        an optional dependency that is not installed

A single bad rollout is never an error: it is a `schema.Rejection` and the build goes on.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = [
    "BadRobotError",
    "BudgetError",
    "DiskFullError",
    "DownloadError",
    "EndpointDownError",
    "EndpointError",
    "EngineError",
    "MediaError",
    "MissingExtraError",
    "PredictionsError",
    "RecipeError",
    "ReleaseError",
    "SourceError",
    "check_choice",
    "hub_errors",
    "naming_disk",
    "require",
]


class BadRobotError(Exception):
    """Base of all deliberate errors. `str(error)` is a whole sentence that names the place, the value and the cure."""

    exit_code = 2
    """What the command line exits with: 2 where the caller can mend it at once, 1 where something broke on the way."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross from workers to the build. By default a subclass would be made anew from `args`, which hold the
        # sentence and not what its constructor takes, and the worker would seem to have died.
        return _restore, (type(self), self.args, self.__dict__)


class MediaError(BadRobotError):
    """A video that cannot be opened or decoded.

    Attributes: `path` of the file, `where` it broke ("open", "demux", "frame 17", ...), `reason` as the decoder says.
    """

    def __init__(self, path: str | Path, where: str, reason: str) -> None:
        self.path = Path(path)
        self.where = where
        self.reason = reason
        super().__init__(f"{path}: broke at {where}: {reason}")


class SourceError(BadRobotError):
    """A dump or lab folder that cannot be read at all (a defect of one rollout is a Rejection instead)."""


class DownloadError(SourceError):
    """A download that broke off on the way: the network, the Hub or the disk failed."""

    exit_code = 1


class RecipeError(BadRobotError):
    """A recipe that is not valid, or that asks for what is not there."""


class ReleaseError(BadRobotError):
    """A folder that is not a release, or a release whose files do not match its manifest."""


class PredictionsError(BadRobotError):
    """A predictions file that is malformed or does not belong to the release."""


class EndpointError(BadRobotError):
    """A model endpoint that gave no usable answer after all retries."""

    exit_code = 1


class EndpointDownError(EndpointError):
    """A model endpoint where nobody is there at all: no connection, however often it was tried."""


class BudgetError(BadRobotError):
    """What a user allowed to ask of models, or to spend on them, is spent; what was answered is kept."""

    exit_code = 1


class EngineError(BadRobotError):
    """A worker process that died again and again on the same work."""

    exit_code = 1


class DiskFullError(BadRobotError):
    """No room where something was to be written. What was finished before is kept, and nothing is half written."""

    exit_code = 1

    def __init__(self, place: str | Path) -> None:
        super().__init__(f"{place}: no space is left on this disk; free some space and run the same command again")


@contextlib.contextmanager
def naming_disk(place: Path) -> Iterator[None]:
    """Raise DiskFullError where a write inside finds no room. It names the file that the system's error names,
    which may lie elsewhere, and `place` where that names none (a write into an open file)."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise DiskFullError(error.filename or place) from error


class MissingExtraError(BadRobotError):
    """An optional dependency that is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        self.module = module
        self.extra = extra
        super().__init__(f"{module} is not installed; it comes with: pip install 'bad-robot-behavior[{extra}]'")


def _restore(kind: type[BadRobotError], args: tuple[Any, ...], state: dict[str, Any]) -> BadRobotError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def check_choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    """Raises BadRobotError where the option `name` has a value other than the legal ones."""
    if value not in legal:
        raise BadRobotError(f"{name} is {value!r}; legal: {', '.join(legal)}")


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or raise MissingExtraError naming the pip command that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module != missing and not module.startswith(missing + "."):
            raise
        raise MissingExtraError(module, extra) from error


def hub_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises where the Hub or the way to it fails, or where a repository's name is not legal."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The HTTP library's own base error, which is httpx in huggingface_hub 1 and httpx2 in 2, and OSError.
    return (*HfHubHTTPError.__bases__, HFValidationError)
