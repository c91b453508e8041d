"""A world whose truth is known: sessions in RoboArena's layout, and an index that only a judge of known quality sees.

Each session has two attempts at one task. One gets further than the other, often to the end; the other fails in a way
(`kind`) that belongs to its category of tasks and that the evaluator names. The true progress of every frame is in the
index, which finds a picture again by its looks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from tests.dumps import write_session

FRAMES = 12
THUMB = (12, 16)

# category -> instruction, and for each kind of failure what an evaluator writes of it and where the taxonomy has it
TASKS: dict[str, tuple[str, dict[str, tuple[str, tuple[str, str]]]]] = {
    "pick_place": (
        "put the {thing} in the box",
        {
            "drop": ("dropped the {thing} on the table", ("grasp", "slip_or_drop")),
            "miss": ("never grasped the {thing}", ("grasp", "no_grasp")),
        },
    ),
    "push_pull": (
        "push the {thing} to the left",
        {
            "knock": ("knocked over the {thing}", ("unsafe_interaction", "collision_object")),
            "wall": ("crashed into the wall beside the {thing}", ("unsafe_interaction", "collision_environment")),
        },
    ),
    "pour": (
        "pour the water out of the {thing}",
        {
            "spill": ("spilled water beside the {thing}", ("manipulation", "spill")),
            "tip": ("tipped over the {thing}", ("manipulation", "topple")),
        },
    ),
    "tool_use": (
        "wipe the {thing} with the sponge",
        {
            "stick": ("would not let go of the sponge", ("grasp", "failed_release")),
            "stop": ("gave up halfway across the {thing}", ("manipulation", "premature_stop")),
        },
    ),
}
THINGS = ("red mug", "blue bowl", "green cup", "white plate", "toy car", "grey can", "black pen", "wooden block")
GROUPS = {"pick_place": "simple", "push_pull": "simple", "pour": "complex", "tool_use": "complex"}


class Attempt(msgspec.Struct, frozen=True):
    """One rollout: true progress (FRAMES,) in [0, 1]; kind is None where nothing went wrong; key as in source_ref."""

    key: str
    category: str
    kind: str | None
    progress: tuple[float, ...]


class Index:
    """Finds which attempt and frame a picture shows."""

    def __init__(self, attempts: list[Attempt], thumbs: NDArray[np.float32]) -> None:
        self.attempts = attempts
        self.thumbs = thumbs
        self._half_norm = (thumbs**2).sum(axis=1) / 2

    def find(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        """(attempt, frame) of the closest picture. Raises LookupError where none is close."""
        seen = thumb(picture)
        # einsum, not @: many threads of BLAS in many threads of a server get in each other's way
        place = int(np.argmin(self._half_norm - np.einsum("ij,j->i", self.thumbs, seen)))
        distance = float(np.abs(self.thumbs[place] - seen).mean())
        if distance > 6:
            raise LookupError(f"no picture of this world: the closest is {distance:.1f} grey levels away")
        return divmod(place, FRAMES)

    def save(self, path: Path) -> Path:
        np.savez(path, thumbs=self.thumbs, attempts=np.array(json.dumps(msgspec.to_builtins(self.attempts))))
        return path

    @classmethod
    def load(cls, path: Path) -> Index:
        with np.load(path) as data:
            rows = json.loads(str(data["attempts"]))
            return cls([msgspec.convert(row, Attempt) for row in rows], data["thumbs"])


def thumb(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(12 * 16 * 3,) means of blocks."""
    height, width = picture.shape[0] // THUMB[0], picture.shape[1] // THUMB[1]
    cut = picture[: height * THUMB[0], : width * THUMB[1]].astype(np.float32)
    return cut.reshape(THUMB[0], height, THUMB[1], width, 3).mean(axis=(1, 3)).ravel()


def write_world(dump: Path, sessions: int, *, seed: int = 0, gap: float = 0.2, kinds: int = 2) -> Index:
    """Write a dump of so many sessions, and give the index of it.

    gap: how much further the better attempt gets; kinds: how many kinds of failure each category has, at most 2.
    """
    rng = np.random.default_rng(seed)
    attempts: list[Attempt] = []
    thumbs: list[NDArray[np.float32]] = []
    for number in range(sessions):
        category = list(TASKS)[number % len(TASKS)]
        instruction, described = TASKS[category]
        thing = f"{THINGS[rng.integers(len(THINGS))]} {number}"
        better = "AB"[rng.integers(2)]
        made: dict[str, Attempt] = {}
        said, policies = [], {}
        for letter in "AB":
            good = letter == better
            succeeded = good and rng.random() < 0.4
            kind = None if good else str(rng.choice(list(described)[:kinds]))
            top = 1.0 if succeeded else float(rng.uniform(0.45, 0.6) + (gap if good else 0.0))
            policy = f"policy_{letter.lower()}"
            key = f"session-{number:04d}/{letter}_{policy}"
            made[letter] = Attempt(key, category, kind, _curve(kind, top, rng))
            if kind is None:
                what = f"{'finished with' if succeeded else 'got most of the way with'} the {thing}"
            else:
                what = described[kind][0].format(thing=thing)
            said.append(f"Policy {letter} {what}.")
            policies[letter] = {
                "binary_success": int(succeeded),
                "duration": FRAMES - 1,
                "partial_success": round(float(np.mean(made[letter].progress)), 3) if not succeeded else 1.0,
                "policy_name": policy,
            }
        means = {letter: float(np.mean(one.progress)) for letter, one in made.items()}
        folder = write_session(
            dump,
            f"session-{number:04d}",
            seed=seed * 10_000 + number,
            frames=FRAMES,
            cameras=("left",),
            npz=False,
            metadata={
                "language_instruction": instruction.format(thing=thing),
                "longform_feedback": " ".join(said),
                "policies": policies,
                "preference": max(means, key=means.__getitem__),
            },
        )
        for letter, attempt in made.items():
            (video,) = folder.glob(f"{letter}_*/*_video_left.mp4")
            attempts.append(attempt)
            thumbs += [thumb(frame) for frame in media.sample(video, range(FRAMES))]
    (dump / "global_metadata.yaml").write_text(f"total_sessions: {sessions}\n", encoding="utf-8")
    return Index(attempts, np.stack(thumbs))


def _curve(kind: str | None, top: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Progress that rises to `top`; failures of some kinds lose a part of it again, others stay where they are."""
    turn = int(rng.integers(FRAMES // 2, FRAMES - 2))
    rise = np.minimum(np.arange(FRAMES) / turn, 1.0) * top
    if kind in {"drop", "knock", "spill", "stick"}:
        rise[turn + 1 :] = top * 0.5
    return tuple(round(float(value), 4) for value in 0.03 + 0.9 * rise)


def recipe_changes(url: str | None, **reward: Any) -> dict[str, Any]:
    """What a recipe over a world has of its own: most of it in test, and a judge where there is one."""
    changes: dict[str, Any] = {"split": {"train": 0.25, "validation": 0.0, "test": 0.75}}
    if url is not None:
        endpoint = {"base_url": url, "model": "judge", "concurrency": 16}
        changes["reward"] = {"endpoint": endpoint, "num_frames": 6, "image_size": 64} | reward
    return changes
