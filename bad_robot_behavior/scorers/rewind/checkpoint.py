"""A trained ReWiND on disk: `model.safetensors`, and `card.json`, which says what it is and how it came to be.

Weights are kept as float16, and a training ends with them rounded to it: half the bytes, the same values.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind.features import FeaturePair
from bad_robot_behavior.scorers.rewind.judge import Dimensions, Weights, shapes

WEIGHTS, CARD = "model.safetensors", "card.json"
FORMAT = "bad-robot-rewind-1"
EMBEDDED = Path(__file__).parent / "embedded"
"""The checkpoint that comes with this package."""
SIMULATED = "trained in simulation, not for real robots"
_MAX_BYTES = 2**30
_MAX_CARD = 2**24


class Used(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rollouts of a training. sha256: over ids, contents, instructions and targets of all that were trained on;
    left_out: the others, counted by reason."""

    release: str
    split: str | None
    sha256: str
    rollouts: int
    successes: int
    failures: int
    synthetic: int
    instructions: int
    frames: int
    left_out: dict[str, int]


class TrainingCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """card.json. loss: the mean of each epoch; warnings: what whoever believes this model has to know."""

    format: str
    weights_sha256: str
    features: FeaturePair
    dimensions: Dimensions
    max_frames: int
    data: Used
    settings: dict[str, Any]
    command: str
    loss: tuple[float, ...]
    device: str
    versions: dict[str, str]
    warnings: tuple[str, ...]


class Loaded(NamedTuple):
    card: TrainingCard
    weights: Weights


def write(out: Path, card: TrainingCard, weights: dict[str, NDArray[np.float32]]) -> TrainingCard:
    """Write a checkpoint beside its place and rename it into it. Gives the card with the hash of the weights."""
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(tensor, np.float16) for name, tensor in weights.items()})
    card = msgspec.structs.replace(card, weights_sha256=hashlib.sha256(data).hexdigest())
    beside = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    (beside / WEIGHTS).write_bytes(data)
    (beside / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    if out.exists():
        read_card(out)  # nothing but a checkpoint is ever replaced
        shutil.rmtree(out)
    beside.rename(out)
    return card


def read_card(folder: Path) -> TrainingCard:
    """The card of a checkpoint. Raises BadRobotError where the folder is none."""
    path = folder / CARD
    try:
        if path.stat().st_size > _MAX_CARD:
            raise BadRobotError(f"{path}: is {path.stat().st_size} bytes; a card has at most {_MAX_CARD}")
        card = msgspec.json.decode(path.read_bytes(), type=TrainingCard)
    except OSError as error:
        raise BadRobotError(
            f"{folder}: is no checkpoint of rewind: {CARD} cannot be read ({error.strerror}). `bad-robot train rewind` "
            "makes one"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRobotError(f"{path}: is no card of this format: {error}") from error
    if card.format != FORMAT:
        raise BadRobotError(f"{path}: format is {card.format!r}; legal: {FORMAT}")
    d = card.dimensions
    if (d.frame, d.text) != (card.features.frame_dimension, card.features.text_dimension):
        raise BadRobotError(
            f"{path}: the network reads vectors of {d.frame} and {d.text} numbers, its features have "
            f"{card.features.frame_dimension} and {card.features.text_dimension}"
        )
    sound = 0 < d.heads <= d.width <= 8192 and d.width % d.heads == 0 and 0 < d.layers <= 64 and 0 < d.inner <= 65536
    if not (sound and 0 <= d.dropout < 1):
        raise BadRobotError(
            f"{path}: there is no network of {d.layers} layers, {d.heads} heads, widths {d.width} and {d.inner}, and "
            f"dropout {d.dropout}"
        )
    return card


def read(folder: Path) -> Loaded:
    """A checkpoint, its weights as float64. Raises BadRobotError where it is none, where the weights are not those of
    the card, have other dimensions, or are no numbers."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    card = read_card(folder)
    path = folder / WEIGHTS
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadRobotError(f"{path}: is {path.stat().st_size} bytes; a checkpoint has at most {_MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise BadRobotError(f"{path}: cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != card.weights_sha256:
        raise BadRobotError(
            f"{path}: is not what {CARD} describes (SHA-256 {found[:12]}..., expected {card.weights_sha256[:12]}...)"
        )
    try:
        weights = {name: tensor.astype(np.float64) for name, tensor in load(data).items()}
    except (SafetensorError, KeyError) as error:  # numpy has no bfloat16, and then it is the name of the type
        raise BadRobotError(f"{path}: is no safetensors file of numbers: {error}") from error
    wanted = shapes(card.dimensions)
    there = {name: tensor.shape for name, tensor in weights.items()}
    if wanted != there:
        name = next(name for name in sorted(wanted | there) if wanted.get(name) != there.get(name))
        raise BadRobotError(
            f"{path}: {name} has shape {there.get(name, 'none')}; by the dimensions in {CARD} it is "
            f"{wanted.get(name, 'none')}"
        )
    broken = [name for name, tensor in weights.items() if not np.isfinite(tensor).all()]
    if broken:
        raise BadRobotError(f"{path}: {broken[0]} holds NaN or infinity; train it again")
    return Loaded(card, weights)
