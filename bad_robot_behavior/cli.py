"""The command line: thin, and every heavy import is inside the command that needs it.

Exit codes: 0 fine, 1 found problems, 2 used wrongly, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bad_robot_behavior import __version__
from bad_robot_behavior.errors import BadRobotError

if TYPE_CHECKING:
    from bad_robot_behavior.benchmark.results import Part
    from bad_robot_behavior.schema import Defect

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


@main.command()
@click.argument("folder", type=FILE)
def init(folder: Path) -> None:
    """Write a commented lab folder to fill in.

    Example: bad-robot init my-lab
    """
    from bad_robot_behavior.curation.sources.init import write_template

    for path in write_template(folder):
        click.echo(path)
    click.echo(f"Fill it in, then run: bad-robot validate {folder}")


@main.command()
@click.argument("path", type=FILE)
@click.option("--release", type=FILE, help="The release that a predictions file belongs to.")
@as_json
def validate(path: Path, release: Path | None, as_json: bool) -> None:
    """Name every defect of a lab folder, dump, synthetic set, release or predictions file, with place and cure.

    Example: bad-robot validate my-lab
    """
    from bad_robot_behavior.validate import validate as check

    kind, defects = check(path, release)
    if as_json:
        import msgspec

        _print_json({"path": str(path), "kind": kind, "defects": msgspec.to_builtins(defects)})
    else:
        _print_defects(path, kind, defects)
    raise SystemExit(1 if defects else 0)


@main.group()
def download() -> None:
    """Fetch public data."""


@download.command("roboarena")
@click.argument("folder", type=FILE)
@click.option("--dump", default="RoboArena/DataDump_02-03-2026", show_default=True, help="Which dump on the Hub.")
@click.option("--revision", help="Commit to fetch.  [default: the known one of a known dump, else the newest]")
@click.option("--limit", type=click.IntRange(1), help="Only the first sessions.")
def download_roboarena(folder: Path, dump: str, revision: str | None, limit: int | None) -> None:
    """Fetch a public RoboArena dump, pinned to one revision. Started again, it goes on where it stopped.

    Example: bad-robot download roboarena dumps/roboarena --limit 20
    """
    from bad_robot_behavior.curation.sources.download import download_roboarena as fetch

    click.echo(fetch(folder, dump=dump, revision=revision, limit=limit))


@main.command()
@click.option("-o", "--out", type=FILE, required=True, help="Where the set goes: a new folder, or one to go on with.")
@click.option("--tasks", default="all", show_default=True, help="Names, with commas between.")
@click.option("--faults", default="all", show_default=True, help="Names, with commas between.")
@click.option("--seeds", default="0:20", show_default=True, metavar="FIRST:END", help="Scenes of each task.")
@click.option("--per-scene", type=click.IntRange(1, 25), default=6, show_default=True, help="Faults tried in a scene.")
@click.option("--number", type=click.IntRange(1), help="Stop after the scene that completes so many faulted rollouts.")
@click.option("--cameras", default="exterior_1,exterior_2,wrist", show_default=True)
@click.option("--size", default="224x224", show_default=True, metavar="WxH", help="Pixels of a frame.")
@click.option("--steps-per-frame", type=click.IntRange(1, 80), default=4, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes; one for each core.")
@click.option("--as", "layout", type=click.Choice(["set", "roboarena"]), default="set", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be made.")
@as_json
def synthesize(
    out: Path,
    tasks: str,
    faults: str,
    seeds: str,
    per_scene: int,
    number: int | None,
    cameras: str,
    size: str,
    steps_per_frame: int,
    workers: int,
    layout: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make failures in simulation, each beside the success that it was not, with the true reward of every step.

    Started again with the same arguments, it goes on where it was stopped.

    Example: bad-robot synthesize -o failures --tasks pick-place-v3 --faults drop,knock_cup --seeds 0:2
    """
    from bad_robot_behavior.synthesis import arguments, run

    settings = arguments.settings(
        tasks=tasks,
        faults=faults,
        seeds=seeds,
        per_scene=per_scene,
        number=number,
        cameras=cameras,
        size=size,
        steps_per_frame=steps_per_frame,
        roboarena=layout == "roboarena",
    )
    if dry_run:
        plan = run.describe(settings)
        _print_json(plan) if as_json else click.echo(run.outlook(plan))
        return
    if layout == "roboarena":
        from bad_robot_behavior.synthesis.roboarena import synthesize_dump

        report = synthesize_dump(out, settings, workers)
    else:
        report = run.synthesize(out, settings, workers)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(report))
    else:
        click.echo(run.summary(report))
    raise SystemExit(0 if report.rollouts else 1)


@main.command()
@click.argument("path", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="Where the set goes: a new folder.")
@click.option("--edits", default="all", show_default=True, help="Names, with commas between; docs/synthesize.md.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first rollouts.")
@as_json
def edit(path: Path, out: Path, edits: str, seed: int, limit: int | None, as_json: bool) -> None:
    """Edit the videos of a release or a lab folder: rewound, reversed, frozen, clipped, spliced, asked something else.

    Example: bad-robot edit my-lab -o edited
    """
    from bad_robot_behavior.edit import edit as run
    from bad_robot_behavior.edit import summary
    from bad_robot_behavior.synthesis.edits import EDITS

    names = tuple(EDITS) if edits == "all" else tuple(name.strip() for name in edits.split(","))
    report = run(path, out, edits=names, seed=seed, limit=limit)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(report))
    else:
        click.echo(summary(report))


@main.command()
@click.argument("recipe", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="Where the release goes.")
@click.option("--work", type=FILE, help="Folder for intermediate results; holds raw text.  [default: OUT.work]")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes on this machine.")
@click.option("--shard", metavar="K/N", help="Run only every N-th shard from the K-th (from 1), without packaging.")
@click.option("--limit", type=click.IntRange(1), help="Only the first sessions of each source.")
@max_requests
@max_cost
@ask_again
@dry_run
@as_json
def build(
    recipe: Path,
    out: Path,
    work: Path | None,
    workers: int,
    shard: str | None,
    limit: int | None,
    max_requests: int | None,
    max_cost: float | None,
    ask_again: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build the release that a recipe describes: the whole chain, resumable.

    Exits with 1 where rollouts were rejected that the recipe does not expect.

    Example: bad-robot build recipes/example.yaml -o bad-robot-behavior
    """
    import msgspec

    from bad_robot_behavior.build import build as run
    from bad_robot_behavior.vlm.choose import Limits

    if dry_run:
        from bad_robot_behavior.plan import describe, plan

        plans = plan(recipe, out, work=work, workers=workers, part=_part(shard), limit=limit)
        _print_json(msgspec.to_builtins(plans)) if as_json else click.echo(describe(plans))
        return
    limits = Limits(max_requests=max_requests, max_cost=max_cost)
    part = _part(shard)
    report = run(recipe, out, work=work, workers=workers, part=part, limit=limit, limits=limits, ask_again=ask_again)
    if as_json:
        _print_json(msgspec.to_builtins(report))
    else:
        from bad_robot_behavior.build import summary

        click.echo(summary(report))
    raise SystemExit(1 if report.unexpected_rejections else 0)


@main.command()
@click.argument("release", type=FILE)
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@click.option("-o", "--out", type=FILE, help="Where the new release goes.  [default: in the place of the old one]")
@click.option("--version", help="Version of the new release.  [default: the next minor one]")
def withdraw(release: Path, names: tuple[str, ...], out: Path | None, version: str | None) -> None:
    """Take a rollout, session, site or contributor out of a release. Their ids stay as tombstones, nothing else.

    An ID is a rollout's or session's, an evaluator's pseudonym, a site, a source or an attribution, as the rows have
    it; site=X, source=X and so on say which.

    Example: bad-robot withdraw my-release ev_0123456789ab
    """
    from bad_robot_behavior.builder.reading import read_manifest
    from bad_robot_behavior.builder.withdraw import summary
    from bad_robot_behavior.builder.withdraw import withdraw as run

    before = read_manifest(release)
    click.echo(summary(before, run(release, names, out=out, version=version)))
    click.echo(f"release: {out or release}")


@main.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@as_json
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Tell what changed from one release to another: rollouts added, removed, withdrawn, changed, moved between splits.

    Exits with 1 where a rollout that was ever in test is in another split now.

    Example: bad-robot diff release-1.0.0 release-1.1.0
    """
    from bad_robot_behavior.builder.diff import diff as compare
    from bad_robot_behavior.builder.diff import summary

    found = compare(before, after)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(found))
    else:
        click.echo(summary(found))
    raise SystemExit(1 if found.left_test else 0)


@main.command()
@click.argument("release", type=FILE)
@click.option("--no-names", is_flag=True, help="Do not look for names of people; the report says so.")
@click.option("--faces/--no-faces", default=None, help="Look for faces.  [default: where the recipe did]")
@as_json
def audit(release: Path, no_names: bool, faces: bool | None, as_json: bool) -> None:
    """Run all privacy detectors over a finished release. Whatever they find, they tell by place and never by value.

    Exits with 1 where anything is found.

    Example: bad-robot audit bad-robot-behavior
    """
    from bad_robot_behavior.audit import audit as run
    from bad_robot_behavior.audit import summary

    report = run(release, names=not no_names, faces=faces)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(report))
    else:
        click.echo(summary(report))
    raise SystemExit(1 if report.leaks else 0)


@main.command()
@click.argument("release", type=FILE)
@click.option("--name", default="bad-robot-behavior", show_default=True, help="The name for load_dataset.")
def install(release: Path, name: str) -> None:
    """Make load_dataset("bad-robot-behavior") work from any folder, without a network.

    Example: bad-robot install ./bad-robot-behavior
    """
    from bad_robot_behavior.builder.install import install as seed

    seed(release, name)
    click.echo(f'installed: load_dataset("{name}") now gives {release}')


@main.command()
@click.argument("release", type=FILE, required=False)
@click.option("--scorer", help="Name of one of --list.")
@click.option("-o", "--out", type=FILE, help="Predictions file (parquet).")
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
        import msgspec

        from bad_robot_behavior.scorers.card import table

        cards = scorers.cards()
        _print_json(msgspec.to_builtins(cards)) if as_json else click.echo(table(cards))
        return
    if release is None or scorer is None or out is None:
        raise click.UsageError("give RELEASE, --scorer and --out; --list says which scorers there are")
    if as_json:
        raise click.UsageError("--json is for --list; predictions go to a file")
    from bad_robot_behavior.score import score as run
    from bad_robot_behavior.vlm.choose import Limits

    placed = (given["local_model"] is None) != (given["base_url"] is None or given["model"] is None)
    if scorers.asks_model(scorer) and not placed:
        raise click.UsageError(f"{scorer} needs --base-url and --model, or --local-model")
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
        click.echo("model: " + ", ".join(f"{name} {count}" for name, count in sorted(done.counters.items())))
    raise SystemExit(1 if done.errors else 0)


@main.command()
@click.argument("release", type=FILE)
@click.argument("predictions", type=FILE, nargs=-1)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    help="Which rollouts count.  [default: test, as the tasks say]",
)
@click.option("--splits", "splits_file", type=FILE, help="Splits file of bad-robot split, in place of the release's.")
@click.option("--task", "tasks", multiple=True, help="Only this task; can be given again.  [default: all]")
@click.option("--draws", type=click.IntRange(10), default=1000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--html", type=FILE, help="Also write one self-contained page.")
@click.option("--salvage", is_flag=True, help="Count rows with defects as not answered, where one would be refused.")
@click.option("-o", "--out", type=FILE, help="Also write a results file for each scorer into this folder.")
@as_json
def evaluate(
    release: Path,
    predictions: tuple[Path, ...],
    split: Part | None,
    splits_file: Path | None,
    tasks: tuple[str, ...],
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
    results = protocol.evaluate(loaded, read, split=split, splits=splits, tasks=tasks or ORDER, draws=draws, seed=seed)
    if html is not None:
        report.html(results, loaded, read, html)
    written = []
    if out is not None:
        if tasks:
            raise click.UsageError("a results file holds every task; leave out --task or --out")
        if salvage:
            raise click.UsageError("a results file holds predictions without defects; leave out --salvage or --out")
        written = results_file.write(out, loaded, read, split=split, splits=splits, draws=draws, seed=seed)
    if as_json:
        click.echo(report.to_json(results))
        return
    click.echo(report.table(results))
    if html is not None:
        click.echo(f"report: {html}")
    for path in written:
        click.echo(f"results: {path}")
    click.echo(f"release: {loaded.path}")


@main.command("ladder")
@click.argument("release", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="Folder for the predictions of every arm and the table.")
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
    from bad_robot_behavior.benchmark.ladder import table, to_json
    from bad_robot_behavior.vlm.choose import Limits

    place = {name: given.pop(name) for name in ladder.PLACE}
    if (place["local_model"] is None) == (place["base_url"] is None or place["model"] is None):
        raise click.UsageError("the ladder needs --base-url and --model, or --local-model")
    given["arms"] = tuple(ARMS) if arms == "all" else tuple(name.strip() for name in arms.split(","))
    limits = Limits(max_requests=max_requests, max_cost=max_cost)
    client = ladder.open_model(out, limits, ask_again=ask_again and not dry_run, **place)
    if dry_run:
        from bad_robot_behavior.plan import describe

        click.echo(describe({"ladder": ladder.dry_run(release, client, **given)}))
        return
    results = ladder.ladder(release, out, client, draws=draws, **given)
    click.echo(
        to_json(results) if as_json else f"{table(results)}\n{out}: plan.json, ladder.json, {len(results.errors)} arms"
    )
    raise SystemExit(1 if any(results.errors.values()) else 0)


@main.group()
def train() -> None:
    """Train a reward model on a release."""


@train.command("rewind")
@click.argument("release", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="The checkpoint: a new folder, or one to go on with.")
@click.option("--failures", type=click.Choice(["none", "binary", "dense"]), default="dense", show_default=True)
@click.option("--split", type=click.Choice(["train", "validation", "test", "all"]), default="train", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="Updates in an epoch.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Clips in a step.")
@click.option("--size", type=click.Choice(["small", "published"]), default="small", show_default=True)
@click.option("--rate", type=click.FloatRange(0, 1, min_open=True), default=1e-4, show_default=True)
@click.option("--max-frames", type=click.IntRange(3, 1024), default=64, show_default=True, help="Of each rollout.")
@click.option("--features", type=click.Choice(["embedded", "transformers"]), default="embedded", show_default=True)
@click.option("--frame-model", help="For transformers: folder or Hub id.  [default: facebook/dinov2-base]")
@click.option("--text-model", help="For transformers.  [default: sentence-transformers/all-MiniLM-L12-v2]")
@click.option("--cache", type=FILE, help="Where features are kept.  [default: OUT.work/features]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads that make features.")
@as_json
def train_rewind(
    release: Path,
    out: Path,
    failures: Any,
    split: str,
    seed: int,
    epochs: int,
    steps: int,
    batch: int,
    size: Any,
    rate: float,
    max_frames: int,
    as_json: bool,
    **where: Any,
) -> None:
    """Train ReWiND: successes, the same rewound or under another instruction, and real failures.

    Started again with the same arguments, it goes on after the last whole epoch; with more --epochs, too.

    Example: bad-robot train rewind bad-robot-behavior -o rewind --epochs 20
    """
    from bad_robot_behavior import train as trainer
    from bad_robot_behavior.errors import require

    require("torch", "rewind")
    from bad_robot_behavior.scorers.rewind.training import Settings

    settings = Settings(
        seed=seed,
        epochs=epochs,
        steps=steps,
        batch=batch,
        size=size,
        failures=failures,
        max_frames=max_frames,
        rate=rate,
    )
    card = trainer.train_rewind(release, out, settings, split=None if split == "all" else split, **where)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(card))
    else:
        click.echo(f"{trainer.summary(card)}\ncheckpoint: {out}")


@main.command()
@click.argument("folder", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="The page to write (HTML).")
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


@main.command()
@click.argument("release", type=FILE)
@click.option("-o", "--out", type=FILE, help="Write new splits to this file (parquet) and report on them.")
@click.option("--train", type=click.FloatRange(0, 1), default=0.8, show_default=True, help="Share of rollouts.")
@click.option("--validation", type=click.FloatRange(0, 1), default=0.1, show_default=True)
@click.option("--test", type=click.FloatRange(0, 1), default=0.1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--near-duplicate-bits", type=click.IntRange(0, 64), help="[default: as the release was built]")
@click.option("--keep", type=FILE, multiple=True, help="Earlier release or splits file, whose test stays in test.")
@click.option("--fresh", is_flag=True, help="Do not keep this release's own test rollouts in test.")
@as_json
def split(
    release: Path,
    out: Path | None,
    train: float,
    validation: float,
    test: float,
    seed: int,
    near_duplicate_bits: int | None,
    keep: tuple[Path, ...],
    fresh: bool,
    as_json: bool,
) -> None:
    """Look for leaks between the splits of a release, or cut new splits that have none.

    Rollouts that share a session, an instruction, a near-duplicate video or a twin stay in one split, and each split
    gets its share of every task category, site and outcome as far as that allows. Exits with 1 where there are leaks.

    Example: bad-robot split bad-robot-behavior -o splits.parquet --test 0.2 --train 0.7
    """
    import msgspec

    from bad_robot_behavior import splits
    from bad_robot_behavior.builder.loader import load
    from bad_robot_behavior.schema import SplitSettings

    loaded = load(release)
    asked = loaded.manifest.recipe.get("split", {})
    bits = near_duplicate_bits if near_duplicate_bits is not None else int(asked.get("near_duplicate_bits", 4))
    earlier = [splits.read_splits(path) for path in keep]
    made = None
    if out is not None:
        if abs(train + validation + test - 1) > 1e-9:
            raise click.UsageError(f"--train, --validation and --test sum to {train + validation + test:g}, not to 1")
        settings = SplitSettings(seed=seed, near_duplicate_bits=bits, train=train, validation=validation, test=test)
        own = [] if fresh else [splits.read_splits(loaded.path)]
        made = splits.split_release(loaded, settings, keep=[*earlier, *own])
        digest = splits.write_splits(out, loaded, made)
    found = splits.examine(loaded, made, bits=bits, earlier=earlier)
    if as_json:
        written = None if out is None else {"path": str(out), "sha256": digest}
        _print_json({"release": str(loaded.path), "written": written, **msgspec.to_builtins(found)})
    else:
        click.echo(splits.summary(found))
        if out is not None:
            click.echo(f"splits: {out} (sha256 {digest})")
    raise SystemExit(1 if found.leaks else 0)


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


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    k, _, n = shard.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise click.UsageError(f"--shard {shard}: give K/N with 1 <= K <= N, such as 2/8")
    return int(k) - 1, int(n)


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def _print_defects(path: Path, kind: str, defects: list[Defect]) -> None:
    for defect in defects:
        click.echo(str(defect))
    click.echo(f"{path}: {kind}, " + (f"{len(defects)} defect{'s' * (len(defects) > 1)}" if defects else "no defects"))


if __name__ == "__main__":
    sys.exit(main())
