"""The layout of a synthetic set, which `bad-robot synthesize` and `bad-robot edit` write and source `synthetic` reads.

```
DIR/
  synthetic.json                        SyntheticSet: what made it, with all arguments
  scenes/<task>-<seed>/scene.json       Scene: one instruction in one scene; its episodes start from the same state
  scenes/<task>-<seed>/<episode>/       exterior_1.mp4 exterior_2.mp4 wrist.mp4 steps.npz
  dropped.jsonl                         Dropped, one a line: what was tried and is not in the set, and why
```
`steps.npz` has no pickles: state (T, D) and action (T, 4) float32 with state_columns and action_columns as in
`trajectory_file`, and progress, penalty, reward, each (T,) float64. Video frame i shows the state after step
min(i * steps_per_frame, T - 1), and the last frame shows the last step: `frames_of` counts them.

An edit of a real video has no physics: its steps are its frames (steps_per_frame 1), steps.npz holds progress alone or
is not there, and what does not follow from the edit (score, success, times of a fault) is null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from bad_robot_behavior.schema.records import (
    Choice,
    Count,
    Failure,
    Outcome,
    Positive,
    Record,
    Role,
    TaskCategory,
    Text,
    Unit,
)

FORMAT = "bad-robot-synthetic-1"

EventKind = Literal[
    "grasp",
    "lift",
    "slip",
    "drop",
    "impact",  # the object lands after a drop
    "hit_distractor",
    "hit_table",
    "hit_fixture",
    "excessive_force",
    "excessive_grip",
    "object_moved",  # a distractor was shoved
    "tipped",
    "spilled",
    "wrong_object",
    "idle",
    "limit",
    "regrasp",
    "jerk",
    "detour",
    "slow",
    "goal_reached",
    "goal_left",  # success held once and no more
]


class Event(Record, frozen=True, kw_only=True):
    """One thing that physics shows, over steps `start` to `end` (both included)."""

    kind: EventKind
    start: Count
    end: Count
    value: Annotated[float, Meta(description="the measured quantity: force, height, distance, speed, count")]
    unit: Annotated[Text, Meta(description="N, m, m/s, steps or count")]
    subject: Annotated[str | None, Meta(description="the object it happened to, where it is not the task's")] = None
    limit: Annotated[float | None, Meta(description="of a force: what it was allowed to be, in newtons")] = None
    penalty: Annotated[float, Meta(ge=0, description="what it takes from the reward, summed over its steps")] = 0.0


class Episode(Record, frozen=True, kw_only=True):
    """One simulated rollout. Every label in it is told from physics; `fault` and `parameters` say what was done."""

    name: Annotated[Text, Meta(description="folder below the scene: `success`, or the fault's name")]
    label: Annotated[str, Meta(pattern="^[A-Z]$", min_length=1, max_length=1, description="how feedback names it")]
    fault: str | None
    parameters: dict[str, Any]
    twin: Annotated[str | None, Meta(description="name of the success from the same state; null for that itself")]
    num_steps: Annotated[int, Meta(gt=0)]
    inject_step: Annotated[Count | None, Meta(description="from which step the fault is active")]
    onset_step: Annotated[Count | None, Meta(description="first step at which the state differs visibly from the twin")]
    failure_step: Annotated[Count | None, Meta(description="first step of the first violation or failure")]
    success: bool | None
    outcome: Outcome
    score: Unit | None
    failures: tuple[Failure, ...]
    events: tuple[Event, ...]
    cameras: Annotated[tuple[Role, ...], Meta(min_length=1)]


class Pair(Record, frozen=True, kw_only=True):
    """Two episodes of a scene, what was preferred by their scores, and what an evaluator would write of both."""

    a: Annotated[Text, Meta(description="name of an episode")]
    b: Annotated[Text, Meta(description="name of another")]
    preference: Choice
    feedback: Text


class Scene(Record, frozen=True, kw_only=True):
    """The episodes that start from one state under one instruction: a session."""

    scene: Annotated[Text, Meta(description="<task>-<seed>")]
    task: Text
    seed: Count
    instruction: Text
    task_category: TaskCategory
    evaluator: Annotated[str | None, Meta(description="an invented name, so that pseudonyms are exercised")] = None
    feedback: Annotated[
        str | None, Meta(description="written from events by templates; names each episode by its label")
    ] = None
    license: Annotated[str | None, Meta(description="SPDX id, where it is not the set's")] = None
    license_evidence: str | None = None
    attribution: Annotated[str | None, Meta(description="where it is not the set's")] = None
    robot: Annotated[str | None, Meta(description="where it is not the set's")] = None
    control_hz: Positive
    steps_per_frame: Annotated[int, Meta(gt=0)]
    fps: Positive
    episodes: Annotated[tuple[Episode, ...], Meta(min_length=1)]
    pairs: tuple[Pair, ...] = ()


class Dropped(Record, frozen=True, kw_only=True):
    """What was tried and is not in the set."""

    task: Text
    seed: Count
    fault: str | None
    code: Literal["expert_failed", "twin_not_clean", "fault_without_effect", "fault_does_not_apply"]
    detail: Text


class SyntheticSet(Record, frozen=True, kw_only=True):
    """synthetic.json: what made the set."""

    format: Literal["bad-robot-synthetic-1"]
    origin: Annotated[
        Literal["simulator", "edit"], Meta(description="physics, or edits of videos whose truth is known in part")
    ] = "simulator"
    generator: Annotated[Text, Meta(description="such as bad-robot-behavior 0.2.0 on metaworld 3.1.1, mujoco 3.3.0")]
    renderer: Annotated[Text, Meta(description="name and version; the same frames are promised on one renderer only")]
    robot: str | None
    license: Annotated[str | None, Meta(description="SPDX id")]
    attribution: str | None
    tie_band: Annotated[Unit, Meta(description="difference of scores up to which a pair is a tie")]
    arguments: dict[str, Any]


def frames_of(num_steps: int, steps_per_frame: int) -> int:
    """How many frames the video of an episode has: one for step 0, then one every `steps_per_frame`, and the last step.

    Both are at least 1.
    """
    return -(-(num_steps - 1) // steps_per_frame) + 1
