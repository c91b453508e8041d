"""A small synthetic set, written by the tests as `bad-robot synthesize` would, with drawn squares for a simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bad_robot_behavior.schema import Column, Failure
from bad_robot_behavior.schema.synthetic_file import Episode, Pair, Scene, SyntheticSet, frames_of
from bad_robot_behavior.schema.trajectory_file import Arrays, members_of, write_members
from tests.factories import make_video

STEPS, STEPS_PER_FRAME = 30, 4
FEEDBACK = "Policy A put the puck on the goal. Policy B dropped the puck on the way."


def dropped() -> Failure:
    return Failure(
        category="grasp",
        kind="slip_or_drop",
        severity="medium",
        start_s=0.2,
        end_s=0.3,
        description="fell 0.11 m",
        annotator="mujoco",
        annotator_type="simulator",
        observable=True,
        mapping_version="1.0.0",
    )


def make_episode(name: str, label: str, **changes: Any) -> Episode:
    good = name == "success"
    fields: dict[str, Any] = {
        "name": name,
        "label": label,
        "fault": None if good else name,
        "parameters": {} if good else {"height": 0.11},
        "twin": None if good else "success",
        "num_steps": STEPS,
        "inject_step": None if good else 10,
        "onset_step": None if good else 12,
        "failure_step": None if good else 15,
        "success": good,
        "outcome": "success" if good else "failure",
        "score": 1.0 if good else 0.35,
        "failures": () if good else (dropped(),),
        "events": (),
        "cameras": ("exterior_1", "wrist"),
    }
    return Episode(**(fields | changes))


def make_scene(name: str = "pick-place-0", **changes: Any) -> Scene:
    task, _, seed = name.rpartition("-")
    fields: dict[str, Any] = {
        "scene": name,
        "task": task,
        "seed": int(seed),
        "instruction": f"put puck {seed} on the {task} goal",
        "task_category": "pick_place",
        "evaluator": "Ines Valdes",
        "feedback": FEEDBACK,
        "control_hz": 80.0,
        "steps_per_frame": STEPS_PER_FRAME,
        "fps": 20.0,
        "episodes": (make_episode("success", "A"), make_episode("drop", "B")),
        "pairs": (Pair(a="success", b="drop", preference="a", feedback=FEEDBACK),),
    }
    return Scene(**(fields | changes))


def make_set(**changes: Any) -> SyntheticSet:
    fields: dict[str, Any] = {
        "format": "bad-robot-synthetic-1",
        "generator": "squares 1.0",
        "renderer": "none",
        "robot": "Sawyer",
        "license": "Apache-2.0",
        "attribution": "the tests",
        "tie_band": 0.05,
        "arguments": {},
    }
    return SyntheticSet(**(fields | changes))


def make_steps(good: bool, steps: int = STEPS) -> dict[str, Any]:
    """Progress that rises to 1, or to 0.5 and is lost at a drop that costs 0.2."""
    progress = np.linspace(0, 1 if good else 0.5, steps)
    penalty = np.zeros(steps)
    if not good:
        progress[15:] = 0.1
        penalty[15] = 0.2
    arrays = Arrays(
        np.linspace(0, 1, 3 * steps, dtype=np.float32).reshape(steps, 3),
        np.zeros((steps, 4), np.float32),
        tuple(Column(name=f"tcp_{axis}", unit="m") for axis in "xyz"),
        tuple(Column(name=name, unit=None) for name in ("dx", "dy", "dz", "gripper")),
    )
    reward = np.diff(progress, prepend=0.0) - penalty
    return members_of(arrays) | {"progress": progress, "penalty": penalty, "reward": reward}


def write_scene(root: Path, scene: Scene, seed: int = 0) -> Path:
    folder = root / "scenes" / scene.scene
    for i, episode in enumerate(scene.episodes):
        for j, role in enumerate(episode.cameras):
            frames = frames_of(episode.num_steps, scene.steps_per_frame)
            video_seed = 100 * seed + 10 * i + j
            make_video(folder / episode.name / f"{role}.mp4", num_frames=frames, fps=int(scene.fps), seed=video_seed)
        steps = make_steps(episode.success is True, episode.num_steps)
        write_members(folder / episode.name / "steps.npz", steps)
    (folder / "scene.json").write_bytes(msgspec.json.encode(scene))
    return folder


def write_set(root: Path, scenes: int = 1, **changes: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(scenes):
        write_scene(root, make_scene(f"pick-place-{i}"), seed=i)
    (root / "synthetic.json").write_bytes(msgspec.json.encode(make_set(**changes)))
    return root
