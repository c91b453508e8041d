"""The truth of one rollout, told from its trace beside its twin's: events, reward, verdict, failures, score, times.

Nothing here knows which fault was injected. A rollout of which nothing is wrong is a success, whatever was done to it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bad_robot_behavior.schema import Failure, Outcome
from bad_robot_behavior.schema.synthetic_file import Event
from bad_robot_behavior.synthesis import measure, rubric
from bad_robot_behavior.synthesis.events import find_events
from bad_robot_behavior.synthesis.failures import find_failures
from bad_robot_behavior.synthesis.trace import Floats, Trace

__all__ = ["Truth", "tell", "why_not_clean"]

# What happens once is charged at the step at which it starts, what lasts is spread over its steps.
_LASTING = {"hit_distractor", "hit_table", "hit_fixture", "idle", "spilled", "regrasp"}
_UNCLEAN = {"object_moved", "tipped", "spilled", "wrong_object", "limit"}


@dataclasses.dataclass(frozen=True)
class Truth:
    """All labels of a rollout of T steps. The three times are steps, null where there is none."""

    events: tuple[Event, ...]
    progress: Floats
    """(T,) in [0, 1]."""
    penalty: Floats
    """(T,) at least 0: what was taken from the reward at each step."""
    reward: Floats
    """(T,) in [-1, 1]: gain of progress, less penalty, less `rubric.TIME_COST`."""
    success: bool
    """At the last step: a goal that was left again is none."""
    outcome: Outcome
    failures: tuple[Failure, ...]
    score: float
    inject_step: int | None
    """From which step the fault was active."""
    onset_step: int | None
    """The first step at which the state differs visibly from the twin's (`measure.divergence`)."""
    failure_step: int | None
    """The first step of the first failure."""
    effective: bool
    """Did anything measurable come of the fault? False: the rollout is its twin over again."""


def tell(
    trace: Trace,
    twin: Trace,
    inject_step: int | None = None,
    *,
    seconds_per_step: float | None = None,
    forbidden: tuple[str, ...] = (),
) -> Truth:
    """The truth of `trace`; `twin` is the success from the same state, or the trace itself.

    `seconds_per_step` is file time, 1 / (fps * steps_per_frame), by default real time. `forbidden` names the
    distractors that the instruction says not to touch. Raises RuntimeError where the rollout left its twin before the
    fault was active: that is a defect of the world, never of the rollout.
    """
    step_s = 1 / trace.control_hz if seconds_per_step is None else seconds_per_step
    onset = _onset(trace, twin)
    if onset is not None and (inject_step is None or onset < inject_step):
        raise RuntimeError(f"the rollout left its twin at step {onset}, before the fault at step {inject_step}")
    events = find_events(trace, twin)
    failures = find_failures(
        trace,
        twin,
        events,
        seconds_per_step=step_s,
        forbidden=forbidden,
        since=inject_step or 0,
        apart=onset or 0,
    )
    success = bool(trace.success[-1])
    penalty, reward = _reward(trace.progress, events)
    starts = [round(failure.start_s / step_s) for failure in failures if failure.start_s is not None]
    return Truth(
        events=events,
        progress=trace.progress,
        penalty=penalty,
        reward=reward,
        success=success,
        outcome=rubric.outcome(success, failures),
        failures=failures,
        score=rubric.score(success, float(trace.progress[-1]), float(penalty.sum())),
        inject_step=inject_step,
        onset_step=onset,
        failure_step=min(starts) if starts else None,
        effective=inject_step is not None and (onset is not None or bool(failures)),
    )


def why_not_clean(trace: Trace) -> str | None:
    """What is wrong with a rollout that should serve as a twin, in a sentence; None where it is clean."""
    if not trace.success[-1]:
        return f"the expert did not succeed: the object ended {100 * measure.to_goal(trace)[-1]:.1f} cm from its goal"
    for event in find_events(trace, trace):
        if event.kind in _UNCLEAN:
            about = f" ({event.subject})" if event.subject else ""
            measured = f"{event.value:.3g} {event.unit}"
            return f"the expert's own rollout has {event.kind}{about} at step {event.start}: {measured}"
    touches = np.flatnonzero(
        np.maximum(trace.forces["robot_distractor"], trace.forces["object_distractor"]) > rubric.TOUCH
    )
    if len(touches):
        return f"the expert touches an object that is no part of the task at step {touches[0]}"
    for other in trace.distractors:
        if other.upright.min() < rubric.TIPPED_BELOW <= other.upright[0]:
            return f"the {other.name} fell over by itself"
    return None


def _reward(progress: Floats, events: tuple[Event, ...]) -> tuple[Floats, Floats]:
    """(penalty, reward). Penalties that would take a step's reward below -1 are cut at that."""
    penalty = np.zeros(len(progress))
    for event in events:
        end = event.end if event.kind in _LASTING else event.start
        penalty[event.start : end + 1] += event.penalty / (end - event.start + 1)
    gain = np.diff(progress, prepend=0.0)
    penalty = np.clip(penalty, 0.0, np.maximum(1.0 + gain - rubric.TIME_COST, 0.0))
    return penalty, np.clip(gain - penalty - rubric.TIME_COST, -1.0, 1.0)


def _onset(trace: Trace, twin: Trace) -> int | None:
    """A rollout that ends before its twin without success departs from it at its last step."""
    apart = np.flatnonzero(measure.divergence(trace, twin))
    if len(apart):
        return int(apart[0])
    return trace.steps - 1 if trace.steps < twin.steps and not trace.success[-1] else None
