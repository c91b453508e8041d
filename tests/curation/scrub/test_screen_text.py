"""Text on screen: read, judged, and covered for as long as it stands there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior.curation.scrub.screen_text import Reader, ScreenText
from bad_robot_behavior.curation.scrub.text import SessionText
from bad_robot_behavior.curation.scrub.tracks import MASK, paint
from bad_robot_behavior.schema import TextOnScreenSettings

cv2 = pytest.importorskip("cv2", reason="the extra privacy is not installed")
pytest.importorskip("rapidocr", reason="the extra privacy is not installed")


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(0.5)


def written(*lines: tuple[str, int, int]) -> np.ndarray:
    frame = np.full((160, 360, 3), 200, np.uint8)
    for text, x, y in lines:
        cv2.putText(frame, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (10, 10, 10), 1, cv2.LINE_AA)
    return frame


def watch(reader: Reader, every_s: float = 2.0, fps: float = 1.0) -> ScreenText:
    return ScreenText(reader, TextOnScreenSettings(every_s=every_s), fps, SessionText().found)


def test_an_address_is_covered_from_the_look_before_to_the_look_after_and_a_label_is_not(reader: Reader) -> None:
    address, label = ("karin@example.org", 150, 40), ("Franka Panda 0173", 10, 130)
    told = watch(reader)
    for index in range(12):
        told.see(index, written(address, label) if 4 <= index < 7 else written(label))
    masks = told.masks(12)
    assert [(found.kind, found.value) for found in told.found] == [("EMAIL", "karin@example.org")]
    assert min(masks) <= 3 and max(masks) >= 7 and min(masks) > 0 and max(masks) < 11
    letters = written(address) < 150
    for boxes in masks.values():
        assert (paint(written(address), boxes)[letters] == MASK[0]).all()
        np.testing.assert_array_equal(paint(written(label), boxes)[100:], written(label)[100:])


def test_what_stands_still_is_read_once_and_covered_to_the_end() -> None:
    class Counting(Reader):
        def __call__(self, picture: np.ndarray) -> list[tuple[np.ndarray, str]]:
            looked.append(picture.shape)
            return [(np.array([10, 10, 90, 20, 0.9], np.float32), "192.168.1.17")]

    looked: list[tuple[int, ...]] = []
    told = watch(Counting(0.5), every_s=1.0)
    for index in range(6):
        told.see(index, written(("x", 10, 10)))
    assert looked == [(160, 360, 3)]
    assert list(told.masks(6)) == [0, 1, 2, 3, 4, 5]


def test_a_picture_without_letters_gives_nothing(reader: Reader, tmp_path: Path) -> None:
    assert reader(np.full((60, 80, 3), 90, np.uint8)) == []
