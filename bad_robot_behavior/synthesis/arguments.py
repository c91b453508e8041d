"""What the command line was given, as settings. An unknown name is an error with the legal ones and the nearest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from bad_robot_behavior.schema import ROLES, Role
from bad_robot_behavior.synthesis.faults import FAULTS
from bad_robot_behavior.synthesis.run import check
from bad_robot_behavior.synthesis.scene import Settings
from bad_robot_behavior.synthesis.tasks import SynthesisError
from bad_robot_behavior.synthesis.tasks import tasks as all_tasks

ROBOARENA_FPS = 10.0
"""RoboArena's clients write their files at 10 frames per second, whatever the control rate was."""


def settings(
    *,
    tasks: str,
    faults: str,
    seeds: str,
    per_scene: int | None = None,
    number: int | None = None,
    cameras: str = ",".join(ROLES),
    size: str = "224x224",
    steps_per_frame: int = 4,
    roboarena: bool = False,
) -> Settings:
    """Checked settings from texts: names with commas between or `all`, seeds `FIRST:END`, size `WxH`.

    Raises SynthesisError for anything that is not legal.
    """
    width, height = _pair(size, "size", "x", "WxH with both from 32 to 1024, such as 224x224")
    if not (32 <= width <= 1024 and 32 <= height <= 1024):
        raise SynthesisError(f"size {size}: give WxH with both from 32 to 1024, such as 224x224")
    made = Settings(
        tasks=_names(tasks, all_tasks()),
        faults=_names(faults, FAULTS),
        seeds=_pair(seeds, "seeds", ":", "FIRST:END with 0 <= FIRST < END, such as 0:20"),
        per_scene=per_scene,
        number=number,
        cameras=_cameras(cameras),
        width=width,
        height=height,
        steps_per_frame=steps_per_frame,
        fps=ROBOARENA_FPS if roboarena else None,
    )
    check(made)
    return made


def _names(text: str, legal: Iterable[str]) -> tuple[str, ...]:
    if text.strip() == "all":
        return tuple(legal)
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _cameras(text: str) -> tuple[Role, ...]:
    given = _names(text, ROLES)
    for name in given:
        if name not in ROLES:
            near = difflib.get_close_matches(name, ROLES, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SynthesisError(f"there is no camera {name!r}{hint} Cameras: {', '.join(ROLES)}")
    return tuple(camera for camera in ROLES if camera in given)


def _pair(text: str, what: str, between: str, legal: str) -> tuple[int, int]:
    match = re.fullmatch(rf"(\d{{1,9}}){between}(\d{{1,9}})", text.strip())
    if match is None:
        raise SynthesisError(f"{what} {text}: give {legal}")
    return int(match[1]), int(match[2])
