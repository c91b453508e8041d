"""Had a scorer seen what it is judged on? By what its card or its predictions say, and what a release is made of.

Cards speak of RoboArena alone (`scorers/card.py`). Of other sources nothing is known but where a scorer was trained on
this very release, or on nothing. What is not known is `unknown`, never `clean`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bad_robot_behavior import scorers
from bad_robot_behavior.benchmark.results import Contamination, Part
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.card import Card

STATED = "saw_roboarena"
"""Parameter by which a predictions file says `yes`, `no` or `unknown` in place of a card."""


def contamination(
    parameters: Mapping[str, Any], sources: Sequence[Mapping[str, Any]], release: str, part: Part
) -> Contamination:
    """The flag of one scorer on split `part` of a release of that name, with the reason.

    parameters: those of its predictions; `trained_on` and `trained_split` name a release of ours and its split (null:
    all of them). sources: those of the release's recipe.
    """
    if parameters.get("trained_on") == release:
        return _trained_here(parameters, part)
    card = _card(parameters.get("scorer"))
    if card is not None and card.untrained:
        return Contamination(flag="clean", why="nothing was trained")
    stated = parameters.get(STATED)
    saw = stated if stated in ("yes", "no", "unknown") else card.contaminated if card is not None else "unknown"
    real = [source for source in sources if source["kind"] == "roboarena" and not source.get("synthetic_generator")]
    if real and saw == "yes":
        return Contamination(flag="contaminated", why="it was trained on rollouts of RoboArena")
    if not real:
        return Contamination(flag="unknown", why="nobody says whether it saw the sources of this release")
    if saw == "no" and len(real) == len(sources):
        return Contamination(flag="clean", why="it was trained on nothing of RoboArena")
    if saw == "no":
        return Contamination(flag="unknown", why="nobody says whether it saw the sources beside RoboArena")
    return Contamination(flag="unknown", why="nobody says whether it saw RoboArena")


def _card(name: Any) -> Card | None:
    """None for a scorer that is not installed here, cannot be loaded, or says nothing of itself."""
    if not isinstance(name, str) or name not in scorers.names():
        return None
    try:
        card = getattr(scorers.find(name), "card", None)
    except BadRobotError:
        return None
    return card if isinstance(card, Card) else None


def _trained_here(parameters: Mapping[str, Any], part: Part) -> Contamination:
    if "trained_split" not in parameters:
        return Contamination(flag="unknown", why="it was trained on this release, and does not say on which split")
    split = parameters["trained_split"]
    if split is None or part in ("all", split):
        where = "all of it" if split is None else f"its split {split}"
        return Contamination(flag="contaminated", why=f"it was trained on this release, on {where}")
    return Contamination(flag="clean", why=f"it was trained on this release, on its split {split} alone")
