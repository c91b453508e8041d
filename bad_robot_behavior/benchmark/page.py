"""The HTML report: one page, no script, nothing loaded from elsewhere; every text from data is escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from bad_robot_behavior import media
from bad_robot_behavior.benchmark import charts
from bad_robot_behavior.benchmark.disagreement import Pair, worst_pairs
from bad_robot_behavior.benchmark.metrics import returns
from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.protocol import RISING
from bad_robot_behavior.benchmark.report import TITLES, by_aggregation, ordering_rows, percent
from bad_robot_behavior.benchmark.results import POOLED, GroundTruth, Number, Results, Shape
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema import Role
from bad_robot_behavior.scorers.run import pick_role

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import LoadedRollout, Release

_PAIRS = 12
_SIDE = 200
_QUALITY = 78
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_DEFINITIONS = (
    (
        "strict",
        "Share of the answered pairs that the scorer orders as the human did. Pooled over pairs; a tie of the scorer "
        "is wrong, a pair that the human called equal is left out. This is the pairwise preference ordering accuracy "
        "of arXiv 2606.01036.",
    ),
    ("half", "The same, with a tie of the scorer counted half."),
    ("macro", "Mean of the sessions' own strict accuracies: each session weighs the same."),
    ("answered", "Share of all pairs ordered right; a pair without predictions for both rollouts is wrong."),
    ("return", "The number by which a rollout is ranked: the mean of its curve."),
    ("VOC", "Rank correlation of the curve with time. 1 for any rising curve, also that of a failed rollout."),
    ("rising", f"Share of the rollouts whose VOC is above {RISING:g}. On failures, lower is better."),
    ("random, constant, time_ramp, duration", "Floors: scorers that see no frame. Duration: shorter is better."),
)


def page(results: Results, release: Release, predictions: Sequence[Predictions]) -> str:
    """The report as HTML text. Decodes `charts.STRIP` frames of each rollout that is shown, at most 24 rollouts."""
    name, version = escape(results.release["name"]), escape(results.release["version"])
    split = f"split <b>{escape(results.split)}</b>, " if results.split else ""
    style = resources.files("bad_robot_behavior.benchmark").joinpath("report.css").read_text(encoding="utf-8")
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>Benchmark on {name} {version}</title>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>Reward models against human judgement</h1>\n"
        f"<p>Release <b>{name} {version}</b>, {split}{results.rollouts} rollouts in {results.sessions} sessions. "
        f"Intervals hold 95 % and come from a bootstrap over sessions ({results.draws} draws, seed {results.seed}). "
        "Grey rows are floors: scorers that see no frame.</p>\n"
    ]
    truths = list(dict.fromkeys(row.ground_truth for row in results.ordering))
    for truth in truths:
        parts.append(f"<h2>{TITLES[truth]}</h2>\n{_ordering_table(results, truth)}")
        parts.append(f"<h3>Strict accuracy by other returns</h3>\n{_aggregation_table(results, truth)}")
        parts.append(
            f'<h3>Strict accuracy by task category</h3>\n<p class="note">The dashed line is chance for a scorer that '
            f'never ties.</p>\n<div class="wide">{charts.bars(results, truth)}</div>\n'
        )
    parts.append(_shape_table(results))
    parts.append(_pairs(results, release, predictions))
    parts.append(_notes(results))
    parts.append("</main>\n</body>\n</html>\n")
    return "".join(parts)


def _number(number: Number) -> str:
    if number.value is None:
        return "–"
    interval = "no interval" if number.interval is None else f"{number.interval[0]:.2f} to {number.interval[1]:.2f}"
    return f"{number.value:.3f} <small>{interval}</small>"


def _table(results: Results, head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table whose rows start with a scorer's name; its cells are HTML."""
    colours = charts.classes(results)
    floors = {item.name for item in results.scorers if item.floor}
    lines, before = [], False
    for scorer, cells in rows:
        floor = scorer in floors
        kind = ("floor first-floor" if not before else "floor") if floor else ""
        before = floor
        key = f'<span class="key {colours[scorer]}"></span>{charts.label(scorer)}'
        lines.append(f'<tr class="{kind}"><td>{key}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n')
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(lines)
    return f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def _ordering_table(results: Results, truth: GroundTruth) -> str:
    rows = ordering_rows(results, truth, category=POOLED)
    cells = [
        (
            row.scorer,
            (
                _number(row.strict),
                _number(row.half),
                _number(row.macro),
                _number(row.answered),
                percent(row.tie_rate),
                percent(row.coverage),
                f"{row.covered} <small>of {row.pairs}</small>",
                str(row.sessions),
            ),
        )
        for row in rows
    ]
    head = ("scorer", "strict", "half", "macro", "answered", "ties", "coverage", "pairs", "sessions")
    ties = rows[0].human_ties if rows else 0
    note = f'<p class="note">Left out because humans called them equal: {ties} pair{"" if ties == 1 else "s"}.</p>\n'
    return _table(results, head, cells) + note


def _aggregation_table(results: Results, truth: GroundTruth) -> str:
    rows = [(scorer, [_number(number) for number in numbers]) for scorer, numbers in by_aggregation(results, truth)]
    return _table(results, ("scorer", "mean of the curve", "last value", "highest value"), rows)


def _shape_table(results: Results) -> str:
    by_key: dict[tuple[str, str], Shape] = {(row.scorer, row.group): row for row in results.shapes}
    cells = []
    for item in results.scorers:
        bad, good = by_key[item.name, "failure"], by_key[item.name, "success"]
        cells.append(
            (
                item.name,
                (
                    _number(bad.rising),
                    _number(good.rising),
                    _number(bad.voc),
                    f"{bad.voc_n} <small>of {bad.covered}</small>",
                    _number(good.voc),
                    f"{good.voc_n} <small>of {good.covered}</small>",
                ),
            )
        )
    head = ("scorer", "rising on failures", "rising on successes", "VOC on failures", "n", "VOC on successes", "n")
    return (
        "<h2>Do curves still rise where the robot failed?</h2>\n"
        f"{_table(results, head, cells)}"
        '<p class="note">n: curves on which VOC is defined, of those there are; a constant curve has none.</p>\n'
    )


def _pairs(results: Results, release: Release, predictions: Sequence[Predictions]) -> str:
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


def _notes(results: Results) -> str:
    parts = ["<h2>Coverage and settings</h2>\n"]
    for item in results.scorers:
        if item.floor:
            continue
        settings = escape(json.dumps(item.parameters, sort_keys=True, ensure_ascii=False))
        parts.append(
            f"<h3>{charts.label(item.name)}</h3>\n<p>Model <code>{escape(item.model)}</code>"
            f"{f', file <code>{escape(item.file)}</code>' if item.file else ''}. Curves for {item.predicted} of "
            f"{item.rollouts} rollouts; {item.missing} are not in the file, {item.failed} have an error in place of a "
            f"curve.</p>\n<p>Parameters <code>{settings}</code></p>\n"
        )
        if item.errors:
            errors = "".join(f"<li>{count} × {escape(error)}</li>" for error, count in item.errors.items())
            parts.append(f"<ul>{errors}</ul>\n")
    if not any(not item.floor for item in results.scorers):
        parts.append("<p>No predictions were given; only the floors are shown.</p>\n")
    truths = results.ground_truths
    parts.append(
        f"<p>Of {truths.pairs} pairs with a preference and two scores, {truths.both_decided} are decided by both and "
        f"{truths.agree} of these agree; {truths.score_tied_only} are tied by score only, "
        f"{truths.preference_tied_only} by preference only, {truths.both_tied} by both.</p>\n"
    )
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>\n" for term, text in _DEFINITIONS)
    engine = escape(results.engine_version)
    recipe = escape(results.release["recipe_sha256"])
    parts.append(
        f"<h2>Definitions</h2>\n<dl>\n{terms}</dl>\n"
        f'<p class="note">bad-robot-behavior {engine}, recipe <code>{recipe}</code>.</p>\n'
    )
    return "".join(parts)
