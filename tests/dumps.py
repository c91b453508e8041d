"""A small dump in RoboArena's layout, written by the tests, and a recipe over it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.factories import make_video

FEEDBACK = (
    "Policy A put the marker in the cup but slowly. Policy B dropped the marker and knocked over the bottle. "
    "Ask jane.doe@example.org for the setup."
)


def write_session(
    dump: Path,
    name: str,
    *,
    seed: int = 0,
    labels: str = "AB",
    frames: int = 12,
    cameras: tuple[str, ...] = ("left", "wrist"),
    npz: bool = True,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """One valid session; `metadata` replaces top-level keys of metadata.yaml."""
    folder = dump / "evaluation_sessions" / name
    policies = {}
    for i, label in enumerate(labels):
        policy = f"policy_{label.lower()}"
        stem = f"{policy}_2025-07-01T18:07:0{i}"
        where = folder / f"{label}_{policy}"
        for j, camera in enumerate(cameras):
            make_video(where / f"{stem}_video_{camera}.mp4", num_frames=frames, seed=1000 * seed + 10 * i + j)
        if npz:
            write_npz(where / f"{stem}_npz_file.npz", frames, seed + i)
        policies[label] = {
            "binary_success": 0,
            "duration": frames - 1,
            "partial_success": round(0.8 - 0.3 * i, 3),
            "policy_name": policy,
        }
    data = {
        "evaluation_location": "Example University",
        "evaluator_name": "jane.doe@example.org",
        "language_instruction": f"put the marker in cup {seed}",
        "longform_feedback": FEEDBACK,
        "policies": policies,
        "preference": "A",
        "session_completion_timestamp": "2025-07-01T18:22:31.123456",
        "session_creation_timestamp": "2025-07-01T18:07:02.654321",
    } | (metadata or {})
    (folder / "metadata.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return folder


def write_npz(path: Path, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "cartesian_position": rng.normal(size=6),
            "joint_position": rng.normal(size=7),
            "gripper_position": rng.random(1),
            "action": rng.normal(size=8),
        }
        for _ in range(steps)
    ]
    np.savez_compressed(path, data=np.array(rows, dtype=object))


def write_dump(dump: Path, sessions: int, **options: Any) -> Path:
    for i in range(sessions):
        write_session(dump, f"session-{i:04d}", seed=i, **options)
    (dump / "global_metadata.yaml").write_text(yaml.safe_dump({"total_sessions": sessions}), encoding="utf-8")
    return dump


def write_recipe(path: Path, dump: Path, **changes: Any) -> Path:
    """A recipe beside a key file. `changes` replace top-level keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "evaluators.key").write_text("a key for tests, sixteen bytes at least\n")
    recipe = {
        "name": "test-release",
        "version": "1.0.0",
        "title": "Test release",
        "description": "Made by the tests.",
        "sources": [
            {
                "name": "roboarena",
                "kind": "roboarena",
                "path": str(dump),
                "license": "MIT",
                "license_evidence": "https://huggingface.co/datasets/RoboArena/DataDump_02-03-2026",
                "license_checked": "2026-11-23",
                "attribution": "RoboArena",
            }
        ],
        "license": {"allow": ["MIT"]},
        "scrub": {
            "pseudonym_key_file": "evaluators.key",
            "faces": {"detector": "none", "waived_because": "drawn squares, there are no people"},
            "text_on_screen": {"detector": "none", "waived_because": "drawn squares, there are no letters"},
            "names": {"detector": "none", "waived_because": "left out for its time; tests/curation/scrub has its own"},
        },
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    } | changes
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def hashes(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
