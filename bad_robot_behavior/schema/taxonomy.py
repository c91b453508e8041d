"""The failure taxonomy of taxonomy.yaml: categories, kinds, axes, and what the labels of other systems mean here.

The levels and axes are this project's synthesis of published failure taxonomies; each mapping names the system it is
from. A label that is not listed is refused, never guessed: `Taxonomy.map` raises UnknownLabelError.
"""

from __future__ import annotations

import difflib
import functools
from importlib import resources
from typing import Any

import msgspec

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.schema.plain_yaml import YamlError, parse_yaml

UNKNOWN = "unknown"


class UnknownLabelError(BadRobotError, KeyError):
    """A system or label that taxonomy.yaml does not map.

    Attributes: `system`, `label` (None where the system itself is unknown), `legal` (what would have been).
    """

    def __init__(self, system: str, label: str | None, legal: tuple[str, ...]) -> None:
        self.system = system
        self.label = label
        self.legal = legal
        wrong = system if label is None else label
        near = difflib.get_close_matches(str(wrong), legal, n=1, cutoff=0.6)
        what = f"no taxonomy is mapped under {system!r}" if label is None else f"{system} has no label {label!r}"
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        cure = "Use category unknown, or add the label to taxonomy.yaml"
        self.message = f"{what}{hint}; legal: {', '.join(legal)}. {cure}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr
        return self.message


class Kind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Level 2: what happened. `observable` is the default answer to "can a camera see it"; None: it depends."""

    slug: str
    name: str
    definition: str
    observable: bool | None


class Category(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Level 1: where in the manipulation pipeline it broke."""

    slug: str
    name: str
    definition: str
    kinds: dict[str, Kind]


class Axis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is judged apart from category and kind. `values` maps each legal value to its definition."""

    slug: str
    definition: str
    values: dict[str, str]


class Mapped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one label of another system means here.

    `category` and `kind` are both None where the label speaks of an axis only. `graded_outcome` lists every grade the
    label may stand for (more than one only where `coarse`). `coarse` marks labels that are noisy or only roughly match.
    """

    category: str | None = None
    kind: str | None = None
    severity: str | None = None
    recoverable: str | None = None
    intervention: str | None = None
    outcome: str | None = None
    graded_outcome: tuple[str, ...] = ()
    attributes: dict[str, str] = {}
    coarse: bool = False
    remark: str | None = None


class System(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published taxonomy. `labels` holds every spelling that is listed, aliases included."""

    slug: str
    title: str
    labels: dict[str, Mapped]


class Taxonomy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """taxonomy.yaml, checked."""

    version: str
    categories: dict[str, Category]
    axes: dict[str, Axis]
    mappings: dict[str, System]

    @property
    def legal_categories(self) -> tuple[str, ...]:
        return tuple(self.categories)

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(self.mappings)

    def legal_kinds(self, category: str) -> tuple[str, ...]:
        """The kinds of a category; empty for a category that does not exist."""
        found = self.categories.get(category)
        return tuple(found.kinds) if found else ()

    def is_legal(self, category: str, kind: str) -> bool:
        return kind in self.legal_kinds(category)

    def observable(self, category: str, kind: str) -> bool | None:
        """The kind's default answer to "can a camera see it". Raises KeyError for what is not legal."""
        return self.categories[category].kinds[kind].observable

    def map(self, system: str, label: str) -> Mapped:
        """What `label` of `system` means here. Case and runs of spaces do not matter, nothing else is forgiven.

        Raises UnknownLabelError, which lists what is legal, for a label or system that is not in taxonomy.yaml.
        """
        found = self.mappings.get(system)
        if found is None:
            raise UnknownLabelError(system, None, self.systems)
        mapped = self._folded.get((system, _fold(label)))
        if mapped is None:
            raise UnknownLabelError(system, label, tuple(found.labels))
        return mapped

    @functools.cached_property
    def _folded(self) -> dict[tuple[str, str], Mapped]:
        return {
            (slug, _fold(label)): mapped
            for slug, system in self.mappings.items()
            for label, mapped in system.labels.items()
        }


def source_text() -> str:
    """taxonomy.yaml as it stands, for copying into a release."""
    return resources.files("bad_robot_behavior.schema").joinpath("taxonomy.yaml").read_text(encoding="utf-8")


@functools.cache
def load() -> Taxonomy:
    """The taxonomy of this package, read once."""
    return parse(source_text())


def parse(text: str) -> Taxonomy:
    """A taxonomy from YAML text. Raises ValueError naming the entry that is malformed, doubled or maps to nothing."""
    try:
        data = parse_yaml(text)
    except YamlError as error:
        raise ValueError(f"taxonomy: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("taxonomy: must be a mapping")  # noqa: TRY004  one error type for all that is wrong with it
    try:
        taxonomy = msgspec.convert(
            {
                "version": data.get("version"),
                "categories": {k: _category(k, v) for k, v in data["categories"].items()},
                "axes": {k: {"slug": k, **v} for k, v in data["axes"].items()},
                "mappings": {k: _system(k, v) for k, v in data["mappings"].items()},
            },
            Taxonomy,
            strict=True,
        )
    except (msgspec.ValidationError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"taxonomy: malformed: {error!r}") from error
    _check(taxonomy)
    return taxonomy


def _category(slug: str, entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"slug": slug, "kinds": {k: {"slug": k, **v} for k, v in entry["kinds"].items()}}


def _system(slug: str, entry: dict[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for label, mapped in entry["labels"].items():
        spellings = [label, *mapped.get("also", ())]
        rest = {k: v for k, v in mapped.items() if k != "also"}
        for spelling in spellings:
            if not isinstance(spelling, str):
                raise TypeError(f"{slug}: label {spelling!r} is not text; put it in quotes")
            if spelling in labels:
                raise ValueError(f"taxonomy: {slug}: label {spelling!r} stands twice")
            labels[spelling] = rest
    return entry | {"slug": slug, "labels": labels}


def _check(taxonomy: Taxonomy) -> None:
    for category in taxonomy.categories.values():
        if UNKNOWN not in category.kinds:
            raise ValueError(f"taxonomy: category {category.slug} has no kind {UNKNOWN}")
    if UNKNOWN not in taxonomy.categories:
        raise ValueError(f"taxonomy: there is no category {UNKNOWN}")
    for system in taxonomy.mappings.values():
        folded: dict[str, Mapped] = {}
        for label, mapped in system.labels.items():
            place = f"taxonomy: {system.slug}: {label!r}"
            if folded.setdefault(_fold(label), mapped) != mapped:
                raise ValueError(f"{place} means two things, told apart by case or spaces only")
            if (mapped.category is None) != (mapped.kind is None):
                raise ValueError(f"{place} has only one of category and kind")
            if mapped.category is not None and not taxonomy.is_legal(mapped.category, mapped.kind or ""):
                raise ValueError(f"{place} maps to {mapped.category}/{mapped.kind}, which does not exist")
            for axis in ("severity", "recoverable", "intervention", "outcome"):
                value = getattr(mapped, axis)
                if value is not None and value not in taxonomy.axes[axis].values:
                    raise ValueError(f"{place} has {axis} {value!r}, which is not one of its values")
            for grade in mapped.graded_outcome:
                if grade not in taxonomy.axes["graded_outcome"].values:
                    raise ValueError(f"{place} has graded_outcome {grade!r}, which is not one of its values")


def _fold(label: str) -> str:
    return " ".join(label.casefold().split())
