"""What of a picture is looked at again."""

from __future__ import annotations

import numpy as np

from bad_robot_behavior.curation.scrub.changes import Changes

RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 256, (30, 40, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)  # 240 x 320


def test_the_first_picture_is_looked_at_whole_and_the_same_one_not_again() -> None:
    changes = Changes()
    assert changes(SCENE) == [(0, 0, 320, 240)]
    assert changes(SCENE) == []


def test_the_noise_of_a_camera_is_no_change() -> None:
    changes = Changes()
    changes(SCENE)
    noisy = np.clip(SCENE + RNG.normal(0, 4, SCENE.shape), 0, 255).astype(np.uint8)
    assert changes(noisy) == []


def test_a_change_is_given_out_once_with_room_around_it() -> None:
    changes = Changes()
    changes(SCENE)
    other = SCENE.copy()
    other[100:112, 200:210] = 255 - other[100:112, 200:210]
    ((x1, y1, x2, y2),) = changes(other)
    assert x1 <= 160 and y1 <= 60 and x2 >= 250 and y2 >= 152
    assert (x2 - x1) * (y2 - y1) < 320 * 240 / 3
    assert changes(other) == []


def test_a_slow_change_is_measured_against_what_was_looked_at_and_not_against_the_frame_before() -> None:
    changes = Changes()
    base = np.full((64, 64, 3), 100, np.uint8)
    changes(base)
    assert [bool(changes(base + np.uint8(step))) for step in range(1, 8)] == [False] * 5 + [True, False]


def test_two_places_far_apart_are_two_rectangles_and_a_picture_that_changed_mostly_is_one() -> None:
    changes = Changes()
    big = np.zeros((480, 640, 3), np.uint8)
    changes(big)
    big = big.copy()
    big[20:30, 20:30] = big[440:450, 600:610] = 200
    assert len(changes(big)) == 2
    assert changes(255 - big) == [(0, 0, 640, 480)]
