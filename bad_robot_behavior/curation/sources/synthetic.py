"""The `synthetic` source: a set that `bad-robot synthesize` or `bad-robot edit` wrote, with the truth of each rollout.

`schema.synthetic_file` describes the layout; `synthetic_episode` reads one episode. The files count as foreign ones:
a set may have been sent by someone else.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from bad_robot_behavior import __version__
from bad_robot_behavior.curation.refusal import Refusal, rejection
from bad_robot_behavior.curation.sources.synthetic_episode import Read, inside, read_episode
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import (
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
)
from bad_robot_behavior.schema.synthetic_file import Episode, Pair, Scene, SyntheticSet

UNREADABLE = rule(
    "synthetic.unreadable",
    "synthetic.json and every scene.json must be JSON of the layout that docs/synthesize.md describes.",
    cure="Run the command that made the set again; it makes what is missing.",
)
NAMES = rule(
    "synthetic.names",
    "A scene must bear the name of its folder; names and labels of its episodes must be different, and a twin's there.",
    cure="Run the command that made the set again, and do not rename what it wrote.",
)
PAIR = rule(
    "synthetic.pair",
    "A pair must name two different episodes of its scene that can be read, and no two pairs the same ones.",
    cure="Mend what the rejections of these rollouts name.",
)

SET_FILE, SCENE_FILE = "synthetic.json", "scene.json"
MAX_JSON = 1 << 24
"""Bytes of a scene.json beyond which it is not read; one of twenty episodes has about 40 thousand."""
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")
_SHAPE = "A synthetic set holds synthetic.json and scenes/<scene>/scene.json; bad-robot synthesize makes one"
Made = TypeVar("Made")


class SyntheticFolder:
    """A synthetic set on disk. Implements `curation.stage.Source`."""

    def __init__(self, settings: SourceSettings, folder: Path) -> None:
        self.name = settings.name
        self._settings = settings
        self._folder = folder

    def sessions(self) -> list[str]:
        """Names of the scenes' folders, sorted. Raises SourceError where the folder is no synthetic set."""
        _ = self._set
        scenes = self._folder / "scenes"
        names = (
            sorted(p.name for p in scenes.iterdir() if p.is_dir() and _NAME.match(p.name)) if scenes.is_dir() else []
        )
        if not names:
            raise SourceError(f"{self._folder}: holds no scene. {_SHAPE}")
        return names

    def files(self, session: str) -> list[Path]:
        """synthetic.json and every file of the scene."""
        found = [p for p in (self._folder / "scenes" / session).rglob("*") if p.is_symlink() or p.is_file()]
        return [self._folder / SET_FILE, *sorted(found)]

    def read(self, session: str, store: Store) -> Iterator[Rollout | Rejection]:
        """The rollouts of one scene in the order of its file, then the pairs that cannot be used.

        A scene that is refused as a whole gives a rejection for itself and one for each folder of an episode in it.
        Raises SourceError where `session` is no scene of this set.
        """
        folder = self._folder / "scenes" / session
        if not _NAME.match(session) or not folder.is_dir():
            raise SourceError(f"{self._folder}: has no scene {session!r}; sessions() lists them")
        try:
            inside(self._folder, folder)
            scene = _read_json(inside(self._folder, folder / SCENE_FILE), Scene)
            _check_names(session, scene)
        except Refusal as refusal:
            yield self._reject("session", session_id(self.name, session), session, session, refusal)
            lost = Refusal(refusal.rule, f"its scene was rejected: {refusal.reason}")
            for path in sorted(p for p in folder.iterdir() if p.is_dir() and _NAME.match(p.name)):
                subject = stable_id("lost", self.name, session, path.name)
                yield self._reject("rollout", subject, session, f"{session}/{path.name}", lost)
            return
        yield from self._scene(folder, session, scene, store)

    def _scene(self, folder: Path, session: str, scene: Scene, store: Store) -> Iterator[Rollout | Rejection]:
        read: dict[str, Read] = {}
        refused: dict[str, Refusal] = {}
        for episode in scene.episodes:
            try:
                place = inside(self._folder, folder / episode.name)
                read[episode.name] = read_episode(place, scene, episode, self._set.origin, store)
            except Refusal as refusal:
                refused[episode.name] = refusal
        ids = {episode.name: self._id(session, episode) for episode in scene.episodes}
        usable: list[Preference] = []
        lost: list[tuple[int, str, Refusal]] = []
        for number, pair in enumerate(scene.pairs):
            try:
                usable.append(self._preference(session, scene, pair, scene.pairs[:number], ids, read))
            except Refusal as refusal:
                known = pair.a in ids and pair.b in ids
                subject = pair_id(ids[pair.a], ids[pair.b]) if known else stable_id("lost", session, str(number))
                lost.append((number, subject, refusal))
        judged = Session(
            session_id=session_id(self.name, session),
            feedback=scene.feedback,
            preferences=tuple(usable),
            labels=tuple((episode.label, ids[episode.name]) for episode in scene.episodes),
        )
        for episode in scene.episodes:
            if episode.name in read:
                yield self._rollout(session, scene, episode, read[episode.name], judged, ids)
            else:
                ref = f"{session}/{episode.name}"
                yield self._reject("rollout", ids[episode.name], session, ref, refused[episode.name])
        for number, subject, why in lost:
            yield self._reject("preference", subject, session, f"{session}/pairs[{number}]", why)

    @cached_property
    def _set(self) -> SyntheticSet:
        path = self._folder / SET_FILE
        if not path.is_file():
            raise SourceError(f"{self._folder}: has no {SET_FILE}. {_SHAPE}")
        try:
            return _read_json(inside(self._folder, path), SyntheticSet)
        except Refusal as refusal:
            raise SourceError(f"{path}: {refusal.reason}. {refusal.rule.cure} [{refusal.rule.id}]") from refusal

    def _id(self, session: str, episode: Episode) -> str:
        return rollout_id(self.name, session, episode.name, episode.label)

    def _preference(
        self,
        session: str,
        scene: Scene,
        pair: Pair,
        before: tuple[Pair, ...],
        ids: dict[str, str],
        read: dict[str, Read],
    ) -> Preference:
        if pair.a == pair.b or not {pair.a, pair.b} <= ids.keys():
            raise Refusal(PAIR, "does not name two different episodes of the scene")
        if any({pair.a, pair.b} == {other.a, other.b} for other in before):
            raise Refusal(PAIR, "judges two rollouts that were judged above")
        if not {pair.a, pair.b} <= read.keys():
            raise Refusal(PAIR, "one of its rollouts was rejected")
        a, b = ids[pair.a], ids[pair.b]
        return Preference(
            pair_id=pair_id(a, b),
            session_id=session_id(self.name, session),
            rollout_a=a,
            rollout_b=b,
            preference=pair.preference,
            feedback=pair.feedback,
            evaluator=scene.evaluator,
        )

    def _rollout(
        self, session: str, scene: Scene, episode: Episode, read: Read, judged: Session, ids: dict[str, str]
    ) -> Rollout:
        made = self._set
        videos = read.videos
        return Rollout(
            rollout_id=ids[episode.name],
            session_id=judged.session_id,
            source=self.name,
            source_ref=f"{session}/{episode.name}",
            evaluator=scene.evaluator,
            robot=scene.robot or made.robot or self._settings.robot,
            instruction=scene.instruction,
            instruction_key=instruction_key(scene.instruction),
            task_category=scene.task_category,
            task_category_source="simulator" if made.origin == "simulator" else "rule",
            videos=videos,
            num_steps=episode.num_steps,
            control_hz=scene.control_hz,
            score=episode.score,
            success=episode.success,
            outcome=episode.outcome,
            failures=episode.failures,
            feedback=scene.feedback,
            rewards=read.curves,
            reward=None if read.chosen is None else read.chosen.value,
            reward_frame_index=None if read.chosen is None else read.chosen.frame_index,
            license=scene.license or made.license,
            license_evidence=_evidence(scene, made),
            attribution=scene.attribution or made.attribution,
            synthetic=Synthetic(
                generator=made.generator,
                injector=episode.fault,
                parameters=_parameters(scene, episode, ids),
                seed=scene.seed,
            ),
            provenance=Provenance(
                raw_sha256=tuple(v.sha256 for v in (videos.exterior_1, videos.exterior_2, videos.wrist) if v),
                recipe_sha256=None,
                engine_version=__version__,
            ),
            session=judged,
            trajectory=read.trajectory,
        )

    def _reject(
        self,
        subject: Literal["rollout", "session", "preference"],
        subject_id: str,
        session: str,
        ref: str,
        refusal: Refusal,
    ) -> Rejection:
        return rejection(self.name, session, subject, subject_id, ref, refusal.rule.id, refusal.reason)


def _parameters(scene: Scene, episode: Episode, ids: dict[str, str]) -> str:
    """What was done to this rollout and when it showed: one JSON object, keys sorted."""
    twin = None if episode.twin is None else ids[episode.twin]
    facts = {
        "task": scene.task,
        "fault": episode.parameters,
        "twin": twin,
        "inject_step": episode.inject_step,
        "onset_step": episode.onset_step,
        "failure_step": episode.failure_step,
    }
    return msgspec.json.encode(facts, order="deterministic").decode()


def _evidence(scene: Scene, made: SyntheticSet) -> str | None:
    if scene.license:
        return scene.license_evidence or f"stated in {SCENE_FILE} of the set"
    return f"stated in {SET_FILE} of the set" if made.license else None


def _read_json(path: Path, kind: type[Made]) -> Made:
    try:
        if path.exists() and not path.is_file():
            raise Refusal(UNREADABLE, f"{path.name} is not a regular file")
        if path.stat().st_size > MAX_JSON:
            raise Refusal(UNREADABLE, f"{path.name} has more than {MAX_JSON:,} bytes")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise Refusal(UNREADABLE, f"{path.name} cannot be read: {error.strerror or type(error).__name__}") from error
    except msgspec.ValidationError as error:
        # msgspec names the field and the types, and of a value at most one of ours.
        raise Refusal(UNREADABLE, f"{path.name}: {_plain(str(error))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(UNREADABLE, f"{path.name} is not JSON") from error


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:200]


def _check_names(session: str, scene: Scene) -> None:
    names = [episode.name for episode in scene.episodes]
    labels = [episode.label for episode in scene.episodes]
    if scene.scene != session:
        raise Refusal(NAMES, "scene.json states another scene than its folder's name")
    if not all(_NAME.match(name) for name in names):
        raise Refusal(NAMES, "an episode's name is no plain file name")
    if any(a.casefold() == b.casefold() for a, b in itertools.combinations(names, 2)) or len(set(labels)) < len(labels):
        raise Refusal(NAMES, "two episodes have the same name or label")
    if any(episode.twin is not None and episode.twin not in names for episode in scene.episodes):
        raise Refusal(NAMES, "an episode names a twin that is not in the scene")
