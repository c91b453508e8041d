"""What several commands have in common: options, and how a result is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path)
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
