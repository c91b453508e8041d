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
    Synthetic,
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


def fault(category: str, kind: str, observable: bool | None, start_s: float | None = None) -> Failure:
    return Failure(
        category=category,
        kind=kind,
        start_s=start_s,
        end_s=None if start_s is None else start_s + 0.4,
        annotator="simulator",
        annotator_type="simulator",
        observable=observable,
        mapping_version="1.0.0",
    )


def make_twins(folder: Path, name: str, instruction: str, *members: tuple[str, Failure | None, bool]) -> list[Rollout]:
    """A session of simulated rollouts (outcome, failure, is the first rollout its twin), 12 frames at 10 fps each."""
    made: list[Rollout] = []
    for i, (outcome, failure, twin) in enumerate(members):
        parameters = {"fault": None if failure is None else failure.kind, "twin": made[0].rollout_id if twin else None}
        made.append(
            make_rollout(
                make_video(folder / f"{name}-{i}.mp4", seed=i),
                session=name,
                label="ABCDEFG"[i],
                instruction=instruction,
                score=None,
                success=outcome != "failure",
                outcome=outcome,
                failures=() if failure is None else (failure,),
                synthetic=Synthetic(
                    generator="test", injector=parameters["fault"], parameters=json.dumps(parameters), seed=1
                ),
                split="test",
            )
        )
    return made


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Two sessions with a clean success, a success with a violation (one that a camera sees, one that none does) and a
    failed twin each; a third whose violating success has no clean one and whose failure's twin is not there."""
    folder = tmp_path_factory.mktemp("twins")
    lone = make_twins(
        folder,
        "t3",
        "close the drawer",
        ("success_suboptimal", fault("poor_execution", "slow", True), False),
        ("failure", fault("grasp", "no_grasp", True), False),
    )
    parameters = json.dumps({"twin": "f" * 20})
    synthetic = Synthetic(generator="test", injector=None, parameters=parameters, seed=1)
    rollouts = [
        *make_twins(
            folder,
            "t1",
            "put the marker in the cup",
            ("success", None, False),
            ("success_side_effect", fault("unsafe_interaction", "collision_object", True), True),
            ("failure", fault("grasp", "slip_or_drop", True, start_s=0.4), True),
        ),
        *make_twins(
            folder,
            "t2",
            "push the red block",
            ("success", None, False),
            ("success_side_effect", fault("unsafe_interaction", "excessive_force", False), True),
            ("failure", fault("manipulation", "misplaced", None, start_s=0.2), True),
        ),
        lone[0],
        msgspec.structs.replace(lone[1], synthetic=synthetic),
    ]
    return package(tmp_path_factory.mktemp("twins-release") / "tiny", rollouts)


def write_curves(
    release: Release, path: Path, curve: Callable[[dict[str, Any]], Sequence[float] | None], **fields: Any
) -> Path:
    """A predictions file with a value for each of 12 frames; None: an error."""
    rows = []
    for row in release.table("rollouts").to_pylist():
        value = curve(row)
        given: dict[str, Any] = {
            "rollout_id": row["rollout_id"],
            "role": "exterior_1",
            "frame_index": () if value is None else tuple(range(len(value))),
            "value": () if value is None else tuple(value),
            "model": "vision-9",
            "parameters": json.dumps({"scorer": "tester", "kind": "progress"}),
            "error": "no answer" if value is None else None,
        }
        rows.append(Prediction(**(given | fields)))
    write(path, rows, describe(release))
    return path


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
