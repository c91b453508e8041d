"""The HTML report: one page, no script, nothing loaded from elsewhere; every text from data is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from bad_robot_behavior.benchmark import charts, parts, strips
from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.report import other_returns, own_count, pooled_rows
from bad_robot_behavior.benchmark.results import POOLED, Results, TaskResult

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release


def page(results: Results, release: Release, predictions: Sequence[Predictions]) -> str:
    """The report as HTML text. Decodes `charts.STRIP` frames of each rollout that is shown, at most 24 rollouts."""
    name, version = escape(results.release["name"]), escape(results.release["version"])
    where = "all splits" if results.split == "all" else f"split <b>{escape(results.split)}</b>"
    body = [
        "<h1>Reward models against judgement</h1>\n"
        f"<p>Release <b>{name} {version}</b>, {where}, {results.rollouts} rollouts in {results.sessions} sessions. "
        f"Intervals hold 95 % and come from a bootstrap over sessions ({results.draws} draws, seed {results.seed}). "
        "Grey rows are floors: scorers that see no frame.</p>\n",
        _overview(results),
    ]
    body += [_task(results, result) for result in results.tasks if _asked(result)]
    body.append(_not_asked(results))
    body += [strips.worst(results, release, predictions), _humans(results), _notes(results)]
    body.append(_definitions(results))
    return parts.document(f"Benchmark on {results.release['name']} {results.release['version']}", "".join(body))


def _overview(results: Results) -> str:
    """One row a scorer, one column a task that this release can ask: its headline number."""
    asked = [result for result in results.tasks if _asked(result)]
    rows = [
        (
            item.name,
            [parts.flag(item.contamination), *(parts.number(result.headline(item.name)) for result in asked)],
        )
        for item in results.scorers
    ]
    head = ["scorer", "training data", *(f"{result.task.title}: {result.task.headline}" for result in asked)]
    return f"<h2>At a glance</h2>\n{parts.table(head, rows, charts.classes(results), _floors(results))}"


def _asked(result: TaskResult) -> bool:
    """Has this part of the release anything that the task can be asked about?"""
    return any(row.n for row in result.rows(group=POOLED))


def _not_asked(results: Results) -> str:
    lines = "".join(
        f"<li>{escape(result.task.title)}: {escape(result.task.question)}{_left_out(result)}</li>\n"
        for result in results.tasks
        if not _asked(result)
    )
    if not lines:
        return ""
    return f"<h2>Not asked</h2>\n<p>This part of the release has nothing to ask this about.</p>\n<ul>{lines}</ul>\n"


def _left_out(result: TaskResult) -> str:
    return "".join(f'<p class="note">Left out: {n} {escape(why)}.</p>\n' for why, n in result.left_out.items())


def _floors(results: Results) -> set[str]:
    return {item.name for item in results.scorers if item.floor}


def _task(results: Results, result: TaskResult) -> str:
    task = result.task
    head = f'<h2>{escape(task.title)}</h2>\n<p>{escape(task.question)}</p>\n<p class="note">{escape(task.floors)}</p>\n'
    left = _left_out(result)
    rows = list(pooled_rows(result))
    tied = any(top.tie_rate is not None for top, _ in rows)
    cells = [
        (
            top.scorer,
            [
                *(parts.number(row, own_count(row, top)) for row in own),
                *([parts.share(top.tie_rate)] if tied else []),
                parts.share(top.coverage),
                f"{top.covered} <small>of {top.n}</small>",
                str(top.sessions),
            ],
        )
        for top, own in rows
    ]
    metrics = [f"{metric.name} {'' if metric.higher_is_better else '↓'}" for metric in task.metrics]
    columns = ["scorer", *metrics, *(["ties"] if tied else []), "coverage", "n", "sessions"]
    text = [head, parts.table(columns, cells, charts.classes(results), _floors(results)), left, _paired(result)]
    if task.other_aggregations:
        hows = [f"{how} of the curve" for how in (task.aggregation, *task.other_aggregations)]
        returns = [(scorer, [parts.number(row) for row in found]) for scorer, found in other_returns(result)]
        table = parts.table(["scorer", *hows], returns, charts.classes(results), _floors(results))
        text.append(f"<h3>{escape(task.headline)} by other returns</h3>\n{table}")
    text.append(charts.bars(results, result))
    return "".join(text)


def _paired(result: TaskResult) -> str:
    """The difference between every two files, over what both answered."""
    known = [row for row in result.comparisons if row.value is not None]
    if not known:
        return ""
    lines = "".join(
        f"<tr><td>{charts.label(row.first)} less {charts.label(row.second)}</td><td>{parts.number(row)}</td>"
        f"<td>{row.n}</td><td>{row.sessions}</td></tr>\n"
        for row in known
    )
    head = ("files, paired", result.task.headline, "both answered", "sessions")
    return parts.plain_table(head, lines)


def _notes(results: Results) -> str:
    text = ["<h2>Coverage and settings</h2>\n"]
    for item in results.scorers:
        if item.floor:
            continue
        settings = escape(json.dumps(item.parameters, sort_keys=True, ensure_ascii=False))
        also = f" Also run with {escape(', '.join(item.interventions))}." if item.interventions else ""
        text.append(
            f"<h3>{charts.label(item.name)}</h3>\n<p>Model <code>{escape(item.model)}</code>"
            f"{f', file <code>{escape(item.file)}</code>' if item.file else ''}. Curves for {item.predicted} of "
            f"{item.rollouts} rollouts; {item.missing} are not in the file, {item.failed} have an error in place of a "
            f"curve.{also}</p>\n<p>Parameters <code>{settings}</code></p>\n"
        )
        lines = [f"{count} × {escape(error)}" for error, count in item.errors.items()]
        lines += [f"{count} rows left out: {escape(rule_id)}" for rule_id, count in item.left_out.items()]
        if lines:
            text.append(f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>\n")
    if all(item.floor for item in results.scorers):
        text.append("<p>No predictions were given; only the floors are shown.</p>\n")
    return "".join(text)


def _humans(results: Results) -> str:
    humans, truths = results.evaluators, results.ground_truths
    facts = [
        (
            "Score against preference",
            f"{truths.agree} of {truths.both_decided}",
            f"pairs that both decide; {truths.score_tied_only} more are tied by score only, "
            f"{truths.preference_tied_only} by preference only, {truths.both_tied} by both",
        ),
        (
            "Agreement of evaluators (Krippendorff's alpha)",
            parts.number(humans.agreement),
            f"{humans.agreement.n} pairs that several judged, {humans.evaluators} evaluators",
        ),
        (
            "Agreement on what went wrong, by category (alpha)",
            parts.number(humans.failure_agreement),
            f"{humans.failure_agreement.n} rollouts that several annotators (people, models, rules) described",
        ),
        (
            "Preferred: the rollout shown first",
            parts.number(humans.first_preferred),
            f"{humans.first_preferred.n} decided choices; 0.5 without an order effect",
        ),
        (
            "Score of the first less that of the second",
            parts.number(humans.first_scored_higher),
            f"{humans.first_scored_higher.n} pairs; 0 without an order effect",
        ),
    ]
    if humans.site_share is not None:
        chance = "" if humans.site_p is None else f"; by chance as much in {humans.site_p:.3f} of the draws"
        facts.append(
            ("Variance of scores between sites", f"{humans.site_share:.1%}", f"sites differ in tasks too{chance}")
        )
    text = "".join(
        f"<tr><td>{escape(what)}</td><td>{number}</td><td>{escape(over)}</td></tr>\n" for what, number, over in facts
    )
    sections = ["<h2>The humans</h2>\n", parts.plain_table(("what", "value", "over"), text)]
    if humans.sites:
        rows = "".join(
            f"<tr><td>{escape(row.site)}</td><td>{parts.number(row.score)}</td><td>{row.score.n}</td>"
            f"<td>{parts.number(row.ties)}</td><td>{row.ties.n}</td><td>{row.score.sessions}</td></tr>\n"
            for row in humans.sites
        )
        head = ("site", "mean score", "rollouts", "share of ties", "choices", "sessions")
        sections.append(parts.plain_table(head, rows))
    if humans.policies:
        rows = "".join(
            f"<tr><td>{escape(row.policy)}</td><td>{parts.number(row)}</td><td>{row.comparisons}</td>"
            f"<td>{row.wins}</td><td>{row.ties}</td><td>{row.losses}</td></tr>\n"
            for row in humans.policies
        )
        head = ("policy", "strength", "comparisons", "won", "tied", "lost")
        note = (
            "Strengths are on a log scale with mean 0 (Bradley-Terry with Davidson's ties). A policy that won or lost "
            "every comparison has none."
        )
        sections.append(f'{parts.plain_table(head, rows)}<p class="note">{note}</p>\n')
    return "".join(sections)


def _definitions(results: Results) -> str:
    text = ["<h2>Definitions</h2>\n"]
    for result in results.tasks:
        task = result.task
        terms = "".join(
            f"<dt>{escape(metric.name)}</dt><dd>{escape(metric.definition)}</dd>\n" for metric in task.metrics
        )
        text.append(
            f'<h3>{escape(task.title)} <span class="dim">{escape(task.name)} {escape(task.version)}</span></h3>\n'
            f'<dl>\n{terms}</dl>\n<p class="note">Source: {escape(task.source)}.</p>\n'
        )
    engine, recipe = escape(results.engine_version), escape(results.release["recipe_sha256"])
    text.append(
        "<p>Ties are the units that a scorer calls equal; coverage is the share of the units that it answered; ↓ marks "
        "numbers of which less is better. A number that is undefined is –, never 0.</p>\n"
        f'<p class="note">bad-robot-behavior {engine}, recipe <code>{recipe}</code>.</p>\n'
    )
    return "".join(text)
