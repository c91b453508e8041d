"""What a video file is: counted, not believed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av.container
import msgspec
from av.video.frame import VideoFrame

from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media.containing import contained
from bad_robot_behavior.media.opening import MediaInput, codec_of, name_of, open_video, packets, size_of
from bad_robot_behavior.media.reading import decode_packet, quarter_turns
from bad_robot_behavior.schema import Video

# Every mp4 carries these; they say nothing about who made it, where or with what.
_BRANDS = frozenset({"major_brand", "minor_version", "compatible_brands"})
_NEUTRAL = frozenset(
    {
        ("language", "und"),
        ("vendor_id", "[0][0][0][0]"),
        ("handler_name", "VideoHandler"),
        ("handler_name", "SoundHandler"),
    }
)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A video as it is. `width` and `height` in pixels, upright; `fps` in frames per second of file time."""

    width: int
    height: int
    fps: float
    num_frames: int  # frames a decoder shows, counted in the stream
    codec: str  # FFmpeg's name, such as h264
    pix_fmt: str
    duration_s: float  # num_frames / fps
    has_audio: bool
    streams: tuple[str, ...]  # kinds in file order: video, audio, subtitle, data, attachment
    tags: dict[str, str]  # what someone wrote into the file: container tags, stream tags as streamN.key, chapterN.key
    size_bytes: int


def probe(source: MediaInput) -> Probe:
    """Read all of a file's packets and decode the first frame.

    Tags leave out the brands and neutral handler names that every mp4 has, so a file that `remux` wrote has none.
    Raises MediaError for a missing, empty or foreign file, for one without frames, and for one with fewer frames than
    its header claims (the sign of a copy that broke off).
    """
    with open_video(source) as (container, stream):
        shown = 0
        first: list[VideoFrame] = []
        for packet in packets(source, container, stream):
            if not first:
                first = decode_packet(source, stream.codec_context, packet, 0)
            shown += not packet.is_discard
        if shown == 0:
            raise MediaError(name_of(source), "packet 0", "there is no frame in the video stream")
        rate = stream.average_rate or stream.guessed_rate
        if not rate or rate <= 0:
            raise MediaError(name_of(source), "open", "the file does not say how many frames there are per second")
        picture = next(iter(first or decode_packet(source, stream.codec_context, None, 0)), None)
        if picture is None:
            raise MediaError(name_of(source), "frame 0", "the decoder gives no frame")
        size = (picture.width, picture.height)
        width, height = size[::-1] if quarter_turns(picture) % 2 else size
        return Probe(
            width=width,
            height=height,
            fps=float(rate),
            num_frames=shown,
            codec=codec_of(stream),
            pix_fmt=picture.format.name,
            duration_s=shown / float(rate),
            has_audio=bool(container.streams.audio),
            streams=tuple(item.type for item in container.streams),
            tags=_tags(container),
            size_bytes=size_of(source),
        )


def video(path: str | Path, camera: str, capture_hz: float | None = None) -> Video:
    """The record of one camera's file. `capture_hz`: frames per second of real time, where that is known.

    Raises MediaError as `probe` does.
    """
    found = probe(path)
    return Video(
        camera=camera,
        path=str(path),
        width=found.width,
        height=found.height,
        fps=found.fps,
        capture_hz=capture_hz,
        num_frames=found.num_frames,
        codec=found.codec,
        size_bytes=found.size_bytes,
        sha256=_sha256(path),
    )


def strange_video(path: str | Path, camera: str, capture_hz: float | None = None) -> Video:
    """As `video`, for a file of a stranger: it is opened in a process of its own (`contained`)."""
    return contained(__name__, "video_by_name", str(path), camera, capture_hz, returns=Video)


def video_by_name(path: str, camera: str, capture_hz: float | None) -> Video:
    """As `video`, with arguments of one type each, as they come out of JSON."""
    return video(path, camera, capture_hz)


def remuxed(video: Video, path: str | Path) -> Video:
    """The record of a file that `remux` made of `video`: the same pictures in other bytes, so it need not be opened."""
    return msgspec.structs.replace(video, path=str(path), size_bytes=Path(path).stat().st_size, sha256=_sha256(path))


def _sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tags(container: av.container.InputContainer) -> dict[str, str]:
    found = {key: value for key, value in container.metadata.items() if key.lower() not in _BRANDS}
    for number, stream in enumerate(container.streams):
        for key, value in stream.metadata.items():
            if (key, value) not in _NEUTRAL:
                found[f"stream{number}.{key}"] = value
    for number, chapter in enumerate(container.chapters()):
        for key, value in (chapter["metadata"] or {"start": str(chapter["start"])}).items():
            found[f"chapter{number}.{key}"] = value
    return found
