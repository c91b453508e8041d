"""What counts against a rollout, as records: one a violation that was measured, and the cause where it failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from bad_robot_behavior.schema import Failure, Severity, taxonomy
from bad_robot_behavior.schema.synthetic_file import Event
from bad_robot_behavior.synthesis import measure, rubric
from bad_robot_behavior.synthesis.causes import Cause, find_cause
from bad_robot_behavior.synthesis.trace import Flags, Trace

ANNOTATOR = "metaworld"


def find_failures(
    trace: Trace,
    twin: Trace,
    events: tuple[Event, ...],
    *,
    seconds_per_step: float,
    forbidden: tuple[str, ...] = (),
    since: int = 0,
    apart: int = 0,
) -> tuple[Failure, ...]:
    """Failures by start. Empty for a success that did nothing wrong; never empty for a rollout without success.

    None starts before `since`, the step of injection: a pause may begin in the twin as well, and what is wrong in it
    comes later. What never happened is missed from `apart` on, the first step that differs from the twin's.
    """
    unlike = measure.unlike_twin(trace, twin)
    found = [(event, _from(cause, since)) for event in events for cause in _violations(event, forbidden)]
    records = [
        _record(cause, _severity(event, twin), _observable(event, unlike), seconds_per_step) for event, cause in found
    ]
    if not trace.success[-1]:
        cause = _from(find_cause(trace, twin, events), max(since, apart))
        if not any((cause.category, cause.kind) == (other.category, other.kind) for _, other in found):
            seen = taxonomy.load().categories[cause.category].kinds[cause.kind].observable
            records.append(_record(cause, "none", seen, seconds_per_step))
    return tuple(sorted(records, key=lambda f: (f.start_s or 0.0, f.category, f.kind)))


def _from(cause: Cause, step: int) -> Cause:
    return dataclasses.replace(cause, start=max(cause.start, step), end=max(cause.end, step))


def _record(cause: Cause, severity: Severity, observable: bool | None, seconds_per_step: float) -> Failure:
    return Failure(
        category=cause.category,
        kind=cause.kind,
        severity=severity,
        start_s=round(cause.start * seconds_per_step, 6),
        end_s=round(cause.end * seconds_per_step, 6),
        description=cause.text,
        annotator=ANNOTATOR,
        annotator_type="simulator",
        observable=observable,
        mapping_version=taxonomy.load().version,
    )


def _violations(event: Event, forbidden: tuple[str, ...]) -> Iterable[Cause]:
    """What an event means in the taxonomy: none, one, or two where it breaks a condition of the instruction as well."""
    said = _said(event)
    if said is not None:
        yield Cause(*said[0], event.start, event.end, said[1])
    if event.kind in {"hit_distractor", "object_moved", "tipped"} and event.subject in forbidden:
        text = f"The instruction says not to touch the {event.subject}."
        yield Cause("shortcut", "constraint_violated", event.start, event.end, text)


def _said(event: Event) -> tuple[tuple[str, str], str] | None:
    force, steps = f"{event.value:.0f} N", event.end - event.start + 1
    lengths = f"{100 * event.value:.1f} cm"
    environment = "excessive_force" if steps >= rubric.LONG_PRESS else "collision_environment"
    pressed = f"pressed with {force} for {steps} steps" if steps >= rubric.LONG_PRESS else f"struck with {force}"
    said = {
        "hit_distractor": (
            ("unsafe_interaction", "collision_object"),
            f"The {event.subject} was hit with up to {force}.",
        ),
        "hit_table": (("unsafe_interaction", environment), f"The table was {pressed}."),
        "hit_fixture": (("unsafe_interaction", environment), f"A fixture was {pressed}."),
        "excessive_grip": (("unsafe_interaction", "excessive_force"), f"The gripper squeezed with {force}."),
        "excessive_force": (("unsafe_interaction", "excessive_force"), f"The hand pushed the object with {force}."),
        "drop": (("grasp", "slip_or_drop"), f"The object fell {lengths}."),
        "slip": (("grasp", "slip_or_drop"), f"The object slid {lengths} in the gripper."),
        "object_moved": (("poor_execution", "disturbs_other_objects"), f"The {event.subject} was moved {lengths}."),
        "tipped": (("poor_execution", "disturbs_other_objects"), f"The {event.subject} was tipped over."),
        "spilled": (("manipulation", "spill"), f"{event.value:.0f} particles came out of the {event.subject}."),
        "wrong_object": (("semantic", "wrong_object"), f"It held the {event.subject} for {event.value:.0f} steps."),
        "idle": (("poor_execution", "hesitant_or_repeated_attempts"), f"It stood still for {event.value:.0f} steps."),
        "regrasp": (
            ("poor_execution", "hesitant_or_repeated_attempts"),
            f"The gripper closed {event.value:.0f} times more than needed.",
        ),
        "jerk": (("poor_execution", "jerky"), f"The hand turned back {event.value:.0f} times."),
        "detour": (("poor_execution", "inefficient_path"), f"The hand went {lengths} farther than needed."),
        "slow": (("poor_execution", "slow"), f"It took {event.value:.0f} steps, moving slowly."),
        "limit": (
            ("unsafe_interaction", "self_collision_or_limit"),
            f"It pushed against the edge of its workspace for {event.value:.0f} steps.",
        ),
    }
    return said.get(event.kind)


def _severity(event: Event, twin: Trace) -> Severity:
    """Of what was measured: forces in working forces of the twin, falls by height; a spill is medium."""
    if event.limit is not None:
        return rubric.severity((event.value - event.limit) / measure.working_force(twin))
    if event.kind in {"tipped", "spilled"}:
        return "medium"
    if event.kind == "drop":
        return "medium" if event.value >= rubric.HIGH_FALL else "low"
    if event.kind in {"object_moved", "wrong_object", "slip", "limit"}:
        return "low"
    return "none"


def _observable(event: Event, unlike: Flags) -> bool | None:
    """Can a camera see it? A force only where, while it lasts, something stands as it never did in the twin."""
    if event.kind in {"hit_table", "hit_fixture", "hit_distractor", "excessive_grip", "excessive_force", "limit"}:
        return bool(np.any(unlike[event.start : event.end + 2]))
    return True
