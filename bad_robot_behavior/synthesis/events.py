"""Events found in a trace beside its twin's: what happened, when, how much, and what it takes from the reward.

An event that the twin has as well is no fault: forces, falls, slips, idling, path and regrasps are held against what
the twin did at its worst. Every limit and penalty stands in `rubric`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bad_robot_behavior.schema.synthetic_file import Event, EventKind
from bad_robot_behavior.synthesis import measure, rubric
from bad_robot_behavior.synthesis.trace import Contact, Distractor, Flags, Floats, Trace


def find_events(trace: Trace, twin: Trace) -> tuple[Event, ...]:
    """All events of `trace`, by start. `twin` is the success from the same state, or the trace itself."""
    found = [
        *_hits(trace, twin),
        *_forces(trace, twin),
        *_grasps(trace, twin),
        *_losses(trace, twin),
        *_slips(trace, twin),
        *(event for other in trace.distractors for event in _disturbed(other, trace)),
        *_wrong_object(trace),
        *_pace(trace, twin),
        *_limits(trace, twin),
        *_goal(trace),
    ]
    return tuple(sorted(found, key=lambda event: (event.start, event.end, event.kind)))


def _limit_of(kinds: Sequence[Contact], twin: Trace, *, environment: bool) -> float:
    """The force in newtons above which contact of these classes is an event.

    OVER_TWIN times the twin's own peak; against the environment at least ENVIRONMENT of its working force; where the
    twin touched nothing, any touch at all.
    """
    floor = rubric.ENVIRONMENT * measure.working_force(twin) if environment else rubric.TOUCH
    return max(floor, rubric.OVER_TWIN * float(_peak(kinds, twin).max()))


def _peak(kinds: Sequence[Contact], trace: Trace) -> Floats:
    peak: Floats = np.max([trace.forces[kind] for kind in kinds], axis=0)
    return peak


def _over(force: Floats, limit: float, twin: Trace) -> Floats:
    """How far over its limit, in working forces, within [0, MAX_OVER]."""
    return np.clip((force - limit) / measure.working_force(twin), 0.0, rubric.MAX_OVER)


def _hits(trace: Trace, twin: Trace) -> Iterator[Event]:
    """What robot or carried object strikes: an object let go may rest on the table and lean on the wall."""
    carried = trace.held | (trace.forces["robot_object"] > rubric.TOUCH)
    struck: list[tuple[EventKind, tuple[Contact, ...], Flags, bool]] = [
        ("hit_distractor", ("robot_distractor", "object_distractor"), np.ones(trace.steps, dtype=bool), False),
        ("hit_table", ("robot_table",), np.ones(trace.steps, dtype=bool), True),
        ("hit_table", ("object_table",), carried, True),
        ("hit_fixture", ("robot_fixture",), np.ones(trace.steps, dtype=bool), True),
        ("hit_fixture", ("object_fixture",), carried, True),
    ]
    for kind, contacts, counts, environment in struck:
        limit = _limit_of(contacts, twin, environment=environment)
        force = np.where(counts, _peak(contacts, trace), 0.0)
        for start, end in measure.runs(force > limit, gap=8):
            here = force[start : end + 1]
            yield Event(
                kind=kind,
                start=start,
                end=end,
                value=float(here.max()),
                unit="N",
                subject=_struck(trace, start, end) if kind == "hit_distractor" else None,
                limit=limit,
                penalty=rubric.HIT + rubric.HIT_PER_STEP * float(_over(here, limit, twin).sum()),
            )


def _struck(trace: Trace, start: int, end: int) -> str | None:
    """The distractor that moved most during the contact, or the nearest one where none moved."""
    if not trace.distractors:
        return None

    def rank(other: Distractor) -> tuple[float, float]:
        until = min(end + 5, trace.steps - 1)
        went = float(np.linalg.norm(other.position[until] - other.position[max(start - 1, 0)]))
        gaps = [np.linalg.norm(other.position[start] - point[start]) for point in (trace.tcp, trace.object_position)]
        return (round(went, 3), -float(min(gaps)))

    return max(trace.distractors, key=rank).name


def _forces(trace: Trace, twin: Trace) -> Iterator[Event]:
    grips: list[tuple[EventKind, Contact]] = [("excessive_grip", "grip"), ("excessive_force", "robot_object")]
    for kind, contact in grips:
        limit = _limit_of([contact], twin, environment=True)
        force = trace.forces[contact]
        if kind == "excessive_grip" and not measure.touched(twin).any():
            continue
        for start, end in measure.runs(force > limit, gap=8):
            here = force[start : end + 1]
            penalty = rubric.EXCESSIVE * (1 + float(_over(here, limit, twin).max()))
            value = float(here.max())
            yield Event(kind=kind, start=start, end=end, value=value, unit="N", limit=limit, penalty=penalty)


def _grasps(trace: Trace, twin: Trace) -> Iterator[Event]:
    z = trace.object_position[:, 2]
    for start, end in measure.holds(trace):
        yield Event(kind="grasp", start=start, end=end, value=float(end - start + 1), unit="steps")
        high = measure.runs(z[start : end + 1] > z[0] + rubric.LIFTED)
        if trace.carries and high:
            height = float(z[start : end + 1].max() - z[0])
            yield Event(kind="lift", start=start + high[0][0], end=start + high[-1][1], value=height, unit="m")
    extra = measure.closings(trace, twin)[len(measure.closings(twin, twin)) or 1 :]
    if extra:
        count = float(len(extra))
        yield Event(
            kind="regrasp", start=extra[0], end=extra[-1], value=count, unit="count", penalty=rubric.REGRASP * count
        )


def _losses(trace: Trace, twin: Trace) -> Iterator[Event]:
    """Falls. A release is what the twin does: no farther from the goal, and no higher, by OVER_TWIN."""
    releases = [loss for loss in measure.losses(twin) if twin.success[-1]]
    near = max([0.02, *(rubric.OVER_TWIN * loss.from_goal + 0.01 for loss in releases)])
    low = max([rubric.FELL, *(rubric.OVER_TWIN * loss.height for loss in releases)])
    for loss in measure.losses(trace):
        limit = low if loss.from_goal <= near else rubric.FELL
        if loss.height > limit:
            penalty = rubric.DROP + rubric.DROP_PER_METRE * loss.height
            yield Event(kind="drop", start=loss.step, end=loss.landed, value=loss.height, unit="m", penalty=penalty)
            yield Event(
                kind="impact", start=loss.landed, end=loss.landed, value=loss.speed, unit="m/s", penalty=rubric.IMPACT
            )


def slip(trace: Trace, start: int, end: int) -> Floats:
    """How far the object has moved in the gripper since step `start` of a hold, (end - start + 1,) metres."""
    within = trace.object_position[start : end + 1] - trace.tcp[start : end + 1]
    return np.asarray(np.linalg.norm(within - within[0], axis=1))


def _slips(trace: Trace, twin: Trace) -> Iterator[Event]:
    """The grip settles in its first steps; after them the object should stay where it is between the fingers."""
    settle = 10

    def worst(other: Trace) -> float:
        return max([0.0, *(float(slip(other, a + settle, b).max()) for a, b in measure.holds(other) if b > a + settle)])

    limit = max(rubric.SLIPPED, rubric.OVER_TWIN * worst(twin))
    for start, end in measure.holds(trace):
        if end <= start + settle:
            continue
        slid = slip(trace, start + settle, end)
        beyond = np.flatnonzero(slid > limit)
        if len(beyond):
            yield Event(
                kind="slip",
                start=start + settle + int(beyond[0]),
                end=end,
                value=float(slid.max()),
                unit="m",
                penalty=rubric.SLIP,
            )


def _disturbed(other: Distractor, trace: Trace) -> Iterator[Event]:
    went = np.linalg.norm(other.position - other.position[0], axis=1)
    far = np.flatnonzero(went > rubric.MOVED)
    if len(far):
        start = int(far[0])
        rest = np.flatnonzero(measure.speed(other.position, trace.control_hz) > rubric.STILL)
        end = max(start, int(rest[-1])) if len(rest) else start
        value = float(went.max())
        yield Event(
            kind="object_moved",
            start=start,
            end=end,
            value=value,
            unit="m",
            subject=other.name,
            penalty=rubric.OTHER_MOVED,
        )
    if other.upright[0] >= rubric.TIPPED_BELOW:
        fell = np.flatnonzero(other.upright < rubric.TIPPED_BELOW)
        if len(fell):
            yield Event(
                kind="tipped",
                start=int(fell[0]),
                end=int(fell[-1]),
                value=1.0,
                unit="count",
                subject=other.name,
                penalty=rubric.TIPPED,
            )
    out = np.flatnonzero(other.spilled > other.spilled[0])
    if len(out):
        count = float(other.spilled.max() - other.spilled[0])
        end = int(np.argmax(other.spilled))
        yield Event(
            kind="spilled",
            start=int(out[0]),
            end=end,
            value=count,
            unit="count",
            subject=other.name,
            penalty=rubric.SPILLED * count,
        )


def _wrong_object(trace: Trace) -> Iterator[Event]:
    for start, end in measure.runs(trace.wrong_object, gap=5, least=5):
        gaps = [float(np.linalg.norm(other.position[start] - trace.tcp[start])) for other in trace.distractors]
        name = trace.distractors[int(np.argmin(gaps))].name if gaps else None
        steps = float(end - start + 1)
        yield Event(
            kind="wrong_object",
            start=start,
            end=end,
            value=steps,
            unit="steps",
            subject=name,
            penalty=rubric.WRONG_OBJECT,
        )


def _pace(trace: Trace, twin: Trace) -> Iterator[Event]:
    """Idle, slow, wandering and shaking, while there was work to do."""
    work, theirs = measure.working_steps(trace), measure.working_steps(twin)
    still, twin_still = _standing(trace)[:work], _standing(twin)[:theirs]
    longest = max([0, *(b - a + 1 for a, b in measure.runs(twin_still, gap=2))])
    for start, end in measure.runs(still, gap=2, least=max(rubric.IDLE, int(rubric.OVER_TWIN * longest) + 1)):
        steps = end - start + 1
        cost = rubric.IDLE_PER_STEP * steps
        yield Event(kind="idle", start=start, end=end, value=float(steps), unit="steps", penalty=cost)

    least = max(rubric.TURNS, 2 + max([0, *(_within(measure.turns(twin), step) for step in range(theirs))]))
    back = [step for step in measure.turns(trace) if step < work]
    shaken = [step for step in back if _within(back, step) >= least]
    if shaken:
        start = min(step for step in back if step > shaken[0] - rubric.TURNS_WINDOW)
        end = shaken[-1]
        count = float(sum(start <= step <= end for step in back))
        yield Event(kind="jerk", start=start, end=end, value=count, unit="count", penalty=rubric.JERK)

    way, twins = _path(trace, work), _path(twin, theirs)
    limit = rubric.OVER_TWIN * float(twins[-1]) + rubric.DETOUR_OVER
    if way[-1] > limit and not shaken:
        extra = float(way[-1] - twins[-1])
        start = int(np.argmax(way > limit))
        yield Event(kind="detour", start=start, end=work - 1, value=extra, unit="m", penalty=rubric.DETOUR)

    moved, needed = _steps_in_motion(trace, work), _steps_in_motion(twin, theirs)
    pace, twin_pace = float(way[-1]) / moved, float(twins[-1]) / needed
    if moved > rubric.SLOW * needed and pace * rubric.SLOW < twin_pace:
        start = min(int(rubric.SLOW * theirs), work - 1)
        yield Event(kind="slow", start=start, end=work - 1, value=float(work), unit="steps")


def _standing(trace: Trace) -> Flags:
    """(T,) neither moving nor pressing against anything but the object."""
    pressing: list[Contact] = ["robot_table", "robot_fixture", "robot_distractor"]
    return ~measure.moving(trace) & (_peak(pressing, trace) <= rubric.TOUCH) & ~trace.limit


def _within(steps: list[int], last: int) -> int:
    return sum(last - rubric.TURNS_WINDOW < step <= last for step in steps)


def _path(trace: Trace, steps: int) -> Floats:
    """(steps,) metres that the fingers have gone."""
    return np.asarray(np.cumsum(measure.speed(trace.tcp, trace.control_hz)[:steps]) / trace.control_hz)


def _steps_in_motion(trace: Trace, steps: int) -> int:
    return max(1, int((measure.speed(trace.tcp, trace.control_hz)[:steps] > rubric.STILL).sum()))


def _limits(trace: Trace, twin: Trace) -> Iterator[Event]:
    allowed = max([0, *(b - a + 1 for a, b in measure.runs(twin.limit, gap=2))])
    for start, end in measure.runs(trace.limit, gap=2, least=max(8, int(rubric.OVER_TWIN * allowed) + 1)):
        steps = float(end - start + 1)
        yield Event(kind="limit", start=start, end=end, value=steps, unit="steps", penalty=rubric.LIMIT)


def _goal(trace: Trace) -> Iterator[Event]:
    reached = np.flatnonzero(trace.success)
    if not len(reached):
        return
    last, distance = int(reached[-1]), measure.to_goal(trace)
    yield Event(kind="goal_reached", start=int(reached[0]), end=last, value=float(distance[reached[0]]), unit="m")
    if last < trace.steps - 1:
        yield Event(kind="goal_left", start=last + 1, end=trace.steps - 1, value=float(distance[-1]), unit="m")
