"""Reward models behind one Protocol, by name. Importing this package imports none of them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import Any

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.scorer import Clip, Curve, Scorer

__all__ = ["FLOORS", "MAX_VALUE", "NAMES", "Clip", "Curve", "Scorer", "get"]

_PLACES = {
    "random": "floors:Random",
    "constant": "floors:Constant",
    "time_ramp": "floors:TimeRamp",
    "duration": "floors:Duration",
    "gvl": "gvl:GVL",
}
NAMES: tuple[str, ...] = tuple(_PLACES)
FLOORS: tuple[str, ...] = ("random", "constant", "time_ramp", "duration")
MAX_VALUE = 1e6
"""Largest absolute value of a prediction: up to here float64 tells a tie from a difference at nine decimals."""


def get(name: str, **options: Any) -> Scorer:
    """The scorer of that name, made with `options` (its constructor's arguments).

    Raises BadRobotError that lists the legal names or options where one is unknown, and whatever the scorer raises
    where an option's value is bad.
    """
    if name not in _PLACES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadRobotError(f"there is no scorer {name!r}; legal: {', '.join(NAMES)}{hint}")
    module, attribute = _PLACES[name].split(":")
    made = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    signature = inspect.signature(made)
    try:
        signature.bind(**options)
    except TypeError as error:
        legal = ", ".join(signature.parameters) or "none"
        raise BadRobotError(
            f"scorer {name} cannot be made with these options: {error}; its options: {legal}"
        ) from error
    scorer: Scorer = made(**options)
    return scorer
