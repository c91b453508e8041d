"""The one Protocol behind which every reward model stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.schema import CurveKind, Role
from bad_robot_behavior.vlm.client import Usage


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """What a scorer is shown of one rollout.

    frames: (N, H, W, 3) uint8 RGB, or None for a scorer with `needs_frames = False`;
    frame_index: (N,) int64, increasing, positions in a video of `num_frames` frames;
    others: the same N moments seen by the rollout's further cameras, each like `frames`, for scorers that look at them;
    roles: which cameras those of `frames` and `others` are, in that order, where that is known.
    """

    rollout_id: str
    instruction: str
    frames: NDArray[np.uint8] | None
    frame_index: NDArray[np.int64]
    num_frames: int
    fps: float
    others: tuple[NDArray[np.uint8], ...] = ()
    roles: tuple[Role, ...] = ()


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What a scorer says: value (N,) float64, one for each frame of the clip, or None and the reason in `error`.

    usage: what a model's answers took, where a scorer asks one. Of samples that share a question, the first has it.
    """

    value: NDArray[np.float64] | None
    error: str | None = None
    usage: Usage | None = None


def moments(num_frames: int, n: int) -> NDArray[np.int64]:
    """Indices of `n` evenly spaced moments in a video of `num_frames` frames, (n,) int64: first and last among them,
    frames twice where there are fewer. For a further camera of a rollout, which may have run at another rate."""
    steps = np.arange(n, dtype=np.int64)
    return (2 * steps * (num_frames - 1) + (n - 1)) // max(1, 2 * (n - 1))


ScorerKind = CurveKind | Literal["log_probability"]
"""What values mean: progress in [0, 1], reward in [-1, 1], or a log-probability, at most 0, by which rollouts can be
compared and which no release takes for a reward curve."""


class Scorer(Protocol):
    """Maps (frames, instruction) to a reward curve. Deterministic: same clip and parameters, same curve."""

    name: str
    needs_frames: bool
    num_frames: int
    """How many frames a clip should have (fewer where the video is shorter)."""

    @property
    def kind(self) -> ScorerKind: ...

    def parameters(self) -> dict[str, Any]:
        """Everything that decides the curve, as JSON; stored with each prediction. Holds no secrets."""
        ...

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip, in order. A clip that cannot be scored gives an `error`, never a made-up value."""
        ...


class Sampler(Protocol):
    """A scorer whose curves of one clip can be drawn again and again, as preference-guided selection needs."""

    name: str
    kind: CurveKind
    num_frames: int

    @property
    def cameras(self) -> Literal["first", "all"]:
        """Whether `encode` wants the rollout's other cameras too."""
        ...

    @property
    def model(self) -> str:
        """What is sampled, by a name that tells it from others."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Everything that decides the curves, as JSON: weights by their hash. Holds no secrets."""
        ...

    def encode(self, clip: Clip) -> Any:
        """What the samples of a clip are drawn from, made once. May be called from another thread."""
        ...

    def sample_encoded(self, clips: Sequence[Any], samples: int) -> list[list[Curve]]:
        """For each clip `samples` curves. Deterministic: the same seed, rollout and number, the same curve."""
        ...
