"""Training ReWiND: the published loss and schedule (arXiv 2505.10911; rewind-reward/ReWiND at ea5dd3b).

    loss      mean squared error of progress from frame 2 on, over the clips of a batch and as many in-batch negatives:
              the same clips under the instruction of another clip, progress 0
    schedule  Adam, rate 1e-4 to 1e-5 by cosine over 300,000 steps, weight decay 1e-4, gradients cut at norm 1;
              20 epochs of 100 steps of 1,024 clips, of which `--size small` and a smaller batch are what a CPU can do

An in-batch negative counts only where the other clip's task is another one; the published code does not look.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind.choose import Failures
from bad_robot_behavior.scorers.rewind.dataset import Batch, Pool
from bad_robot_behavior.scorers.rewind.features import FeaturePair
from bad_robot_behavior.scorers.rewind.judge import Dimensions
from bad_robot_behavior.scorers.rewind.model import SIZES, Network, Size, progress_loss

_ROWS = 4096  # scaled at a time
_LEAST = 0.1  # of the mean spread: that of a column counts as no less


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides a training beside its data. steps: in an epoch; batch: clips in a step; max_frames: of a
    rollout, evenly spaced; rates are of Adam."""

    seed: int = 0
    epochs: int = 20
    steps: int = 100
    batch: int = 64
    size: Size = "small"
    failures: Failures = "dense"
    max_frames: int = 64
    rate: float = 1e-4
    final_rate: float = 1e-5
    rate_steps: int = 300_000
    weight_decay: float = 1e-4
    max_norm: float = 1.0


class Trained(NamedTuple):
    """weights: as a checkpoint keeps them, values that float16 can hold; loss: the mean of each epoch."""

    dimensions: Dimensions
    weights: dict[str, NDArray[np.float32]]
    loss: tuple[float, ...]


class Trainer:
    """A network, its optimizer and the clips it learns from. One `step` is one update.

    Features and texts lie on the device, so that a step moves nothing but indices and targets; a clip is projected once
    for both texts that it is shown under. On a GPU the arithmetic is bfloat16 where that does no harm.

    What the network reads is centred and scaled here, number by number, over all frames and texts that are trained on:
    features of frozen encoders are not, and training then takes many times the steps. `weights` takes it back into the
    two projections, so that a checkpoint reads features as they are.
    """

    def __init__(self, pool: Pool, dimensions: Dimensions, settings: Settings, device: str) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.pool = pool
        self.network = Network(dimensions).to(self.device).train()
        self.scales = {"see": _scale(pool.frames), "read": _scale(pool.texts)}
        self.frames = torch.from_numpy(_scaled(pool.frames, *self.scales["see"])).to(self.device)
        self.texts = torch.from_numpy(_scaled(pool.texts, *self.scales["read"])).to(self.device)
        # one kernel for all weights
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.rate, weight_decay=settings.weight_decay, fused=True
        )

    def step(self, batch: Batch, number: int) -> Any:
        """Update number `number`, from 0, on a batch; the loss before it, as a tensor on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.settings, number)
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_norm)
        self.optimizer.step()
        return loss.detach()

    def loss(self, batch: Batch) -> Any:
        """Over the clips of a batch and their in-batch negatives, a scalar."""
        frames, text, progress, other = (
            torch.from_numpy(part).to(self.device, non_blocking=True)
            for part in (batch.frames, batch.text, batch.progress, batch.other)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            seen = self.network.see(self.frames[frames].float())
            told = self.network.read(self.texts[torch.cat([text, other.clamp(min=0)])])
            given = self.network.judge(torch.cat([seen, seen]), told)
        counts = torch.cat([torch.ones_like(other), (other >= 0).long()])
        return progress_loss(given, torch.cat([progress, torch.zeros_like(progress)]), counts)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The tensors of a network that reads features as they are, rounded to float16."""
        held = {name: tensor.detach().cpu().double().numpy() for name, tensor in self.network.state_dict().items()}
        for name, (centre, spread) in self.scales.items():
            held[f"{name}.weight"] = held[f"{name}.weight"] / spread
            held[f"{name}.bias"] = held[f"{name}.bias"] - held[f"{name}.weight"] @ centre
        return {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in held.items()}


def _scale(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of each column of (N, D), (D,) each. A column that hardly changes is not blown up."""
    blocks = np.array_split(rows, max(1, len(rows) // _ROWS))
    centre = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(rows)
    square = sum(((block - centre) ** 2).sum(axis=0) for block in blocks) / len(rows)
    spread = np.sqrt(square)
    return centre, np.maximum(spread, max(_LEAST * spread.mean(), 1e-6))


def _scaled(rows: NDArray[Any], centre: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[Any]:
    made = np.empty_like(rows)
    for start in range(0, len(rows), _ROWS):
        made[start : start + _ROWS] = (rows[start : start + _ROWS] - centre) / spread
    return made


def rate(settings: Settings, step: int) -> float:
    """The learning rate of a step, from 0: half a cosine from `rate` to `final_rate`, and `final_rate` from then on."""
    turn = (1 + math.cos(math.pi * min(1.0, step / settings.rate_steps))) / 2
    return settings.final_rate + (settings.rate - settings.final_rate) * turn


def fit(
    pool: Pool, features: FeaturePair, settings: Settings, device: str, *, data: str, state: Path | None = None
) -> Trained:
    """Train a network; on a CPU the same arguments give the same bytes.

    data: the hash of what is in the pool. state: a file from which a training that was stopped goes on after its last
    whole epoch, as if it had not been. Raises BadRobotError where it is of another training, or where the loss is no
    number.
    """
    dimensions = Dimensions(frame=features.frame_dimension, text=features.text_dimension, **SIZES[settings.size])
    identity = _identity(features, settings, device, data)
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(settings.seed)
        trainer = Trainer(pool, dimensions, settings, device)
        losses = [] if state is None or not state.exists() else _resume(trainer, state, identity)
        done = len(losses)
        if done > settings.epochs:
            raise BadRobotError(f"{state}: {done} epochs are done already; ask for at least as many, or remove it")
        with tqdm(
            total=settings.epochs * settings.steps,
            initial=done * settings.steps,
            desc="train rewind",
            unit="step",
            disable=None,
        ) as bar:
            for epoch in range(done, settings.epochs):
                losses.append(_epoch(trainer, epoch, bar))
                if not math.isfinite(losses[-1]):
                    raise BadRobotError(
                        f"epoch {epoch + 1}: the loss is {losses[-1]}: training went astray; try a lower --rate"
                    )
                if state is not None:
                    _save(trainer, state, identity, losses)
                bar.set_postfix(loss=f"{losses[-1]:.4f}")
    return Trained(dimensions, trainer.weights(), tuple(losses))


def _epoch(trainer: Trainer, epoch: int, bar: Any) -> float:
    settings = trainer.settings
    # each epoch has seeds of its own, so that one that goes on after a stop draws what it would have drawn
    seeds = np.random.SeedSequence([settings.seed, epoch]).generate_state(2)
    torch.manual_seed(int(seeds[0]))
    rng = np.random.default_rng(seeds[1])
    total = torch.zeros((), device=trainer.device)
    for step in range(settings.steps):
        total += trainer.step(trainer.pool.draw(settings.batch, rng), epoch * settings.steps + step)
        bar.update()
    return round(float(total) / settings.steps, 6)


def _identity(features: FeaturePair, settings: Settings, device: str, data: str) -> str:
    """Of all that must be the same for a training to go on; more epochs may be asked for."""
    told = {name: value for name, value in msgspec.to_builtins(settings).items() if name != "epochs"}
    return hashlib.sha256(msgspec.json.encode([told, features, device, data, str(torch.__version__)])).hexdigest()


def _save(trainer: Trainer, state: Path, identity: str, losses: list[float]) -> None:
    from safetensors.torch import save_file

    tensors = {f"network.{name}": tensor for name, tensor in trainer.network.state_dict().items()}
    for number, held in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": torch.as_tensor(value) for name, value in held.items()}
    state.parent.mkdir(parents=True, exist_ok=True)
    beside = state.with_name(f"{state.name}.tmp")
    told = msgspec.json.encode({"identity": identity, "losses": losses}).decode()
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, beside, {"training": told})
    beside.replace(state)


def _resume(trainer: Trainer, state: Path, identity: str) -> list[float]:
    """Put a trainer where a state left it; the losses of the epochs that are done."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(state, "pt") as file:
            told = msgspec.json.decode((file.metadata() or {}).get("training", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it has no __iter__
    except SafetensorError as error:
        raise BadRobotError(f"{state}: cannot be read: {error}; remove it to start anew") from error
    if told.get("identity") != identity:
        raise BadRobotError(
            f"{state}: belongs to a training with other data, settings, features, device or version of torch; "
            "remove it to start anew, or give another --out"
        )
    network = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    trainer.network.load_state_dict(network)
    held: dict[int, dict[str, Any]] = {}
    for name in tensors.keys() - {f"network.{name}" for name in network}:
        _, number, key = name.split(".")
        held.setdefault(int(number), {})[key] = tensors[name]
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": held, "param_groups": groups})
    return list(told["losses"])
