"""Tracks: what is linked through time, and what is covered because of it."""

from __future__ import annotations

import numpy as np
import pytest

from bad_robot_behavior.curation.scrub.tracks import MASK, cover, follow, paint, together

FACE = (20.0, 20.0, 80.0, 100.0)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 5)


NONE = boxes()


def moved(x: float, score: float, size: float = 1.0) -> tuple[float, ...]:
    return (FACE[0] + x, FACE[1], FACE[0] + x + 60 * size, FACE[1] + 80 * size, score)


def test_one_face_that_moves_and_is_lost_for_a_while_is_one_track() -> None:
    found = [boxes(moved(0, 0.9)), NONE, NONE, boxes(moved(30, 0.3))]
    (track,) = follow(enumerate(found), reach=2)
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
    assert len(follow(enumerate([boxes(moved(0, 0.9)), *second]), reach=2)) == 2


def test_two_faces_side_by_side_stay_apart() -> None:
    frames = [boxes(moved(0, 0.9), moved(70, 0.8)), boxes(moved(70, 0.9), moved(0, 0.8))]
    tracks = follow(enumerate(frames), reach=2)
    assert [[float(box[0]) for box in track.boxes] for track in tracks] == [[20, 20], [90, 90]]


def test_a_mask_reaches_before_and_after_what_was_seen_and_no_further() -> None:
    found = enumerate([NONE] * 5 + [boxes(moved(0, 0.9))] + [NONE] * 5)
    masks = cover(follow(found, 4), 11, window=2, padding=0.5)
    assert list(masks) == [3, 4, 5, 6, 7]
    np.testing.assert_allclose(masks[5], [[-10, -20, 110, 140]])


def test_a_gap_is_filled_with_all_places_between_its_ends() -> None:
    looks = [(0, boxes(moved(0, 0.9))), (4, boxes(moved(50, 0.9)))]
    masks = cover(follow(looks, 8), 5, window=0, padding=0)
    for frame in (1, 2, 3):
        np.testing.assert_allclose(masks[frame], [[20, 20, 130, 100]])


def test_masks_are_put_together_frame_by_frame() -> None:
    one, other = {0: np.zeros((1, 4)), 2: np.zeros((1, 4))}, {2: np.ones((2, 4)), 5: np.ones((1, 4))}
    assert {i: len(found) for i, found in together(one, other).items()} == {0: 1, 2: 3, 5: 1}


def test_painting_covers_whole_pixels_and_leaves_the_rest_alone() -> None:
    frame = np.full((40, 60, 3), 7, np.uint8)
    boxes = [[10.4, 5.9, 20.1, 8.0], [-5, -5, 2, 2], [58, 38, 99, 99], [70, 70, 80, 80], [-9, -9, -3, -3]]
    expected = frame.copy()
    expected[5:8, 10:21] = expected[0:2, 0:2] = expected[38:, 58:] = MASK
    np.testing.assert_array_equal(paint(frame, np.array(boxes, np.float32)), expected)
    assert (frame == 7).all()
