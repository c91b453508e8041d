"""Reference pages in docs/ that are generated from the code, so that they cannot go stale unseen."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any

from bad_robot_behavior.schema import taxonomy
from bad_robot_behavior.schema.contracts import CONTRACTS, contract, file_name
from bad_robot_behavior.schema.rules import all_rules
from bad_robot_behavior.schema.validate import describe

_ROOMS = {
    "rollout": "table `rollouts`",
    "preference": "table `preferences`",
    "trajectory": "table `trajectories`",
    "demonstration": "table `demonstrations`",
    "reward_sample": "table `reward_samples`",
    "reward_quality": "`reward_quality.json`",
    "privacy_report": "`privacy.json`",
    "rejection": "`rejections.parquet`",
    "release": "`release.json`",
    "prediction": "a predictions file",
    "session": "no file: it travels with each rollout until packaging",
}


def rules_page() -> str:
    """docs/rules.md: every named rule of the package, by room."""
    lines = [
        "# Rules",
        "",
        *_prose(
            "Everything that can be wrong with data has a name. A defect that `bad-robot validate` "
            "prints and a rejection in "
            "`rejections.parquet` carry one of these ids. Written by `python -m "
            "bad_robot_behavior.schema --rules`."
        ),
    ]
    room = ""
    for one in all_rules():
        if one.id.partition(".")[0] != room:
            room = one.id.partition(".")[0]
            lines += ["", f"## {room}", "", "| rule | what must hold | cure |", "|---|---|---|"]
        lines.append(f"| `{one.id}` | {_cell(one.sentence)} | {_cell(one.cure)} |")
    return "\n".join(lines) + "\n"


def schema_page() -> str:
    """docs/schema.md: every field of every record."""
    lines = [
        "# Records and tables",
        "",
        *_prose(
            "The fields of every record, generated from `bad_robot_behavior/schema/records.py` with "
            "`python -m bad_robot_behavior.schema --docs docs`. The same contracts as JSON Schema "
            "2020-12 lie in "
            "`bad_robot_behavior/schema/json` and, in a release, in `schema/`. Null means unknown. "
            "Seconds are file time (what "
            "a player shows), scores and progress lie from 0 to 1, rewards from -1 to 1. In parquet, "
            "lists of numbers are "
            "float32 or int64, single numbers are float64. docs/rules.md lists the rules that hold "
            "across fields."
        ),
    ]
    shown: set[str] = set()
    for name, place in _ROOMS.items():
        schema = contract(name)
        lines += _record(schema["title"], schema, f"Lies in {place}; contract `{file_name(name)}`.", 2)
        shown.add(CONTRACTS[name].__name__)
    for name in _ROOMS:
        for part, node in contract(name).get("$defs", {}).items():
            if part not in shown:
                shown.add(part)
                lines += _record(part, node, "", 2)
    return "\n".join(lines) + "\n"


def recipe_page() -> str:
    """docs/recipe.md: every field of a recipe."""
    schema = contract("recipe")
    lines = [
        "# The recipe",
        "",
        *_prose(
            "A recipe is a YAML file that says how one release is built: `bad-robot build RECIPE -o "
            "RELEASE`. Paths in it are "
            "relative to the recipe's folder; tags and unknown fields are refused. Examples lie in "
            "`recipes/`. Generated from "
            "`bad_robot_behavior/schema/recipe.py` with `python -m bad_robot_behavior.schema --docs docs`."
        ),
    ]
    lines += _record("Recipe", schema, "The whole file. Contract: `recipe.schema.json`.", 2)
    for name, node in schema["$defs"].items():
        users = [field for field, one in schema["properties"].items() if name in json.dumps(one)]
        where = f"Under `{users[0]}`." if users else ""
        lines += _record(name, node, where, 2)
    lines += [
        "",
        "## What else must hold",
        "",
        "- `split.train + split.validation + split.test` is 1.",
        "- Sources have different names: a name goes into ids.",
        "- `scrub` has exactly one of `pseudonym_key_file`, `pseudonym_key_env` and `drop_evaluators: true`.",
        "- `detector: none` under `scrub.faces`, `scrub.names` or `scrub.text_on_screen` needs `waived_because`.",
        "- `screen.min_duration_s` is not above `screen.max_duration_s`.",
        "- `license_checked` is a date that there is.",
    ]
    return "\n".join(lines) + "\n"


def taxonomy_page() -> str:
    """docs/taxonomy.md: categories, kinds, axes and mappings."""
    known = taxonomy.load()
    lines = [
        "# The failure taxonomy",
        "",
        *_prose(
            f"Version {known.version}, generated from `bad_robot_behavior/schema/taxonomy.yaml` with "
            "`python -m bad_robot_behavior.schema --docs docs`. A failure has a category (where in the "
            "pipeline it broke), a "
            "kind (what happened there) and, apart from these, the axes below. A rollout carries as "
            "many failures as it has. "
            "`unknown` is legal at both levels, and a source with only a binary label never gets more "
            "than that."
        ),
        "",
        *_prose(
            "How to label: take the category in which things first went wrong, and add another failure "
            "for each further thing "
            "that a person would name. Give a time span where you can say it. Leave severity null "
            "where nobody judged it."
        ),
    ]
    for category in known.categories.values():
        lines += ["", f"## {category.name} (`{category.slug}`)", "", category.definition, ""]
        lines += ["| kind | what counts | visible |", "|---|---|---|"]
        seen = {True: "yes", False: "no", None: "depends"}
        lines += [f"| `{k.slug}` | {_cell(k.definition)} | {seen[k.observable]} |" for k in category.kinds.values()]
    lines += ["", "## Axes"]
    for axis in known.axes.values():
        lines += ["", f"### {axis.slug}", "", axis.definition, ""]
        lines += [f"- `{value}`: {definition}" for value, definition in axis.values.items()]
    lines += [
        "",
        "## What the labels of other systems mean here",
        "",
        *_prose(
            "The source's own label is always kept beside the mapped one, with the version of this "
            'file. "Coarse" marks labels '
            "that are noisy or match only roughly. A label that is not listed is refused, never guessed."
        ),
    ]
    for system in known.mappings.values():
        lines += ["", f"### {system.title} (`{system.slug}`)", "", "| label | here | remark |", "|---|---|---|"]
        for label, mapped in system.labels.items():
            lines.append(f"| {_cell(label)} | {_cell(_meaning(mapped))} | {_cell(_remark(mapped))} |")
    return "\n".join(lines) + "\n"


def _meaning(mapped: taxonomy.Mapped) -> str:
    parts = [f"`{mapped.category}` / `{mapped.kind}`"] if mapped.category is not None else []
    for axis in ("severity", "recoverable", "intervention", "outcome"):
        value = getattr(mapped, axis)
        if value is not None:
            parts.append(f"{axis} `{value}`")
    if mapped.graded_outcome:
        parts.append("graded_outcome " + " or ".join(f"`{grade}`" for grade in mapped.graded_outcome))
    parts += [f"{name}: {value}" for name, value in mapped.attributes.items()]
    return "; ".join(parts)


def _remark(mapped: taxonomy.Mapped) -> str:
    return "; ".join([*(["coarse"] if mapped.coarse else []), *([mapped.remark] if mapped.remark else [])])


def _record(title: str, node: dict[str, Any], note: str, level: int) -> list[str]:
    lines = ["", f"{'#' * level} {title}", "", " ".join(filter(None, [node.get("description", ""), note])), ""]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in node["properties"].items():
        default = "required" if name in node.get("required", []) else f"`{json.dumps(field.get('default'))}`"
        if isinstance(field.get("default"), dict) and field["default"]:
            default = "see below"
        elif isinstance(field.get("default"), dict):
            default = "`{}`"
        lines.append(f"| `{name}` | {_cell(describe(field))} | {default} | {_cell(field.get('description', ''))} |")
    return lines


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, 118)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES: dict[str, Callable[[], str]] = {
    "rules.md": rules_page,
    "schema.md": schema_page,
    "recipe.md": recipe_page,
    "taxonomy.md": taxonomy_page,
}
"""What `--docs` writes."""
