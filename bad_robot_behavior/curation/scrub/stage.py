"""The scrub stage: texts, evaluators and sites, containers, sound and faces of each rollout.

It stands before every stage that may call a model. A detector that did not run is listed as such and never as clean.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from bad_robot_behavior import media
from bad_robot_behavior.curation.scrub import text as text_module
from bad_robot_behavior.curation.scrub.names import Names
from bad_robot_behavior.curation.scrub.pictures import Pictures
from bad_robot_behavior.curation.scrub.pseudonyms import Pseudonyms, normalise_site, read_pseudonyms
from bad_robot_behavior.curation.scrub.sheet import Sheet
from bad_robot_behavior.curation.scrub.text import Found, SessionText
from bad_robot_behavior.curation.scrub.walk import walk
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import (
    ROLES,
    Detector,
    Failure,
    Finding,
    Privacy,
    Rejection,
    Rollout,
    ScrubSettings,
    Session,
    Video,
    Videos,
    instruction_key,
    reject,
    rule,
)
from bad_robot_behavior.schema.trajectory_file import read_arrays, write_arrays

UNREADABLE = rule(
    "scrub.unreadable_video",
    "A video must be readable to its end when it is scrubbed.",
    cure="Record or copy the file again; a video that cannot be read cannot be searched for faces.",
)

_VERSION = 5  # raise it when the same rollout would come out otherwise
ON_SCREEN = "text_on_screen"
"""Place of what was read in a picture, among the names of fields."""
_PROGRAM_TAGS = frozenset({"encoder", "duration", "language"})
_NO_PERSON = frozenset({"human", "lab", "evaluator", "annotator", "author", "operator", "expert", "crowd"})


class _Cleaned(msgspec.Struct, frozen=True):
    """One video after scrubbing, and what was done to it."""

    video: Video
    faces_found: int | None
    frames_masked: int | None
    audio_removed: bool
    metadata_removed: bool


class _Redactor:
    """Applies a session's text scrubber to records and notes what was where, each distinct string once."""

    def __init__(self, text: SessionText, pseudonym: Pseudonyms | None) -> None:
        self._text = text
        self._pseudonym = pseudonym
        self._seen: dict[tuple[str, bool], tuple[str, tuple[Found, ...]]] = {}
        self._on_screen: list[Found] = []

    def __call__(self, text: str, field: str) -> str:
        # An attribution is the name that the owner of the rights wants to be called by, and a licence may demand it:
        # it loses addresses and numbers, not names.
        words = SessionText() if field == "attribution" else self._text
        camera = field == "camera"
        self._seen.setdefault((text, camera), (field, words.found(text, camera=camera)))
        return words.scrub(text, camera=camera)[0]

    def on_screen(self, text: str) -> tuple[Found, ...]:
        """What is personal in a line that was read in a picture."""
        return self._text.found(text)

    def masked(self, found: tuple[Found, ...]) -> None:
        """Note what was masked in the pictures of one video."""
        self._on_screen += found

    def findings(self) -> tuple[Finding, ...]:
        counts: Counter[tuple[str, str, str | None]] = Counter()
        for field, found in (*self._seen.values(), (ON_SCREEN, self._on_screen)):
            for kind, value in found:
                counts[kind, field, self._pseudonym.mark(value) if self._pseudonym else None] += 1
        ordered = sorted(counts, key=lambda key: tuple(part or "" for part in key))
        return tuple(Finding(kind=key[0], place=key[1], count=counts[key], mark=key[2]) for key in ordered)


class Scrub:
    """Takes personal data out of rollouts. Videos come out as fresh mp4 files in the store.

    Raises RecipeError where the key for pseudonyms is missing or shorter than 16 bytes, and MissingExtraError where
    a detector that the recipe asks for is not installed; both when it is made, before any work.
    """

    name: ClassVar[str] = "scrub"

    def __init__(self, settings: ScrubSettings, recipe_folder: Path) -> None:
        self._settings = settings
        self._pseudonym = read_pseudonyms(settings, recipe_folder)
        self._pictures = Pictures(settings.faces, settings.text_on_screen)
        self._names = None if settings.names.detector == "none" else Names()

    def parameters(self) -> Mapping[str, Any]:
        return {
            "version": _VERSION,
            "key_id": self._pseudonym.key_id if self._pseudonym else None,
            "faces": msgspec.to_builtins(self._settings.faces),
            "text_on_screen": msgspec.to_builtins(self._settings.text_on_screen),
            "names": msgspec.to_builtins(self._settings.names),
            "detectors": msgspec.to_builtins(self._detectors()),
        }

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        for _, group in itertools.groupby(rollouts, key=lambda rollout: rollout.session_id):
            session = tuple(group)  # records only: what one rollout's text introduces, the others may use
            text = self._session_text(session)
            for rollout in session:
                yield self._scrub(rollout, text, store)

    def _session_text(self, rollouts: tuple[Rollout, ...]) -> SessionText:
        people = {rollout.evaluator for rollout in rollouts}
        people |= {preference.evaluator for rollout in rollouts for preference in rollout.session.preferences}
        people |= {failure.annotator for rollout in rollouts for failure in rollout.failures if _is_person(failure)}
        people -= {rollout.site for rollout in rollouts}
        text = SessionText(sorted(person for person in people if person is not None), self._names)

        def learn(string: str, field: str) -> str:
            if field not in ("camera", "attribution"):
                text.learn(string)
            return string

        for rollout in rollouts:
            walk(rollout, learn)
        return text

    def _scrub(self, rollout: Rollout, text: SessionText, store: Store) -> Rollout | Rejection:
        redact = _Redactor(text, self._pseudonym)
        session = walk(rollout.session, redact)  # first: its placeholders have the same numbers in every rollout
        source_ref = redact(rollout.source_ref, "source_ref")
        cleaned = {}
        for role in ROLES:
            video: Video | None = getattr(rollout.videos, role)
            if video is None:
                continue
            try:
                cleaned[role] = self._clean(video, f"{rollout.rollout_id}_{role}", redact, store)
            except MediaError as error:
                named = msgspec.structs.replace(rollout, source_ref=source_ref)
                return reject(named, "scrub", UNREADABLE, f"{role}: broke at {error.where}: {error.reason}")
        made = walk(msgspec.structs.replace(rollout, session=session), redact)
        site, failures = self._site(rollout, redact), tuple(self._failure(f, rollout, redact) for f in made.failures)
        videos = {
            role: msgspec.structs.replace(done.video, camera=getattr(made.videos, role).camera)
            for role, done in cleaned.items()
        }
        return msgspec.structs.replace(
            made,
            session=self._session(session),
            source_ref=source_ref,
            site=site,
            evaluator=self._person(rollout.evaluator),
            failures=failures,
            instruction_key=instruction_key(made.instruction),
            videos=Videos(**videos),
            trajectory=self._trajectory(rollout.trajectory, redact, store),
            privacy=self._privacy(list(cleaned.values()), redact.findings()),
        )

    def _trajectory(self, path: str | None, redact: _Redactor, store: Store) -> str | None:
        """The file of states and actions with its column names scrubbed: a lab names columns as it likes."""
        if path is None:
            return None
        arrays = read_arrays(Path(path))
        columns = tuple(
            tuple(
                msgspec.structs.replace(c, name=redact(c.name, "name"), unit=c.unit and redact(c.unit, "unit"))
                for c in own
            )
            for own in (arrays.state_columns, arrays.action_columns)
        )
        if columns == (arrays.state_columns, arrays.action_columns):
            return path
        made = msgspec.structs.replace(arrays, state_columns=columns[0], action_columns=columns[1])
        return str(store.add(lambda place: write_arrays(place, made), ".npz"))

    def _person(self, name: str | None) -> str | None:
        return None if name is None or self._pseudonym is None or not name.strip() else self._pseudonym(name)

    def _session(self, session: Session) -> Session:
        preferences = tuple(
            msgspec.structs.replace(preference, evaluator=self._person(preference.evaluator))
            for preference in session.preferences
        )
        return msgspec.structs.replace(session, preferences=preferences)

    def _site(self, rollout: Rollout, redact: _Redactor) -> str | None:
        """The institution in one spelling; None where the site holds anything personal."""
        if rollout.site is None or redact(rollout.site, "site") != rollout.site:
            return None
        return normalise_site(rollout.site)

    def _failure(self, failure: Failure, rollout: Rollout, redact: _Redactor) -> Failure:
        if failure.annotator_type != "human":
            return msgspec.structs.replace(failure, annotator=redact(failure.annotator, "annotator"))
        if not _is_person(failure):
            return failure
        if failure.annotator == rollout.site:
            return msgspec.structs.replace(failure, annotator=self._site(rollout, redact) or "human")
        return msgspec.structs.replace(failure, annotator=self._person(failure.annotator) or "human")

    def _clean(self, video: Video, name: str, redact: _Redactor, store: Store) -> _Cleaned:
        """A video without sound, tags, faces and personal text. Raises MediaError where it cannot be read.

        What is masked goes onto contact sheets `name` in folder `masked` beside the store.
        """
        if video.path is None:
            raise MediaError("video", "open", "the record names no file")
        source = Path(video.path)
        found = media.probe(source)
        seen = self._pictures(source, found.fps, redact.on_screen)
        redact.masked(seen.text)
        if seen.masks:
            sheet = Sheet(store.root.parent / "masked", name, seen.masks)
            place = store.add(lambda p: media.encode(p, sheet.drawn(media.frames(source)), found.fps), ".mp4")
            made = media.video(place, video.camera, video.capture_hz)
        else:
            made = media.remuxed(video, store.add(lambda p: media.remux(source, p), ".mp4"))
        return _Cleaned(
            made,
            seen.faces,
            None if seen.masks is None else len(seen.masks),
            audio_removed=found.has_audio,
            metadata_removed=_told_something(found),
        )

    def _detectors(self) -> tuple[Detector, ...]:
        if self._names is None:
            reason = self._settings.names.waived_because
            names = Detector(name="personal_names", version=None, ran=False, reason=reason)
        else:
            names = Detector(name="personal_names", version=self._names.version, ran=True)
        return (
            Detector(name="text_patterns", version=_text_version(), ran=True),
            names,
            Detector(name="container", version=media.VERSION, ran=True),
            *self._pictures.detectors(),
        )

    def _privacy(self, cleaned: list[_Cleaned], findings: tuple[Finding, ...]) -> Privacy:
        detectors = self._detectors()
        faces = [done.faces_found for done in cleaned if done.faces_found is not None]
        masked = [done.frames_masked for done in cleaned if done.frames_masked is not None]
        audio, tags = any(done.audio_removed for done in cleaned), any(done.metadata_removed for done in cleaned)
        redactions = sum(finding.count for finding in findings)
        anything = bool(redactions or sum(faces) or audio or tags)
        complete = all(detector.ran for detector in detectors)
        return Privacy(
            faces_found=sum(faces) if faces else None,
            frames_masked=sum(masked) if masked else None,
            text_redactions=redactions,
            audio_removed=audio,
            metadata_removed=tags,
            detectors=detectors,
            findings=findings,
            verdict="not_fully_checked" if not complete else "redacted" if anything else "clean",
        )


def _text_version() -> str:
    return f"{text_module.VERSION}, phonenumbers {metadata.version('phonenumbers')}"


def _is_person(failure: Failure) -> bool:
    return failure.annotator_type == "human" and failure.annotator.strip().casefold() not in _NO_PERSON


def _told_something(found: media.Probe) -> bool:
    """Did the container hold more than the pictures, the sound and what a writing program puts into every file?"""
    tags = {key.split(".", 1)[-1].casefold() for key in found.tags}
    return bool(tags - _PROGRAM_TAGS) or any(kind not in ("video", "audio") for kind in found.streams)
