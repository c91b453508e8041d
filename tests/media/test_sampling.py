"""Sampling gives the bits of sequential decoding, whatever the coding structure."""

from __future__ import annotations

import itertools
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior import media
from bad_robot_behavior.errors import MediaError
from tests.factories import make_video

VARIANTS = {
    "one keyframe": ("libx264", "mp4", {"g": "250"}),
    "keyframe every 2": ("libx264", "mp4", {"g": "2"}),
    "keyframe every 7": ("libx264", "mp4", {"g": "7", "sc_threshold": "0"}),
    "all keyframes": ("libx264", "mp4", {"g": "1"}),
    "no B-frames": ("libx264", "mp4", {"bf": "0", "g": "9"}),
    "many B-frames": ("libx264", "mp4", {"bf": "8", "g": "30", "x264-params": "b-adapt=0:b-pyramid=normal"}),
    "B-frames that are no reference": ("libx264", "mp4", {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=none"}),
    "open groups": ("libx264", "mp4", {"g": "10", "x264-params": "open-gop=1:b-adapt=0:bframes=3"}),
    "periodic intra refresh": ("libx264", "mp4", {"g": "10", "x264-params": "intra-refresh=1"}),
    "matroska": ("libx264", "matroska", {"g": "8"}),
    "transport stream": ("libx264", "mpegts", {"g": "8"}),
    "full colour": ("libx264", "mp4", {"g": "8", "pix_fmt": "yuv444p"}),
    "hevc": ("libx265", "mp4", {"x265-params": "keyint=12:min-keyint=12:log-level=none"}),
    "hevc open groups": ("libx265", "mp4", {"x265-params": "keyint=12:min-keyint=12:open-gop=1:log-level=none"}),
    "vp9": ("libvpx-vp9", "webm", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", "mp4", {"g": "10", "preset": "12"}),
    "mpeg4": ("mpeg4", "mp4", {"g": "10", "bf": "2"}),
    "avi states no times": ("libx264", "avi", {"g": "20", "bf": "3"}),
    "mpeg2": ("mpeg2video", "mpegts", {"g": "10", "bf": "2"}),
    "lossless": ("ffv1", "matroska", {}),
    "motion jpeg": ("mjpeg", "avi", {"pix_fmt": "yuvj420p"}),
}


def write(path: Path, codec: str, container: str, options: dict[str, str], num_frames: int = 45) -> Path:
    """Noise that drifts, with a cut in the middle, so that every frame differs from every other."""
    rng = np.random.default_rng(3)
    scenes = rng.integers(0, 255, (2, 24, 24, 3)).astype(np.uint8)
    settings = dict(options)
    pix_fmt = settings.pop("pix_fmt", "yuv420p")
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=Fraction(10), options=settings)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        for i in range(num_frames):
            scene = np.roll(scenes[int(i >= 20)], (i // 2, i), axis=(0, 1))
            picture = np.kron(scene[:16, :16], np.ones((4, 4, 1))).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    # SVT-AV1 gives whoever encodes with it, if that is root, real-time priority for the rest of the process's life.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_sample_equals_sequential_decoding(variant: str, tmp_path: Path) -> None:
    codec, container, options = VARIANTS[variant]
    path = write(tmp_path / "video", codec, container, options)
    sequential = np.stack(list(media.frames(path)))
    assert len(sequential) == 45 == media.probe(path).num_frames
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(sequential))
    for n in (1, 2, 5, 16, 45):
        index = media.sample_index(45, n)
        assert np.array_equal(media.sample(path, index), sequential[index]), n
    for i in range(45):
        assert np.array_equal(media.sample(path, [i])[0], sequential[i]), i
    assert np.array_equal(media.sample(path.read_bytes(), [44, 3, 3]), sequential[[44, 3, 3]])


def test_sample_of_every_real_clip_equals_sequential_decoding(samples: Path) -> None:
    clips = [path for path in sorted(samples.rglob("*")) if path.suffix in {".mp4", ".mkv"}]
    clips = [
        path for path in clips if path.stat().st_size < 700_000 and ("_slip_" in path.name or "-v3_" not in path.name)
    ]
    assert len(clips) > 30
    for path in clips:
        sequential = np.stack(list(media.frames(path)))
        index = media.sample_index(media.probe(path).num_frames, 16)
        assert np.array_equal(media.sample(path, index), sequential[index]), path.name


def test_a_trimmed_file_counts_and_samples_what_a_player_shows(tmp_path: Path) -> None:
    """Negative times become an edit list: the frames are in the file, and no player shows them."""
    path = tmp_path / "trimmed.mp4"
    with (
        av.open(str(make_video(tmp_path / "whole.mp4", num_frames=20, gop=5))) as given,
        av.open(str(path), "w") as out,
    ):
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                shift = int(Fraction(7, 10) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copy
                out.mux(packet)
    sequential = np.stack(list(media.frames(path)))
    whole = np.stack(list(media.frames(tmp_path / "whole.mp4")))
    assert len(sequential) == 13 == media.probe(path).num_frames
    assert np.array_equal(sequential, whole[7:])
    assert np.array_equal(media.sample(path, [12, 0, 5]), sequential[[12, 0, 5]])
    media.remux(path, tmp_path / "copy.mp4")
    assert np.array_equal(np.stack(list(media.frames(tmp_path / "copy.mp4"))), sequential)


@pytest.mark.parametrize("index", [[-1], [12], [0, 11, 300]])
def test_an_index_out_of_range_names_the_legal_one(index: list[int], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=12)
    with pytest.raises(ValueError, match="legal: 0 to 11"):
        media.sample(path, index)


@pytest.mark.parametrize("index", [[], [0.5], [[0, 1]], ["0"]])
def test_an_index_that_is_no_list_of_whole_numbers_is_refused(index: list[int], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=12)
    with pytest.raises(ValueError, match="at least one whole number"):
        media.sample(path, index)


def test_damage_in_a_wanted_frame_is_an_error_and_elsewhere_is_not_met(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=40, gop=10)
    with av.open(str(path)) as container:
        found = [(packet.pos, packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    place, size, _ = [item for item in found if item[2]][2]
    raw = bytearray(path.read_bytes())
    raw[place + size // 3 : place + size] = bytes(size - size // 3)
    with pytest.raises(MediaError) as caught:
        media.sample(bytes(raw), [0, 25])
    assert caught.value.where == "frame 20"
    clean = np.stack(list(media.frames(path)))
    assert np.array_equal(media.sample(bytes(raw), [0, 19, 35]), clean[[0, 19, 35]])


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_sample_index_is_even_and_has_both_ends(num_frames: int, n: int) -> None:
    index = media.sample_index(num_frames, n)
    assert index.dtype == np.int64
    assert len(index) == min(n, num_frames)
    assert index[0] == 0
    if n > 1:
        assert index[-1] == num_frames - 1
    assert np.all(np.diff(index) > 0)
    if 1 < n < num_frames:
        exact = np.arange(n) * (num_frames - 1) / (n - 1)
        assert np.abs(index - exact).max() <= 0.5


@pytest.mark.parametrize(("num_frames", "n"), [(0, 4), (4, 0), (-1, 1)])
def test_sample_index_refuses_nothing_at_all(num_frames: int, n: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        media.sample_index(num_frames, n)
