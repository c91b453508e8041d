"""Writing mp4 files: encoded from frames, or the packets of another file copied without all that came with them."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.container
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media.opening import (
    MAX_PIXELS,
    MediaInput,
    codec_of,
    guard,
    name_of,
    open_video,
    packets,
    reason_of,
)

Pixels = NDArray[np.uint8]

# faststart: the index comes first, so that one read of a remote file tells where frames are. bitexact: no encoder tag.
_MP4 = {"movflags": "+faststart", "fflags": "+bitexact"}
# One thread, because x264 writes other bytes with another number of threads, and that number follows the machine.
_X264 = {"preset": "medium", "crf": "20", "g": "60", "threads": "1"}
if platform.machine().lower() in {"x86_64", "amd64"}:
    # x264's AVX-512 code for macroblock trees reads memory it never wrote: ten runs gave seven different files. SSE2 is
    # in every 64-bit x86, gives the bytes of the plain C code, and took no longer (0.11 s for 20 frames of 224x224).
    _X264["x264-params"] = "asm=MMX2,SSE2"
_EXACT = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)


Preset = Literal["medium", "veryfast"]


def encode(path: str | Path, frames: Iterable[Pixels], fps: float) -> None:
    """Write frames as H.264 yuv420p mp4, index first, without tags; the same frames give the same bytes.

    `frames`: RGB, uint8 (H, W, 3), all of one size; an odd height or width gets one more row or column, a copy of
    the last, because yuv420p has none. `fps` > 0. The file appears whole or not at all. Raises ValueError for frames
    that are not pictures, MediaError for no frames at all or frames that change size.
    """
    with encoder(path, fps) as add:
        for frame in frames:
            add(frame)


@contextlib.contextmanager
def encoder(path: str | Path, fps: float, preset: Preset = "medium") -> Iterator[Callable[[Pixels], None]]:
    """As `encode`, for whoever has one frame at a time: the block is given a function that takes the next one.

    No frame is held back. `veryfast` takes half of the time for about the same size, of rendered frames at least. The
    file appears when the block ends well.
    """
    if not 0 < fps < 1e6:
        raise ValueError(f"fps is {fps}; it must be above 0 and below a million")
    path = Path(path)
    with whole(path) as part, guard(path, "encode"), av.open(str(part), "w", format="mp4", options=_MP4) as container:
        # exact for every rate that a file can state with a denominator up to 100,000, such as 30000/1001
        rate = Fraction(fps).limit_denominator(100_000)
        stream = container.add_stream("libx264", rate=rate, options=_X264 | {"preset": preset})
        # x264 writes its version and settings into the stream as a message of NAL type 6; nothing else uses it here
        strip: BitStreamFilterContext | None = None
        convert = VideoReformatter()
        shape: tuple[int, ...] = ()
        number = 0

        def add(picture: Pixels) -> None:
            nonlocal strip, shape, number
            _check(picture)
            height, width = picture.shape[:2]
            if strip is None:
                stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
                strip = BitStreamFilterContext("filter_units=remove_types=6", stream)
                shape = picture.shape
            elif picture.shape != shape:
                raise MediaError(path, f"frame {number}", f"the picture changes from {shape} to {picture.shape}")
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            given = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            planes = convert.reformat(given, format="yuv420p", interpolation=_EXACT, threads=1)
            planes.pts = number
            for packet in stream.encode(planes):
                container.mux(strip.filter(packet))
            number += 1

        yield add
        if strip is None:
            raise MediaError(path, "encode", "there are no frames to write")
        for packet in stream.encode(None):
            container.mux(strip.filter(packet))


def remux(source: MediaInput, path: str | Path) -> None:
    """Copy the video stream alone into a fresh mp4, index first: no sound, subtitles, data, chapters, attachments,
    tags or dates. The packets are the same bits (those of MPEG-TS get mp4's framing), nothing is decoded, and the
    same file gives the same bytes.

    What a camera wrote inside the video packets stays. The file appears whole or not at all. Raises MediaError for
    a file that `probe` refuses, and for a stream that mp4 cannot hold.
    """
    path = Path(path)
    with open_video(source) as (given, stream), whole(path) as part:
        codec = codec_of(stream)
        counted = 0
        try:
            with av.open(str(part), "w", format="mp4", options=_MP4) as container:
                copy = container.add_stream_from_template(stream)
                copy.metadata.clear()
                for packet in packets(source, given, stream):
                    counted += 1
                    packet.stream = copy
                    container.mux(packet)
        except OSError as error:
            raise MediaError(path, "write", reason_of(error)) from error
        except (av.error.FFmpegError, ValueError) as error:
            reason = f"this {codec} stream cannot go into an mp4 as it is ({reason_of(error)}); encode it instead"
            raise MediaError(name_of(source), "remux", reason) from error
        if counted == 0:
            raise MediaError(name_of(source), "packet 0", "there is no frame in the video stream")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and goes when it does not."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=".mp4")
    except OSError as error:
        raise MediaError(path, "write", error.strerror or str(error)) from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _check(frame: Pixels) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"a picture is uint8 (H, W, 3), found {frame.dtype} {frame.shape}")
    if frame.shape[0] * frame.shape[1] > MAX_PIXELS:
        raise ValueError(f"a picture has at most {MAX_PIXELS} pixels, found {frame.shape[1]}x{frame.shape[0]}")
