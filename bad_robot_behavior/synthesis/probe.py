"""Contact forces, read at every physics substep: what is only looked at between control steps misses most impacts.

Each pair of geoms gets its class once per model. A substep then costs a look-up and a sum over the contacts there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis.renderer import mujoco
from bad_robot_behavior.synthesis.trace import Contact

Floats = NDArray[np.float64]

CONTACTS: tuple[Contact, ...] = get_args(Contact)
# Beside the classes of a trace: each pad by itself on the object and on a distractor, to tell what is held.
_PADS = ("object_left", "object_right", "distractor_left", "distractor_right")
_NONE = len(CONTACTS) + len(_PADS)
_ACROSS = 0.7
"""Cosine between a contact's normal and the way the fingers close, from which on a pad presses and does not lie on."""

_FLOOR, _TABLE, _FIXTURE, _ROBOT, _LEFT, _RIGHT, _OBJECT, _DISTRACTOR = range(8)
_ROBOTIC = (_ROBOT, _LEFT, _RIGHT)


class Probe:
    """Peaks of normal force by class of contact, over the substeps since `clear`."""

    def __init__(self, model: Any, handled: Iterable[str]) -> None:
        """`handled` are the bodies the robot is meant to touch; what hangs on them counts as them."""
        if model.opt.cone != mujoco().mjtCone.mjCONE_ELLIPTIC:
            raise ValueError("the probe reads elliptic cones, where a contact's first number is its normal force")
        self._table = _pair_classes(_kinds(model, frozenset(handled)))
        self._peaks = np.zeros(_NONE + 1)
        self._hand = model.body("hand").id

    def clear(self) -> None:
        """Begin a control step."""
        self._peaks[:] = 0.0

    def look(self, data: Any) -> None:
        """Take in the contacts of the substep that was just computed."""
        if data.ncon == 0:
            return
        pairs = data.contact.geom
        classes = self._table[pairs[:, 0], pairs[:, 1]]
        address = data.contact.efc_address
        touching = (classes[:, 0] != _NONE) & (address >= 0)
        if not touching.any():
            return
        force = data.efc_force[address[touching]]
        kinds = classes[touching]
        if (kinds[:, 1] != _NONE).any():
            # What lies under two closed fingers is touched by both pads as well, but not along the fingers' own axis.
            across = data.contact.frame[touching, :3] @ data.xmat[self._hand].reshape(3, 3)[:, 1]
            kinds[np.abs(across) < _ACROSS, 1] = _NONE
        sums = np.bincount(kinds.ravel(), weights=np.repeat(force, 2), minlength=_NONE + 1)
        np.maximum(self._peaks, sums, out=self._peaks)

    def forces(self) -> Floats:
        """(number of CONTACTS,) newtons, in the order of CONTACTS."""
        return self._peaks[: len(CONTACTS)].copy()

    def pinched(self) -> tuple[bool, bool]:
        """Whether both pads pressed on the object from its sides, and whether on a distractor."""
        left, right, other_left, other_right = self._peaks[len(CONTACTS) : _NONE]
        return bool(left > 0 and right > 0), bool(other_left > 0 and other_right > 0)


def _kinds(model: Any, handled: frozenset[str]) -> NDArray[np.int8]:
    """(ngeom,) what each geom belongs to, by the names of the bodies it hangs on."""
    kinds = np.full(model.ngeom, _FIXTURE, dtype=np.int8)
    for geom in range(model.ngeom):
        names = []
        body = int(model.geom_bodyid[geom])
        while body:
            names.append(model.body(body).name)
            body = int(model.body_parentid[body])
        if not names:
            kinds[geom] = _FLOOR
        elif "leftpad" in names:
            kinds[geom] = _LEFT
        elif "rightpad" in names:
            kinds[geom] = _RIGHT
        elif "base" in names:
            kinds[geom] = _ROBOT
        elif "tablelink" in names:
            kinds[geom] = _TABLE
        elif names[-1] in ("cup", "second") or names[-1].startswith("particle_"):
            kinds[geom] = _DISTRACTOR
        elif handled.intersection(names):
            kinds[geom] = _OBJECT
    return kinds


def _pair_classes(kinds: NDArray[np.int8]) -> NDArray[np.int64]:
    """(ngeom, ngeom, 2) the class of a pair, and the pad that it is about, if any."""
    table = np.full((len(kinds), len(kinds), 2), _NONE, dtype=np.int64)

    def mark(some: int, other: int, contact: Contact, pad: str | None = None) -> None:
        number = CONTACTS.index(contact)
        detail = _NONE if pad is None else len(CONTACTS) + _PADS.index(pad)
        first, second = np.flatnonzero(kinds == some), np.flatnonzero(kinds == other)
        table[np.ix_(first, second)] = number, detail
        table[np.ix_(second, first)] = number, detail

    for robot in _ROBOTIC:
        mark(robot, _TABLE, "robot_table")
        mark(robot, _FIXTURE, "robot_fixture")
    mark(_ROBOT, _OBJECT, "robot_object")
    mark(_ROBOT, _DISTRACTOR, "robot_distractor")
    mark(_LEFT, _OBJECT, "grip", "object_left")
    mark(_RIGHT, _OBJECT, "grip", "object_right")
    mark(_LEFT, _DISTRACTOR, "robot_distractor", "distractor_left")
    mark(_RIGHT, _DISTRACTOR, "robot_distractor", "distractor_right")
    mark(_OBJECT, _TABLE, "object_table")
    mark(_OBJECT, _FLOOR, "object_table")
    mark(_OBJECT, _FIXTURE, "object_fixture")
    mark(_OBJECT, _DISTRACTOR, "object_distractor")
    return table
