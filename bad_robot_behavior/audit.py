"""All privacy detectors, and the licences, over a finished release: what `bad-robot audit` does.

What is found is told by its place and kind, never by its value, so that the report itself can be shown.

The scrub stage and this look through the same patterns, but not through the same code: texts are read out of the
tables as they are published, nothing is exempted but ids and hashes, and videos are taken apart by `media.boxes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow.parquet as pq
from tqdm import tqdm

from bad_robot_behavior import media
from bad_robot_behavior.builder.features import TABLES, VIDEO_CONFIG
from bad_robot_behavior.builder.loader import Release, open_release
from bad_robot_behavior.builder.reading import MANIFEST, inside
from bad_robot_behavior.curation.scrub import text as text_module
from bad_robot_behavior.curation.scrub.names import Names
from bad_robot_behavior.curation.scrub.pictures import Pictures
from bad_robot_behavior.curation.scrub.text import SessionText
from bad_robot_behavior.errors import MediaError, ReleaseError
from bad_robot_behavior.media.boxes import leftovers
from bad_robot_behavior.schema import Detector, FacesSettings, TextOnScreenSettings

_IDS = frozenset(
    {
        *("rollout_id", "session_id", "pair_id", "rollout_a", "rollout_b", "demonstration_id", "subject_id"),
        *("sha256", "prompt_sha256", "recipe_sha256", "raw_sha256", "content_sha256", "fingerprint", "mark"),
    }
)
_NAMES_STAY = frozenset({"attribution", "model", "scorer", "license_evidence", "detectors", "generator"})
"""Fields in which a name is no leak: whom a licence wants named, and what models and programs are called."""
_PSEUDONYM = re.compile(r"ev_[0-9a-f]{12}")
_JSON_LD = frozenset({"@id", "@type", "@json", "@vocab"})  # words of croissant.json that look like handles
_TEXTS = frozenset({".md", ".txt", ".yaml", ".yml"})
_GIVEN = frozenset({"taxonomy.yaml", "schema"})  # copied out of the package
NOT_ASKED = "was not asked for"
T = TypeVar("T", FacesSettings, TextOnScreenSettings)
_FOREIGN = frozenset({".git", ".cache", ".gitattributes"})


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """Something personal in a release: where, and of what kind. Never what."""

    kind: str
    file: str
    row: int | None = None
    id: str | None = None
    field: str | None = None
    span: tuple[int, int] | None = None
    detail: str | None = None

    def __str__(self) -> str:
        parts = [self.file]
        parts += [f"row {self.row}"] if self.row is not None else []
        parts += [self.id] if self.id else []
        parts += [self.field] if self.field else []
        parts += [f"characters {self.span[0]} to {self.span[1]}"] if self.span else []
        return f"{self.kind}: " + ", ".join(parts) + (f": {self.detail}" if self.detail else "")


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, by what, and what was found."""

    release: str
    strings: int
    files: int
    videos: int
    detectors: tuple[Detector, ...]
    leaks: tuple[Leak, ...]


def audit(
    release: Path, *, names: bool = True, faces: bool | None = None, text_on_screen: bool | None = None
) -> AuditReport:
    """Look through every string, file name and video of a release.

    names: look for names of people (extra `privacy`). faces, text_on_screen: look for them in the pictures of all
    videos; None: where the release's own recipe did. Raises MissingExtraError where a detector that is asked for is not
    installed, ReleaseError where there is no release.
    """
    loaded = open_release(release, videos=True)
    told = loaded.manifest.recipe.get("scrub", {})
    found = _Audit(
        loaded,
        Names() if names else None,
        Pictures(
            _settings(FacesSettings, told.get("faces"), faces),
            _settings(TextOnScreenSettings, told.get("text_on_screen"), text_on_screen),
        ),
    )
    leaks = tuple(found.run())
    return AuditReport(
        release=release.name,
        strings=found.strings,
        files=found.files,
        videos=found.videos,
        detectors=found.detectors(),
        leaks=leaks,
    )


def _settings(kind: type[T], told: dict[str, Any] | None, asked: bool | None) -> T:
    """How to look: as the recipe in the manifest did; where it did not and is asked to, in the usual way.

    A recipe that an older version wrote may have other settings; then the usual ones hold.
    """
    usual, told = kind(), told or {"detector": "none"}
    if asked is None:
        asked = told.get("detector") != "none"
    if not asked:
        return msgspec.structs.replace(usual, detector="none", waived_because=told.get("waived_because") or NOT_ASKED)
    try:
        return msgspec.convert(told | {"detector": usual.detector}, kind, strict=False)
    except msgspec.ValidationError:
        return usual


def summary(report: AuditReport) -> str:
    """The report in lines for a person."""
    lines = [str(leak) for leak in report.leaks]
    lines += [f"ran: {d.name} ({d.version})" for d in report.detectors if d.ran]
    lines += [f"did NOT run: {d.name}: {d.reason}" for d in report.detectors if not d.ran]
    found = f"{len(report.leaks)} found" if report.leaks else "nothing found"
    lines.append(
        f"{report.release}: {report.strings:,} texts, {report.files:,} files, {report.videos:,} videos: {found}"
    )
    return "\n".join(lines)


class _Audit:
    def __init__(self, release: Release, names: Names | None, pictures: Pictures) -> None:
        self._release = release
        self._root = release.path
        self._names = names
        self._pictures = pictures
        self._plain = SessionText()
        verdicts = release.manifest.licenses
        self._verdicts = {(v.source, v.license, v.evidence, v.attribution): v.allowed for v in verdicts}
        self.strings = self.files = self.videos = 0

    def detectors(self) -> tuple[Detector, ...]:
        names = Detector(name="personal_names", version=None, ran=False, reason=NOT_ASKED)
        if self._names is not None:
            names = Detector(name="personal_names", version=self._names.version, ran=True)
        return (
            Detector(name="text_patterns", version=str(text_module.VERSION), ran=True),
            names,
            Detector(name="container", version=media.VERSION, ran=True),
            *self._pictures.detectors(),
        )

    def run(self) -> Iterator[Leak]:
        listed = {file.path for file in self._release.manifest.files} | {MANIFEST}
        paths = [path for path in sorted(self._root.rglob("*")) if path.is_file() or path.is_symlink()]
        for path in tqdm(paths, unit="file", desc="audit", disable=None, leave=False):
            name = path.relative_to(self._root).as_posix()
            if name.split("/")[0] in _FOREIGN:
                continue
            self.files += 1
            shown = self._plain.scrub(name)[0]  # a file's name may be the leak
            if name not in listed:
                yield Leak(kind="UNLISTED", file=shown, detail="is in no manifest, so nobody vouches for it")
            yield from self._look(self._plain, name, file=shown, field="file name")
            try:
                inside(self._root, name)
            except ReleaseError:
                yield Leak(kind="LINK", file=shown, detail="leads out of the release")
                continue
            yield from self._file(path, shown)

    def _file(self, path: Path, name: str) -> Iterator[Leak]:
        """`name`: the path in the release as it may be shown."""
        if path.suffix == ".parquet":
            yield from self._table(path, name)
        elif path.suffix == ".mp4":
            yield from self._video(path, name, None)
        elif name.split("/")[0] in _GIVEN:
            return
        elif path.suffix == ".json":
            yield from self._json(path, name)
        elif path.suffix in _TEXTS:
            # Line by line and without names: a card may cite authors, and a licence may want its owner named.
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                yield from self._look(self._plain, line, file=name, row=number)
        else:
            yield Leak(kind="UNREAD", file=name, detail="is of a kind that no detector reads")

    def _json(self, path: Path, name: str) -> Iterator[Leak]:
        try:
            parsed = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            yield Leak(kind="UNREAD", file=name, detail="is no valid JSON")
            return
        for field, value in _strings(parsed, ""):
            if value not in _JSON_LD:
                yield from self._look(self._plain, value, file=name, field=field)

    def _table(self, path: Path, name: str) -> Iterator[Leak]:
        config = name.split("/")[0]
        try:
            with pq.ParquetFile(path) as file:
                for key, value in (file.schema_arrow.metadata or {}).items():
                    if key not in (b"huggingface", b"ARROW:schema"):
                        text = f"{key.decode(errors='replace')}={value.decode(errors='replace')}"
                        yield from self._look(self._plain, text, file=name, field="metadata")
                row = 0
                for batch in file.iter_batches(batch_size=16 if config == VIDEO_CONFIG else 256):
                    for record in batch.to_pylist():
                        yield from self._record(record, name, row, config)
                        row += 1
        except (OSError, ValueError) as error:  # every error of Arrow is one of these
            raise ReleaseError(f"{path}: cannot be read: {error}; `bad-robot validate` tells what is wrong") from error

    def _record(self, record: dict[str, Any], name: str, row: int, config: str) -> Iterator[Leak]:
        identity = next((record[key] for key in ("rollout_id", "pair_id", "subject_id") if key in record), None)
        known = isinstance(identity, str) and re.fullmatch("[0-9a-f]{20}", identity)
        place: dict[str, Any] = {"file": name, "row": row, "id": identity if known else None}
        if config == VIDEO_CONFIG and isinstance(record.get("video"), dict):
            data = record.pop("video")["bytes"]
            yield from self._video(data, name, place)
        if config in TABLES and record.get("evaluator") and not _PSEUDONYM.fullmatch(record["evaluator"]):
            yield Leak(kind="EVALUATOR", field="evaluator", detail="is no keyed pseudonym", **place)
        if config == "rollouts":
            yield from self._license(record, place)
        # What one text of a row introduces is looked for in the others, as in the scrub stage.
        text = SessionText(names=self._names)
        strings = [
            (field, value, bool(_NAMES_STAY & set(re.split(r"[.\[\]0-9]+", field))))
            for field, value in _strings(record, "")
        ]
        for _, value, names_stay in strings:
            if not names_stay:
                text.learn(value)
        for field, value, names_stay in strings:
            yield from self._look(SessionText() if names_stay else text, value, field=field, **place)

    def _license(self, record: dict[str, Any], place: dict[str, Any]) -> Iterator[Leak]:
        terms = (record["source"], record["license"], record["license_evidence"], record["attribution"])
        allowed = self._verdicts.get(terms)
        if allowed is None:
            yield Leak(
                kind="LICENSE", field="license", detail="no verdict of release.json is about these terms", **place
            )
        elif not allowed:
            yield Leak(kind="LICENSE", field="license", detail="the verdict in release.json forbids it", **place)

    def _look(self, session: SessionText, text: str, **place: Any) -> Iterator[Leak]:
        self.strings += 1
        camera = str(place.get("field") or "").endswith(".camera")
        for kind, span in session.places(text, camera=camera):
            yield Leak(kind=kind, span=span, **place)

    def _video(self, source: Path | bytes, name: str, place: dict[str, Any] | None) -> Iterator[Leak]:
        self.videos += 1
        where = place or {"file": name}
        for left in leftovers(source):
            yield Leak(kind="CONTAINER", detail=left, **where)
        try:
            found = media.probe(source)
            for tag in found.tags:
                yield Leak(kind="TAG", detail=tag if tag.isascii() and tag.isprintable() else None, **where)
            seen = self._pictures(source, found.fps, SessionText(names=self._names).found)
            for kind in (["FACE"] if seen.faces else []) + sorted(f"{text.kind}_ON_SCREEN" for text in seen.text):
                frames = sorted(seen.masks or ())
                yield Leak(kind=kind, detail=f"would mask {len(frames)} frames, the first is {frames[0]}", **where)
        except MediaError as error:
            yield Leak(kind="UNREAD", detail=f"breaks at {error.where}: {error.reason}", **where)


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Every string of a row with the path of its field; ids and hashes are left out where they have their form."""
    if isinstance(value, str):
        if field.rsplit(".", 1)[-1].rstrip("[]0123456789") not in _IDS or not re.fullmatch(r"[0-9a-f]{8,2048}", value):
            yield field, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings(item, f"{field}[{index}]")
