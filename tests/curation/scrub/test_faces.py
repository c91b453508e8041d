"""Faces: what is linked, what counts as a face, what is covered; and real people in real videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.curation.scrub.faces import MASK, FaceDetector, Faces, cover, draw, follow
from bad_robot_behavior.schema import FacesSettings

FACE = (20.0, 20.0, 80.0, 100.0)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 5)


NONE = boxes()


def moved(x: float, score: float, size: float = 1.0) -> tuple[float, ...]:
    return (FACE[0] + x, FACE[1], FACE[0] + x + 60 * size, FACE[1] + 80 * size, score)


def test_one_face_that_moves_and_is_lost_for_a_while_is_one_track() -> None:
    (track,) = follow([boxes(moved(0, 0.9)), NONE, NONE, boxes(moved(30, 0.3))], reach=2)
    assert (track.frames, len(track.boxes)) == ([0, 3], 2)


@pytest.mark.parametrize(
    "second",
    [
        [NONE, NONE, NONE, boxes(moved(0, 0.9))],  # lost for longer than it may be
        [boxes(moved(300, 0.9))],  # elsewhere
        [boxes(moved(0, 0.9, size=3))],  # another size
    ],
)
def test_what_cannot_be_one_face_is_two_tracks(second: list[np.ndarray]) -> None:
    assert len(follow([boxes(moved(0, 0.9)), *second], reach=2)) == 2


def test_two_faces_side_by_side_stay_apart() -> None:
    frames = [boxes(moved(0, 0.9), moved(70, 0.8)), boxes(moved(70, 0.9), moved(0, 0.8))]
    tracks = follow(frames, reach=2)
    assert [[float(box[0]) for box in track.boxes] for track in tracks] == [[20, 20], [90, 90]]


def test_a_weak_box_counts_only_beside_a_sure_one() -> None:
    weak, sure = [boxes(moved(0, 0.3))] * 5, [boxes(moved(0, 0.6))]
    assert [track.is_face() for track in follow(weak, 2)] == [False]
    assert [track.is_face() for track in follow(weak + sure, 2)] == [True]


@pytest.mark.parametrize(
    ("box", "frames", "face"),
    [
        ((10, 10, 26, 32), 3, True),
        ((10, 10, 26, 32), 2, False),  # seen too rarely
        ((10, 10, 40, 30), 3, False),  # wider than high: a joint of a robot
        ((10, 10, 46, 58), 3, False),  # large enough to be sure of, and the detector is not
    ],
)
def test_a_small_face_counts_when_it_stays(box: tuple[float, ...], frames: int, face: bool) -> None:
    (track,) = follow([boxes((*box, 0.3))] * frames, 2)
    assert track.is_face() is face


def test_a_mask_reaches_before_and_after_what_was_seen_and_no_further() -> None:
    masks = cover(follow([NONE] * 5 + [boxes(moved(0, 0.9))] + [NONE] * 5, 4), 11, window=2, padding=0.5)
    assert list(masks) == [3, 4, 5, 6, 7]
    np.testing.assert_allclose(masks[5], [[-10, -20, 110, 140]])


def test_a_gap_is_filled_with_all_places_between_its_ends() -> None:
    masks = cover(follow([boxes(moved(0, 0.9)), NONE, boxes(moved(50, 0.9))], 4), 3, window=0, padding=0)
    np.testing.assert_allclose(masks[1], [[20, 20, 130, 100]])


def test_drawing_covers_whole_pixels_and_leaves_the_rest_alone() -> None:
    frame = np.full((40, 60, 3), 7, np.uint8)
    masks = {1: np.array([[10.4, 5.9, 20.1, 8.0], [-5, -5, 2, 2], [58, 38, 99, 99], [70, 70, 80, 80]], np.float32)}
    untouched, covered = draw([frame, frame], masks)
    assert untouched is frame
    expected = frame.copy()
    expected[5:8, 10:21] = expected[0:2, 0:2] = expected[38:, 58:] = MASK
    np.testing.assert_array_equal(covered, expected)
    assert (frame == 7).all()


def test_the_detector_takes_videos_of_different_sizes_one_after_another_and_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = FaceDetector(0.2)
    for shape in ((48, 64), (50, 33), (480, 640), (48, 64)):
        assert detector(np.full((*shape, 3), 90, np.uint8)).shape == (0, 5)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "faces"), [("intel_head-pose-face-detection-female.mp4", 1), ("intel_classroom.mp4", 3)]
)
def test_no_real_face_is_found_again_after_masking(samples: Path, tmp_path: Path, name: str, faces: int) -> None:
    source = samples / "faces" / name
    finder = Faces(FacesSettings())
    fps = media.probe(source).fps
    found, masks = finder.masks(source, fps)
    frames = media.probe(source).num_frames
    assert len(masks) == frames
    assert found >= faces * frames
    media.encode(tmp_path / "masked.mp4", draw(media.frames(source), masks), fps)
    assert finder.masks(tmp_path / "masked.mp4", fps) == (0, {})


@pytest.mark.parametrize(
    "name", ["simulated/bin-picking-v3_drop_s1.mp4", "robometer_examples/berkeley_rpt_stack_cup.mp4"]
)
def test_a_robot_that_looks_a_little_like_a_face_is_not_masked(samples: Path, name: str) -> None:
    source = samples / name
    detector = FaceDetector(0.2)
    assert any(len(detector(frame)) for frame in media.frames(source)), "not a hard case any more: choose another clip"
    assert Faces(FacesSettings()).masks(source, media.probe(source).fps) == (0, {})
