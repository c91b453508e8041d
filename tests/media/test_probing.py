"""What a file is, counted; and every file that is not a video, or no longer one, says where it breaks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media import opening
from tests.factories import make_video

READERS: dict[str, Callable[[Any], object]] = {
    "probe": media.probe,
    "frames": lambda source: list(media.frames(source)),
    "sample": lambda source: media.sample(source, [0]),
}


def test_probe_tells_what_is_there(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=23, size=(64, 48), fps=15, audio=True, tags={"title": "Ada's lab"})
    found = media.probe(path)
    assert (found.width, found.height, found.fps, found.num_frames) == (64, 48, 15.0, 23)
    assert (found.codec, found.pix_fmt, found.has_audio) == ("h264", "yuv420p", True)
    assert found.streams == ("video", "audio")
    assert found.duration_s == pytest.approx(23 / 15)
    assert found.tags["title"] == "Ada's lab"
    assert found.size_bytes == path.stat().st_size
    assert media.probe(path.read_bytes()) == found
    assert media.probe(str(path)) == found


def test_video_is_the_record_of_the_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    record = media.video(path, "wrist_cam", 15.0)
    assert (record.camera, record.path, record.capture_hz) == ("wrist_cam", str(path), 15.0)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.width, record.height, record.fps, record.num_frames, record.codec) == (64, 48, 10.0, 12, "h264")


def test_counted_frames_are_decoded_frames_in_every_real_clip(samples: Path) -> None:
    clips = [path for path in sorted(samples.rglob("*")) if path.suffix in {".mp4", ".mkv"}]
    clips = [path for path in clips if path.stat().st_size < 1_000_000]
    assert len(clips) > 70
    for path in clips:
        with av.open(str(path)) as container:
            decoded = sum(1 for _ in container.decode(video=0))
        assert media.probe(path).num_frames == decoded, path.name


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_pictures_are_upright(rotation: int, tmp_path: Path) -> None:
    """A phone writes the picture as its sensor lies, with a matrix that turns it; FFmpeg's own tools turn it too."""
    path = tmp_path / "phone.mp4"
    flat = np.zeros((48, 64, 3), np.uint8)
    flat[:24, :32] = 255
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(rotation)
        for _ in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="rgb24")))
        out.mux(stream.encode(None))
    expected = np.rot90(flat, rotation // 90)
    picture = next(media.frames(path))
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 3
    assert (media.probe(path).height, media.probe(path).width) == expected.shape[:2]
    assert np.array_equal(media.sample(path, [0])[0], picture)
    media.remux(path, tmp_path / "copy.mp4")
    assert np.array_equal(next(media.frames(tmp_path / "copy.mp4")), picture)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html><body>404 Not Found</body></html>" * 40, "not a video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a video"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not a video"),
        (np.random.default_rng(0).bytes(5000), "not a video"),
    ],
    ids=["empty", "html", "hls", "concat", "noise"],
)
def test_what_is_no_video_breaks_at_open(reader: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(MediaError, match=reason) as caught:
            READERS[reader](source)
        assert caught.value.where == "open"


@pytest.mark.parametrize("reader", READERS)
def test_a_picture_a_sound_and_a_list_of_files_are_no_video(reader: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.mp4"
    picture.write_bytes(media.jpeg(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(MediaError, match="not a video"):
        READERS[reader](picture)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(MediaError, match="no video stream"):
        READERS[reader](sound)
    other = tmp_path / "other.avi"
    with av.open(str(other), "w") as out:
        video = out.add_stream("huffyuv", rate=10)
        video.width, video.height, video.pix_fmt = 16, 16, "yuv422p"
        out.mux([*video.encode(av.VideoFrame(16, 16, "yuv422p")), *video.encode(None)])
    with pytest.raises(MediaError, match=r"codec huffyuv|not a video"):
        READERS[reader](other)


@pytest.mark.parametrize("reader", READERS)
def test_a_path_that_is_no_file_breaks_at_open(reader: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.mp4"
    os.mkfifo(fifo)
    for source in (
        tmp_path / "absent.mp4",
        tmp_path,
        fifo,
        "http://127.0.0.1:9/a.mp4",
        "a\0.mp4",
        tmp_path / ("n" * 300),
    ):
        with pytest.raises(MediaError) as caught:
            READERS[reader](source)
        assert caught.value.where == "open"


@pytest.mark.parametrize("reader", ["probe", "frames"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("container", ["moov last", "faststart", "matroska"])
def test_a_file_cut_short_is_an_error(reader: str, kept: float, container: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=40, gop=10)
    if container == "faststart":
        media.remux(path, tmp_path / "b.mp4")
        path = tmp_path / "b.mp4"
    if container == "matroska":
        path = copy(path, tmp_path / "b.mkv")
    raw = path.read_bytes()
    READERS[reader](raw)
    with pytest.raises(MediaError):
        READERS[reader](raw[: int(len(raw) * kept)])


def test_a_header_that_claims_more_frames_than_there_are_says_where_they_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=40, gop=10)
    media.remux(path, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut = (tmp_path / "b.mp4").read_bytes()[: places[31]]
    with pytest.raises(MediaError, match="claims 40 frames") as caught:
        media.probe(cut)
    assert caught.value.where == "packet 31"


def test_a_video_stream_without_frames_is_an_error(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    with av.open(str(path)) as given, av.open(str(tmp_path / "none.mp4"), "w") as out:
        out.add_stream_from_template(given.streams.video[0])
        out.start_encoding()
    for read in READERS.values():
        with pytest.raises(MediaError):
            read(tmp_path / "none.mp4")


def test_flipped_bits_are_found_or_change_nothing_but_pixels(tmp_path: Path) -> None:
    """Most flips break the entropy coding, and must then be told at a frame; none may shorten the video in silence."""
    path = make_video(tmp_path / "a.mp4", num_frames=30, size=(160, 128))
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    rng = np.random.default_rng(5)
    told = 0
    for _ in range(40):
        raw = bytearray(path.read_bytes())
        place, size = places[rng.integers(len(places))]
        raw[place + size // 3 + int(rng.integers(size // 2))] ^= 1 << int(rng.integers(8))
        try:
            assert len(list(media.frames(bytes(raw)))) == 30
        except MediaError as error:
            told += 1
            assert error.where.startswith("frame ")
    assert told >= 20


def test_an_error_names_the_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=30, gop=5)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    broken = sorted(packets, key=lambda packet: packet.pts)[20]
    raw = bytearray(path.read_bytes())
    raw[broken.pos + 40 : broken.pos + broken.size] = bytes(broken.size - 40)
    with pytest.raises(MediaError) as caught:
        list(media.frames(bytes(raw)))
    assert caught.value.where == "frame 20"


def test_a_picture_that_changes_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "joined.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        out.start_encoding()
        for number, (width, height) in enumerate([(64, 48)] * 4 + [(96, 64)] * 2):
            packet = av.Packet(media.jpeg(np.full((height, width, 3), number * 9, np.uint8)))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, True
            out.mux(packet)
    for read in (lambda: list(media.frames(path)), lambda: media.sample(path, [0, 5])):
        with pytest.raises(MediaError, match="changes") as caught:
            read()
        assert caught.value.where in {"frame 4", "frame 5"}


@pytest.mark.parametrize("limit", ["MAX_FRAMES", "MAX_BYTES", "MAX_PIXELS"])
@pytest.mark.parametrize("reader", READERS)
def test_limits_hold(limit: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=12)
    monkeypatch.setattr(opening, limit, 11)
    with pytest.raises(MediaError, match="11"):
        READERS[reader](path)


def test_a_broken_file_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    raw = bytearray(make_video(tmp_path / "a.mp4", num_frames=30).read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 200] = bytes(200)
    (tmp_path / "broken.mp4").write_bytes(raw)
    code = (
        "import sys; from bad_robot_behavior import media; from bad_robot_behavior.errors import MediaError\n"
        "try: list(media.frames(sys.argv[1]))\n"
        "except MediaError: sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "broken.mp4")], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")


def copy(path: Path, place: Path) -> Path:
    with av.open(str(path)) as given, av.open(str(place), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return place


def test_the_record_of_a_remuxed_file_is_that_of_the_file(tmp_path: Path) -> None:
    source = make_video(tmp_path / "raw.mp4", audio=True, tags={"comment": "someone"})
    media.remux(source, tmp_path / "clean.mp4")
    record = media.remuxed(media.video(source, "left", 15.0), tmp_path / "clean.mp4")
    assert record == media.video(tmp_path / "clean.mp4", "left", 15.0)
