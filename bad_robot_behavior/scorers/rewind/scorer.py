"""The scorer `rewind`: a trained checkpoint over the prefixes of a clip, as published, and stochastic samples of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError, require
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.rewind.dataset import LENGTH, resampled
from bad_robot_behavior.scorers.rewind.features import Features, open_features, squares
from bad_robot_behavior.scorers.scorer import Clip, Curve

if TYPE_CHECKING:
    from bad_robot_behavior.scorers.rewind.checkpoint import TrainingCard

_KEPT = 0.75
_PREFIXES_AT_ONCE = 512


class ReWiND:
    """Progress in (0, 1) per frame: at frame t what the network says at the end of frames 1..t, brought to 16 by
    thinning them out or repeating the last (arXiv 2505.10911; rewind-reward/ReWiND at ea5dd3b, utils/eval_utils.py).

    Nothing later than t decides its value, but for which frames of a video are sampled. Deterministic on a CPU.
    """

    name = "rewind"
    kind: CurveKind = "progress"
    needs_frames = True
    card = Card(
        title="ReWiND: a small network over frozen features, trained here",
        runs="here",
        inputs="16 frames of one camera and the instruction",
        output="progress in (0, 1)",
        base_model="EfficientNet-Lite0 and all-MiniLM-L6-v2 (embedded), or DINOv2 ViT-B/14 and all-MiniLM-L12-v2",
        weights="none come with this package; `bad-robot train rewind` makes them, and their card.json says of what",
        paper="arXiv 2505.10911",
        license="MIT (the published code); Apache-2.0 (this one, and the embedded encoders)",
        contaminated="unknown",
        evidence="it is what the checkpoint was trained on: card.json, data.release",
        differs="failures can be trained on, with their dense reward; rollouts are cut from at most 64 frames",
        sources=("rewind-reward/ReWiND at ea5dd3b: model.py, dataset.py, train_reward.py, utils/eval_utils.py",),
    )

    def __init__(
        self,
        checkpoint: str | Path,
        num_frames: int = LENGTH,
        device: str = "cpu",
        seed: int = 0,
        frame_model: str | None = None,
        text_model: str | None = None,
    ) -> None:
        """`checkpoint`: a folder that `bad-robot train rewind` wrote. `frame_model`, `text_model`: where the encoders
        of a checkpoint lie that was trained on others than the embedded ones. `seed` is of `sample` alone.

        Raises BadRobotError for a folder that is no checkpoint, or encoders that are not those it was trained on.
        """
        require("torch", "rewind")
        require("safetensors", "rewind")
        from bad_robot_behavior.scorers.rewind import checkpoint as files
        from bad_robot_behavior.scorers.rewind.model import pick_device

        self.device = pick_device(device)
        self.trained, self.network = files.read(Path(checkpoint), self.device)
        self.num_frames = num_frames
        self.seed = seed
        self.features = open_like(self.trained, frame_model, text_model, self.device)

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return {
            "scorer": self.name,
            "model": f"rewind@{self.trained.weights_sha256[:12]}",
            "weights_sha256": self.trained.weights_sha256,
            "frames": self.trained.features.frames,
            "text": self.trained.features.text,
            "trained_on": self.trained.data.release,
            "warnings": list(self.trained.warnings),
            "num_frames": self.num_frames,
        }

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip."""
        import torch

        curves = []
        for clip in clips:
            frames, text = self.encode(clip)
            with torch.inference_mode():
                curves.append(Curve(value=self._judge(frames[prefixes(len(frames))], text)))
        return curves

    def sample(self, clip: Clip, samples: int) -> list[Curve]:
        """`samples` curves of one clip that differ as the network is unsure: each by a network of its own, thinned out
        by dropout (Gal and Ghahramani, arXiv 1506.02142), that saw a random three quarters of the earlier frames.

        One sample is one network and one choice of frames along its whole curve. The same (seed, rollout_id, number of
        the sample) gives the same curve on a CPU.
        """
        frames, text = self.encode(clip)
        return [Curve(value=self._sample(frames, text, clip.rollout_id, k)) for k in range(samples)]

    def encode(self, clip: Clip) -> tuple[Any, Any]:
        """Features of a clip as tensors on the device: (N, D) and (T,), frames with half the digits, as in training."""
        import torch

        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: {self.name} needs the frames of the clip")
        seen = self.features.frames(squares(clip.frames)).astype(np.float16).astype(np.float32)
        told = self.features.text(clip.instruction)
        return torch.from_numpy(seen).to(self.device), torch.from_numpy(told).to(self.device)

    def _sample(self, frames: Any, text: Any, rollout_id: str, number: int) -> NDArray[np.float64]:
        import torch
        from torch import nn

        digest = hashlib.sha256(f"rewind\x1f{self.seed}\x1f{rollout_id}\x1f{number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        kept = np.random.default_rng(seed).random(len(frames)) < _KEPT
        kept[0] = True  # the scene before anything happened
        cuda = [torch.cuda.current_device()] if self.device == "cuda" else []
        values = []
        thinned = [
            module for module in self.network.modules() if isinstance(module, (nn.Dropout, nn.MultiheadAttention))
        ]
        for module in thinned:
            module.train()
        try:
            with torch.random.fork_rng(cuda), torch.inference_mode():
                for shown in prefixes(len(frames), kept):
                    torch.manual_seed(seed)  # the same network along the curve: equal shapes drop out equally
                    values.append(self._judge(frames[shown[None]], text))
        finally:
            self.network.eval()
        return np.concatenate(values)

    def _judge(self, shown: Any, text: Any) -> NDArray[np.float64]:
        """The last value of each of P prefixes (P, LENGTH, D)."""
        last = [
            self.network(part, text.expand(len(part), -1))[:, -1].double().cpu().numpy()
            for part in shown.split(_PREFIXES_AT_ONCE)
        ]
        return np.concatenate(last)


def prefixes(count: int, kept: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """(count, LENGTH): the frames that the value of each of `count` frames is made of, it among them at the end.

    `kept` (count,): which of the earlier ones are looked at; None: all.
    """
    rows = []
    for last in range(count):
        seen = np.arange(last) if kept is None else np.flatnonzero(kept[:last])
        rows.append(np.append(seen, last)[resampled(np.array([len(seen) + 1]))[0]])
    return np.stack(rows)


def open_like(
    card: TrainingCard, frame_model: str | None = None, text_model: str | None = None, device: str = "cpu"
) -> Features:
    """The encoders that a checkpoint was trained on. Raises BadRobotError where those that are here are others."""
    wanted = card.features
    if wanted.kind == "transformers":
        features = open_features(wanted.kind, frame_model or wanted.frames, text_model or wanted.text, device)
    else:
        features = open_features(wanted.kind, frame_model, text_model)
    if features.pair != wanted:
        name = next(name for name in wanted.__struct_fields__ if getattr(wanted, name) != getattr(features.pair, name))
        raise BadRobotError(
            f"the checkpoint was trained on features with {name} {getattr(wanted, name)!r}, and these have "
            f"{getattr(features.pair, name)!r}; give the encoders it was trained on (--frame-model, --text-model), or "
            "train it on these"
        )
    return features
