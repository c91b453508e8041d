"""N frames of a video by index, with as little decoding as gives the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import av.container
import av.video.stream
import msgspec
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media.opening import MediaInput, VideoPacket, codec_of, name_of, open_video, packets
from bad_robot_behavior.media.reading import Converter, Pixels, decode, decode_packet


def sample_index(num_frames: int, n: int) -> NDArray[np.int64]:
    """Indices of `n` evenly spaced frames out of `num_frames`, first and last among them, int64 (min(n, num_frames),).

    All indices where n >= num_frames; the first where n is 1. Raises ValueError for num_frames < 1 or n < 1.
    """
    if num_frames < 1 or n < 1:
        raise ValueError(f"num_frames is {num_frames} and n is {n}; both must be at least 1")
    if n >= num_frames:
        return np.arange(num_frames, dtype=np.int64)
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    # round half up in integers: the same indices on every machine, with no float in between
    steps = np.arange(n, dtype=np.int64)
    return (2 * steps * (num_frames - 1) + (n - 1)) // (2 * (n - 1))


def sample(source: MediaInput, index: Sequence[int] | NDArray[np.int64]) -> Pixels:
    """The frames at `index` as RGB, uint8 (N, H, W, 3), in the order asked for; an index may come twice.

    Bit-identical to taking them out of `frames`, but decodes as little as it can: all packets are read once, decoding
    starts at the last keyframe before a wanted frame, ends at it, and leaves out frames that no other depends on.
    Raises ValueError for an index outside 0..num_frames-1 or no index at all, MediaError as `decode` does for the
    part of the file that is decoded.
    """
    wanted = np.asarray(index)
    if wanted.ndim != 1 or wanted.size == 0 or wanted.dtype.kind not in "iu":
        raise ValueError(f"index must be a list of at least one whole number, found {index!r}")
    with open_video(source) as (container, stream):
        held = list(packets(source, container, stream))
        shown = sum(not packet.is_discard for packet in held)
        if shown == 0:
            raise MediaError(name_of(source), "packet 0", "there is no frame in the video stream")
        if wanted.min() < 0 or wanted.max() >= shown:
            outside = wanted[(wanted < 0) | (wanted >= shown)].tolist()
            raise ValueError(f"{name_of(source)}: frame index {outside} is out of range; legal: 0 to {shown - 1}")
        chosen = {int(i) for i in wanted}
        runs = _plan(held, chosen) if _states_times(container, stream, held) else []
        # In H.264 a frame that is no reference is none for any other frame; other codecs know layers of references.
        pictures = _follow(source, stream.codec_context, held, runs, skip=codec_of(stream) == "h264")
    if pictures.keys() != chosen:
        pictures = _from_the_start(source, chosen)
    first = pictures[int(wanted[0])]
    out = np.empty((len(wanted), *first.shape), dtype=np.uint8)
    for row, i in enumerate(wanted.tolist()):
        if pictures[i].shape != first.shape:
            raise MediaError(name_of(source), f"frame {i}", "the picture changes its size")
        out[row] = pictures[i]
    return out


class _Run(msgspec.Struct, frozen=True):
    """Packets start..stop-1 give the frames with the times in `wanted` (time -> frame index)."""

    start: int
    stop: int
    wanted: Mapping[int, int]


def _states_times(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, held: Sequence[VideoPacket]
) -> bool:
    """Whether the packets' times tell in which order their frames are shown."""
    times = [packet.pts for packet in held if packet.pts is not None and not packet.is_discard]
    if len(set(times)) < len(held) or "avi" in container.format.name:  # AVI states no times; what is there is a guess
        return False
    # Matroska made from AVI has times of decoding only; they rise where a codec that reorders would not let them.
    guessed = "matroska" in container.format.name and bool(stream.codec_context.has_b_frames) and times == sorted(times)
    return not guessed


def _plan(held: Sequence[VideoPacket], chosen: set[int]) -> list[_Run]:
    """Which packets to decode, starting at keyframes."""
    times = [packet.pts for packet in held]
    keys = [place for place, packet in enumerate(held) if packet.is_keyframe]
    by_time = sorted(range(len(held)), key=lambda place: times[place] or 0)
    runs: dict[int, tuple[int, dict[int, int]]] = {}
    for index in sorted(chosen):
        place = by_time[index]
        time = held[place].pts or 0
        # A frame shown before the keyframe it follows in the file may lean on frames before that keyframe.
        start = max((key for key in keys if key <= place and (held[key].pts or 0) <= time), default=0)
        stop, wanted = runs.get(start, (0, {}))
        runs[start] = (max(stop, place + 1), wanted | {time: index})
    return [_Run(start, stop, wanted) for start, (stop, wanted) in sorted(runs.items())]


def _follow(
    source: MediaInput,
    context: VideoCodecContext,
    held: Sequence[VideoPacket],
    runs: Sequence[_Run],
    skip: bool,
) -> dict[int, Pixels]:
    """The wanted frames, or fewer where a run does not go as planned: its keyframe is none, or it has an error.

    A file can call a frame a keyframe that is none (periodic intra refresh does), so whoever gets fewer decodes from
    the start, and learns there what is broken.
    """
    convert = Converter()
    pictures: dict[int, Pixels] = {}
    for number, run in enumerate(runs):
        if number:
            context.flush_buffers()
        first = True
        feed: list[VideoPacket | None] = [*held[run.start : run.stop], None]
        for packet in feed:
            if skip and packet is not None:
                context.skip_frame = "DEFAULT" if packet.pts in run.wanted or packet.is_keyframe else "NONREF"
            try:
                decoded = decode_packet(source, context, packet, 0)
            except MediaError:
                return {}
            for frame in decoded:
                if first and run.start and not (frame.key_frame and frame.pts == held[run.start].pts):
                    return {}
                first = False
                if frame.pts is not None and frame.pts in run.wanted:
                    pictures[run.wanted[frame.pts]] = convert(frame)
    return pictures


def _from_the_start(source: MediaInput, chosen: set[int]) -> dict[int, Pixels]:
    convert = Converter()
    last = max(chosen)
    pictures: dict[int, Pixels] = {}
    for number, frame in enumerate(decode(source)):
        if number in chosen:
            pictures[number] = convert(frame)
        if number == last:
            break
    return pictures
