"""What an evaluator would write of a scene or of two rollouts, made from measured failures by templates and a seed.

Only what a camera can see is said: an evaluator who watched the video knows nothing of a force. Some are thorough, some
terse, some vague, and none says what did not happen. The phrases stand in feedback.yaml.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec
import yaml

from bad_robot_behavior.schema.records import Choice, Failure
from bad_robot_behavior.schema.synthetic_file import Episode, Event, EventKind

_TOLD_BY: dict[tuple[str, str], tuple[EventKind, ...]] = {
    ("grasp", "slip_or_drop"): ("drop", "slip"),
    ("unsafe_interaction", "collision_object"): ("tipped", "hit_distractor", "object_moved"),
    ("unsafe_interaction", "collision_environment"): ("hit_table", "hit_fixture"),
    ("poor_execution", "disturbs_other_objects"): ("tipped", "object_moved"),
    ("manipulation", "spill"): ("spilled", "tipped"),
    ("semantic", "wrong_object"): ("wrong_object",),
    ("shortcut", "constraint_violated"): ("hit_distractor", "object_moved", "tipped"),
}
"""The events that say more of a failure, such as which other object it was about; the one that says most first."""

_OWN_WORDS = ("slip", "tipped", "hit_table", "hit_fixture")
"""Events that have phrases of their own, where they are what a failure consists of."""

_STYLES = ("thorough", "thorough", "plain", "plain", "plain", "terse", "vague")


class Nouns(msgspec.Struct, frozen=True):
    """What the things of a scene are called, without articles: `red cylinder`, `blue marker`."""

    object: str
    goal: str


@functools.cache
def phrases() -> Mapping[str, tuple[str, ...]]:
    """feedback.yaml: by `category/kind` of the taxonomy, or by the name of a sentence."""
    text = resources.files("bad_robot_behavior.synthesis").joinpath("feedback.yaml").read_text(encoding="utf-8")
    return {name: tuple(lines) for name, lines in yaml.safe_load(text).items()}


def scene_feedback(episodes: Sequence[Episode], nouns: Nouns, seed: str) -> str:
    """A text on all rollouts of a scene that names each by its label. The same arguments give the same text."""
    draw = random.Random(f"feedback/{seed}")
    style = draw.choice(_STYLES)
    who = "Policy {}" if style == "thorough" or draw.random() < 0.4 else "{}"
    sentences = [_of(episode, who.format(episode.label), nouns, style, draw) for episode in episodes]
    if style != "terse" and draw.random() < 0.25:
        sentences.append(draw.choice(phrases()["aside"]))
    return " ".join(sentences)


def pair_feedback(a: Episode, b: Episode, choice: Choice, nouns: Nouns, seed: str) -> str:
    """A text on two rollouts of a scene that names both and says which is preferred, as RoboArena's feedback does."""
    draw = random.Random(f"pair/{seed}/{a.label}/{b.label}")
    style = draw.choice(_STYLES)
    who = "Policy {}" if style == "thorough" or draw.random() < 0.4 else "{}"
    first, second = (who.format(episode.label) for episode in (a, b))
    sentences = [_of(a, first, nouns, style, draw), _of(b, second, nouns, style, draw)]
    if choice == "tie":
        sentences.append(draw.choice(phrases()["tie"]))
    elif style != "vague" or draw.random() < 0.7:
        sentences.append(draw.choice(phrases()["prefer"]).format(better=first if choice == "a" else second))
    return " ".join(sentences)


def visible(episode: Episode) -> list[Failure]:
    """The failures that a camera shows, by the time at which they begin."""
    seen = [failure for failure in episode.failures if failure.observable]
    return sorted(seen, key=lambda failure: (failure.start_s or 0.0, failure.category, failure.kind))


def _of(episode: Episode, who: str, nouns: Nouns, style: str, draw: random.Random) -> str:
    """One sentence, or two, on one rollout."""
    remarks = _remarks(episode, nouns, draw)
    remarks = remarks[: {"terse": 1, "plain": 2}.get(style, 3)]
    ending = _ending(episode, bool(remarks), nouns, style, draw)
    if style == "vague" and not episode.success:
        return f"{who} {_say('not_done_vaguely', nouns, None, draw)}."
    if not remarks:
        return f"{who} {ending}."
    *before, last = remarks
    told = f"{', '.join(before)} and {last}" if before else last
    if episode.success:
        if style == "terse":
            return f"{who} {told} but {ending}."
        return draw.choice((f"{who} {ending}, but it {told}.", f"{who} {told}. In the end it {ending}."))
    if style == "terse":
        return f"{who} {told}."
    return f"{who} {told}." if draw.random() < 0.5 else f"{who} {told}. It {ending}."


def _ending(episode: Episode, remarked: bool, nouns: Nouns, style: str, draw: random.Random) -> str:
    if not episode.success:
        return _say("not_done", nouns, None, draw)
    # What no camera shows was not noticed, but an evaluator who saw nothing wrong need not call it perfect.
    clean = not remarked and not episode.failures and style != "vague"
    return _say("done_cleanly" if clean else "done", nouns, None, draw)


def _remarks(episode: Episode, nouns: Nouns, draw: random.Random) -> list[str]:
    """What was seen to go wrong, each once, in the order in which it began."""
    found: dict[str, str] = {}
    spoken_of: set[str] = set()
    for failure in visible(episode):
        name, other = f"{failure.category}/{failure.kind}", None
        event = _event(episode, failure)
        if event is not None:
            other = event.subject
            if other in spoken_of:  # that a cup was hit, was moved and should not have been touched is said once
                continue
            spoken_of |= {other} if other else set()
            if event.kind in _OWN_WORDS and failure.category != "manipulation" and failure.category != "shortcut":
                name = event.kind
        if name in phrases() and name not in found:
            found[name] = _say(name, nouns, other, draw)
    return list(found.values())


def _event(episode: Episode, failure: Failure) -> Event | None:
    """The event that says most of a failure."""
    for kind in _TOLD_BY.get((failure.category, failure.kind), ()):
        for event in episode.events:
            if event.kind == kind:
                return event
    return None


def _say(name: str, nouns: Nouns, other: str | None, draw: random.Random) -> str:
    lines = [line for line in phrases()[name] if other is not None or "{other}" not in line]
    return draw.choice(lines).format(object=nouns.object, goal=nouns.goal, other=other)
