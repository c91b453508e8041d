"""Commands that train reward models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bad_robot_behavior.cli.options import FILE, NEW_FOLDER, as_json, show


@click.group()
def train() -> None:
    """Train a reward model on a release."""


@train.command("rewind")
@click.argument("release", type=FILE)
@click.option("-o", "--out", type=NEW_FOLDER, required=True, help="The checkpoint: a new folder, or one to go on with.")
@click.option("--failures", type=click.Choice(["none", "binary", "dense"]), default="dense", show_default=True)
@click.option("--split", type=click.Choice(["train", "validation", "test", "all"]), default="train", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="Updates in an epoch.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Clips in a step.")
@click.option("--size", type=click.Choice(["tiny", "small", "published"]), default="small", show_default=True)
@click.option("--rate", type=click.FloatRange(0, 1, min_open=True), default=1e-4, show_default=True)
@click.option("--rate-steps", type=click.IntRange(1), default=300_000, show_default=True, help="Until it is at 1e-5.")
@click.option("--max-frames", type=click.IntRange(3, 1024), default=64, show_default=True, help="Of each rollout.")
@click.option("--features", type=click.Choice(["embedded", "transformers"]), default="embedded", show_default=True)
@click.option("--frame-model", help="For transformers: folder or Hub id.  [default: facebook/dinov2-base]")
@click.option("--text-model", help="For transformers.  [default: sentence-transformers/all-MiniLM-L12-v2]")
@click.option("--cache", type=NEW_FOLDER, help="Where features are kept.  [default: OUT.work/features]")
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
    rate_steps: int,
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

    require("torch", "train")
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
        rate_steps=rate_steps,
    )
    card = trainer.train_rewind(release, out, settings, split=None if split == "all" else split, **where)
    show(card, f"{trainer.summary(card)}\ncheckpoint: {out}", as_json)
