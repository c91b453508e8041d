"""The worst disagreements on the page: both rollouts of a pair as film strips, their curves and failures below."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from bad_robot_behavior import media
from bad_robot_behavior.benchmark import charts
from bad_robot_behavior.benchmark.disagreement import Pair, worst_pairs
from bad_robot_behavior.benchmark.metrics import returns
from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.results import Results
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Role
from bad_robot_behavior.scorers.run import pick_role

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import LoadedRollout, Release

_PAIRS = 12
_SIDE = 200
_QUALITY = 78


def worst(results: Results, release: Release, predictions: Sequence[Predictions]) -> str:
    """The section as HTML. Decodes `charts.STRIP` frames of each rollout that is shown, at most 24 rollouts."""
    predictions = [item for item in predictions if item.intervention is None]
    names = [item.name for item in results.scorers if not item.floor]
    chosen = worst_pairs(release, predictions, split=results.split, limit=_PAIRS)
    title = "Where scorers contradict the human most" if predictions else "Pairs that humans tell apart most clearly"
    if not chosen:
        none = "No scorer orders a pair against the human." if predictions else "There is no such pair."
        return f"<h2>{title}</h2>\n<p>{none}</p>\n"
    shown = [_pair(pair, release, predictions, names, results) for pair in chosen]
    note = (
        "At most one pair a session, worst first. Frames stand above their own moment of the curves; red spans are "
        "failures that were marked with a time. Each curve has the range of its own kind; the axis is the first "
        "scorer's."
    )
    return f'<h2>{title}</h2>\n<p class="note">{note}</p>\n{"".join(shown)}'


def _pair(
    pair: Pair, release: Release, predictions: Sequence[Predictions], names: Sequence[str], results: Results
) -> str:
    better, worse = release[pair.better], release[pair.worse]
    colours = charts.classes(results)
    verdicts, sides = [], {pair.better: [], pair.worse: []}  # type: tuple[list[str], dict[str, list[charts.Line]]]
    for item, name in zip(predictions, names, strict=True):
        found = {rollout: _curve(item, rollout) for rollout in sides}
        values = [float(v) for curve in found.values() if curve for v in curve[1]]
        low, high = charts.axis_range(item.parameters.get("kind"), values)
        for rollout, curve in found.items():
            if curve is not None:
                line = charts.Line(
                    scorer=name, colour=colours[name], frame_index=curve[0], value=curve[1], low=low, high=high
                )
                sides[rollout].append(line)
        verdicts.append(_verdict(name, colours[name], [found[pair.better], found[pair.worse]]))
    what = "was preferred" if pair.truth == "preference" else "has the higher score"
    return (
        f"<article>\n<h3>{escape(better['instruction'])}</h3>\n"
        f'<p class="note">{escape(better["task_category"])}, session <code>{escape(better["session_id"])}</code>, '
        f"source {escape(better['source'])}. By the human, the first rollout {what}.</p>\n"
        f'<ul class="verdicts">{"".join(verdicts)}</ul>\n<div class="pair">\n'
        f"{_side('Better', better, sides[pair.better], predictions)}"
        f"{_side('Worse', worse, sides[pair.worse], predictions)}"
        "</div>\n</article>\n"
    )


def _curve(item: Predictions, rollout: str) -> tuple[list[int], list[float]] | None:
    """Frame indices and values that a file has for a rollout, None where it has none."""
    if rollout not in item.rollout_id:
        return None
    i = item.rollout_id.index(rollout)
    start, end = int(item.offset[i]), int(item.offset[i + 1])
    return (item.frame_index[start:end].tolist(), item.value[start:end].tolist()) if end > start else None


def _verdict(name: str, colour: str, found: Sequence[tuple[list[int], list[float]] | None]) -> str:
    key = f'<span class="key {colour}"></span>{charts.label(name)}: '
    better, worse = found
    if better is None or worse is None:
        return f"<li>{key}no answer for {'both' if better is worse else 'one'}</li>"
    a, b = (_return(values) for _index, values in (better, worse))
    word = "right" if a > b else "wrong" if a < b else "tie"
    return f'<li>{key}returns {a:.3f} and {b:.3f}, <span class="{word}">{word}</span></li>'


def _return(values: Sequence[float]) -> float:
    return float(returns(np.array(values), np.array([0, len(values)]), "mean")[0])


def _side(title: str, rollout: LoadedRollout, lines: Sequence[charts.Line], predictions: Sequence[Predictions]) -> str:
    role = _role(rollout, predictions)
    video = rollout["videos"][role]
    facts = [
        "score unknown" if rollout["score"] is None else f"score {rollout['score']:.2f}",
        escape(rollout["outcome"]),
        f"{video['num_frames'] / video['fps']:.1f} s of {escape(role)}",
        *([escape(rollout["policy"])] if rollout["policy"] else []),
    ]
    try:
        pictures = rollout.frames(role, n=charts.STRIP)
    except BadRobotError as error:
        strip = f'<p class="note">The video cannot be shown: {escape(str(error))}</p>'
    else:
        strip = f'<div class="strip">{"".join(_image(picture) for picture in pictures)}</div>'
    failures = rollout["failures"] or []
    drawing = charts.curves(lines, failures, video["num_frames"], video["fps"])
    listed = "".join(f"<li>{_failure(failure)}</li>" for failure in failures)
    return (
        f'<section class="side"><h4>{title} <small>{", ".join(facts)} '
        f"<code>{escape(rollout['rollout_id'][:8])}</code></small></h4>\n{strip}\n{drawing}\n"
        f"{f'<ul>{listed}</ul>' if listed else ''}</section>\n"
    )


def _role(rollout: LoadedRollout, predictions: Sequence[Predictions]) -> Role:
    """The camera that the first file that names one was shown, else the first camera there is."""
    for item in predictions:
        if rollout["rollout_id"] in item.rollout_id:
            named = item.role[item.rollout_id.index(rollout["rollout_id"])]
            if named is not None and rollout["videos"].get(named) is not None:
                return named  # type: ignore[return-value]
    role = pick_role(rollout["videos"])
    if role is None:
        raise BadRobotError(f"rollout {rollout['rollout_id']} has no video; validate the release")
    return role


def _image(picture: Any) -> str:
    data = base64.b64encode(media.jpeg(picture, longest_side=_SIDE, quality=_QUALITY)).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _failure(failure: dict[str, Any]) -> str:
    if failure["start_s"] is None:
        when = "time not marked"
    elif failure["end_s"] is None:
        when = f"from {failure['start_s']:.1f} s"
    else:
        when = f"{failure['start_s']:.1f} to {failure['end_s']:.1f} s"
    severity = f", severity {escape(failure['severity'])}" if failure["severity"] else ""
    text = f": {escape(failure['description'])}" if failure["description"] else ""
    return (
        f"<b>{escape(failure['category'])} / {escape(failure['kind'])}</b>{text} "
        f'<span class="dim">({when}{severity}; said by {escape(failure["annotator_type"])})</span>'
    )
