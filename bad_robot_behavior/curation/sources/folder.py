"""The `folder` source: what a lab drops in, a folder for each session with a session.yaml and mp4 files.

docs/lab-folder.md is the description of the format. `check` and `Folder.read` run the same code: what the one reports
as a defect, the other yields as a rejection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from tqdm import tqdm

from bad_robot_behavior import __version__
from bad_robot_behavior.curation.refusal import rejection
from bad_robot_behavior.curation.sources.consent import FILE as CONSENT
from bad_robot_behavior.curation.sources.consent import Consent, read_consent
from bad_robot_behavior.curation.sources.lab_files import Loaded, LoadedRollout, load, mp4_files, remains
from bad_robot_behavior.curation.sources.lab_yaml import Findings, printable
from bad_robot_behavior.curation.sources.session_file import (
    LabFile,
    PreferenceEntry,
    SessionFile,
    is_label,
    read_lab,
    subject,
)
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import (
    Choice,
    Defect,
    Failure,
    Outcome,
    Preference,
    Provenance,
    Rejection,
    Rollout,
    Session,
    SourceSettings,
    Synthetic,
    instruction_key,
    pair_id,
    rollout_id,
    rule,
    session_id,
    stable_id,
    task_category,
    taxonomy,
)

NO_SESSION = rule(
    "lab.no_session",
    "A lab folder must hold at least one folder with a session.yaml.",
    cure="Run `bad-robot init DIR` for one to fill in.",
)

_OUTCOMES: dict[bool | None, Outcome] = {True: "success", False: "failure", None: "unknown"}


class Folder:
    """A lab folder as a source of rollouts.

    What is said twice is taken from session.yaml first, then lab.yaml, then the recipe. A rollout carries the licence
    and attribution that the lab states; where it states none, the license stage looks into the recipe.
    """

    def __init__(self, settings: SourceSettings, folder: Path) -> None:
        self.name = settings.name
        self._settings = settings
        self._folder = folder
        self._lab: LabFile | None = None
        self._consent: Consent | None = None

    def sessions(self) -> list[str]:
        """Paths of the session folders inside the lab folder, sorted.

        A folder with mp4 files and no session.yaml is listed too, so that `read` can say what is missing.
        Raises SourceError for a folder that is missing or has no session, for a lab.yaml that is wrong, and for a
        consent.yaml that is not whole or says that someone was not asked.
        """
        self._read_lab()
        found = _sessions(self._folder)
        if not found:
            raise SourceError(f"{self._folder}: {NO_SESSION.sentence} {NO_SESSION.cure} [{NO_SESSION.id}]")
        return [printable(ref) for ref in found]

    def files(self, session: str) -> list[Path]:
        """lab.yaml, consent.yaml, and every regular file of the session's folder that is not hidden."""
        place = _place(self._folder, session)
        about = [self._folder / name for name in ("lab.yaml", CONSENT)]
        found = [path for path in sorted(place.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        return [*(path for path in about if path.is_file()), *found]

    def read(self, session: str, store: Store) -> Iterator[Rollout | Rejection]:
        """One rollout or rejection for each rollout of session.yaml, then the preferences that cannot be used.

        A session.yaml that is wrong as a whole gives a rejection with subject session, and one for each rollout and
        preference that is known to be lost with it.
        """
        lab = self._read_lab()
        findings = Findings("session.yaml")
        place = _place(self._folder, session)
        loaded = load(self._folder, place, lab, findings, store)
        broken = [defect for at, defect in findings.found if subject(at)[0] == "session"]
        if loaded is None or broken:
            yield from self._refuse(session, place, broken or findings.under())
        else:
            yield from self._usable(session, loaded, findings)

    def _refuse(self, session: str, place: Path, defects: list[Defect]) -> Iterator[Rejection]:
        yield self._reject("session", session_id(self.name, session), session, session, defects)
        lost = remains(self._folder, place)
        for label in lost.labels:
            yield self._reject("rollout", self._rollout_id(session, label), session, f"{session}/{label}", defects)
        for path in lost.videos:
            yield self._reject("rollout", self._stray_id(session, path), session, f"{session}/{path}", defects)
        for i in range(lost.preferences):
            pid = self._lost_id(session, i)
            yield self._reject("preference", pid, session, f"{session}/preferences[{i}]", defects)

    def _usable(self, session: str, loaded: Loaded, findings: Findings) -> Iterator[Rollout | Rejection]:
        made = self._session(session, loaded)
        for label, rollout in loaded.rollouts.items():
            ref = f"{session}/{label}"
            if rollout is None:
                rid = self._rollout_id(session, label)
                yield self._reject("rollout", rid, session, ref, findings.under("rollouts", label))
            else:
                yield self._rollout(session, label, loaded, rollout, made)
        for path, defect in loaded.strays:
            rid = self._stray_id(session, path)
            yield self._reject("rollout", rid, session, f"{session}/{path}", [defect])
        for i, preference in enumerate(loaded.preferences):
            if preference is None:
                defects = findings.under("preferences", i) or findings.under("preference")
                pid = self._lost_id(session, i)
                yield self._reject("preference", pid, session, f"{session}/preferences[{i}]", defects)

    def _read_lab(self) -> LabFile:
        if self._lab is None:
            _require_folder(self._folder)
            findings = Findings("lab.yaml")
            lab = read_lab(self._folder / "lab.yaml", findings)
            consent = Findings(CONSENT)
            self._consent = read_consent(self._folder, consent)
            for broken in (findings, consent):
                if broken.found:
                    first = msgspec.structs.replace(broken.under()[0], file=str(self._folder / broken.file))
                    raise SourceError(f"{first}{_more(len(broken.found))}")
            self._lab = lab
        return self._lab

    def _rollout_id(self, session: str, label: str) -> str:
        return rollout_id(self.name, session, printable(label), printable(label))

    def _stray_id(self, session: str, path: str) -> str:
        return stable_id("stray", self.name, session, path)

    def _lost_id(self, session: str, index: int) -> str:
        """The id of a preference whose two rollouts may not be known."""
        return stable_id("preference", self.name, session, str(index))

    def _session(self, session: str, loaded: Loaded) -> Session:
        sid = session_id(self.name, session)
        return Session(
            session_id=sid,
            feedback=loaded.header.feedback,
            preferences=tuple(
                self._preference(session, sid, entry, loaded) for entry in loaded.preferences if entry is not None
            ),
            # The feedback names the rollouts that were rejected too, and a reader of it must know that it does.
            labels=tuple((label, self._rollout_id(session, label)) for label in loaded.rollouts if is_label(label)),
        )

    def _preference(self, session: str, sid: str, entry: PreferenceEntry, loaded: Loaded) -> Preference:
        a, b = self._rollout_id(session, entry.a), self._rollout_id(session, entry.b)
        choice: Choice = "tie" if entry.preferred == "tie" else "a" if entry.preferred == entry.a else "b"
        return Preference(
            pair_id=pair_id(a, b),
            session_id=sid,
            rollout_a=a,
            rollout_b=b,
            preference=choice,
            feedback=entry.feedback or loaded.header.feedback,
            evaluator=loaded.defaults.evaluator,
        )

    def _rollout(self, session: str, label: str, loaded: Loaded, files: LoadedRollout, made: Session) -> Rollout:
        header, defaults, entry, videos = loaded.header, loaded.defaults, files.entry, files.videos
        license, evidence = self._license(header)
        return Rollout(
            rollout_id=self._rollout_id(session, label),
            session_id=made.session_id,
            source=self.name,
            source_ref=f"{session}/{label}",
            site=defaults.site,
            evaluator=defaults.evaluator,
            policy=entry.policy,
            robot=defaults.robot or self._settings.robot,
            instruction=header.instruction,
            instruction_key=instruction_key(header.instruction),
            task_category=header.task_category or task_category(header.instruction),
            task_category_source="human" if header.task_category else "rule",
            videos=videos,
            num_steps=files.num_steps,
            control_hz=defaults.control_hz,
            score=entry.score,
            success=entry.success,
            outcome=entry.outcome or _OUTCOMES[entry.success],
            failures=_failures(files, defaults),
            feedback=entry.feedback or header.feedback,
            license=license,
            license_evidence=evidence,
            attribution=defaults.attribution,
            synthetic=self._synthetic(),
            provenance=Provenance(
                raw_sha256=tuple(v.sha256 for v in (videos.exterior_1, videos.exterior_2, videos.wrist) if v),
                recipe_sha256=None,
                engine_version=__version__,
            ),
            session=made,
            trajectory=files.trajectory,
        )

    def _license(self, header: SessionFile) -> tuple[str | None, str | None]:
        """What the lab states, and where; None leaves it to the recipe, which the license stage asks next.

        Both come from the same file: evidence for one licence proves no other.
        """
        for stated, file in ((header, "session.yaml"), (self._read_lab(), "lab.yaml")):
            if stated.license is not None:
                return stated.license, stated.license_evidence or f"declared by the lab in its {file}"
        return None, None

    def _synthetic(self) -> Synthetic | None:
        generator = self._settings.synthetic_generator
        return Synthetic(generator=generator, injector=None, parameters="{}", seed=None) if generator else None

    def _reject(
        self,
        kind: Literal["rollout", "session", "preference"],
        subject_id: str,
        session: str,
        ref: str,
        defects: list[Defect],
    ) -> Rejection:
        """A rejection for the first defect. It is published, so the bad value, which may be private, stays out."""
        first = defects[0]
        place = first.file if first.row is None else f"{first.file} line {first.row}"
        detail = f"{place}{' ' + first.field if first.field else ''}: {first.message}"
        if first.legal is not None:
            detail += f"; legal: {first.legal}"
        detail += _more(len(defects))
        return rejection(self.name, session, kind, subject_id, printable(ref), first.rule, detail)

    def examine(self) -> tuple[list[Defect], list[Rollout]]:
        """As `check`, and the rollouts that could be read, whose videos are still to be screened."""
        _require_folder(self._folder)
        findings = Findings("lab.yaml")
        self._lab = lab = read_lab(self._folder / "lab.yaml", findings)
        consent = Findings(CONSENT)
        self._consent = read_consent(self._folder, consent)
        defects = findings.under() + consent.under()
        rollouts: list[Rollout] = []
        sessions = _sessions(self._folder)
        if not sessions:
            defects.append(Defect(rule=NO_SESSION.id, file=".", message="has no folder with a session.yaml"))
        for session in tqdm(sessions, desc="check", unit="session", disable=None):
            findings = Findings("session.yaml")
            loaded = load(self._folder, self._folder / session, lab, findings, None)
            found = findings.under() + [defect for _, defect in (loaded.strays if loaded else [])]
            defects += [msgspec.structs.replace(d, file=printable(f"{session}/{d.file}")) for d in found]
            if loaded is not None:
                items = self._usable(session, loaded, findings)
                rollouts += [item for item in items if isinstance(item, Rollout)]
        return [msgspec.structs.replace(d, file=os.path.normpath(self._folder / d.file)) for d in defects], rollouts


def check(folder: Path) -> list[Defect]:
    """Every defect of a lab folder, without building anything: videos and trajectories are opened, too.

    Files in the defects begin with `folder`; `row` is the line. Raises SourceError where there is no such folder.
    """
    return Folder(SourceSettings(name="lab", kind="folder", path=str(folder)), folder).examine()[0]


def is_lab_folder(folder: Path) -> bool:
    """Whether there is something of a lab's in a folder: lab.yaml, or at any depth a session.yaml or an mp4 file.

    Hidden folders and links to folders are not looked into.
    """
    if (folder / "lab.yaml").is_file():
        return True
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if "session.yaml" in files or mp4_files(Path(root), files):
            return True
    return False


def _failures(rollout: LoadedRollout, defaults: LabFile) -> tuple[Failure, ...]:
    known = taxonomy.load()
    return tuple(
        Failure(
            category=entry.category,
            kind=entry.kind,
            severity=entry.severity,
            start_s=entry.start_s,
            end_s=entry.end_s,
            description=entry.description,
            annotator=defaults.evaluator or defaults.site or "lab",
            annotator_type="human",
            observable=known.observable(entry.category, entry.kind),
            mapping_version=known.version,
        )
        for entry in rollout.entry.failures
    )


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise SourceError(f"{folder}: {what}. Give a lab folder; `bad-robot init {folder}` writes one to fill in")
    if (folder / "session.yaml").exists():
        raise SourceError(f"{folder}: is the folder of one session. Give the lab folder above it")


def _sessions(folder: Path) -> list[str]:
    """Relative paths of all session folders, and of all that look as if they should be one."""

    def stop(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}. Mend its permissions") from error

    found: list[str] = []
    for root, folders, files in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(root)
        inside = any((folder / parent / "session.yaml").exists() for parent in here.relative_to(folder).parents)
        if "session.yaml" in files or "session.yaml" in folders or (not inside and mp4_files(here, files)):
            found.append(here.relative_to(folder).as_posix())
        if "session.yaml" not in files and not inside:
            # os.walk does not follow these; they are listed so that `read` can refuse them by name.
            found += [(here / name).relative_to(folder).as_posix() for name in folders if (here / name).is_symlink()]
    return sorted(found)


def _place(folder: Path, session: str) -> Path:
    place = folder / session
    if place.is_dir():
        return place
    for ref in _sessions(folder):
        if printable(ref) == session:
            return folder / ref
    raise SourceError(f"{place}: was listed as a session and is gone. Start again when the folder is at rest")


def _more(count: int) -> str:
    return "" if count < 2 else f" (and {count - 1} more; `bad-robot validate` on the lab folder lists all)"
