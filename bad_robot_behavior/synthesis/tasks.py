"""The tasks that are offered: tasks.yaml, checked, and how a task is looked up by name."""

from __future__ import annotations

import difflib
import functools
from importlib import resources
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema.records import TaskCategory, Text

Point = tuple[float, float, float]


class SynthesisError(BadRobotError):
    """A task or a fault that is not known, or a synthesis that cannot start."""


class View(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the two exterior cameras stand: degrees, and metres from the point they look at. At azimuth 45 and 135 they
    stand beside the robot and see the front of what faces it; from 235 they see the robot's own front."""

    azimuth: tuple[float, float] = (235.0, 135.0)
    elevation: float = -30.0
    distance: float = 0.85
    lookat: Point = (0.0, 0.66, 0.1)


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What success asks for beyond the simulator's own condition, which a shove often meets."""

    within: float | None = None
    """Metres from the object to its goal at most."""
    held: bool | None = None
    """True: the gripper holds the object at the end; False: it has let go; null: either."""
    lifted: bool = False
    """The object was carried there: held and off its support at some step before."""
    lasting: bool = True
    """False where the mechanism springs back by itself: it then counts that success was reached once."""


class Stages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How progress is put together: shares that add up to 1, and what each stage is measured by."""

    reach: float = 0.3
    """The gripper comes to the object."""
    grasp: float = 0.0
    """The object is held, then lifted."""
    apply: float = 0.0
    """The tool comes to what it works on."""
    place: float = 0.7
    """The object, or what the tool works on, comes to the goal."""
    near: float = 0.0
    """Metres between gripper and object at which it is reached: a mechanism's point is not where it is touched."""
    lift: float = 0.01
    """Metres to which the object is lifted in the grasp's stage: above a wall, where one stands in the way."""
    via: Point | None = None
    """Metres from the object at which the gripper must be first: above it, or behind it. Half of reaching."""
    axis: Literal["x", "y", "z"] | None = None
    """The way to the goal is measured along this axis alone, where the goal lies beside the mechanism's own path."""
    rest: float = 0.0
    """Metres from the goal at which the point has arrived, since some goals stand beside it."""
    apply_rest: float = 0.0
    """The same for the tool and what it works on."""


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task of the simulator, as an evaluator would speak of it."""

    name: str
    category: TaskCategory
    instructions: Annotated[tuple[Text, ...], Meta(min_length=2)]
    object: Text
    """Noun phrase without article: `red cylinder`."""
    goal: Text
    """Noun phrase without article: `blue marker`."""
    handled: tuple[str, ...]
    """Bodies in the model that the robot is meant to touch; with them go the bodies that hang on them."""
    point: str | None = None
    """Site in the model that has to come to the goal, where that is not the point at which the object is handled."""
    carries: bool = False
    """The object must be lifted; shoving it is not doing the task."""
    grasps: bool = False
    """The expert closes the gripper on something, carried or not."""
    tool: bool = False
    """The object is a tool, and it is the thing it works on that has to come to the goal."""
    opposite: str | None = None
    """The task of the same scene whose expert does the contrary."""
    limit: Annotated[int, Meta(gt=0, le=500)] = 250
    """Control steps that a policy is given."""
    distractors: bool = True
    """Whether the table has room for other objects."""
    strict: Strict = Strict()
    stages: Stages = Stages()
    view: View = View()

    def instruction(self, seed: int) -> str:
        """One of the wordings, chosen by the seed."""
        return self.instructions[seed % len(self.instructions)]


@functools.cache
def tasks() -> dict[str, Task]:
    """All tasks by name, in the order of tasks.yaml."""
    text = resources.files("bad_robot_behavior.synthesis").joinpath("tasks.yaml").read_text(encoding="utf-8")
    entries = {name: {"name": name} | entry for name, entry in yaml.safe_load(text).items()}
    return msgspec.convert(entries, type=dict[str, Task])


def find_task(name: str) -> Task:
    """The task of that name; an unknown one is an error that lists all and says which is nearest."""
    if name in tasks():
        return tasks()[name]
    near = difflib.get_close_matches(name, tasks(), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SynthesisError(f"there is no task {name!r}{hint} Tasks: {', '.join(tasks())}")
