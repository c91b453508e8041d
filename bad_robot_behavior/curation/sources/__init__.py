"""Where rollouts come from: one adapter a format, opened by the recipe's `kind`."""

from __future__ import annotations

from pathlib import Path

from bad_robot_behavior.curation.stage import Source
from bad_robot_behavior.schema import SourceSettings

__all__ = ["open_source"]


def open_source(settings: SourceSettings, folder: Path) -> Source:
    """The adapter for `settings.kind` over `folder`. Raises SourceError where the folder is not of that kind."""
    if settings.kind == "roboarena":
        from bad_robot_behavior.curation.sources.roboarena import RoboArena

        return RoboArena(settings, folder)
    if settings.kind == "synthetic":
        from bad_robot_behavior.curation.sources.synthetic import SyntheticFolder

        return SyntheticFolder(settings, folder)
    from bad_robot_behavior.curation.sources.folder import Folder

    return Folder(settings, folder)
