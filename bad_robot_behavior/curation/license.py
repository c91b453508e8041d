"""The license stage: a verdict with evidence for each rollout, before any model or any release sees it.

Three places can state a licence, and the first that does decides: the rollout itself (a lab folder says it beside the
files), the recipe's entry of the source, and `upstream_licenses.yaml`, the table of what others publish. What the
table knows of a source is also held against the other two: a source that changes its upstream's licence is rejected.
Expressions are parsed and checked against the SPDX list by `license-expression` (SPDX specification 2.3, annex D).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from typing import Any, ClassVar, Literal

import msgspec
from license_expression import ExpressionError, LicenseSymbol, Licensing, get_spdx_licensing

from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import (
    LicenseSettings,
    LicenseVerdict,
    Rejection,
    Rollout,
    RolloutRow,
    Rule,
    SourceSettings,
    reject,
    rule,
    shorten,
)
from bad_robot_behavior.schema.plain_yaml import parse_yaml

__all__ = ["License", "Upstream", "spdx", "upstream_of", "verdict", "verdicts"]

UNKNOWN = rule(
    "license.unknown",
    "A rollout's licence must be known.",
    cure="State the licence beside the rollout or in the recipe's source, with the place where the owner says it.",
)
NOT_SPDX = rule(
    "license.not_spdx",
    "A licence must be a valid SPDX id or expression.",
    cure="Write it as spdx.org/licenses does, such as CC-BY-4.0; for a text of your own, LicenseRef-<name>.",
)
NO_EVIDENCE = rule(
    "license.no_evidence",
    "A licence needs evidence: where the owner of the data states it.",
    cure="Give license_evidence, the URL or file in which the statement stands.",
)
CONFLICT = rule(
    "license.conflict",
    "A stated licence must agree with what the data's publisher states.",
    cure="Use the publisher's licence; where it has changed, bring upstream_licenses.yaml up to date.",
)
NOT_ALLOWED = rule(
    "license.not_allowed",
    "A licence must be one that the recipe allows.",
    cure="Add it to license.allow if the release may carry it, or leave the source out.",
)

FORBIDS = rule(
    "license.forbids",
    "A licence must allow that data are passed on and derivatives made: scrubbing and cutting make derivatives.",
    cure="Leave the source out, or ask its owner for other terms.",
)

_VERSION = 2  # raise it when the same input would get another verdict
_MAX_LENGTH = 200  # an SPDX expression from outside that is longer than this is not looked at
_REFERENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_SAYS_NOTHING = frozenset({"", "unknown", "none", "n/a", "na", "null", "other", "tbd", "?"})


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of upstream_licenses.yaml: what a publisher states of its data."""

    title: str
    license: str | None
    covers: Literal["data", "code", "mixed"]
    statement: str
    evidence: str | None
    checked: str
    confidence: Literal["primary", "secondary"]
    attribution: str | None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    upstream: dict[str, Upstream]
    uses: dict[str, tuple[bool, bool, bool, bool]]


class _Statement(msgspec.Struct, frozen=True):
    """One place that may state a licence."""

    license: str | None
    evidence: str | None
    checked: str | None


@functools.cache
def _table() -> _Table:
    text = resources.files("bad_robot_behavior.curation").joinpath("upstream_licenses.yaml").read_text("utf-8")
    return msgspec.convert(parse_yaml(text), _Table)


def upstream_of(source: SourceSettings) -> Upstream | None:
    """What is published of a source's upstream, by its kind, else by its name; None for sources made by a simulator."""
    if source.synthetic_generator is not None:
        return None
    table = _table().upstream
    return table.get(source.kind) or table.get(source.name)


@functools.cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


def _parse(text: str) -> Any:
    """The tree of an SPDX expression, or None where it is none. `LicenseRef-` ids are legal, other unknown ids not."""
    if len(text) > _MAX_LENGTH:
        return None
    try:
        tree = _licensing().parse(text)
        unknown = _licensing().unknown_license_keys(tree)
    except (ExpressionError, LookupError, AttributeError, TypeError, ValueError, RecursionError):
        return None  # the library lets errors of its own parser through: "()" is an IndexError
    return tree if tree is not None and all(_REFERENCE.fullmatch(key) for key in unknown) else None


def spdx(text: str) -> str | None:
    """An SPDX id or expression in its canonical form, or None where it is not one."""
    tree = _parse(text)
    return None if tree is None else str(tree)


def mixture(ids: Iterable[str]) -> list[str]:
    """What makes licences an uneasy mix in one release, a sentence each; empty where there is nothing to say.

    Whoever takes a release as a whole is bound by the strictest of its parts: one source that forbids commercial use,
    or asks for share-alike, changes what the others are good for.
    """
    known = {name: _table().uses[name] for one in ids for name in _leaves(one) if name in _table().uses}
    limited = sorted(name for name, uses in known.items() if not uses[2])
    sharing = sorted(name for name, uses in known.items() if uses[3])
    free = sorted(name for name in known if name not in limited and name not in sharing)
    said = []
    if limited and len(limited) < len(known):
        others = sorted(set(known) - set(limited))
        said.append(f"{_list(limited)} forbids commercial use, {_list(others)} does not")
    if sharing and free:
        said.append(f"{_list(sharing)} asks derivatives to carry the same terms, {_list(free)} does not")
    if len(sharing) > 1:
        said.append(f"{_list(sharing)} each ask for their own terms on derivatives: nothing may be made out of both")
    return said


def _leaves(expression: str) -> list[str]:
    tree = _parse(expression)
    return [] if tree is None else [str(symbol) for symbol in _licensing().license_symbols(tree, unique=True)]


def _list(names: list[str]) -> str:
    return " and ".join(names)


def verdict(
    source: SourceSettings,
    declared: str | None = None,
    evidence: str | None = None,
    attribution: str | None = None,
    *,
    allow: Iterable[str],
) -> LicenseVerdict:
    """The verdict on rollouts of a source that state `declared` themselves (None: they state nothing).

    Pure, and idempotent: the licence, evidence and attribution of a verdict give the same verdict again. So the rows
    of a release, which carry all three, are enough to write LICENSES.md.
    """
    return _judge(source, declared, evidence, attribution, allow)[0]


def verdicts(
    rows: Iterable[RolloutRow], settings: LicenseSettings, sources: Iterable[SourceSettings]
) -> tuple[LicenseVerdict, ...]:
    """One verdict for each distinct (source, licence, evidence, attribution) of the rows, sorted; any order of rows
    gives the same. Raises RecipeError for a row of a source that is not among `sources`."""
    named = {source.name: source for source in sources}
    seen = {(row.source, row.license, row.license_evidence, row.attribution) for row in rows}
    made = {
        verdict(_source(named, name), declared, evidence, attribution, allow=settings.allow)
        for name, declared, evidence, attribution in seen
    }
    return tuple(sorted(made, key=lambda v: [str(value) for value in msgspec.structs.astuple(v)]))


class License:
    """Gives every rollout its canonical licence, attribution and evidence, or rejects it with one of the rules above.

    Raises RecipeError where `allow` holds something that is not an SPDX id, or an uneasy mix without a reason.
    """

    name: ClassVar[str] = "license"

    def __init__(self, settings: LicenseSettings, sources: tuple[SourceSettings, ...]) -> None:
        bad = [text for text in settings.allow if spdx(text) is None]
        if bad:
            raise RecipeError(
                f"license.allow: {', '.join(shorten(text) for text in bad)} is not an SPDX id; "
                "write it as spdx.org/licenses does, such as CC-BY-4.0"
            )
        uneasy = mixture(settings.allow)
        if uneasy and not settings.mixed_because:
            raise RecipeError(
                f"license.allow: {'; '.join(uneasy)}. One release under both binds its users to the stricter: give "
                "license.mixed_because with the reason, or build two releases"
            )
        self._settings = settings
        self._sources = {source.name: source for source in sources}

    def parameters(self) -> Mapping[str, Any]:
        fields = (
            "name",
            "kind",
            "license",
            "license_evidence",
            "license_checked",
            "attribution",
            "synthetic_generator",
        )
        return {
            "version": _VERSION,
            "table": msgspec.to_builtins(_table()),
            "allow": sorted(self._settings.allow),
            "sources": [{field: getattr(source, field) for field in fields} for source in self._sources.values()],
        }

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        judge = functools.lru_cache(maxsize=1024)(self._judge)
        for rollout in rollouts:
            made, broken = judge(rollout.source, rollout.license, rollout.license_evidence, rollout.attribution)
            if broken is not None:
                yield reject(rollout, "license", broken, made.reason)
            else:
                yield msgspec.structs.replace(
                    rollout, license=made.license, license_evidence=made.evidence, attribution=made.attribution
                )

    def _judge(
        self, name: str, declared: str | None, evidence: str | None, attribution: str | None
    ) -> tuple[LicenseVerdict, Rule | None]:
        return _judge(_source(self._sources, name), declared, evidence, attribution, self._settings.allow)


def _source(named: Mapping[str, SourceSettings], name: str) -> SourceSettings:
    if name not in named:
        raise RecipeError(f"source {shorten(name)} is not in the recipe; it has {', '.join(sorted(named))}")
    return named[name]


def _judge(
    source: SourceSettings,
    declared: str | None,
    evidence: str | None,
    attribution: str | None,
    allow: Iterable[str],
) -> tuple[LicenseVerdict, Rule | None]:
    upstream = upstream_of(source)
    places = [
        _Statement(_said(declared), _said(evidence), None),
        _Statement(_said(source.license), _said(source.license_evidence), source.license_checked),
    ]
    if upstream is not None:
        places.append(_Statement(upstream.license, upstream.evidence, upstream.checked))
    stated = next((place.license for place in places if place.license is not None), None)
    license = spdx(stated) if stated is not None else None
    proof = _proof(places, license)
    broken, reason = _fault(source, upstream, stated, license, proof, allow)
    uses = (None, None, None, None) if license is None else tuple(_use(license, i) for i in range(4))
    return LicenseVerdict(
        source=source.name,
        license=license,
        evidence=proof.evidence,
        checked=proof.checked,
        attribution=_said(attribution) or _said(source.attribution) or (upstream.attribution if upstream else None),
        redistribution=uses[0],
        derivatives=uses[1],
        commercial=uses[2],
        share_alike=uses[3],
        allowed=broken is None,
        reason=reason,
    ), broken


def _fault(
    source: SourceSettings,
    upstream: Upstream | None,
    stated: str | None,
    license: str | None,
    proof: _Statement,
    allow: Iterable[str],
) -> tuple[Rule | None, str]:
    """The first rule that is broken and the reason in words; the reason names no more than ids of licences."""
    if stated is None:
        return UNKNOWN, "no licence is stated" if upstream is None else f"no licence is stated. {upstream.statement}"
    if license is None:
        return NOT_SPDX, "the stated licence is not an SPDX id or expression"
    if upstream is not None and upstream.license is not None and license != spdx(upstream.license):
        return CONFLICT, f"{license} is stated, but {upstream.title} is under {upstream.license}"
    if proof.evidence is None:
        return NO_EVIDENCE, f"{license} is stated without evidence"
    if _use(license, 0) is False or _use(license, 1) is False:
        what = "passed on" if _use(license, 0) is False else "changed"
        return FORBIDS, f"{license} forbids that the data are {what}"
    allowed = {spdx(text) for text in allow}
    if not _evaluate(license, lambda leaf: leaf in allowed):
        return NOT_ALLOWED, f"{license} is not among the licences that the recipe allows"
    where = "made by a simulator" if source.synthetic_generator is not None else "as stated"
    if upstream is not None and upstream.license is not None:
        where = f"as its publisher states ({upstream.confidence} evidence)"
    return None, f"{license} is allowed by the recipe; {where}"


def _said(text: str | None) -> str | None:
    """A statement, or None where the words say nothing."""
    return None if text is None or text.strip().casefold() in _SAYS_NOTHING else text.strip()


def _proof(places: Iterable[_Statement], license: str | None) -> _Statement:
    """The first evidence that belongs to this licence, with the date of the place that knows that evidence."""
    fitting = [p for p in places if p.evidence and (p.license is None or spdx(p.license) == license)]
    if not fitting:
        return _Statement(license, None, None)
    dates = [p.checked for p in fitting if p.evidence == fitting[0].evidence and p.checked is not None]
    return _Statement(license, fitting[0].evidence, dates[0] if dates else None)


def _use(license: str, index: int) -> bool | None:
    def leaf(name: str) -> bool | None:
        return _table().uses[name][index] if name in _table().uses else None

    if index == 3:  # an obligation: AND has it where one part has, OR where both have
        value = _evaluate(license, lambda name: None if leaf(name) is None else not leaf(name))
        return None if value is None else not value
    return _evaluate(license, leaf)


def _evaluate(expression: str, leaf: Callable[[str], bool | None]) -> bool | None:
    """The value of a canonical SPDX expression: AND needs both, OR needs one, None is unknown (Kleene's logic)."""

    def value(node: Any) -> bool | None:
        if isinstance(node, LicenseSymbol):
            return leaf(str(node))
        parts = [value(part) for part in node.args]
        decisive = isinstance(node, _licensing().OR)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive

    return value(_parse(expression))
