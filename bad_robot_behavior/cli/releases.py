"""Commands that build a release, or act on a finished one."""

from __future__ import annotations

from pathlib import Path

import click

from bad_robot_behavior.cli.options import (
    FILE,
    NEW_FOLDER,
    NEW_PARQUET,
    as_json,
    ask_again,
    dry_run,
    max_cost,
    max_requests,
    show,
)


@click.command()
@click.argument("recipe", type=FILE)
@click.option("-o", "--out", type=NEW_FOLDER, required=True, help="Where the release goes.")
@click.option("--work", type=NEW_FOLDER, help="Folder for intermediate results; holds raw text.  [default: OUT.work]")
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
    from bad_robot_behavior.build import build as run
    from bad_robot_behavior.build import summary
    from bad_robot_behavior.vlm.choose import Limits

    if dry_run:
        from bad_robot_behavior.plan import describe, plan

        plans = plan(recipe, out, work=work, workers=workers, part=_part(shard), limit=limit)
        show(plans, describe(plans), as_json)
        return
    limits = Limits(max_requests=max_requests, max_cost=max_cost)
    part = _part(shard)
    report = run(recipe, out, work=work, workers=workers, part=part, limit=limit, limits=limits, ask_again=ask_again)
    show(report, summary(report), as_json)
    raise SystemExit(1 if report.unexpected_rejections else 0)


@click.command()
@click.argument("release", type=FILE)
@click.option("-o", "--out", type=NEW_PARQUET, help="Write new splits to this file (parquet) and report on them.")
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
    made = written = None
    if out is not None:
        if abs(train + validation + test - 1) > 1e-9:
            raise click.UsageError(f"--train, --validation and --test sum to {train + validation + test:g}, not to 1")
        settings = SplitSettings(seed=seed, near_duplicate_bits=bits, train=train, validation=validation, test=test)
        own = [] if fresh else [splits.read_splits(loaded.path)]
        made = splits.split_release(loaded, settings, keep=[*earlier, *own])
        written = {"path": str(out), "sha256": splits.write_splits(out, loaded, made)}
    found = splits.examine(loaded, made, bits=bits, earlier=earlier)
    text = splits.summary(found)
    if written is not None:
        text += f"\nsplits: {written['path']} (sha256 {written['sha256']})"
    show({"release": str(loaded.path), "written": written, **msgspec.to_builtins(found)}, text, as_json)
    raise SystemExit(1 if found.leaks else 0)


@click.command()
@click.argument("release", type=FILE)
@click.option("--no-names", is_flag=True, help="Do not look for names of people; the report says so.")
@click.option("--faces/--no-faces", default=None, help="Look for faces.  [default: where the recipe did]")
@click.option(
    "--text-on-screen/--no-text-on-screen",
    default=None,
    help="Read what stands in the pictures.  [default: where the recipe did]",
)
@as_json
def audit(release: Path, no_names: bool, faces: bool | None, text_on_screen: bool | None, as_json: bool) -> None:
    """Run all privacy detectors over a finished release. Whatever they find, they tell by place and never by value.

    Exits with 1 where anything is found.

    Example: bad-robot audit bad-robot-behavior
    """
    from bad_robot_behavior.audit import audit as run
    from bad_robot_behavior.audit import summary

    report = run(release, names=not no_names, faces=faces, text_on_screen=text_on_screen)
    show(report, summary(report), as_json)
    raise SystemExit(1 if report.leaks else 0)


@click.command()
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
    show(found, summary(found), as_json)
    raise SystemExit(1 if found.left_test else 0)


@click.command()
@click.argument("release", type=FILE)
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@click.option(
    "-o", "--out", type=NEW_FOLDER, help="Where the new release goes.  [default: in the place of the old one]"
)
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


@click.command()
@click.argument("release", type=FILE)
@click.option("--name", default="bad-robot-behavior", show_default=True, help="The name for load_dataset.")
def install(release: Path, name: str) -> None:
    """Make load_dataset("bad-robot-behavior") work from any folder, without a network.

    Example: bad-robot install ./bad-robot-behavior
    """
    from bad_robot_behavior.builder.install import install as seed

    seed(release, name)
    click.echo(f'installed: load_dataset("{name}") now gives {release}')


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    k, _, n = shard.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise click.UsageError(f"--shard {shard}: give K/N with 1 <= K <= N, such as 2/8")
    return int(k) - 1, int(n)
