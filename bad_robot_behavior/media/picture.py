"""Single pictures: resize and JPEG through PyAV, so that nothing else needs to be installed."""

from __future__ import annotations

import io

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_EXACT = int(Interpolation.ACCURATE_RND | Interpolation.BITEXACT)


def resize(frame: Pixels, longest_side: int) -> Pixels:
    """The picture scaled down so that its longer side has `longest_side` pixels, uint8 (h, w, 3); never scaled up.

    `frame`: RGB, uint8 (H, W, 3). Area-averaging keeps thin grippers visible. Raises ValueError for other input.
    """
    _check(frame)
    if longest_side < 1:
        raise ValueError(f"longest_side is {longest_side}; it must be at least 1")
    height, width = frame.shape[:2]
    longer = max(height, width)
    if longer <= longest_side:
        return frame
    size = (max(1, round(width * longest_side / longer)), max(1, round(height * longest_side / longer)))
    return stretch(frame, *size)


def stretch(frame: Pixels, width: int, height: int) -> Pixels:
    """The whole picture in exactly that size, uint8 (height, width, 3), whatever shape it had.

    `frame`: RGB, uint8 (H, W, 3). Raises ValueError for other input.
    """
    _check(frame)
    given = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    scaled = VideoReformatter().reformat(
        given, width=width, height=height, format="rgb24", interpolation=int(Interpolation.AREA) | _EXACT, threads=1
    )
    return np.asarray(scaled.to_ndarray(), dtype=np.uint8)


def jpeg(frame: Pixels, longest_side: int | None = None, quality: int = 90) -> bytes:
    """The picture as a baseline JPEG file: 4:2:0, full range, no tags, the same bytes for the same picture.

    `frame`: RGB, uint8 (H, W, 3). `quality` 1 to 100, higher is better; 90 leaves about 40 dB on camera pictures.
    Raises ValueError for other input.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; legal: 1 to 100")
    picture = frame if longest_side is None else resize(frame, longest_side)
    _check(picture)
    given = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    planes = VideoReformatter().reformat(
        given,
        format="yuvj420p",
        dst_colorspace=int(Colorspace.ITU601),
        interpolation=int(Interpolation.BICUBIC) | _EXACT,
        threads=1,
    )
    # FFmpeg's scale runs from 1 (best) to 31; 90 lies at 3
    scale = 1 + round((100 - quality) * 30 / 99)
    file = io.BytesIO()
    with av.open(file, "w", format="mjpeg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = planes.width, planes.height, "yuvj420p"
        context = stream.codec_context
        context.thread_count = 1
        context.qmin = context.qmax = scale
        context.flags |= av.codec.context.Flags.bitexact | av.codec.context.Flags.qscale
        for packet in [*stream.encode(planes), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def _check(frame: Pixels) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"a picture is uint8 (H, W, 3), found {frame.dtype} {frame.shape}")
