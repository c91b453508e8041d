"""What several commands have in common: options, and how a result is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from bad_robot_behavior.errors import BadRobotError


class Output(click.Path):
    """A path that a command writes to. What is wrong with it is said before any work, and nothing is made yet."""

    def __init__(self, *, folder: bool = False, suffix: str = "") -> None:
        super().__init__(path_type=Path)
        self._folder = folder
        self._suffix = suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self._suffix and path.suffix != self._suffix:
            raise BadRobotError(f"{path}: is to be a {self._suffix} file; give a path that ends in {self._suffix}")
        if path.exists() and path.is_dir() != self._folder:
            is_one, wanted = ("file", "new folder") if self._folder else ("folder", "file")
            raise BadRobotError(f"{path}: is a {is_one}; give the path of a {wanted}")
        place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        there = next(p for p in (place, *place.parents) if p.exists() and (self._folder or p != place))
        if not there.is_dir():
            raise BadRobotError(f"{path}: cannot be made, because {there} is a file; give a path in a folder")
        inside = next((p for p in place.parents if (p / "release.json").is_file()), None)
        if inside is not None:  # raw text and models' answers must not lie in what is published
            raise BadRobotError(
                f"{path}: lies in the release {inside}, which stays as it was made; give a path outside"
            )
        if not os.access(there, os.W_OK | os.X_OK):
            raise BadRobotError(f"{path}: you may not write to {there}; give a path in a folder of your own")
        return path


FILE = click.Path(path_type=Path)
NEW_FILE = Output()
NEW_PARQUET = Output(suffix=".parquet")
NEW_FOLDER = Output(folder=True)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of text.")
max_requests = click.option(
    "--max-requests", type=click.IntRange(0), help="Stop before more requests than this go to endpoints, over all runs."
)
max_cost = click.option(
    "--max-cost", type=click.FloatRange(0), help="Stop before more than this is spent on endpoints, over all runs."
)
ask_again = click.option("--ask-again", is_flag=True, help="Ask models anew what they could not answer usably before.")
dry_run = click.option(
    "--dry-run", is_flag=True, help="Say what models would be asked and what it costs; send nothing."
)


def show(result: Any, text: str, as_json: bool) -> None:
    """Print the result of a command: the whole of it as one JSON object, or the text that a person reads."""
    if as_json:
        import msgspec

        text = json.dumps(msgspec.to_builtins(result), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text)
