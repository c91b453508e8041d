"""A failure-data engine for embodied reward models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import load


def __getattr__(name: str) -> Any:
    # `load` pulls in pyarrow and PyAV; `bad-robot --help` must not.
    if name == "load":
        from bad_robot_behavior.builder.loader import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
