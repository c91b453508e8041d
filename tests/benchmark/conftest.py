"""A small release with real videos, shared by the tests of this room."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bad_robot_behavior.benchmark.predictions import describe, write
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.builder.package import write_release
from bad_robot_behavior.schema import (
    Failure,
    LicenseSettings,
    Prediction,
    Preference,
    Recipe,
    Rollout,
    ScrubSettings,
    Session,
    SourceSettings,
    pair_id,
    session_id,
)
from tests.factories import make_rollout, make_video

RECIPE = Recipe(
    name="tiny",
    version="1.2.3",
    title="Tiny",
    description="A release for tests.",
    sources=(SourceSettings(name="lab", kind="folder", path="lab"),),
    license=LicenseSettings(allow=("CC-BY-4.0",)),
    scrub=ScrubSettings(drop_evaluators=True),
)
HOSTILE = "<script>alert('pour')</script> & <img src=x onerror=alert(1)>"


def make_session(
    folder: Path,
    name: str,
    scores: Sequence[float | None],
    *,
    preference: str | None = "a",
    frames: Sequence[int] | None = None,
    split: str = "test",
    **changes: Any,
) -> list[Rollout]:
    """A session with one rollout a score; A against B is put to a choice."""
    made = []
    for i, score in enumerate(scores):
        count = frames[i] if frames else 12
        video = make_video(folder / f"{name}-{i}.mp4", num_frames=count, seed=i)
        label = "ABCDEFG"[i]
        success = None if score is None else score == 1.0
        made.append(
            make_rollout(
                video,
                session=name,
                label=label,
                num_frames=count,
                score=score,
                success=success,
                outcome="unknown" if success is None else "success" if success else "failure",
                split=split,
                **changes,
            )
        )
    pairs: tuple[Preference, ...] = ()
    if preference is not None:
        a, b = made[0].rollout_id, made[1].rollout_id
        pair = Preference(
            pair_id=pair_id(a, b),
            session_id=made[0].session_id,
            rollout_a=a,
            rollout_b=b,
            preference=preference,  # type: ignore[arg-type]
        )
        pairs = (pair,)
    session = Session(session_id=session_id("lab", name), preferences=pairs)
    return [msgspec.structs.replace(rollout, session=session) for rollout in made]


def package(out: Path, rollouts: Sequence[Rollout]) -> Release:
    write_release(
        out,
        recipe=RECIPE,
        recipe_sha256="ab" * 32,
        rollouts=rollouts,
        rejections=(),
        rollouts_read=len(rollouts),
        licenses=(),
    )
    return load(out)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Four sessions: three put-tasks (one with three policies, one judged a tie), one hostile pour, in two splits."""
    folder = tmp_path_factory.mktemp("videos")
    slip = Failure(
        category="grasp",
        kind="slip",
        severity="low",
        start_s=0.4,
        end_s=0.8,
        description="</style><b>dropped</b>",
        annotator="lab-1",
        annotator_type="human",
        mapping_version="1.0.0",
    )
    rollouts = [
        *make_session(folder, "s1", [1.0, 0.2], frames=[8, 12]),
        *make_session(folder, "s2", [0.1, 0.6, 0.9], preference="b", failures=(slip,)),
        *make_session(folder, "s3", [0.5, 0.5], preference="tie", split="train"),
        *make_session(folder, "s4", [0.0, 0.7], preference="a", instruction=f"pour {HOSTILE}"),
    ]
    return package(tmp_path_factory.mktemp("release") / "tiny", rollouts)


@pytest.fixture
def predict(release: Release, tmp_path: Path) -> Callable[..., Path]:
    """Write a predictions file in which curves rise from 0 to `value(row)`; None: an error; "skip": no row."""

    def make(value: Callable[[dict[str, Any]], Any], name: str = "model.parquet", **fields: Any) -> Path:
        rows = []
        for row in release.table("rollouts").to_pylist():
            top = value(row)
            if top == "skip":
                continue
            failed = top is None
            given: dict[str, Any] = {
                "rollout_id": row["rollout_id"],
                "role": "exterior_1",
                "frame_index": () if failed else (0, 3, 7),
                "value": () if failed else (0.0, top / 2, top),
                "model": "vision-9",
                "parameters": json.dumps({"scorer": "tester", "kind": "progress"}),
                "error": "no answer" if failed else None,
            }
            rows.append(Prediction(**(given | fields)))
        path = tmp_path / name
        write(path, rows, describe(release))
        return path

    return make
