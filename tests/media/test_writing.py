"""Encoded and copied files: what is in them, what is no longer, and that the same input gives the same bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.errors import MediaError
from tests.factories import make_video

Pixels = NDArray[np.uint8]


def pictures(num_frames: int = 12, height: int = 48, width: int = 64, seed: int = 0) -> Pixels:
    """Smooth colours that drift, as a camera might see; uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    t, y, x, c = np.meshgrid(np.arange(num_frames), np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    phase = rng.random(3)[c] * 6
    return (127 + 100 * np.sin(x / 9 + t / 4 + phase) * np.cos(y / 11 + phase)).astype(np.uint8)


def payloads(path: Path) -> list[tuple[bytes, bool]]:
    with av.open(str(path)) as container:
        return [(bytes(packet), packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def test_encode_writes_what_was_given(tmp_path: Path) -> None:
    given = pictures(30)
    media.encode(tmp_path / "a.mp4", iter(given), 10)
    found = media.probe(tmp_path / "a.mp4")
    assert (found.codec, found.pix_fmt, found.fps, found.num_frames) == ("h264", "yuv420p", 10.0, 30)
    assert (found.width, found.height, found.tags, found.streams) == (64, 48, {}, ("video",))
    assert psnr(np.stack(list(media.frames(tmp_path / "a.mp4"))), given) > 35


def test_a_written_file_starts_with_its_index_and_names_no_program(tmp_path: Path) -> None:
    media.encode(tmp_path / "a.mp4", pictures(), 10)
    media.remux(make_video(tmp_path / "given.mp4", tags={"title": "Ada's lab"}), tmp_path / "b.mp4")
    for name in ("a.mp4", "b.mp4"):
        raw = (tmp_path / name).read_bytes()
        assert 0 < raw.find(b"moov") < raw.find(b"mdat")
        assert b"Lavf" not in raw
        assert b"Ada" not in raw
    assert b"x264" not in (tmp_path / "a.mp4").read_bytes()


@pytest.mark.parametrize("fps", [10, 15, 29.97, 30000 / 1001, 50 / 3, 0.5, 240])
def test_encode_keeps_the_rate(fps: float, tmp_path: Path) -> None:
    media.encode(tmp_path / "a.mp4", pictures(), fps)
    assert media.probe(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-6)


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (47, 64), (1, 1)])
def test_odd_sizes_get_one_more_row_or_column(height: int, width: int, tmp_path: Path) -> None:
    given = pictures(6, height, width)
    media.encode(tmp_path / "a.mp4", given, 10)
    back = np.stack(list(media.frames(tmp_path / "a.mp4")))
    assert back.shape == (6, height + height % 2, width + width % 2, 3)
    assert psnr(back[:, :height, :width], given) > 30


def test_encode_gives_the_same_bytes_every_time_and_in_every_process(tmp_path: Path, samples: Path) -> None:
    """The clip on which x264's AVX-512 code gave another file nearly every time."""
    clip = samples / "fino_net" / "place_f.mp4"
    given = np.stack(list(media.frames(clip)))[:20]
    for number in range(4):
        media.encode(tmp_path / f"{number}.mp4", given, 10)
    code = (
        "import itertools, sys; from bad_robot_behavior import media\n"
        "media.encode(sys.argv[2], itertools.islice(media.frames(sys.argv[1]), 20), 10)"
    )
    subprocess.run([sys.executable, "-c", code, str(clip), str(tmp_path / "4.mp4")], check=True)
    assert len({(tmp_path / f"{number}.mp4").read_bytes() for number in range(5)}) == 1


def test_a_failed_encode_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def break_off() -> Iterator[Pixels]:
        yield from pictures(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        media.encode(path, break_off(), 10)
    with pytest.raises(MediaError, match="no frames"):
        media.encode(path, [], 10)
    with pytest.raises(MediaError, match="changes") as caught:
        media.encode(path, [*pictures(2), *pictures(1, height=32)], 10)
    assert caught.value.where == "frame 2"
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(frame: Pixels, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        media.encode(tmp_path / "a.mp4", [frame], 10)
    with pytest.raises(ValueError, match="a picture is uint8"):
        media.jpeg(frame)
    with pytest.raises(ValueError, match="a picture is uint8"):
        media.resize(frame, 2)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_must_be_a_positive_number(fps: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fps"):
        media.encode(tmp_path / "a.mp4", pictures(2), fps)


def everything(path: Path) -> Path:
    """A Matroska file with all that a video can carry beside its pictures."""
    source = make_video(path.with_name("plain.mp4"), num_frames=20, gop=6)
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        out.metadata["title"] = "Ada's kitchen"
        out.metadata["location"] = "+52.5200+013.4050/"
        out.metadata["creation_time"] = "2024-05-01T10:00:00Z"
        video = out.add_stream_from_template(given.streams.video[0])
        video.metadata["handler_name"] = "camera 3 serial 4711"
        sound = out.add_stream("aac", rate=16000)
        out.add_attachment("notes.txt", "text/plain", b"call +49 30 1234567")
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "Ada"}}]
        )
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        audio = [*sound.encode(frame), *sound.encode(None)]
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        out.mux(audio)
    return path


def test_remux_takes_the_pictures_and_nothing_else(tmp_path: Path) -> None:
    given = everything(tmp_path / "given.mkv")
    before = media.probe(given)
    assert before.has_audio
    assert set(before.streams) == {"video", "audio", "attachment"}
    written = {"Ada's kitchen", "+52.5200+013.4050/", "2024-05-01T10:00:00Z", "camera 3 serial 4711", "Ada"}
    assert written <= {value.replace(".000000", "") for value in before.tags.values()}
    media.remux(given, tmp_path / "a.mp4")
    after = media.probe(tmp_path / "a.mp4")
    assert (after.streams, after.tags, after.has_audio) == (("video",), {}, False)
    assert (after.num_frames, after.fps) == (20, pytest.approx(10, rel=0.01))
    assert payloads(tmp_path / "a.mp4") == payloads(given)
    raw = (tmp_path / "a.mp4").read_bytes()
    for private in (b"Ada", b"4711", b"+52.52", b"2024", b"1234567", b"soun"):
        assert private not in raw
    media.remux(given.read_bytes(), tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").read_bytes() == raw


def test_remux_sets_no_date(tmp_path: Path) -> None:
    media.remux(make_video(tmp_path / "given.mp4", tags={"creation_time": "2024-05-01T10:00:00Z"}), tmp_path / "a.mp4")
    raw = (tmp_path / "a.mp4").read_bytes()
    for box in (b"mvhd", b"tkhd", b"mdhd"):
        place = raw.index(box) + 8  # after the box's name, version and flags: creation and modification time
        assert raw[place : place + 8] == bytes(8)


def test_remux_of_every_real_clip_keeps_packets_and_frames(samples: Path, tmp_path: Path) -> None:
    clips = [path for path in sorted(samples.rglob("*")) if path.suffix in {".mp4", ".mkv"}]
    for path in clips:
        media.remux(path, tmp_path / "a.mp4")
        assert payloads(tmp_path / "a.mp4") == payloads(path), path.name
        found = media.probe(tmp_path / "a.mp4")
        assert found.tags == {}
        assert found.num_frames == media.probe(path).num_frames
    for path in clips[::9]:
        media.remux(path, tmp_path / "a.mp4")
        assert np.array_equal(media.sample(tmp_path / "a.mp4", [0, 9]), media.sample(path, [0, 9])), path.name


def test_remux_refuses_times_that_mp4_cannot_hold(tmp_path: Path) -> None:
    """A recorder that restarted and appended: the second half begins at the time zero again."""
    path = tmp_path / "a.mp4"
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    given_path = str(make_video(tmp_path / "given.mp4"))
    with av.open(given_path) as given, av.open(str(path), "w", options=fragments) as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    raw = path.read_bytes()
    start, end = raw.index(b"moof") - 4, raw.index(b"mfra") - 4
    with pytest.raises(MediaError, match=r"h264 stream cannot go into an mp4 as it is .*; encode it instead") as caught:
        media.remux(raw[:end] + raw[start:end], tmp_path / "out.mp4")
    assert caught.value.where == "remux"
    assert not (tmp_path / "out.mp4").exists()
    assert not list(tmp_path.glob(".part-*"))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    given = make_video(tmp_path / "given.mp4")
    for write in (lambda path: media.remux(given, path), lambda path: media.encode(path, pictures(2), 10)):
        with pytest.raises(MediaError) as caught:
            write(tmp_path / "absent" / "a.mp4")
        assert caught.value.where == "write"


def test_remux_of_a_cut_file_leaves_nothing(tmp_path: Path) -> None:
    media.remux(make_video(tmp_path / "given.mp4", num_frames=40), tmp_path / "a.mp4")
    raw = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(MediaError):
        media.remux(raw[: len(raw) * 2 // 3], tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".part-*"))


def test_frames_given_one_at_a_time_make_the_same_file(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(6)]
    media.encode(tmp_path / "whole.mp4", frames, 10)
    with media.encoder(tmp_path / "parts.mp4", 10) as add:
        for frame in frames:
            add(frame)
        assert not (tmp_path / "parts.mp4").exists()
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "parts.mp4").read_bytes()


def test_nothing_is_left_where_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), media.encoder(tmp_path / "x.mp4", 10, "veryfast") as add:
        add(np.zeros((32, 48, 3), np.uint8))
        raise KeyError
    assert list(tmp_path.iterdir()) == []
