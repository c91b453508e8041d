"""The files of a release beside its tables and videos: card, licences, change log, taxonomy, schemas, manifest."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bad_robot_behavior import schema
from bad_robot_behavior.builder.card import card, plain_text
from bad_robot_behavior.builder.croissant import croissant
from bad_robot_behavior.builder.reading import MANIFEST
from bad_robot_behavior.schema import (
    LicenseVerdict,
    PrivacyReport,
    Recipe,
    ReleaseFile,
    ReleaseManifest,
    RewardQuality,
)

REWARD_QUALITY = "reward_quality.json"
_SCHEMA = Path(schema.__file__).parent
PRIVACY = "privacy.json"


@functools.cache
def taxonomy_version() -> str:
    """The version that taxonomy.yaml gives itself."""
    text = (_SCHEMA / "taxonomy.yaml").read_text(encoding="utf-8")
    # libyaml parses this file in 20 ms, PyYAML's own parser in 150; a checkout may have been installed without it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return str(yaml.load(text, Loader=loader)["version"])  # noqa: S506 - both are safe loaders


def write_paperwork(
    root: Path,
    recipe: Recipe,
    draft: ReleaseManifest,
    changelog: str | None,
    privacy: PrivacyReport,
    quality: RewardQuality | None,
) -> ReleaseManifest:
    """Write everything that describes a release whose tables and videos lie in `root`, release.json last.

    `draft` is the manifest without its files; returns it with them.
    """
    _write(root / "LICENSES.md", licenses(draft.licenses, recipe.license.mixed_because))
    _write(root / "CHANGELOG.md", changelog or f"# Changes\n\n## {recipe.version}\n\nFirst entry of this file.\n")
    shutil.copyfile(_SCHEMA / "taxonomy.yaml", root / "taxonomy.yaml")
    (root / "schema").mkdir()
    for path in sorted((_SCHEMA / "json").glob("*.json")):
        shutil.copyfile(path, root / "schema" / path.name)
    if quality is not None:
        (root / REWARD_QUALITY).write_bytes(msgspec.json.format(msgspec.json.encode(quality), indent=1) + b"\n")
    (root / PRIVACY).write_bytes(msgspec.json.format(msgspec.json.encode(privacy), indent=1) + b"\n")
    data = msgspec.structs.replace(draft, files=list_files(root))
    _write(root / "README.md", card(recipe, data, privacy.unscrubbed, quality))
    _write(root / "croissant.json", croissant(recipe, data))
    described = tuple(_file(root, root / name) for name in ("README.md", "croissant.json"))
    manifest = msgspec.structs.replace(data, files=tuple(sorted((*data.files, *described), key=lambda file: file.path)))
    write_manifest(root, manifest)
    return manifest


def write_manifest(root: Path, manifest: ReleaseManifest) -> None:
    """Write release.json."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (root / MANIFEST).write_bytes(text + b"\n")


def list_files(root: Path) -> tuple[ReleaseFile, ...]:
    """Every file under `root` but release.json, sorted by path, with size and SHA-256."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path != root / MANIFEST)
    return tuple(sorted((_file(root, path) for path in paths), key=lambda file: file.path))


def public_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe as release.json shows it: folders by their last part, endpoints by their model, keys not at all.

    Paths, addresses, time-outs and the like say whose machine a release was made on and decide none of its bytes, so
    the same recipe run elsewhere reads the same here. `recipe_sha256` is the hash of this form.
    """
    data: dict[str, Any] = msgspec.to_builtins(recipe)
    for source in data["sources"]:
        source["path"] = Path(source["path"]).name or "."
    scrub = data["scrub"]
    scrub["pseudonym_key_file"] = scrub["pseudonym_key_file"] and "not published"
    scrub["pseudonym_key_env"] = scrub["pseudonym_key_env"] and "not published"
    data["split"]["keep_test"] = data["split"]["keep_test"] and Path(data["split"]["keep_test"]).name
    data["reward"]["checkpoint"] = data["reward"]["checkpoint"] and Path(data["reward"]["checkpoint"]).name
    for stage in ("distill", "reward"):
        if data[stage]["endpoint"] is not None:
            shown = ("model", "prompt_price", "completion_price")
            data[stage]["endpoint"] = {name: data[stage]["endpoint"][name] for name in shown}
        if data[stage]["model"] is not None:
            local = data[stage]["model"]["path"]
            hidden = Path(local).is_absolute() or local.startswith((".", "~"))
            data[stage]["model"] = data[stage]["model"] | {"path": Path(local).name if hidden else local}
            del data[stage]["model"]["device"]
    return data


def licenses(verdicts: tuple[LicenseVerdict, ...], mixed_because: str | None = None) -> str:
    """LICENSES.md: a row for each source, with the evidence, and what follows for the release as a whole."""
    lines = [
        "# Licences",
        "",
        "What is known of each source's licence, where it stands, and what follows. `unknown` blocks a source.",
        "",
        "| source | licence | evidence | read on | attribution | redistribution | derivatives | commercial "
        "| share-alike | allowed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        cells = [
            verdict.source,
            verdict.license,
            verdict.evidence,
            verdict.checked,
            verdict.attribution,
            _word(verdict.redistribution),
            _word(verdict.derivatives),
            _word(verdict.commercial),
            _word(verdict.share_alike),
            f"{_word(verdict.allowed)}: {verdict.reason}",
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join([*lines, "", "## The release as a whole", "", *_whole(verdicts, mixed_because)]) + "\n"


def _whole(verdicts: tuple[LicenseVerdict, ...], mixed_because: str | None) -> Iterator[str]:
    """What binds whoever uses all sources together: the strictest of each kind, by name."""

    def named(found: Iterable[LicenseVerdict]) -> str:
        return ", ".join(sorted({f"{_cell(v.source)} ({_cell(v.license)})" for v in found}))

    limited = [v for v in verdicts if v.commercial is False]
    sharing = [v for v in verdicts if v.share_alike]
    unknown = [v for v in verdicts if v.commercial is None or v.share_alike is None]
    owners = sorted({_cell(v.attribution) for v in verdicts if v.attribution})
    yield f"- Name: {'; '.join(owners)}." if owners else "- No source says whom to name."
    yield "- Commercial use: " + (f"not of what comes from {named(limited)}." if limited else "no source forbids it.")
    if sharing:
        yield f"- Share-alike: what is made out of {named(sharing)} must carry the same licence."
    if len({v.license for v in sharing}) > 1:
        yield "- These licences each ask for themselves: nothing may be made out of both and published."
    if unknown:
        yield f"- What the terms of {named(unknown)} ask is not in our table: read them."
    if mixed_because:
        yield f"- Why they are in one release: {_cell(mixed_because)}"
    yield "- Columns `license`, `license_evidence` and `attribution` of every row say what holds for it alone."


def _word(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def _cell(text: str | None) -> str:
    return "unknown" if text is None else plain_text(text)


def _file(root: Path, path: Path) -> ReleaseFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ReleaseFile(path=path.relative_to(root).as_posix(), sha256=digest, size_bytes=path.stat().st_size)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
