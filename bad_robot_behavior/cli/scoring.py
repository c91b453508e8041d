"""Commands that ask reward models and compare what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bad_robot_behavior.cli.options import (
    FILE,
    NEW_FILE,
    NEW_FOLDER,
    NEW_PARQUET,
    as_json,
    ask_again,
    dry_run,
    max_cost,
    max_requests,
    show,
)

if TYPE_CHECKING:
    from bad_robot_behavior.benchmark.results import Part


@click.command()
@click.argument("release", type=FILE, required=False)
@click.option("--scorer", help="Name of one of --list.")
@click.option("-o", "--out", type=NEW_PARQUET, help="Predictions file (parquet).")
@click.option("--list", "listed", is_flag=True, help="Say which scorers there are, and what each says of itself.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Only one split.")
@click.option(
    "--base-url", help="An OpenAI-compatible endpoint, such as http://localhost:8000/v1, or Robometer's server."
)
@click.option("--model", help="The model's name at the endpoint.")
@click.option("--local-model", help="Instead of an endpoint: folder or Hub id of a transformers model.")
@click.option("--api-key-env", help="Environment variable that holds the key.")
@click.option("--prompt", help="For gvl: phrasing of the question, such as gvl_brief.  [default: gvl]")
@click.option("--cameras", type=click.Choice(["first", "all"]), help="For gvl.  [default: first]")
@click.option("--checkpoint", help="For rewind: a folder that `bad-robot train rewind` wrote.")
@click.option("--num-frames", type=click.IntRange(1, 64), help="Of each rollout; docs/scorers.md has the defaults.")
@click.option("--image-size", type=click.IntRange(64, 1024), help="What a model is shown: longer side in pixels.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="[default: 0]")
@click.option("--concurrency", type=click.IntRange(1, 256), help="Requests at a time.  [default: 8]")
@click.option("--prompt-price", type=click.FloatRange(0), help="What a million prompt tokens cost.")
@click.option("--completion-price", type=click.FloatRange(0), help="What a million tokens of answers cost.")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("-O", "--option", "more", multiple=True, metavar="NAME=VALUE", help="Any other option of the scorer.")
@click.option("--limit", type=click.IntRange(1), help="Only the first rollouts.")
@click.option("--wrong-instruction", "intervention", flag_value="wrong_instruction", help="Tell it another task's.")
@click.option("--reversed", "intervention", flag_value="reversed", help="Show it each video backwards.")
@as_json
@max_requests
@max_cost
@ask_again
@dry_run
def score(
    release: Path | None,
    scorer: str | None,
    out: Path | None,
    listed: bool,
    split: str | None,
    more: tuple[str, ...],
    as_json: bool,
    limit: int | None,
    intervention: str | None,
    max_requests: int | None,
    max_cost: float | None,
    ask_again: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Let a scorer write a reward curve for every rollout of a release.

    Example: bad-robot score bad-robot-behavior --scorer time_ramp -o time_ramp.parquet
    """
    from bad_robot_behavior import scorers

    if listed:
        from bad_robot_behavior.scorers.card import table

        cards = scorers.cards()
        show(cards, table(cards), as_json)
        return
    if release is None or scorer is None or out is None:
        raise click.UsageError("give RELEASE, --scorer and --out; --list says which scorers there are")
    if as_json:
        raise click.UsageError("--json is for --list; predictions go to a file")
    from bad_robot_behavior.score import score as run
    from bad_robot_behavior.vlm.choose import Limits

    if scorers.asks_model(scorer):
        _check_place(scorer, given)
    options = {name: value for name, value in given.items() if value is not None} | _pairs(more, given)
    done = run(
        release,
        scorer,
        out,
        split=split,
        limit=limit,
        intervention=intervention,
        limits=Limits(max_requests=max_requests, max_cost=max_cost),
        ask_again=ask_again,
        dry_run=dry_run,
        **options,
    )
    if done.plan is not None:
        from bad_robot_behavior.plan import describe

        click.echo(describe({scorer: done.plan}))
        return
    click.echo(f"{out}: {done.rows} rollouts scored by {scorer}, {done.errors} without a curve")
    if done.counters:
        click.echo(_took(done.counters))
    raise SystemExit(1 if done.errors else 0)


@click.command()
@click.argument("release", type=FILE)
@click.argument("predictions", type=FILE, nargs=-1)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="Which rollouts count.  [default: test, as the tasks say]",
)
@click.option("--splits", "splits_file", type=FILE, help="Splits file of bad-robot split, in place of the release's.")
@click.option("--task", "tasks", multiple=True, help="Only this task; can be given again.  [default: all]")
@click.option("--seen-faults", default="", metavar="A,B", help="Injected faults that training saw: shown apart.")
@click.option("--draws", type=click.IntRange(10), default=1000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--html", type=NEW_FILE, help="Also write one self-contained page.")
@click.option("--salvage", is_flag=True, help="Count rows with defects as not answered, where one would be refused.")
@click.option("-o", "--out", type=NEW_FOLDER, help="Also write a results file for each scorer into this folder.")
@as_json
def evaluate(
    release: Path,
    predictions: tuple[Path, ...],
    split: Part | None,
    splits_file: Path | None,
    tasks: tuple[str, ...],
    seen_faults: str,
    draws: int,
    seed: int,
    html: Path | None,
    salvage: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare scorers with the truth of a release: every task, with intervals, beside the floors.

    Several files are also compared with each other, paired. Files made with --wrong-instruction or --reversed are
    joined to the file of the same scorer. Without predictions the floors stand alone.

    Example: bad-robot evaluate bad-robot-behavior time_ramp.parquet --html report.html
    """
    from bad_robot_behavior.benchmark import predictions as files
    from bad_robot_behavior.benchmark import protocol, report, results_file
    from bad_robot_behavior.benchmark.tasks import ORDER
    from bad_robot_behavior.builder.loader import load
    from bad_robot_behavior.splits import read_splits

    loaded = load(release)
    read = [files.read(path, loaded, salvage=salvage) for path in predictions]
    splits = None if splits_file is None else read_splits(splits_file)
    results = protocol.evaluate(
        loaded,
        read,
        split=split,
        splits=splits,
        tasks=tasks or ORDER,
        draws=draws,
        seed=seed,
        seen_faults=[name for part in seen_faults.split(",") if (name := part.strip())],
    )
    if html is not None:
        report.html(results, loaded, read, html)
    written = []
    if out is not None:
        if tasks:
            raise click.UsageError("a results file holds every task; leave out --task or --out")
        if salvage:
            raise click.UsageError("a results file holds predictions without defects; leave out --salvage or --out")
        written = results_file.write(out, loaded, read, split=split, splits=splits, draws=draws, seed=seed)
    pages = [] if html is None else [f"report: {html}"]
    files_written = [f"results: {path}" for path in written]
    text = "\n".join([report.table(results), *pages, *files_written, f"release: {loaded.path}"])
    show(results, text, as_json)


@click.command()
@click.argument("folder", type=FILE)
@click.option("-o", "--out", type=NEW_FILE, required=True, help="The page to write (HTML).")
@click.option("--release", type=FILE, help="Score every file again on this release, and show no other.")
def leaderboard(folder: Path, out: Path, release: Path | None) -> None:
    """Make a page from a folder of results files, once each of them is checked.

    A file that fails a check is named on the page with what is wrong, and the command exits with 1.

    Example: bad-robot leaderboard results -o leaderboard.html --release bad-robot-behavior
    """
    from bad_robot_behavior.benchmark import leaderboard as boards
    from bad_robot_behavior.builder.loader import load

    board = boards.read_board(folder, None if release is None else load(release))
    boards.write(board, out)
    for defect in board.defects:
        click.echo(str(defect))
    shown = sum(map(len, board.entries.values()))
    click.echo(f"{out}: {shown} results files shown, {len({d.file for d in board.defects})} not shown")
    raise SystemExit(1 if board.defects else 0)


@click.command("ladder")
@click.argument("release", type=FILE)
@click.option(
    "-o", "--out", type=NEW_FOLDER, required=True, help="Folder for the predictions of every arm and the table."
)
@click.option("--base-url", help="An OpenAI-compatible endpoint, such as http://localhost:8000/v1.")
@click.option("--model", help="The model's name at the endpoint.")
@click.option("--local-model", help="Instead of an endpoint: folder or Hub id of a transformers model.")
@click.option("--api-key-env", help="Environment variable that holds the key.")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option("--arms", default="all", show_default=True, help="Names, with commas between; docs/ladder.md.")
@click.option("--examples", type=click.IntRange(1, 8), default=1, show_default=True, help="Demonstrations in a prompt.")
@click.option("--frames", type=click.IntRange(2, 64), default=8, show_default=True, help="Of each demonstration.")
@click.option("--num-frames", type=click.IntRange(3, 64), default=30, show_default=True, help="Of each rollout.")
@click.option(
    "--image-size", type=click.IntRange(64, 1024), default=320, show_default=True, help="Longer side, pixels."
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests at a time.")
@click.option("--prompt-price", type=click.FloatRange(0), help="What a million prompt tokens cost.")
@click.option("--completion-price", type=click.FloatRange(0), help="What a million tokens of answers cost.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws demonstrations and orders of frames.")
@click.option("--limit", type=click.IntRange(1), help="Only the first rollouts.")
@click.option("--draws", type=click.IntRange(10), default=1000, show_default=True, help="Bootstrap draws.")
@max_requests
@max_cost
@ask_again
@dry_run
@as_json
def run_ladder(
    release: Path,
    out: Path,
    arms: str,
    draws: int,
    max_requests: int | None,
    max_cost: float | None,
    ask_again: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Show a model failures in its prompt, step by step more of them, and measure what each step is worth.

    Started again, it goes on where it stopped. Exits with 1 where the model gave no curve for a rollout.

    Example: bad-robot ladder bad-robot-behavior --base-url http://localhost:8000/v1 --model my-model -o ladder
    """
    from bad_robot_behavior import ladder
    from bad_robot_behavior.benchmark.arms import ARMS
    from bad_robot_behavior.benchmark.ladder import table
    from bad_robot_behavior.vlm.choose import Limits

    place = {name: given.pop(name) for name in ladder.PLACE}
    _check_place("the ladder", place)
    given["arms"] = tuple(ARMS) if arms == "all" else tuple(name.strip() for name in arms.split(","))
    limits = Limits(max_requests=max_requests, max_cost=max_cost)
    client = ladder.open_model(out, limits, ask_again=ask_again and not dry_run, **place)
    if dry_run:
        from bad_robot_behavior.plan import describe

        planned = {"ladder": ladder.dry_run(release, client, **given)}
        show(planned, describe(planned), as_json)
        return
    results = ladder.ladder(release, out, client, draws=draws, **given)
    made = f"{out}: plan.json, ladder.json, {len(results.errors)} arms"
    show(results, f"{table(results)}\n{made}\n{_took(client.counters)}", as_json)
    raise SystemExit(1 if any(results.errors.values()) else 0)


def _took(counters: Mapping[str, int]) -> str:
    """What a model was asked, and what it took."""
    return "model: " + ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))


def _check_place(who: str, given: dict[str, Any]) -> None:
    """Raises UsageError where it is not said, or said twice, which model is asked."""
    local, url, model = (given[name] is not None for name in ("local_model", "base_url", "model"))
    if local and (url or model):
        raise click.UsageError("--local-model is given in place of --base-url and --model; leave out one or the other")
    if not local and not (url and model):
        raise click.UsageError(f"{who} needs --base-url and --model, or --local-model")


def _pairs(texts: tuple[str, ...], flags: dict[str, Any]) -> dict[str, Any]:
    """Options as NAME=VALUE, values as JSON where they are some, else as text."""
    pairs: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier() or name in pairs:
            raise click.UsageError(f"--option {text}: give NAME=VALUE, each name once, such as mode=forward")
        if name in flags or name in {"split", "limit", "intervention", "limits", "ask_again", "dry_run", "client"}:
            raise click.UsageError(f"--option {text}: {name} has a flag of its own, or is not for you to give")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs
