"""Reward models behind one Protocol, by name. Importing this package imports none of them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from importlib.metadata import entry_points
from typing import Any

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip, Curve, Scorer

__all__ = [
    "ENTRY_POINTS",
    "FLOORS",
    "MAX_VALUE",
    "NAMES",
    "Card",
    "Clip",
    "Curve",
    "Scorer",
    "asks_model",
    "cards",
    "find",
    "get",
    "names",
]

_PLACES = {
    "random": "floors:Random",
    "constant": "floors:Constant",
    "time_ramp": "floors:TimeRamp",
    "duration": "floors:Duration",
    "motion": "motion:Motion",
    "last_frame": "last_frame:LastFrame",
    "gvl": "gvl:GVL",
    "rewind": "rewind.scorer:ReWiND",
    "dopamine": "dopamine:Dopamine",
    "roboreward": "roboreward:RoboReward",
    "robometer": "robometer:Robometer",
    "topreward": "topreward:TOPReward",
    "vlac": "vlac:VLAC",
    "sarm": "sarm:SARM",
}
NAMES: tuple[str, ...] = tuple(_PLACES)
"""The scorers of this package; `names` has also those of other packages that are installed."""
ENTRY_POINTS = "bad_robot_behavior.scorers"
"""The group in which another package names its scorers: `[project.entry-points."bad_robot_behavior.scorers"]`."""
FLOORS: tuple[str, ...] = ("random", "constant", "time_ramp", "duration")
_MEMBERS = ("name", "kind", "needs_frames", "num_frames", "parameters", "score")
MAX_VALUE = 1e6
"""Largest absolute value of a prediction: up to here float64 tells a tie from a difference at nine decimals."""


def names() -> list[str]:
    """All scorers there are: those of this package, then those of other packages, sorted."""
    return [*NAMES, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(NAMES))]


def get(name: str, **options: Any) -> Scorer:
    """The scorer of that name, made with `options` (its constructor's arguments).

    Raises BadRobotError that lists the legal names or options where one is unknown, that says what is wrong with a
    scorer of another package, and whatever the scorer raises where an option's value is bad.
    """
    made = find(name)
    legal, takes_any = _options(made)
    problem = "" if takes_any else ", ".join(sorted(set(options) - set(legal)))
    problem = problem and f"it has no option {problem}"
    try:
        inspect.signature(made).bind(**options)
    except TypeError as error:
        problem = problem or str(error)
    if problem:
        raise BadRobotError(
            f"scorer {name} cannot be made with these options: {problem}; its options: {', '.join(legal) or 'none'}"
        )
    scorer: Scorer = made(**options)
    lacking = [member for member in _MEMBERS if not hasattr(scorer, member)]
    if lacking:
        raise BadRobotError(
            f"scorer {name} is none: it has no {', '.join(lacking)}; docs/scorers.md says what it needs"
        )
    return scorer


def find(name: str) -> Any:
    """The class of that name, or whatever makes the scorer. Raises BadRobotError as `get` does."""
    points = list(entry_points(group=ENTRY_POINTS, name=name))
    given = ", ".join(sorted({point.dist.name if point.dist else "an unknown package" for point in points}))
    if name in _PLACES:
        if points:
            raise BadRobotError(
                f"scorer {name} is one of this package, and {given} names another so; rename or remove it"
            )
        module, attribute = _PLACES[name].split(":")
        return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    if len(points) > 1:
        raise BadRobotError(f"scorer {name} is named by {len(points)} packages ({given}); remove all but one")
    if not points:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadRobotError(f"there is no scorer {name!r}; legal: {', '.join(names())}{hint}")
    try:
        return points[0].load()
    except Exception as error:  # anyone's code: what it raises on import is what is wrong with it
        raise BadRobotError(
            f"scorer {name} of package {given} cannot be loaded from {points[0].value}: {type(error).__name__}: {error}"
        ) from error


def asks_model(name: str) -> bool:
    """Whether a scorer is made with a `client`, a model that it asks."""
    return "client" in inspect.signature(find(name)).parameters


def cards() -> dict[str, Card | None]:
    """What each scorer says of itself, None for one of another package that says nothing."""
    found = {name: getattr(find(name), "card", None) for name in names()}
    return {name: card if isinstance(card, Card) else None for name, card in found.items()}


def _options(made: Any) -> tuple[list[str], bool]:
    """The names of its constructor's arguments, and whether it takes any others. Where a class hands `**options` on,
    they are those of its base."""
    options: list[str] = []
    for kind in made.__mro__[:-1] if inspect.isclass(made) else [made]:
        given = inspect.signature(kind).parameters.values()
        options += [p.name for p in given if p.kind is not p.VAR_KEYWORD and p.name not in options]
        if not any(p.kind is p.VAR_KEYWORD for p in given):
            return options, False
    return options, True
