"""Files of one simulated rollout: its videos, encoded while it is simulated, and its steps."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bad_robot_behavior import media
from bad_robot_behavior.schema import Column, Role
from bad_robot_behavior.schema.trajectory_file import Arrays, members_of, write_members
from bad_robot_behavior.synthesis.renderer import Studio
from bad_robot_behavior.synthesis.trace import Trace
from bad_robot_behavior.synthesis.truth import Truth
from bad_robot_behavior.synthesis.world import World

_STATE = (
    *(Column(name=f"tcp_{axis}", unit="m") for axis in "xyz"),
    *(Column(name=f"hand_{part}", unit=None) for part in "wxyz"),
    Column(name="gripper", unit=None),  # 0 closed, 1 open
    *(Column(name=f"object_{axis}", unit="m") for axis in "xyz"),
    Column(name="object_upright", unit=None),  # cosine to the vertical
    Column(name="held", unit=None),  # 0 or 1
)
_ACTION = tuple(Column(name=name, unit=None) for name in ("dx", "dy", "dz", "gripper"))


class Clock(msgspec.Struct):
    """Seconds of wall time, by what they were spent on. `physics` is making the world, and all of a rollout but its
    pictures. `frames` were drawn in them, those of rollouts that were dropped later among them."""

    physics: float = 0.0
    rendering: float = 0.0
    encoding: float = 0.0
    frames: int = 0

    def __add__(self, other: Clock) -> Clock:
        ours, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Clock(*(mine + its for mine, its in zip(ours, theirs, strict=True)))


@functools.cache
def studio(width: int, height: int) -> Studio:
    """The one of this process that draws frames of that size."""
    return Studio(width, height)


@contextlib.contextmanager
def filming(folder: Path, studio: Studio, cameras: Sequence[Role], fps: float, clock: Clock) -> Iterator[Any]:
    """A `watch` for `replay`: each call adds one frame of each camera to `<folder>/<camera>.mp4`. No frame is kept."""
    with contextlib.ExitStack() as stack:
        reels = {
            camera: stack.enter_context(media.encoder(folder / f"{camera}.mp4", fps, "veryfast")) for camera in cameras
        }

        def watch(world: World) -> None:
            for camera, add in reels.items():
                start = time.perf_counter()
                picture = studio.draw(world, camera)
                drawn = time.perf_counter()
                add(picture)
                clock.rendering += drawn - start
                clock.encoding += time.perf_counter() - drawn
                clock.frames += 1

        yield watch
        start = time.perf_counter()
    clock.encoding += time.perf_counter() - start


def write_steps(path: Path, trace: Trace, truth: Truth) -> None:
    """steps.npz, as `schema.synthetic_file` says."""
    state = np.column_stack(
        [trace.tcp, trace.hand, trace.gripper, trace.object_position, trace.object_upright, trace.held]
    )
    arrays = Arrays(state.astype(np.float32), trace.action, _STATE, _ACTION)
    curves = {"progress": truth.progress, "penalty": truth.penalty, "reward": truth.reward}
    write_members(path, members_of(arrays) | curves)


def write_json(path: Path, record: msgspec.Struct) -> None:
    """A record as indented JSON, so that people can read it; the same record gives the same bytes."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
