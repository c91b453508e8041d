"""Decoding a video from its first frame to its last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media.opening import MediaInput, VideoPacket, guard, name_of, open_video, packets

Pixels = NDArray[np.uint8]

_PLANAR = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray"})
_SAME_EVERYWHERE = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)


def decode(source: MediaInput) -> Iterator[VideoFrame]:
    """Every frame in order as PyAV gives it (planes in the file's own pixel format), strictly checked.

    Raises MediaError at "frame N" where decoding breaks, where the picture changes its size, or where the decoder
    gives fewer frames than the stream has packets.
    """
    with open_video(source) as (container, stream):
        number = expected = 0
        size: tuple[int, int] | None = None
        for packet in _with_flush(packets(source, container, stream)):
            expected += packet is not None and not packet.is_discard
            try:
                decoded = decode_packet(source, stream.codec_context, packet, number)
            except MediaError as error:
                raise MediaError(name_of(source), f"frame {_place(source, packet, number)}", error.reason) from error
            for frame in decoded:
                if size is None:
                    size = (frame.width, frame.height)
                elif size != (frame.width, frame.height):
                    reason = f"the picture changes from {size[0]}x{size[1]} to {frame.width}x{frame.height}"
                    raise MediaError(name_of(source), f"frame {number}", reason)
                yield frame
                number += 1
        if number < expected or number == 0:
            reason = f"the decoder gave {number} frames of {expected}"
            raise MediaError(name_of(source), f"frame {number}", reason)


def frames(source: MediaInput) -> Iterator[Pixels]:
    """Every frame in order as RGB, uint8 (H, W, 3), one at a time in memory. Raises MediaError as `decode` does."""
    convert = Converter()
    for frame in decode(source):
        yield convert(frame)


class Converter:
    """Frames to RGB arrays with one scaling context for all frames of a video."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        """The frame as RGB, uint8 (H, W, 3), by its own colour matrix and range, and upright."""
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        pixels = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
        # phones write pictures as the sensor lies and say how to turn them
        turns = quarter_turns(frame)
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def decode_packet(
    source: MediaInput, context: VideoCodecContext, packet: VideoPacket | None, number: int
) -> list[VideoFrame]:
    """What the decoder gives for a packet, or what it still holds for None; `number` frames came before.

    Raises MediaError at "frame N" for an error, and for a frame that the decoder itself marks as damaged.
    """
    with guard(source, f"frame {number}"):
        decoded = context.decode(packet)
    for offset, frame in enumerate(decoded):
        if frame.is_corrupt:
            raise MediaError(name_of(source), f"frame {number + offset}", "the decoder marks the frame as damaged")
    return decoded


def _place(source: MediaInput, packet: VideoPacket | None, number: int) -> int:
    """Which frame a packet is, 0-based as shown; `number` is the best answer where the file gives no times.

    Frames come out later than their packets go in, so the count of frames so far does not tell.
    """
    if packet is None or packet.pts is None:
        return number
    time = packet.pts
    place = 0
    with open_video(source) as (container, stream):
        try:
            for other in packets(source, container, stream, whole=False):
                place += not other.is_discard and other.pts is not None and other.pts < time
        except MediaError:
            return number  # cut short further on as well: the first error is the one to tell
    return place


def _with_flush(demuxed: Iterable[VideoPacket]) -> Iterator[VideoPacket | None]:
    yield from demuxed
    yield None


def planes(frame: VideoFrame) -> list[Pixels]:
    """The picture as the decoder left it, a uint8 array (h, w) for each plane: luma first, then colour if there is any.

    Formats that are not 8-bit planar become yuv444p, on the way that is the same on every machine.
    """
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="yuv444p", interpolation=_SAME_EVERYWHERE)
    found: list[Pixels] = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8)[: plane.line_size * plane.height]
        found.append(rows.reshape(plane.height, plane.line_size)[:, : plane.width])
    return found


def quarter_turns(frame: VideoFrame) -> int:
    """By how many quarter turns to the left a player turns the frame: 0 to 3. Other angles count as none."""
    return (frame.rotation // 90) % 4 if frame.rotation % 90 == 0 else 0


def full_range(frame: VideoFrame) -> bool:
    """True where luma runs from 0 to 255, False where it runs from 16 (black) to 235 (white), as video mostly does."""
    if frame.format.name.startswith("yuv"):
        return frame.format.name.startswith("yuvj") or frame.color_range == int(ColorRange.JPEG)
    return frame.format.name == "gray"
