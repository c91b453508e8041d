"""The scorer `rewind`: a trained checkpoint over the prefixes of a clip, as published, and stochastic samples of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError, require
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.rewind.dataset import LENGTH, resampled
from bad_robot_behavior.scorers.rewind.features import Features, open_features, squares
from bad_robot_behavior.scorers.rewind.judge import Floats, judge, thinned
from bad_robot_behavior.scorers.scorer import Clip, Curve

if TYPE_CHECKING:
    from bad_robot_behavior.scorers.rewind.checkpoint import TrainingCard

_KEPT = 0.75


class Seen(NamedTuple):
    """A clip as the network reads it. frames: (N, D); text: (T,)."""

    rollout_id: str
    frames: Floats
    text: Floats


class ReWiND:
    """Progress in (0, 1) per frame: at frame t what the network says at the end of frames 1..t, brought to 16 by
    thinning them out or repeating the last (arXiv 2505.10911; rewind-reward/ReWiND at ea5dd3b, utils/eval_utils.py).

    Nothing later than t decides its value, but for which frames of a video are sampled. Deterministic.
    """

    name = "rewind"
    kind: CurveKind = "progress"
    needs_frames = True
    cameras: Literal["first", "all"] = "first"
    card = Card(
        title="ReWiND: a small network over frozen features, trained here",
        runs="here",
        inputs="16 frames of one camera and the instruction",
        output="progress in (0, 1)",
        base_model="EfficientNet-Lite0 and all-MiniLM-L6-v2 (embedded), or DINOv2 ViT-B/14 and all-MiniLM-L12-v2",
        weights="a small one comes with this package, trained in simulation, not for real robots; `bad-robot train "
        "rewind` makes others; their card.json says what they saw",
        paper="arXiv 2505.10911",
        license="MIT (the published code); Apache-2.0 (this one, and the embedded encoders)",
        contaminated="unknown",
        evidence="it is what the checkpoint was trained on: card.json, data.release",
        differs="failures can be trained on, with their dense reward; rollouts are cut from at most 64 frames",
        sources=("rewind-reward/ReWiND at ea5dd3b: model.py, dataset.py, train_reward.py, utils/eval_utils.py",),
    )

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        num_frames: int = LENGTH,
        device: str = "cpu",
        seed: int = 0,
        frame_model: str | None = None,
        text_model: str | None = None,
    ) -> None:
        """`checkpoint`: a folder that `bad-robot train rewind` wrote; None: the one that comes with this package.
        `frame_model`, `text_model`: where the encoders of a checkpoint lie that was trained on others than the embedded
        ones; `device`: what those run on. `seed` is of `sample` alone.

        Raises MissingExtraError without the extra `rewind`, and BadRobotError for a folder that is no checkpoint, or
        encoders that are not those it was trained on.
        """
        require("safetensors", "rewind")
        from bad_robot_behavior.scorers.rewind import checkpoint as files

        self.trained, self.weights = files.read(files.EMBEDDED if checkpoint is None else Path(checkpoint))
        self.model = f"rewind#{self.trained.weights_sha256[:12]}"
        self.num_frames = num_frames
        self.seed = seed
        self.features = open_like(self.trained, frame_model, text_model, device)
        self._texts: dict[str, Floats] = {}

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        pair = self.trained.features
        return {
            "scorer": self.name,
            "model": self.model,
            "weights_sha256": self.trained.weights_sha256,
            "frames": pair.frames,
            "frames_id": pair.frames_id,
            "text": pair.text,
            "text_id": pair.text_id,
            "trained_on": self.trained.data.release,
            "trained_split": self.trained.data.split,
            "saw_roboarena": "no" if self.trained.data.synthetic == self.trained.data.rollouts else "unknown",
            "warnings": list(self.trained.warnings),
            "num_frames": self.num_frames,
            "seed": self.seed,
        }

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip."""
        return [Curve(value=self.judge(self.encode(clip))) for clip in clips]

    def sample(self, clip: Clip, samples: int) -> list[Curve]:
        """`samples` curves of one clip that differ as the network is unsure: each by a network of its own, thinned out
        by dropout (Gal and Ghahramani, arXiv 1506.02142), that saw a random three quarters of the earlier frames.

        One sample is one network and one choice of frames along its whole curve. The same (seed, rollout_id, number of
        the sample) gives the same curve.
        """
        return self.sample_encoded([self.encode(clip)], samples)[0]

    def sample_encoded(self, clips: Sequence[Seen], samples: int) -> list[list[Curve]]:
        """For each clip `samples` curves, as `sample` draws them."""
        return [[Curve(value=self._sample(clip, k)) for k in range(samples)] for clip in clips]

    def encode(self, clip: Clip) -> Seen:
        """The features of a clip, those of frames with half the digits, as in training. Raises ValueError for a clip
        without frames."""
        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: {self.name} needs the frames of the clip")
        if clip.instruction not in self._texts:
            self._texts[clip.instruction] = self.features.text(clip.instruction).astype(np.float64)
        frames = self.features.frames(squares(clip.frames)).astype(np.float16)
        return Seen(clip.rollout_id, frames.astype(np.float64), self._texts[clip.instruction])

    def judge(self, seen: Seen) -> Floats:
        """Progress at each of the N frames of a clip, (N,)."""
        shown = prefixes(len(seen.frames))
        return judge(self.weights, self.trained.dimensions, seen.frames, seen.text, shown)

    def _sample(self, seen: Seen, number: int) -> Floats:
        digest = hashlib.sha256(f"rewind\x1f{self.seed}\x1f{seen.rollout_id}\x1f{number}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        kept = rng.random(len(seen.frames)) < _KEPT
        kept[0] = True  # the scene before anything happened
        network = thinned(self.weights, self.trained.dimensions, rng)
        return judge(network, self.trained.dimensions, seen.frames, seen.text, prefixes(len(seen.frames), kept))


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
