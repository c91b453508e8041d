"""Which check fits a path, and its verdict: the library side of `bad-robot validate`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Defect, Rejection, SourceSettings


def validate(path: Path, release: Path | None = None) -> tuple[str, list[Defect]]:
    """(what the path is, its defects). Raises BadRobotError where it is nothing that can be validated."""
    if path.is_file() and path.suffix == ".parquet":
        from bad_robot_behavior.benchmark.predictions import check as check_predictions
        from bad_robot_behavior.builder.loader import load

        return "predictions file", check_predictions(path, None if release is None else load(release))
    if path.is_file() and path.suffix in {".yaml", ".yml"}:
        from bad_robot_behavior.schema import read_recipe

        read_recipe(path)
        return "recipe", []
    if (path / "release.json").is_file():
        from bad_robot_behavior.builder.check import check as check_release

        return "release", check_release(path)
    if (path / "evaluation_sessions").is_dir():
        return "RoboArena dump", _check_dump(path)
    if (path / "lab.yaml").is_file() or any(path.glob("*/session.yaml")):
        from bad_robot_behavior.curation.sources.folder import check as check_folder

        return "lab folder", check_folder(path)
    what = "does not exist" if not path.exists() else "is none of these"
    raise BadRobotError(
        f"{path}: {what}: a lab folder (lab.yaml or */session.yaml), a RoboArena dump (evaluation_sessions/), "
        "a release (release.json), a predictions file (.parquet) or a recipe (.yaml)"
    )


def _check_dump(folder: Path) -> list[Defect]:
    """Read a dump as a build would, and report what a build would reject."""
    from bad_robot_behavior.curation.sources.roboarena import RoboArena
    from bad_robot_behavior.curation.stage import Store

    source = RoboArena(SourceSettings(name="roboarena", kind="roboarena", path=str(folder)), folder)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        return [
            Defect(rule=item.code, file=f"{folder}/{item.source_ref}", message=item.detail)
            for session in source.sessions()
            for item in source.read(session, store)
            if isinstance(item, Rejection)
        ]
