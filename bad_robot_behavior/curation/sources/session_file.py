"""What lab.yaml and session.yaml hold: the format of a lab folder, field by field, and what can be wrong with it.

docs/lab-folder.md describes the format with a complete example. The description of a field is what an error shows as
legal. `None` means that the lab did not say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from bad_robot_behavior.curation.sources import lab_yaml
from bad_robot_behavior.curation.sources.lab_yaml import (
    ILLEGAL_VALUE,
    MISSING_KEY,
    WRONG_TYPE,
    At,
    Findings,
    read_yaml,
    take,
)
from bad_robot_behavior.schema import Outcome, Record, Severity, TaskCategory, rule, shorten, taxonomy

LABEL = rule(
    "lab.label",
    "A rollout's label must be short printable text, and no two labels of a session may differ by case only.",
    cure="Name the rollouts as the feedback does: A, B, ...",
)
CONTRADICTION = rule(
    "lab.contradiction",
    "Success, score and outcome must not exclude each other.",
    cure="Correct the one that is wrong, or leave out what was not judged.",
)
FAILURE_KIND = rule(
    "lab.failure_kind",
    "A failure's category and kind must be slugs of the taxonomy.",
    cure="Take the nearest slug, or category unknown, and say in `description` what happened.",
)
FAILURE_SPAN = rule(
    "lab.failure_span",
    "A failure must begin before it ends, inside the video.",
    cure="Give seconds as the player shows them, or leave the span out.",
)
PREFERENCE_ROLLOUT = rule(
    "lab.preference_rollout",
    "Both rollouts of a preference must be in the session and valid.",
    cure="Name two labels that stand under `rollouts`, and mend those rollouts first.",
)
PREFERENCE_DOUBLE = rule(
    "lab.preference_double", "Two rollouts may have one preference between them.", cure="Keep the one that is right."
)

_Hz = Annotated[float, Meta(gt=0, le=1000)]
_NAME = "text"
_SUCCESSES = ("success", "success_suboptimal", "success_side_effect")


class Views(Record, frozen=True, kw_only=True):
    """Something for each camera role: a video's path, or the camera's name."""

    exterior_1: Annotated[str | None, Meta(description="text; the main view from outside")] = None
    exterior_2: Annotated[str | None, Meta(description="text; a second view from outside")] = None
    wrist: Annotated[str | None, Meta(description="text; the view from the gripper")] = None


class LabFile(Record, frozen=True, kw_only=True):
    """lab.yaml: what holds for all sessions that do not say otherwise."""

    site: Annotated[str | None, Meta(description="name of the institution")] = None
    evaluator: Annotated[str | None, Meta(description="who judged; published as a pseudonym only")] = None
    robot: Annotated[str | None, Meta(description="name of the robot, such as franka")] = None
    license: Annotated[str | None, Meta(description="an SPDX id, such as CC-BY-4.0")] = None
    license_evidence: Annotated[str | None, Meta(description="a URL or file that states the licence")] = None
    attribution: Annotated[str | None, Meta(description="whom to credit, in one line")] = None
    control_hz: Annotated[_Hz | None, Meta(description="a number above 0 and up to 1000")] = None
    capture_hz: Annotated[_Hz | None, Meta(description="a number above 0 and up to 1000")] = None
    cameras: Annotated[Views | None, Meta(description="a mapping of exterior_1, exterior_2, wrist to names")] = None


class FailureEntry(Record, frozen=True, kw_only=True):
    """One thing that went wrong in a rollout."""

    category: Annotated[str, Meta(description="a category of the taxonomy")]
    kind: Annotated[str, Meta(description="a kind of that category")] = taxonomy.UNKNOWN
    severity: Annotated[Severity | None, Meta(description=", ".join(get_args(Severity)))] = None
    start_s: Annotated[Annotated[float, Meta(ge=0)] | None, Meta(description="seconds of file time, 0 or more")] = None
    end_s: Annotated[Annotated[float, Meta(ge=0)] | None, Meta(description="seconds of file time, 0 or more")] = None
    description: Annotated[str | None, Meta(description=_NAME)] = None


class RolloutEntry(Record, frozen=True, kw_only=True):
    """One rollout of a session."""

    video: Annotated[str | None, Meta(description="path of an mp4 inside the session's folder")] = None
    videos: Annotated[
        Views | None, Meta(description="a mapping of exterior_1, exterior_2, wrist to paths of mp4 files")
    ] = None
    policy: Annotated[str | None, Meta(description="name of the policy")] = None
    score: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="a number from 0 to 1")] = None
    success: Annotated[bool | None, Meta(description="true or false")] = None
    outcome: Annotated[Outcome | None, Meta(description=", ".join(get_args(Outcome)))] = None
    failures: Annotated[tuple[FailureEntry, ...], Meta(description="a list of failures")] = ()
    trajectory: Annotated[str | None, Meta(description="path of a .npz inside the session's folder")] = None
    feedback: Annotated[str | None, Meta(description=_NAME)] = None


class PreferenceEntry(Record, frozen=True, kw_only=True):
    """A judgement between two rollouts of the session."""

    a: Annotated[str, Meta(description="a label under rollouts")]
    b: Annotated[str, Meta(description="a label under rollouts")]
    preferred: Annotated[str, Meta(description="the label in a, the label in b, or tie")]
    feedback: Annotated[str | None, Meta(description=_NAME)] = None


class SessionFile(LabFile, frozen=True, kw_only=True):
    """session.yaml: one scene, one instruction, some rollouts. A field of lab.yaml given here wins for this session."""

    instruction: Annotated[str, Meta(description="what the robot was told, in any language")]
    task_category: Annotated[TaskCategory | None, Meta(description=", ".join(get_args(TaskCategory)))] = None
    feedback: Annotated[str | None, Meta(description="text that names the rollouts by their labels")] = None
    rollouts: Annotated[dict[Any, Any], Meta(min_length=1, description="a mapping of labels to rollouts, at least one")]
    preference: Annotated[str | None, Meta(description="a label, or tie; only where there are two rollouts")] = None
    preferences: Annotated[list[Any] | None, Meta(description="a list of preferences")] = None
    unused: Annotated[
        tuple[str, ...], Meta(description="a list of mp4 files in the session's folder that belong to no rollout")
    ] = ()


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """A session.yaml taken apart. A rollout or preference that is None has defects, which are in the findings."""

    header: SessionFile
    rollouts: dict[str, RolloutEntry | None]
    preferences: tuple[PreferenceEntry | None, ...]


def read_lab(path: Path, findings: Findings) -> LabFile:
    """lab.yaml, or an empty one where there is no such file; what is wrong goes into `findings`."""
    if not path.exists() and not path.is_symlink():
        return LabFile()
    data = read_yaml(path, findings)
    return (None if data is None else take(data, LabFile, (), findings)) or LabFile()


def read_session(path: Path, findings: Findings) -> Contents | None:
    """session.yaml taken apart, or None where it cannot be used as a whole.

    Defects under rollouts.LABEL are that rollout's, those under preferences[N] or preference that preference's, and
    all others the session's.
    """
    data = read_yaml(path, findings)
    if data is None:
        return None
    header = take(data, SessionFile, (), findings)
    labels = data.get("rollouts")
    if not isinstance(labels, dict):
        return None
    rollouts: dict[str, RolloutEntry | None] = {}
    for label, entry in labels.items():
        at: At = ("rollouts", str(label))
        _check_label(label, at, [str(other) for other in labels if other is not label], findings)
        made = take(entry, RolloutEntry, at, findings)
        if made is not None:
            _check_rollout(made, at, findings)
        rollouts[str(label)] = None if findings.under(*at) else made
    preferences = _preferences(data, rollouts, findings)
    if header is None:
        return None
    return Contents(header=header, rollouts=rollouts, preferences=preferences)


def is_label(text: str) -> bool:
    """Whether a rollout may have this label: it stands in references after a /, and `tie` names no rollout."""
    plain = text.isprintable() and text == text.strip() and "/" not in text
    return plain and 1 <= len(text) <= 64 and text.casefold() != "tie"


def _check_label(label: Any, at: At, others: list[str], findings: Findings) -> None:
    legal = "1 to 64 printable characters without / and spaces around them; not the word tie"
    if not isinstance(label, str):
        findings.add(WRONG_TYPE, at, "the label is not text to YAML; put it in quotes", shorten(label), legal)
    elif not is_label(label):
        findings.add(LABEL, at, "the label is not legal", shorten(label), legal)
    elif label.casefold() in [other.casefold() for other in others]:
        findings.add(LABEL, at, "another label differs from this one by case only", shorten(label), legal)


def _check_rollout(entry: RolloutEntry, at: At, findings: Findings) -> None:
    views = [] if entry.videos is None else [v for v in msgspec.structs.astuple(entry.videos) if v is not None]
    if entry.video is None and not views:
        findings.add(MISSING_KEY, (*at, "video"), "the rollout names no video", legal="video: or videos:")
    if entry.video is not None and entry.videos is not None:
        findings.add(ILLEGAL_VALUE, (*at, "video"), "stands beside videos", legal="one of video and videos")
    _check_verdicts(entry, at, findings)
    for i, failure in enumerate(entry.failures):
        _check_failure(failure, (*at, "failures", i), findings)


def _check_verdicts(entry: RolloutEntry, at: At, findings: Findings) -> None:
    """Only what cannot both be true is a defect. A success may be graded 0.3, and a failure 0.9: both are kept."""
    if entry.success is True and entry.score == 0:
        findings.add(CONTRADICTION, (*at, "score"), "is 0, and success is true", "0", "above 0 for a success")
    if entry.success is False and entry.score == 1:
        findings.add(CONTRADICTION, (*at, "score"), "is 1, and success is false", "1", "below 1 for a failure")
    legal: tuple[str, ...] = get_args(Outcome)
    if entry.success is not None:
        legal = _SUCCESSES if entry.success else ("failure",)
    if entry.outcome is not None and entry.outcome not in legal:
        message = f"excludes success: {str(entry.success).lower()}"
        findings.add(CONTRADICTION, (*at, "outcome"), message, entry.outcome, ", ".join(legal))


def _check_failure(entry: FailureEntry, at: At, findings: Findings) -> None:
    known = taxonomy.load()
    if entry.category not in known.legal_categories:
        legal = ", ".join(known.legal_categories)
        findings.add(FAILURE_KIND, (*at, "category"), "is no category of the taxonomy", shorten(entry.category), legal)
    elif not known.is_legal(entry.category, entry.kind):
        legal = ", ".join(known.legal_kinds(entry.category))
        message = f"is no kind of category {entry.category}"
        findings.add(FAILURE_KIND, (*at, "kind"), message, shorten(entry.kind), legal)
    if entry.start_s is not None and entry.end_s is not None and entry.end_s < entry.start_s:
        findings.add(FAILURE_SPAN, (*at, "end_s"), "is before start_s", f"{entry.end_s:g}", f">= {entry.start_s:g}")


def _preferences(
    data: dict[Any, Any], rollouts: dict[str, RolloutEntry | None], findings: Findings
) -> tuple[PreferenceEntry | None, ...]:
    """The judgements of either form. Whether their rollouts are valid is asked later, when the videos were read."""
    short, listed = data.get("preference"), data.get("preferences")
    if short is not None:
        if listed is not None:
            findings.add(ILLEGAL_VALUE, (), "has both preference and preferences", legal="one of them")
        at: At = ("preference",)
        if len(rollouts) != 2:
            message = f"is the short form for two rollouts, and there are {len(rollouts)}"
            findings.add(ILLEGAL_VALUE, at, message, legal="a list under preferences")
            return (None,)
        if not isinstance(short, str):
            return (None,)  # its type is a defect of the session already
        a, b = rollouts
        return (_checked(PreferenceEntry(a=a, b=b, preferred=short.strip()), at, rollouts, findings),)
    made: list[PreferenceEntry | None] = []
    seen: set[frozenset[str]] = set()
    for i, item in enumerate(listed if isinstance(listed, list) else []):
        at = ("preferences", i)
        entry = take(item, PreferenceEntry, at, findings)
        checked = None if entry is None else _checked(entry, at, rollouts, findings)
        if checked is not None and frozenset((checked.a, checked.b)) in seen:
            findings.add(PREFERENCE_DOUBLE, at, "judges two rollouts that were judged above")
            checked = None
        elif checked is not None:
            seen.add(frozenset((checked.a, checked.b)))
        made.append(checked)
    return tuple(made)


def _checked(
    entry: PreferenceEntry, at: At, rollouts: dict[str, RolloutEntry | None], findings: Findings
) -> PreferenceEntry | None:
    labels = ", ".join(lab_yaml.printable(label) for label in rollouts)
    for name, label in (("a", entry.a), ("b", entry.b)):
        if label not in rollouts:
            findings.add(PREFERENCE_ROLLOUT, (*at, name), "names no rollout of the session", shorten(label), labels)
    if entry.a == entry.b:
        findings.add(ILLEGAL_VALUE, (*at, "b"), "is the same rollout as a", shorten(entry.b), labels)
    if entry.preferred not in (entry.a, entry.b, "tie"):
        where = at if at == ("preference",) else (*at, "preferred")
        legal = f"{lab_yaml.printable(entry.a)}, {lab_yaml.printable(entry.b)}, tie"
        findings.add(PREFERENCE_ROLLOUT, where, "is neither of the two nor tie", shorten(entry.preferred), legal)
    return None if findings.under(*at) else entry  # a doubled key is among the findings already


Subject = Literal["session", "rollout", "preference"]


def subject(at: At) -> tuple[Subject, str | int | None]:
    """Whose defect it is that stands at a place: a rollout's (its label), a preference's (its index), the session's."""
    if len(at) >= 2 and at[0] == "rollouts":
        return "rollout", at[1]
    if at[:1] == ("preference",):
        return "preference", 0
    if len(at) >= 2 and at[0] == "preferences":
        return "preference", at[1]
    return "session", None
