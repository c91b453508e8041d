"""The screen stage: every named rule, what it writes into the provenance, and what tells copies."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.curation.screen import Duplicates, Screen, fingerprint_distance
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.schema import Rejection, Rollout, ScreenSettings, SplitSettings, Video, Videos, all_rules
from tests.factories import make_rollout, make_video

NEAR = SplitSettings().near_duplicate_bits


def screen(*rollouts: Rollout, **settings: float) -> list[Rollout | Rejection]:
    return list(Screen(ScreenSettings(**settings)).run(rollouts, Store(Path("/nonexistent"))))


def rollout_of(*videos: Video) -> Rollout:
    """A rollout whose cameras are these, in role order."""
    roles = dict(zip(("exterior_1", "exterior_2", "wrist"), videos, strict=False))
    assert videos[0].path is not None
    return make_rollout(Path(videos[0].path), videos=Videos(**roles))


def flat(path: Path, levels: list[int], colour_range: str = "tv") -> Path:
    """A video of grey frames of these levels, 0 black to 255 white."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if colour_range == "pc" else "yuv420p"
        for level in levels:
            picture = np.full((48, 64, 3), level, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def assert_rejected(found: Rollout | Rejection, code: str, role: str = "exterior_1") -> Rejection:
    assert isinstance(found, Rejection)
    assert (found.code, found.stage, found.subject) == (code, "screen", "rollout")
    assert found.detail.startswith(f"{role}: ")
    return found


def test_a_good_rollout_gets_its_hashes_in_role_order(tmp_path: Path) -> None:
    videos = [media.video(make_video(tmp_path / f"{i}.mp4", num_frames=12 + i, seed=i), "c") for i in range(3)]
    given = rollout_of(*videos)
    (found,) = screen(given)
    assert isinstance(found, Rollout)
    assert found.provenance.raw_sha256 == tuple(video.sha256 for video in videos)
    assert len(set(found.provenance.content_sha256)) == 3
    assert [len(text) for text in found.provenance.fingerprint] == [128] * 3
    assert msgspec.structs.replace(found, provenance=given.provenance) == given
    assert screen(given) == [found]


def test_roles_in_the_middle_may_be_absent(tmp_path: Path) -> None:
    video = media.video(make_video(tmp_path / "a.mp4"), "c")
    wrist = media.video(make_video(tmp_path / "b.mp4", seed=4), "c")
    (found,) = screen(make_rollout(tmp_path / "a.mp4", videos=Videos(exterior_1=video, wrist=wrist)))
    assert isinstance(found, Rollout)
    assert found.provenance.raw_sha256 == (video.sha256, wrist.sha256)


def test_none_is_lost_and_the_order_stays(tmp_path: Path) -> None:
    good = [make_rollout(make_video(tmp_path / f"{i}.mp4", seed=i), label=str(i)) for i in range(3)]
    (tmp_path / "1.mp4").write_bytes(b"")
    found = screen(*good)
    assert [item.subject_id if isinstance(item, Rejection) else item.rollout_id for item in found] == [
        rollout.rollout_id for rollout in good
    ]
    assert [isinstance(item, Rejection) for item in found] == [False, True, False]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def absent(path: Path) -> None:
    path.unlink()


def damaged(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    middle = raw.index(b"mdat") + 3000
    raw[middle : middle + 300] = bytes(300)
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.rule("video.undecodable")
@pytest.mark.parametrize("harm", [empty, absent, damaged, cut])
def test_a_video_that_does_not_decode_rejects_the_rollout(harm: Callable[[Path], None], tmp_path: Path) -> None:
    path = make_video(tmp_path / "Ada Lovelace.mp4", num_frames=30, size=(160, 128))
    rollout = rollout_of(media.video(make_video(tmp_path / "a.mp4"), "c"), media.video(path, "c"))
    harm(path)
    found = assert_rejected(screen(rollout)[0], "video.undecodable", "exterior_2")
    assert "broke at" in found.detail
    assert "Ada" not in found.detail


@pytest.mark.rule("video.undecodable")
def test_a_record_without_a_path_rejects_the_rollout(tmp_path: Path) -> None:
    video = media.video(make_video(tmp_path / "a.mp4"), "c")
    assert_rejected(
        screen(rollout_of(video, msgspec.structs.replace(video, path=None)))[0], "video.undecodable", "exterior_2"
    )


@pytest.mark.rule("video.changed")
@pytest.mark.parametrize(
    ("now", "detail"), [(11, "now there are 11"), (13, "now there are more"), (12, "bytes are not")]
)
def test_a_video_that_is_no_longer_the_one_read_rejects_the_rollout(now: int, detail: str, tmp_path: Path) -> None:
    rollout = make_rollout(make_video(tmp_path / "a.mp4", num_frames=12))
    make_video(tmp_path / "a.mp4", num_frames=now, seed=9)
    assert detail in assert_rejected(screen(rollout)[0], "video.changed").detail


@pytest.mark.rule("video.black")
@pytest.mark.parametrize("colour_range", ["tv", "pc"])
def test_a_black_video_rejects_the_rollout_in_either_range(colour_range: str, tmp_path: Path) -> None:
    """In the usual range black is luma 16, not 0."""
    black = media.video(flat(tmp_path / "black.mp4", [0, 1, 0, 2] * 3, colour_range), "c")
    assert_rejected(screen(rollout_of(black))[0], "video.black")
    dark = media.video(flat(tmp_path / "dark.mp4", [0] * 11 + [12], colour_range), "c")
    assert isinstance(screen(rollout_of(dark))[0], Rollout)


@pytest.mark.rule("video.frozen")
def test_a_video_that_stands_still_rejects_the_rollout(tmp_path: Path) -> None:
    frozen = media.video(flat(tmp_path / "frozen.mp4", [90] * 12), "c")
    assert_rejected(screen(rollout_of(frozen))[0], "video.frozen")
    late = media.video(flat(tmp_path / "late.mp4", [90] * 11 + [94]), "c")
    assert isinstance(screen(rollout_of(late))[0], Rollout)


@pytest.mark.rule("video.frozen")
def test_one_frame_alone_shows_no_attempt(tmp_path: Path) -> None:
    one = media.video(make_video(tmp_path / "a.mp4", num_frames=1, fps=2), "c")
    assert "one frame" in assert_rejected(screen(rollout_of(one))[0], "video.frozen").detail


@pytest.mark.rule("video.too_short")
def test_a_short_video_rejects_the_rollout(tmp_path: Path) -> None:
    video = media.video(make_video(tmp_path / "a.mp4", num_frames=12, fps=10), "c")
    assert_rejected(screen(rollout_of(video), min_duration_s=1.25)[0], "video.too_short")
    assert isinstance(screen(rollout_of(video), min_duration_s=1.2)[0], Rollout)


@pytest.mark.rule("video.too_long")
def test_a_long_video_rejects_the_rollout(tmp_path: Path) -> None:
    video = media.video(make_video(tmp_path / "a.mp4", num_frames=12, fps=10), "c")
    assert_rejected(screen(rollout_of(video), max_duration_s=1.15)[0], "video.too_long")
    assert isinstance(screen(rollout_of(video), max_duration_s=1.2)[0], Rollout)


def timed(path: Path, times: list[int]) -> Path:
    """A video of moving noise whose frames come at these times, in hundredths of a second."""
    noise = np.random.default_rng(0).integers(0, 255, (len(times), 48, 64, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for picture, time in zip(noise, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.rule("video.variable_rate")
@pytest.mark.parametrize(
    "times",
    [
        [10 * i for i in range(10)] + [400 + 10 * i for i in range(10)],  # a gap in the middle
        [5 * i for i in range(20)] + [100 + 20 * i for i in range(20)],  # slower and slower
    ],
)
def test_frames_at_unequal_steps_reject_the_rollout(times: list[int], tmp_path: Path) -> None:
    video = media.video(timed(tmp_path / "a.mp4", times), "c")
    found = assert_rejected(screen(rollout_of(video))[0], "video.variable_rate")
    expected = max(abs(time / 100 - i / video.fps) for i, time in enumerate(times))
    assert f"a frame is {expected:.3f} s from" in found.detail
    media.encode(tmp_path / "b.mp4", media.frames(tmp_path / "a.mp4"), 10)
    assert isinstance(screen(rollout_of(media.video(tmp_path / "b.mp4", "c")))[0], Rollout)


@pytest.mark.parametrize("start", [0, 700])
def test_a_late_start_and_rounded_times_are_a_constant_rate(start: int, tmp_path: Path) -> None:
    times = [start + round(100 * i / 30) + (4 if i == 20 else 0) for i in range(0, 120, 2)]
    video = media.video(timed(tmp_path / "a.mp4", times), "c")
    assert isinstance(screen(rollout_of(video))[0], Rollout)


@pytest.mark.rule("rollout.no_video")
def test_a_rollout_without_cameras_is_rejected(tmp_path: Path) -> None:
    (found,) = screen(make_rollout(make_video(tmp_path / "a.mp4"), videos=Videos()))
    assert isinstance(found, Rejection)
    assert found.code == "rollout.no_video"


def test_the_rules_say_that_one_camera_is_enough_to_reject() -> None:
    rules = [rule for rule in all_rules() if rule.id.startswith("video.") and rule.id in CODES]
    assert {rule.id for rule in rules} == CODES
    assert all("One bad camera rejects the whole rollout" in rule.sentence for rule in rules)


CODES = {
    f"video.{what}" for what in ("undecodable", "changed", "black", "frozen", "too_short", "too_long", "variable_rate")
}


def test_parameters_hold_every_setting() -> None:
    changed = Screen(ScreenSettings(max_duration_s=7.0)).parameters()
    assert changed["max_duration_s"] == 7.0
    assert set(changed) >= set(ScreenSettings.__struct_fields__)
    assert changed != Screen(ScreenSettings()).parameters()


@pytest.mark.rule("rollout.duplicate")
def test_the_same_frames_in_another_container_are_a_duplicate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", audio=True, tags={"title": "first"})
    media.remux(path, tmp_path / "b.mp4")
    original = make_rollout(path, label="A")
    copy = make_rollout(tmp_path / "b.mp4", label="B")
    other = make_rollout(make_video(tmp_path / "c.mp4", seed=5), label="C")
    both = make_rollout(
        path, label="D", videos=Videos(exterior_1=media.video(path, "c"), wrist=other.videos.exterior_1)
    )
    seen = Duplicates()
    screened = [item for item in screen(original, copy, other, both) if isinstance(item, Rollout)]
    assert len(screened) == 4
    assert screened[0].provenance.raw_sha256 != screened[1].provenance.raw_sha256
    assert [seen.seen(item) for item in screened] == [None, original.rollout_id, None, None]
    assert seen.seen(screened[0]) is None
    with pytest.raises(ValueError, match="not screened"):
        seen.seen(original)


def test_one_pixel_more_or_one_frame_less_is_other_content(tmp_path: Path) -> None:
    frames = np.stack(list(media.frames(make_video(tmp_path / "a.mp4", num_frames=20))))
    touched = frames.copy()
    touched[7, 10:12, 10:12] ^= 128
    hashes = set()
    for name, given in (("b", frames), ("c", touched), ("d", frames[:-1]), ("e", frames[:, :-2])):
        media.encode(tmp_path / f"{name}.mp4", given, 10)
        (found,) = screen(rollout_of(media.video(tmp_path / f"{name}.mp4", "c")))
        assert isinstance(found, Rollout)
        hashes.add(found.provenance.content_sha256)
    assert len(hashes) == 4


def fingerprint(path: Path) -> str:
    (found,) = screen(rollout_of(media.video(path, "c")))
    assert isinstance(found, Rollout)
    return found.provenance.fingerprint[0]


def test_fingerprints_of_short_videos_have_eight_hashes_too(tmp_path: Path) -> None:
    assert len(fingerprint(make_video(tmp_path / "a.mp4", num_frames=3))) == 128


def test_distance_counts_bits_per_frame_hash() -> None:
    zero, one = "0" * 32, "f" * 16 + "0" * 15 + "1"
    assert fingerprint_distance(zero, zero) == 0
    assert fingerprint_distance(zero, one) == 32.5 == fingerprint_distance(one, zero)
    assert fingerprint_distance(zero, "0" * 16) == float("inf")
    assert fingerprint_distance("", "") == float("inf")
    with pytest.raises(ValueError, match="16 hex digits"):
        fingerprint_distance(zero, "0" * 31)


def test_near_duplicates_of_real_clips_are_told_from_other_clips(samples: Path, tmp_path: Path) -> None:
    """Encoded again at half size a clip stays within the recipe's default of 4 bits; other clips are far away, but
    for a success and a failure of stacking the same cubes in the same scene, which do look the same."""
    clips = [path for path in sorted(samples.rglob("*.mp4")) if path.parent.name in {"clips", "fino_net"}]
    assert len(clips) == 22
    prints = {path.name: fingerprint(path) for path in clips}
    distances = []
    for path in clips[::2]:
        found = media.probe(path)
        half = (media.resize(frame, max(found.width, found.height) // 2) for frame in media.frames(path))
        media.encode(tmp_path / "half.mp4", half, found.fps)
        distances.append(fingerprint_distance(prints[path.name], fingerprint(tmp_path / "half.mp4")))
    assert max(distances) <= NEAR
    near = [pair for pair in itertools.combinations(prints, 2) if fingerprint_distance(*map(prints.get, pair)) <= NEAR]
    assert near == [("stack_the_red_cube_on_the_gray_cube.mp4", "stack_the_red_cube_on_the_gray_cube_success.mp4")]
