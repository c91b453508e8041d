"""How a foreign video file is opened: only known containers and codecs, no other file or address, bounded sizes.

FFmpeg opens far more than videos: playlists that name other files, pictures, text drawn as frames, network addresses.
A file out of a stranger's dump gets none of that. `MAX_*` bound what a small hostile file can make us allocate or read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import av
import av.container
import av.packet
import av.video.stream

from bad_robot_behavior.errors import MediaError

VideoPacket: TypeAlias = "av.packet.Packet[av.video.stream.VideoStream]"

MediaInput = str | Path | bytes
"""A video: the path of a file, or the file's bytes as a release stores them."""

VERSION = f"av {av.__version__}"
MAX_PIXELS = 8192 * 4352
"""Most pixels of one frame; the largest picture of H.264 level 6.2 fits."""
MAX_FRAMES = 300_000
"""Most frames of one video: an hour and a half at 50 frames per second."""
MAX_BYTES = 1 << 30
"""Largest file in bytes; sampling holds the compressed stream in memory."""
CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg", "mpeg2video", "ffv1")
"""Codecs that are decoded, by FFmpeg's names. In each a packet is a frame, which is what makes counting true."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
_DECODERS = ",".join((*CODECS, "libdav1d", "libaom-av1", "libvpx-vp9"))
# Without these FFmpeg hides damage: it fills a broken frame from its neighbours and reports nothing.
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_PIXELS)}


def name_of(source: MediaInput) -> str:
    """How a video is called in an error."""
    return "<video bytes>" if isinstance(source, bytes) else str(source)


@contextmanager
def guard(source: MediaInput, where: str) -> Iterator[None]:
    """Turn what FFmpeg raises inside the block into MediaError at `where`."""
    try:
        yield
    except (av.error.FFmpegError, EOFError) as error:
        raise MediaError(name_of(source), where, reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """FFmpeg's words without the number and the file name that PyAV adds."""
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def open_video(
    source: MediaInput, **options: str
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The container and its first video stream, set to decode strictly on one thread.

    One thread because shards run side by side in processes, and because a decoder that runs ahead on other threads
    reports an error at the wrong frame. Raises MediaError for a missing or empty file, for one that is no video, and
    for one beyond the limits of this module. `options` go to FFmpeg's demuxer.
    """
    size = size_of(source)
    if size == 0:
        raise MediaError(name_of(source), "open", "the file is empty")
    if size > MAX_BYTES:
        raise MediaError(name_of(source), "open", f"the file has {size} bytes; at most {MAX_BYTES} are read")
    settings = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file", "codec_whitelist": _DECODERS, **options}
    # "file:" keeps a path such as "http://..." or "concat:..." from being taken for an address
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    try:
        container = av.open(file, mode="r", container_options=settings, metadata_errors="replace")
    except av.error.ArgumentError as error:
        raise MediaError(name_of(source), "open", "not a video in a container that is read here") from error
    except (av.error.FFmpegError, EOFError) as error:
        raise MediaError(name_of(source), "open", f"not a video: {reason_of(error)}") from error
    with container:
        stream = _video_stream(source, container)
        yield container, stream


def size_of(source: MediaInput) -> int:
    """Size in bytes. Raises MediaError where there is no plain file."""
    if isinstance(source, bytes):
        return len(source)
    path = Path(source)
    try:
        if not path.is_file():
            reason = "there is no such file" if not path.exists() else "this is not a plain file"
            raise MediaError(path, "open", reason)
        return path.stat().st_size
    except OSError as error:
        raise MediaError(path, "open", error.strerror or str(error)) from error
    except ValueError as error:  # a NUL byte in the path
        raise MediaError(repr(source), "open", str(error)) from error


def packets(
    source: MediaInput, container: av.container.InputContainer, stream: av.video.stream.VideoStream, whole: bool = True
) -> Iterator[VideoPacket]:
    """The packets of the stream in file order, without the empty one that PyAV ends with.

    Raises MediaError at "packet N" for a packet that is cut short or damaged, beyond MAX_FRAMES, and (with `whole`)
    where the file ends before its header says so.
    """
    number = 0
    end = 0.0
    demuxed = container.demux(stream)
    while True:
        with guard(source, f"packet {number}"):
            packet = next(demuxed, None)
        if packet is None or packet.size == 0:
            break
        if packet.is_corrupt:
            raise MediaError(name_of(source), f"packet {number}", "the packet is damaged or cut short")
        if number == MAX_FRAMES:
            raise MediaError(name_of(source), f"packet {number}", f"more than {MAX_FRAMES} frames")
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        yield packet
        number += 1
    if whole:
        _check_end(source, container, stream, number, end)


def _check_end(
    source: MediaInput,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    counted: int,
    end: float,
) -> None:
    """A header that claims more than there is means that the file was cut."""
    if counted < stream.frames:
        # An edit list may legally hide whole groups of frames: count once more without it.
        with open_video(source, ignore_editlist="1") as (plain, same):
            everything = sum(1 for _ in packets(source, plain, same, whole=False))
        if everything < stream.frames:
            reason = f"the header claims {stream.frames} frames, the file ends after {everything}"
            raise MediaError(name_of(source), f"packet {everything}", reason)
    if stream.frames == 0 and "matroska" in container.format.name and container.duration and stream.average_rate:
        # Matroska counts no frames but states how long the file is. Other streams may run on after the video.
        promised = container.duration / av.time_base
        if len(container.streams) == 1 and end < promised - 2.5 / float(stream.average_rate):
            reason = f"the header claims {promised:.2f} s, the file ends at {end:.2f} s"
            raise MediaError(name_of(source), f"packet {counted}", reason)


def _video_stream(source: MediaInput, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    if not container.streams.video:
        raise MediaError(name_of(source), "open", "there is no video stream")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None or codec_of(stream) not in CODECS:
        codec = "unknown" if context is None else codec_of(stream)
        raise MediaError(name_of(source), "open", f"codec {codec} is not read; legal: {', '.join(CODECS)}")
    if context.width <= 0 or context.height <= 0:
        raise MediaError(name_of(source), "open", "the video stream has no picture size")
    if context.width * context.height > MAX_PIXELS:
        raise MediaError(
            name_of(source), "open", f"frames of {context.width}x{context.height}; at most {MAX_PIXELS} pixels are read"
        )
    context.options = dict(_STRICT)
    context.thread_count = 1
    return stream


def codec_of(stream: av.video.stream.VideoStream) -> str:
    """FFmpeg's name of the codec, such as h264, whatever decoder stands behind it."""
    return stream.codec_context.codec.canonical_name
