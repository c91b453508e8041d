"""The network of ReWiND, as published (arXiv 2505.10911; rewind-reward/ReWiND at ea5dd3b, model.py), and its loss.

Frame and sentence vectors are projected to one width and read by a causal transformer as [text, frame 1, ..., frame n].
A learned position is added to the first frame alone: the others are told apart by what came before them. A head gives
the progress at each frame. The published forward pass names a variable that does not exist; here the mask is causal
over all that is read. `judge` has the same in numpy, for judging.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind.judge import Dimensions

Size = Literal["published", "small", "tiny"]

SIZES: dict[Size, dict[str, int]] = {
    "published": {},
    "small": {"width": 160, "heads": 5, "layers": 3, "inner": 320},
    "tiny": {"width": 96, "heads": 3, "layers": 2, "inner": 192},
}
"""`small` has a twelfth of the weights, for machines without a GPU; `tiny` a third of that again."""


class Network(nn.Module):  # type: ignore[misc]
    """Maps frames (B, N, D) and texts (B, T) to progress (B, N) in (0, 1). Frame i depends on frames 1..i alone."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.dimensions = d = dimensions
        self.see = nn.Linear(d.frame, d.width)
        self.read = nn.Linear(d.text, d.width)
        self.first = nn.Parameter(0.02 * torch.randn(d.width))
        layer = nn.TransformerEncoderLayer(d.width, d.heads, d.inner, d.dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, d.layers, enable_nested_tensor=False)
        half = d.width // 2
        self.head = nn.Sequential(
            nn.Linear(d.width, half), nn.LayerNorm(half), nn.GELU(), nn.Dropout(d.dropout), nn.Linear(half, 1)
        )

    def forward(self, frames: Any, text: Any) -> Any:
        return self.judge(self.see(frames), self.read(text))

    def judge(self, seen: Any, told: Any) -> Any:
        """The same from vectors that are projected: a clip that is shown under two texts is projected once."""
        seen = torch.cat([seen[:, :1] + self.first, seen[:, 1:]], dim=1)
        sequence = torch.cat([told[:, None], seen], dim=1)
        mask = nn.Transformer.generate_square_subsequent_mask(sequence.shape[1], device=sequence.device)
        out = self.transformer(sequence, mask=mask, is_causal=True)
        return torch.sigmoid(self.head(out[:, 1:])[..., 0].float())


def progress_loss(given: Any, wanted: Any, counts: Any | None = None) -> Any:
    """Mean squared error of progress (B, N) from the second frame on, over the rows that count (B,), as a scalar.

    The first frame is left out, as published: nothing has happened in it.
    """
    squared = (given[:, 1:] - wanted[:, 1:]).square().mean(dim=1)
    return squared.mean() if counts is None else (squared * counts).sum() / counts.sum()


def pick_device(name: str) -> str:
    """`auto` is cuda where there is one, else cpu. Raises BadRobotError for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise BadRobotError("device is cuda, and torch sees none here; legal: auto, cpu")
    if name not in {"cpu", "cuda"}:
        raise BadRobotError(f"device is {name!r}; legal: auto, cpu, cuda")
    return name
