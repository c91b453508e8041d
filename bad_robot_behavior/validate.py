"""Which check fits a path, and its verdict: the library side of `bad-robot validate`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

import msgspec
from tqdm import tqdm

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Defect, Rejection, Rollout, ScreenSettings, SourceSettings, Video, rule

RECIPE = rule(
    "recipe.not_ready",
    "A recipe is valid, and what it names is there: sources, keys, extras, an earlier release.",
    cure="Mend the recipe, or bring what it names; docs/recipe.md describes each field.",
)


def validate(path: Path, release: Path | None = None) -> tuple[str, list[Defect]]:
    """(what the path is, its defects). Raises BadRobotError where it is nothing that can be validated."""
    if path.is_file() and path.suffix == ".parquet":
        from bad_robot_behavior.benchmark.predictions import check as check_predictions
        from bad_robot_behavior.builder.loader import load

        return "predictions file", check_predictions(path, None if release is None else load(release))
    if path.is_file() and path.name.endswith(".results.zip"):
        from bad_robot_behavior.benchmark.results_file import check as check_results
        from bad_robot_behavior.builder.loader import load

        return "results file", check_results(path, None if release is None else load(release))[1]
    if path.is_file() and path.suffix in {".yaml", ".yml"}:
        return "recipe", _check_recipe(path)
    if (path / "release.json").is_file():
        from bad_robot_behavior.builder.check import check as check_release

        return "release", check_release(path)
    if (path / "evaluation_sessions").is_dir():
        return "RoboArena dump", _check_source(path, "roboarena")
    if (path / "synthetic.json").is_file():
        return "synthetic set", _check_source(path, "synthetic")
    from bad_robot_behavior.curation.sources.folder import is_lab_folder

    if is_lab_folder(path):
        return "lab folder", _check_lab(path)
    what = "does not exist" if not path.exists() else "is none of these"
    raise BadRobotError(
        f"{path}: {what}: a lab folder (lab.yaml, session.yaml or mp4 files in it), a RoboArena dump "
        "(evaluation_sessions/), a synthetic set (synthetic.json), a release (release.json), a predictions file "
        "(.parquet), a results file (.results.zip) or a recipe (.yaml)"
    )


def _check_recipe(path: Path) -> list[Defect]:
    from bad_robot_behavior.build import check_recipe

    try:
        check_recipe(path)
    except BadRobotError as error:
        return [Defect(rule=RECIPE.id, file=str(path), message=str(error).removeprefix(f"{path}: ").rstrip("."))]
    return []


def _check_lab(folder: Path) -> list[Defect]:
    from bad_robot_behavior.curation.sources.folder import Folder

    settings = SourceSettings(name="lab", kind="folder", path=str(folder))
    defects, rollouts = Folder(settings, folder).examine()
    return defects + _screen(rollouts)


def _check_source(folder: Path, kind: Literal["roboarena", "synthetic"]) -> list[Defect]:
    """Read a dump or set as a build would, and report what a build would reject."""
    from bad_robot_behavior.curation.sources import open_source
    from bad_robot_behavior.curation.stage import Store

    source = open_source(SourceSettings(name=kind, kind=kind, path=str(folder)), folder)
    rollouts: list[Rollout] = []
    defects: list[Defect] = []
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        for session in tqdm(source.sessions(), desc="check", unit="session", disable=None):
            refused = False
            for item in source.read(session, store):
                if isinstance(item, Rollout):
                    rollouts.append(item)
                elif not refused:  # what is lost with its session has the session's defect and none of its own
                    defects.append(_defect(item, f"{folder}/{item.source_ref}", item.detail))
                    refused = item.subject == "session"
    return defects + _screen(rollouts)


def _screen(rollouts: list[Rollout]) -> list[Defect]:
    """What a build's screen stage would reject under the settings of a recipe that says nothing of it."""
    from bad_robot_behavior.curation.screen import DUPLICATE, Duplicates, Screen
    from bad_robot_behavior.curation.stage import Store

    seen = Duplicates()
    refs = {rollout.rollout_id: rollout.source_ref for rollout in rollouts}
    defects: list[Defect] = []
    stage = Screen(ScreenSettings())
    progress = tqdm(rollouts, desc="screen", unit="rollout", disable=None)
    for rollout, item in zip(rollouts, stage.run(progress, Store(Path(os.devnull))), strict=True):
        if isinstance(item, Rejection):
            role, _, message = item.detail.partition(": ")
            defects.append(_defect(item, _video(rollout, role), message))
            continue
        original = seen.seen(item)
        if original is not None:
            message = f"has the same frames as {refs[original]}"
            defects.append(Defect(rule=DUPLICATE.id, file=_video(rollout), message=message))
    return defects


def _defect(item: Rejection, file: str, message: str) -> Defect:
    return Defect(rule=item.code, file=file, message=message)


def _video(rollout: Rollout, role: str | None = None) -> str:
    """The path of one camera's video; without a role, of the first that there is."""
    from bad_robot_behavior.curation.sources.lab_yaml import printable

    by_role: dict[str, Video | None] = msgspec.structs.asdict(rollout.videos)
    first = next(video for name, video in by_role.items() if video is not None and role in (None, name))
    return printable(os.path.normpath(str(first.path)))
