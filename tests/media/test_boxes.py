"""Everything that can hide in an mp4, planted one by one in a real file, and gone after `remux`."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_robot_behavior import media
from bad_robot_behavior.media.boxes import boxes, leftovers
from tests.factories import make_video

SECRET = b"Karin Brandt +52.5200+013.4050"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def into_moov(data: bytes, extra: bytes, within: str = "moov") -> bytes:
    """The file with a box added at the end of moov, or of its track. The index stands after the pictures here, so no
    offset of a picture changes."""
    chain = [found for found in boxes(data) if found.path in ("moov", "moov.trak") and within.startswith(found.path)]
    end = chain[-1].end
    made = bytearray(data[:end] + extra + data[end:])
    for found in chain:
        place = found.start - 8
        struct.pack_into(">I", made, place, struct.unpack_from(">I", made, place)[0] + len(extra))
    return bytes(made)


def with_field(data: bytes, path: str, offset: int, value: bytes) -> bytes:
    found = next(found for found in boxes(data) if found.path == path)
    return data[: found.start + offset] + value + data[found.start + offset + len(value) :]


def grown(data: bytes, path: str, extra: bytes) -> bytes:
    """Bytes added to the end of mdat, which belong to no picture; mdat is the last box before moov."""
    found = next(found for found in boxes(data) if found.path == path)
    size = struct.pack(">I", found.end - found.start + 8 + len(extra))
    made = data[: found.start - 8] + size + data[found.start - 4 : found.end] + extra + data[found.end :]
    return made


TEXT = struct.pack(">HH", len(SECRET), 0x15C7) + SECRET
ITUNES = box(b"\xa9nam", box(b"data", struct.pack(">II", 1, 0) + SECRET))
COVER = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + b"\xff\xd8\xff" + SECRET))
META = struct.pack(">I", 0) + box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

PLANTS: dict[str, Callable[[bytes], bytes]] = {
    "GPS atom": lambda d: into_moov(d, box(b"udta", box(b"\xa9xyz", TEXT))),
    "3GPP location": lambda d: into_moov(d, box(b"udta", box(b"loci", bytes(4) + b"\x15\xc7" + SECRET + bytes(14)))),
    "QuickTime name": lambda d: into_moov(d, box(b"udta", box(b"\xa9nam", TEXT) + box(b"\xa9mod", TEXT))),
    "tags of a track": lambda d: into_moov(d, box(b"udta", box(b"name", SECRET)), "moov.trak"),
    "iTunes tags": lambda d: into_moov(d, box(b"udta", box(b"meta", META + box(b"ilst", ITUNES)))),
    "cover picture": lambda d: into_moov(d, box(b"udta", box(b"meta", META + box(b"ilst", COVER)))),
    "XMP": lambda d: d + box(b"uuid", XMP + b"<x:xmpmeta>" + SECRET),
    "unknown box at the end": lambda d: d + box(b"GoPr", SECRET),
    "unknown box in moov": lambda d: into_moov(d, box(b"camm", SECRET)),
    "text in free": lambda d: d + box(b"free", SECRET),
    "text in skip in moov": lambda d: into_moov(d, box(b"skip", SECRET)),
    "bytes after the last box": lambda d: d + SECRET,
    "creation time": lambda d: with_field(d, "moov.mvhd", 4, struct.pack(">II", 3_800_000_000, 3_800_000_001)),
    "creation time of the track": lambda d: with_field(d, "moov.trak.tkhd", 4, struct.pack(">I", 3_800_000_000)),
    "creation time of the media": lambda d: with_field(d, "moov.trak.mdia.mdhd", 4, struct.pack(">I", 3_800_000_000)),
    "language": lambda d: with_field(d, "moov.trak.mdia.mdhd", 20, b"\x10\xb2"),
    "handler name": lambda d: with_field(d, "moov.trak.mdia.hdlr", 24, b"Karin Brandt"),
    "compressor name": lambda d: with_field(d, "moov.trak.mdia.minf.stbl.stsd.avc1", 42, b"\x0cKarin Brandt"),
    "bytes among the pictures": lambda d: grown(d, "mdat", SECRET),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A plain video whose index stands at its end, as a camera writes it, and without FFmpeg's own tags."""
    folder = tmp_path_factory.mktemp("plain")
    source, options = str(make_video(folder / "given.mp4")), {"fflags": "+bitexact"}
    with av.open(source) as given, av.open(str(folder / "a.mp4"), "w", format="mp4", options=options) as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.metadata.clear()
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return (folder / "a.mp4").read_bytes()


def test_a_plain_video_has_nothing_left_over(plain: bytes, tmp_path: Path) -> None:
    assert leftovers(plain) == []
    media.encode(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 3, 10)
    assert leftovers(tmp_path / "a.mp4") == []


@pytest.mark.parametrize("what", PLANTS)
def test_what_is_planted_is_told_and_gone_after_remux(what: str, plain: bytes, tmp_path: Path) -> None:
    planted = PLANTS[what](plain)
    assert planted != plain
    told = leftovers(planted)
    assert told
    assert not any("Karin" in line or "52.52" in line for line in told)
    media.remux(planted, tmp_path / "clean.mp4")
    assert leftovers(tmp_path / "clean.mp4") == []
    clean = (tmp_path / "clean.mp4").read_bytes()
    assert b"Karin" not in clean and b"52.52" not in clean
    before, after = (np.stack(list(media.frames(source))) for source in (plain, clean))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("kind", ["soun", "sbtl", "text", "meta", "tmcd", "hint", "camm"])
def test_tracks_of_other_kinds_are_told_and_gone(kind: str, tmp_path: Path) -> None:
    """A second track of sound, subtitles, positions, timecode or what not, with chapters and all of FFmpeg's tags."""
    source = make_video(tmp_path / "plain.mp4")
    tags = {"title": "Karin", "location": "+52.5200+013.4050/", "creation_time": "2024-05-01T10:00:00Z"}
    with av.open(str(source)) as given, av.open(str(tmp_path / "all.mp4"), "w") as out:
        out.metadata.update(tags)
        video = out.add_stream_from_template(given.streams.video[0])
        sound = out.add_stream("aac", rate=16000)
        title = {"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "Karin"}}
        out.set_chapters([title])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux([*sound.encode(frame), *sound.encode(None)])
    planted = (tmp_path / "all.mp4").read_bytes().replace(b"soun", kind.encode())
    told = leftovers(planted)
    assert f"a track of kind {kind}" in told
    assert any("tracks, where there must be one" in line for line in told)
    media.remux(planted, tmp_path / "clean.mp4")
    assert leftovers(tmp_path / "clean.mp4") == []
    assert b"Karin" not in (tmp_path / "clean.mp4").read_bytes()
    if shutil.which("ffprobe"):
        command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-show_chapters"]
        shown = subprocess.run(
            [*command, str(tmp_path / "clean.mp4")], capture_output=True, text=True, check=True
        ).stdout
        assert shown.count("[STREAM]") == 1 and "[CHAPTER]" not in shown
        left = {line.split("=")[0] for line in shown.splitlines() if line.startswith("TAG:")}
        # what every mp4 has, whoever made it
        known = {"major_brand", "minor_version", "compatible_brands", "language", "handler_name", "vendor_id"}
        assert left <= {f"TAG:{name}" for name in known}


@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_the_walk(noise: bytes, place: int, length: int) -> None:
    """A file cut, overwritten or made of noise is walked to its end, and no box reaches beyond it."""
    for data in (noise, _SAMPLE[:place] + noise[:length] + _SAMPLE[place + length :], _SAMPLE[:place]):
        assert all(0 <= found.start <= found.end <= len(data) for found in boxes(data))
        leftovers(data)


_SAMPLE = box(b"ftyp", b"isom" * 4) + box(b"moov", box(b"mvhd", bytes(100)) + box(b"trak", box(b"tkhd", bytes(84)))) * 3


def test_an_empty_file_and_a_folder_of_boxes_that_never_ends() -> None:
    deep = b""
    for _ in range(200):
        deep = box(b"moov", deep)
    assert any("?" in found.path for found in boxes(deep))
    assert leftovers(box(b"free", b"") * 20_000)
    assert leftovers(b"") == ["0 tracks, where there must be one"]
