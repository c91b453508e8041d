"""What can go wrong, each a class that acts on a world. `FAULTS` has one of each by name."""

from __future__ import annotations

import difflib

from bad_robot_behavior.synthesis.faults.execution import Detour, Jitter, Regrasp
from bad_robot_behavior.synthesis.faults.fault import Fault
from bad_robot_behavior.synthesis.faults.grasping import (
    CloseEarly,
    CloseLate,
    Drop,
    NoGrasp,
    Slip,
)
from bad_robot_behavior.synthesis.faults.reaching import Misplace, Miss, Overshoot, Tilt, Yaw
from bad_robot_behavior.synthesis.faults.semantic import (
    MissingStep,
    Undo,
    Wander,
    WrongAction,
    WrongObject,
    WrongSequence,
)
from bad_robot_behavior.synthesis.faults.shortcut import Almost, Drag, LetGo, Shove
from bad_robot_behavior.synthesis.faults.timing import EarlyStop, Hesitation, Slow, Timeout
from bad_robot_behavior.synthesis.faults.unsafe import (
    BrushCup,
    BumpOther,
    ExcessiveGrip,
    KnockCup,
    PressTable,
    PushLimit,
    Spill,
)
from bad_robot_behavior.synthesis.tasks import SynthesisError

__all__ = ["FAULTS", "Fault", "find_fault"]

_ALL: tuple[Fault, ...] = (
    NoGrasp(),
    CloseEarly(),
    CloseLate(),
    Slip(),
    Drop(),
    Miss(),
    Misplace(),
    Tilt(),
    Yaw(),
    Overshoot(),
    WrongObject(),
    WrongAction(),
    WrongSequence(),
    MissingStep(),
    Undo(),
    Wander(),
    EarlyStop(),
    Slow(),
    Timeout(),
    Hesitation(),
    Jitter(),
    Regrasp(),
    Detour(),
    KnockCup(),
    Spill(),
    BumpOther(),
    BrushCup(),
    PressTable(),
    ExcessiveGrip(),
    PushLimit(),
    Drag(),
    Shove(),
    Almost(),
    LetGo(),
)
FAULTS: dict[str, Fault] = {fault.slug: fault for fault in _ALL}


def find_fault(slug: str) -> Fault:
    """The fault of that name; an unknown one is an error that lists all and says which is nearest."""
    if slug in FAULTS:
        return FAULTS[slug]
    near = difflib.get_close_matches(slug, FAULTS, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SynthesisError(f"there is no fault {slug!r}{hint} Faults: {', '.join(FAULTS)}")
