"""Commands about where rollouts come from: lab folders, dumps, simulation, edits; and the check of them all."""

from __future__ import annotations

from pathlib import Path

import click

from bad_robot_behavior.cli.options import FILE, NEW_FOLDER, as_json, show


@click.command()
@click.argument("folder", type=NEW_FOLDER)
def init(folder: Path) -> None:
    """Write a commented lab folder to fill in.

    Example: bad-robot init my-lab
    """
    from bad_robot_behavior.curation.sources.init import write_template

    for path in write_template(folder):
        click.echo(path)
    click.echo(f"Fill it in, then run: bad-robot validate {folder}")


@click.command()
@click.argument("path", type=FILE)
@click.option("--release", type=FILE, help="The release that a predictions file belongs to.")
@as_json
def validate(path: Path, release: Path | None, as_json: bool) -> None:
    """Name every defect of a lab folder, dump, synthetic set, release or predictions file, with place and cure.

    Example: bad-robot validate my-lab
    """
    from bad_robot_behavior.validate import validate as check

    kind, defects = check(path, release)
    count = f"{len(defects)} defect{'s' * (len(defects) > 1)}" if defects else "no defects"
    text = "\n".join([*map(str, defects), f"{path}: {kind}, {count}"])
    show({"path": str(path), "kind": kind, "defects": defects}, text, as_json)
    raise SystemExit(1 if defects else 0)


@click.group()
def download() -> None:
    """Fetch public data."""


@download.command("roboarena")
@click.argument("folder", type=NEW_FOLDER)
@click.option("--dump", default="RoboArena/DataDump_02-03-2026", show_default=True, help="Which dump on the Hub.")
@click.option("--revision", help="Commit to fetch.  [default: the known one of a known dump, else the newest]")
@click.option("--limit", type=click.IntRange(1), help="Only the first sessions.")
def download_roboarena(folder: Path, dump: str, revision: str | None, limit: int | None) -> None:
    """Fetch a public RoboArena dump, pinned to one revision. Started again, it goes on where it stopped.

    Example: bad-robot download roboarena dumps/roboarena --limit 20
    """
    from bad_robot_behavior.curation.sources.download import download_roboarena as fetch

    click.echo(fetch(folder, dump=dump, revision=revision, limit=limit))


@click.command()
@click.option(
    "-o", "--out", type=NEW_FOLDER, required=True, help="Where the set goes: a new folder, or one to go on with."
)
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
        show(plan, run.outlook(plan), as_json)
        return
    if layout == "roboarena":
        from bad_robot_behavior.synthesis.roboarena import synthesize_dump

        report = synthesize_dump(out, settings, workers)
    else:
        report = run.synthesize(out, settings, workers)
    show(report, run.summary(report), as_json)
    raise SystemExit(0 if report.rollouts else 1)


@click.command()
@click.argument("path", type=FILE)
@click.option("-o", "--out", type=NEW_FOLDER, required=True, help="Where the set goes: a new folder.")
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
    show(report, summary(report), as_json)
