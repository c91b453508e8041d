"""One RoboArena session: its rollouts, its preference, and what cannot be had of them.

The client records at 15 Hz and writes mp4 at 10 fps, so a second of file time is two thirds of a real one. Any of the
three cameras and the .npz may be missing; a letter's metadata may be null; some sessions have more than two letters,
of which the preference compares A and B only. A was always shown first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bad_robot_behavior import __version__, media
from bad_robot_behavior.curation.refusal import Refusal, rejection
from bad_robot_behavior.curation.sources.lab_yaml import printable
from bad_robot_behavior.curation.sources.roboarena_metadata import (
    BAD_ENTRY,
    Entry,
    Metadata,
    check_printable,
    read_entry,
    read_preference,
)
from bad_robot_behavior.curation.sources.safe_npz import NpzError, read_npz
from bad_robot_behavior.curation.sources.trajectory import (
    DROID_STATE,
    TrajectoryError,
    droid_action,
    droid_steps,
    write_trajectory,
)
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import (
    Outcome,
    Preference,
    Provenance,
    Rejection,
    Role,
    Rollout,
    Session,
    Video,
    Videos,
    instruction_key,
    pair_id,
    rollout_id,
    rule,
    session_id,
    task_category,
)
from bad_robot_behavior.schema.trajectory_file import Arrays

if TYPE_CHECKING:
    from bad_robot_behavior.curation.sources.roboarena import RoboArena

NULL_POLICY = rule(
    "roboarena.null_policy",
    "policies.<LETTER> must not be null.",
    cure="Nothing: the source kept no result of this rollout.",
)
NO_FOLDER = rule(
    "roboarena.no_folder",
    "A rollout in metadata.yaml must have its folder <LETTER>_<policy>.",
    cure="Download the session again.",
)
NO_ENTRY = rule(
    "roboarena.no_entry",
    "A rollout's folder must have its entry in metadata.yaml.",
    cure="Add the entry, or remove the folder if it is no rollout.",
)
TWO_FOLDERS = rule(
    "roboarena.two_folders",
    "A letter must have one folder.",
    cure="Remove the folder that does not belong to the session.",
)
SWAPPED_FOLDER = rule(
    "roboarena.swapped_folder",
    "A rollout's folder must not bear the name of another rollout's policy.",
    cure="Find out which of folder and metadata is wrong; until then the scores may belong to the wrong video.",
)
NO_CAMERA = rule(
    "roboarena.no_camera",
    "A rollout must have a video: a file that ends in _left.mp4, _right.mp4 or _wrist.mp4.",
    cure="Download the session again.",
)
TWO_FILES = rule(
    "roboarena.two_files",
    "A rollout must have at most one video of each camera, and one .npz.",
    cure="Remove the file of the attempt that was not judged.",
)
NOT_A_FILE = rule(
    "roboarena.not_a_file",
    "A video and the .npz must be regular files, not folders, pipes or links to nothing.",
    cure="Download the session again.",
)
FRAME_COUNT = rule(
    "roboarena.frame_count",
    "A video and the .npz must have as many frames and steps as duration says (duration + 1), give or take one.",
    cure="Download the session again; the file is cut, or it is another rollout's.",
)
UNREADABLE_VIDEO = rule(
    "source.unreadable_video", "A video of a source must open and be counted to its end.", cure="Copy the file again."
)
PREFERENCE_WITHOUT_ROLLOUT = rule(
    "roboarena.preference_without_rollout",
    "The rollouts that a preference compares, A and B, must both be there.",
    cure="Mend what the rejections of these rollouts name.",
)

CONTROL_HZ = 15.0
_CAMERAS: tuple[tuple[str, Role], ...] = (("left", "exterior_1"), ("right", "exterior_2"), ("wrist", "wrist"))
# A binary label says whether it worked and nothing of how: no side effect and no cause is read into it.
_OUTCOMES: dict[bool | None, Outcome] = {None: "unknown", True: "success", False: "failure"}
_LETTER = re.compile(r"^[A-Z]$")
# moviepy rounds a clip's length and may write one frame more than there were steps, or one less. A shift of one frame
# (67 ms) is finer than any label; a wider gap means a file that was cut or that belongs to another rollout.
_FRAME_TOLERANCE = 1


class SessionReader:
    """Makes the rollouts of one session whose metadata could be read."""

    def __init__(
        self, source: RoboArena, session: str, metadata: Metadata, folders: dict[str, list[Path]], store: Store
    ) -> None:
        self.source = source
        self.session = session
        self.session_id = session_id(source.name, session)
        self.metadata = metadata
        self.folders = folders
        self.store = store
        self.labels: dict[str, str] = {}  # letter to rollout_id, for all that have an entry

    def read(self) -> Iterator[Rollout | Rejection]:
        results: list[Rollout | Rejection] = []
        for key, ref, subject in self._known():
            try:
                results.append(self._rollout(key, ref, subject))
            except Refusal as refusal:
                results.append(self._reject("rollout", subject, ref, refusal))
        there = {item.rollout_id for item in results if isinstance(item, Rollout)}
        preferences: tuple[Preference, ...] = ()
        try:
            preferences = self._preferences(there)
        except Refusal as refusal:
            pair = pair_id(*(self.labels.get(label) or self._id(label) for label in "AB"))
            results.append(self._reject("preference", pair, "preference", refusal))
        judged = Session(
            session_id=self.session_id,
            feedback=self.metadata.feedback,
            preferences=preferences,
            labels=tuple(self.labels.items()),
        )
        for item in results:
            yield msgspec.structs.replace(item, session=judged) if isinstance(item, Rollout) else item

    def refuse(self, refusal: Refusal) -> Iterator[Rejection]:
        """Every rollout that has a folder or an entry, and the preference if there is one: all lost with the session,
        under the ids that they would have had."""
        lost = Refusal(refusal.rule, f"its session was rejected: {refusal.reason}")
        for _, ref, subject in self._known():
            yield self._reject("rollout", subject, ref, lost)
        try:
            choice = read_preference(self.metadata.preference)
        except Refusal:
            return  # what is there is no preference, so none is lost
        if choice is not None:
            yield self._reject("preference", pair_id(self._id("A"), self._id("B")), "preference", lost)

    def _known(self) -> list[tuple[Any, str, str]]:
        """(letter, source's own name, rollout_id) of all that has an entry or a folder, in the order of the letters."""
        keys = sorted({*self.metadata.policies, *self.folders}, key=str)
        refs = [(key, self._ref(key)) for key in keys]
        return [(key, ref, rollout_id(self.source.name, self.session, ref, str(key))) for key, ref in refs]

    def _ref(self, key: Any) -> str:
        """The source's own name of a rollout: its folder's, or what that would be, or the letter."""
        folders = self.folders.get(key, [])
        if folders:
            return printable(folders[0].name)
        value = self.metadata.policies.get(key)
        policy = value.get("policy_name") if isinstance(value, dict) else None
        return printable(f"{key}_{policy}"[:240] if isinstance(policy, str) else str(key)[:40])

    def _id(self, label: str) -> str:
        return rollout_id(self.source.name, self.session, self._ref(label), label)

    def _reject(
        self, subject: Literal["rollout", "preference"], subject_id: str, ref: str, refusal: Refusal
    ) -> Rejection:
        ref = f"{self.session}/{ref}"
        return rejection(self.source.name, self.session, subject, subject_id, ref, refusal.rule.id, refusal.reason)

    def _preferences(self, there: set[str]) -> tuple[Preference, ...]:
        choice = read_preference(self.metadata.preference)
        if choice is None:
            return ()
        absent = [label for label in "AB" if self.labels.get(label) not in there]
        if absent:
            raise Refusal(PREFERENCE_WITHOUT_ROLLOUT, f"there is no rollout {' and no rollout '.join(absent)}")
        a, b = self.labels["A"], self.labels["B"]
        return (
            Preference(
                pair_id=pair_id(a, b),
                session_id=self.session_id,
                rollout_a=a,
                rollout_b=b,
                preference=choice,
                feedback=self.metadata.feedback,
                evaluator=self.metadata.evaluator,
                presented_first="a",
            ),
        )

    def _rollout(self, key: Any, ref: str, rid: str) -> Rollout:
        folders = self.folders.get(key, [])
        if key not in self.metadata.policies:
            raise Refusal(NO_ENTRY, f"there is a folder and no entry; folders of that letter: {len(folders)}")
        if not isinstance(key, str) or not _LETTER.match(key):
            raise Refusal(BAD_ENTRY, "the key of the entry is not one capital letter")
        value = self.metadata.policies[key]
        if value is None:
            raise Refusal(NULL_POLICY, f"policies.{key} is null; folders of that letter: {len(folders)}")
        self.labels[key] = rid
        entry = read_entry(value)
        if len(folders) > 1:
            raise Refusal(TWO_FOLDERS, f"the letter {key} has {len(folders)} folders")
        if not folders:
            raise Refusal(NO_FOLDER, f"the letter {key} has no folder")
        check_printable(folders[0], "rollout")
        self._check_name(key, folders[0], entry)
        videos = self._videos(folders[0], entry.num_steps)
        return Rollout(
            rollout_id=rid,
            session_id=self.session_id,
            source=self.source.name,
            source_ref=f"{self.session}/{ref}",
            site=self.metadata.site,
            evaluator=self.metadata.evaluator,
            policy=entry.policy,
            robot=self.source.robot,
            instruction=self.metadata.instruction,
            instruction_key=instruction_key(self.metadata.instruction),
            task_category=task_category(self.metadata.instruction),
            task_category_source="rule",
            videos=Videos(**videos),
            num_steps=entry.num_steps,
            control_hz=CONTROL_HZ,
            score=entry.score,
            success=entry.success,
            outcome=_OUTCOMES[entry.success],
            feedback=self.metadata.feedback,
            synthetic=self.source.synthetic,
            provenance=Provenance(
                raw_sha256=tuple(videos[role].sha256 for _, role in _CAMERAS if role in videos),
                recipe_sha256=None,
                engine_version=__version__,
            ),
            session=Session(session_id=self.session_id),
            trajectory=self._trajectory(folders[0], entry),
        )

    def _check_name(self, key: str, folder: Path, entry: Entry) -> None:
        named = folder.name.removeprefix(f"{key}_")
        if named == entry.policy:
            return
        for other, value in self.metadata.policies.items():
            if other != key and isinstance(value, dict) and value.get("policy_name") == named:
                raise Refusal(SWAPPED_FOLDER, f"the folder of {key} bears the name of the policy of {other}")

    def _one_file(self, folder: Path, suffix: str) -> Path | None:
        """The file whose name ends in `suffix`; hidden files are what file systems leave behind."""
        self.source.check_inside(folder)
        found = [p for p in folder.iterdir() if p.name.lower().endswith(suffix) and not p.name.startswith(".")]
        if len(found) > 1:
            raise Refusal(TWO_FILES, f"{len(found)} files end in {suffix}")
        for path in found:
            self.source.check_inside(path)
            if not path.is_file():
                raise Refusal(NOT_A_FILE, f"what ends in {suffix} is not a regular file")
        return found[0] if found else None

    def _videos(self, folder: Path, num_steps: int | None) -> dict[str, Video]:
        videos: dict[str, Video] = {}
        for camera, role in _CAMERAS:
            path = self._one_file(folder, f"_{camera}.mp4")
            if path is None:
                continue
            try:
                record = media.strange_video(path, camera, CONTROL_HZ)
            except MediaError as error:
                raise Refusal(UNREADABLE_VIDEO, f"camera {camera}: broke at {error.where}") from error
            _check_count(f"camera {camera}", "frames", record.num_frames, num_steps)
            videos[role] = record
        if not videos:
            raise Refusal(NO_CAMERA, "no file ends in _left.mp4, _right.mp4 or _wrist.mp4")
        return videos

    def _trajectory(self, folder: Path, entry: Entry) -> str | None:
        path = self._one_file(folder, ".npz")
        if path is None:
            return None
        try:
            state, action = droid_steps(read_npz(path).get("data"))
        except (NpzError, TrajectoryError) as error:
            raise Refusal(error.rule, f"the .npz: {error.reason}") from error
        _check_count("the .npz", "steps", len(state), entry.num_steps)
        columns = droid_action(self.source.action_spaces.get(entry.policy))
        return str(write_trajectory(self.store, Arrays(state, action, DROID_STATE, columns)))


def _check_count(what: str, unit: str, count: int, num_steps: int | None) -> None:
    if num_steps is not None and abs(count - num_steps) > _FRAME_TOLERANCE:
        raise Refusal(FRAME_COUNT, f"{what} has {count} {unit} where duration says {num_steps}")
