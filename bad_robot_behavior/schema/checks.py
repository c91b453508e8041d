"""Named rules that tie several fields of one record together, which a JSON Schema cannot say.

Each check takes a record as plain data whose shape a contract has already accepted, and yields a Finding for each
broken rule. Checks of long lists stand apart (`LONG`), because `bulk` does the same vectorised; the rest (`SHORT`) is
cheap and runs on every row in both.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bad_robot_behavior.schema import taxonomy
from bad_robot_behavior.schema.records import ROLES
from bad_robot_behavior.schema.rules import Rule, rule

NO_VIDEO = rule(
    "schema.no_video",
    "A rollout has the video of at least one camera.",
    cure="Fill exterior_1, exterior_2 or wrist, or leave the rollout out.",
)
OUTCOME = rule(
    "schema.outcome",
    "success and outcome do not contradict each other: every success outcome goes with true, failure with false.",
    cure="Look at the rollout and correct the one that is wrong; leave success null where nobody judged it.",
)
REWARD_PAIR = rule(
    "schema.reward_pair",
    "reward and reward_frame_index are both there or both null.",
    cure="Write the frame index of each reward value, or set both to null.",
)
CURVE_LENGTH = rule(
    "schema.curve_length",
    "A curve has one value for each frame index.",
    cure="Write the curve again from its source; do not pad or cut it.",
)
CURVE_ORDER = rule(
    "schema.curve_order",
    "Frame indices increase strictly.",
    cure="Sort the curve by frame index and drop frames that were sampled twice.",
)
CURVE_FRAMES = rule(
    "schema.curve_frames",
    "A curve points into a video that the rollout has: its role is filled and each frame index is below num_frames.",
    cure="Write the curve for the video as it lies in the release, frames counted by decoding.",
)
PROGRESS_RANGE = rule(
    "schema.progress_range",
    "The values of a curve of kind progress lie from 0 to 1.",
    cure="Use kind reward for a signed curve, or correct the scale; do not clamp.",
)
KEPT_SAMPLE = rule(
    "schema.kept_sample",
    "kept_sample is the 0-based index of one of the samples.",
    cure="Write samples as the number drawn, and kept_sample from 0 to samples - 1, or null where none was kept.",
)
FAILURE_SPAN = rule(
    "schema.failure_span",
    "A failure ends at or after its start, and has a start where it has an end.",
    cure="Correct start_s and end_s (seconds of file time), or set both to null.",
)
FAILURE_SLUG = rule(
    "schema.failure_slug",
    "Category and kind of a failure stand in taxonomy.yaml, the kind under that category.",
    cure="Use a slug of docs/taxonomy.md; kind unknown is legal in every category.",
)
JSON_OBJECT = rule(
    "schema.json_object",
    "Parameters are the text of a JSON object, with no NaN or Infinity in it.",
    cure='Write them with a JSON library; an empty object is "{}".',
)
SAME_ROLLOUT = rule(
    "schema.same_rollout",
    "A preference is between two different rollouts.",
    cure="Correct rollout_a and rollout_b, or drop the preference.",
)
LEVEL = rule(
    "schema.demonstration_level",
    "A demonstration holds what its level says: frames from text_video on, values at text_video_dense only.",
    cure="Fill frame_index, role and value as the level asks, or change the level.",
)
SAMPLE_ERROR = rule(
    "schema.sample_error",
    "A reward sample has either a curve or an error that says why there is none.",
    cure="Write frame_index, value and mean, or leave all three null and say why in error.",
)
PREDICTION_ERROR = rule(
    "schema.prediction_error",
    "A prediction has either a curve or an error that says why there is none.",
    cure="Write the curve, or leave frame_index and value empty and say why in error.",
)
TRAJECTORY_SHAPE = rule(
    "schema.trajectory_shape",
    "Every step of state and action has one number for each named column.",
    cure="Name every column in state_columns and action_columns, and drop steps that are cut off.",
)
COUNTS = rule(
    "schema.count_identity",
    "rollouts_read is rollouts_packaged plus rollouts_rejected.",
    cure="Build the release again; a rollout that is in neither count was lost.",
)


class Finding(NamedTuple):
    """A broken rule at a field of a record."""

    rule: Rule
    field: str
    value: Any
    legal: str
    message: str


Check = Callable[[dict[str, Any]], Iterator[Finding]]
_SUCCESSES = ("success", "success_suboptimal", "success_side_effect")


def _no_video(row: dict[str, Any]) -> Iterator[Finding]:
    if not any(row["videos"].get(role) for role in ROLES):
        yield Finding(NO_VIDEO, "videos", None, f"a video under {', '.join(ROLES)}", "has no video at all")


def _outcome(row: dict[str, Any]) -> Iterator[Finding]:
    success, outcome = row.get("success"), row["outcome"]
    if (success is True and outcome == "failure") or (success is False and outcome in _SUCCESSES):
        legal = "failure" if success is False else ", ".join(_SUCCESSES)
        yield Finding(OUTCOME, "outcome", outcome, f"{legal} or unknown", f"contradicts success, which is {success}")


def _reward_pair(row: dict[str, Any]) -> Iterator[Finding]:
    if (row.get("reward") is None) != (row.get("reward_frame_index") is None):
        field = "reward" if row.get("reward") is None else "reward_frame_index"
        yield Finding(REWARD_PAIR, field, None, "both or none", "is null while the other of the pair is not")


def failure_checks(failure: dict[str, Any], at: str = "") -> Iterator[Finding]:
    """Span and slugs of one failure; `at` is the prefix of its fields."""
    start, end = failure.get("start_s"), failure.get("end_s")
    if end is not None and start is None:
        yield Finding(FAILURE_SPAN, at + "start_s", None, "a number of seconds", "is null though there is an end")
    elif end is not None and start is not None and end < start:
        yield Finding(FAILURE_SPAN, at + "end_s", end, f"at least {start}", "is before the start of the failure")
    known = taxonomy.load()
    category, kind = failure["category"], failure["kind"]
    if category not in known.categories:
        legal = ", ".join(known.legal_categories)
        yield Finding(FAILURE_SLUG, at + "category", category, legal, f"is no category of taxonomy {known.version}")
    elif not known.is_legal(category, kind):
        legal = ", ".join(known.legal_kinds(category))
        yield Finding(FAILURE_SLUG, at + "kind", kind, legal, f"is no kind of category {category}")


def _failures(row: dict[str, Any]) -> Iterator[Finding]:
    for i, failure in enumerate(row.get("failures") or ()):
        yield from failure_checks(failure, f"failures[{i}].")


def kept_sample(curve: dict[str, Any], at: str = "") -> Iterator[Finding]:
    """kept_sample against samples of one curve."""
    samples, kept = curve.get("samples"), curve.get("kept_sample")
    if kept is not None and (samples is None or kept >= samples):
        legal = "null, as samples is null" if samples is None else f"0 to {samples - 1}, or null"
        yield Finding(KEPT_SAMPLE, at + "kept_sample", kept, legal, "names no sample that was drawn")


def _kept_samples(row: dict[str, Any]) -> Iterator[Finding]:
    for i, curve in enumerate(row.get("rewards") or ()):
        yield from kept_sample(curve, f"rewards[{i}].")


def _synthetic(row: dict[str, Any]) -> Iterator[Finding]:
    synthetic = row.get("synthetic")
    if synthetic is not None:
        yield from _json_object(synthetic["parameters"], "synthetic.parameters")


def _json_object(text: str, field: str) -> Iterator[Finding]:
    if text == "{}":
        return
    try:
        loaded = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        yield Finding(JSON_OBJECT, field, text, "the text of a JSON object", f"is not JSON: {reason}")
        return
    if not isinstance(loaded, dict):
        yield Finding(JSON_OBJECT, field, text, "the text of a JSON object", "is JSON but not an object")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def curve_checks(
    curve: dict[str, Any], at: str = "", index: str = "frame_index", value: str = "value"
) -> Iterator[Finding]:
    """Length, order and progress range of one curve; `index` and `value` name its two lists."""
    indices, values = curve.get(index), curve.get(value)
    if indices is None or values is None:
        return
    if len(indices) != len(values):
        legal = f"{len(indices)} values, one for each of {index}"
        yield Finding(
            CURVE_LENGTH, at + value, f"{len(values)} values", legal, "has another length than its frame indices"
        )
    for i, (before, after) in enumerate(itertools.pairwise(indices), 1):
        if after <= before:
            yield Finding(
                CURVE_ORDER, f"{at}{index}[{i}]", after, f"above {before}", "does not come after the one before it"
            )
            break
    if curve.get("kind") == "progress":
        for i, one in enumerate(values):
            if not 0 <= one <= 1:
                yield Finding(PROGRESS_RANGE, f"{at}{value}[{i}]", one, "0 to 1", "is outside the range of progress")
                break


def _rollout_curves(row: dict[str, Any]) -> Iterator[Finding]:
    yield from curve_checks(row, index="reward_frame_index", value="reward")
    for i, curve in enumerate(row.get("rewards") or ()):
        yield from curve_checks(curve, f"rewards[{i}].")
        yield from curve_frames(curve, row["videos"], max(curve["frame_index"], default=None), f"rewards[{i}].")


def curve_frames(curve: dict[str, Any], videos: dict[str, Any], last: int | None, at: str) -> Iterator[Finding]:
    """Whether a curve whose highest frame index is `last` points into a video that is there."""
    video = videos.get(curve["role"])
    if video is None:
        legal = ", ".join(role for role in ROLES if videos.get(role)) or "none, as there is no video"
        yield Finding(CURVE_FRAMES, at + "role", curve["role"], legal, "names a camera of which there is no video")
    elif last is not None and last >= video["num_frames"]:
        legal = f"0 to {video['num_frames'] - 1}"
        yield Finding(CURVE_FRAMES, at + "frame_index", last, legal, "points behind the end of the video")


def _preference(row: dict[str, Any]) -> Iterator[Finding]:
    if row["rollout_a"] == row["rollout_b"]:
        yield Finding(
            SAME_ROLLOUT, "rollout_b", row["rollout_b"], "another rollout than rollout_a", "is rollout_a again"
        )


def _session(row: dict[str, Any]) -> Iterator[Finding]:
    for i, preference in enumerate(row.get("preferences") or ()):
        for found in _preference(preference):
            yield found._replace(field=f"preferences[{i}].{found.field}")


def _demonstration(row: dict[str, Any]) -> Iterator[Finding]:
    level = row["level"]
    for field, wanted in (
        ("frame_index", level != "text"),
        ("role", level != "text"),
        ("value", level.endswith("dense")),
    ):
        if (row.get(field) is not None) != wanted:
            legal = "there" if wanted else "null"
            yield Finding(LEVEL, field, level, f"{field} {legal}", f"does not go with level {level}")


def _reward_sample(row: dict[str, Any]) -> Iterator[Finding]:
    for field in ("frame_index", "value", "mean"):
        if (row[field] is None) != (row["error"] is not None):
            legal = "null" if row["error"] is not None else "there, or a reason in error"
            yield Finding(SAMPLE_ERROR, field, row[field], legal, "does not go with error")


def _prediction(row: dict[str, Any]) -> Iterator[Finding]:
    yield from _json_object(row["parameters"], "parameters")


def prediction_error(error: str | None, count: int) -> Iterator[Finding]:
    """A prediction's error against the number of its frame indices."""
    if error is not None and count:
        yield Finding(PREDICTION_ERROR, "error", error, "null, or no curve", "stands beside a curve")
    elif error is None and not count:
        yield Finding(PREDICTION_ERROR, "error", None, "a reason", "is null though there is no curve")


def _prediction_curve(row: dict[str, Any]) -> Iterator[Finding]:
    yield from curve_checks(row)
    yield from prediction_error(row.get("error"), len(row["frame_index"]))


def _trajectory(row: dict[str, Any]) -> Iterator[Finding]:
    for name in ("state", "action"):
        wanted = len(row[f"{name}_columns"])
        for i, step in enumerate(row[name]):
            if len(step) != wanted:
                legal = f"{wanted} numbers, as {name}_columns says"
                yield Finding(
                    TRAJECTORY_SHAPE,
                    f"{name}[{i}]",
                    f"{len(step)} numbers",
                    legal,
                    "has another width than its columns",
                )
                break


def _release(row: dict[str, Any]) -> Iterator[Finding]:
    counts = row["counts"]
    total = counts["rollouts_packaged"] + counts["rollouts_rejected"]
    if counts["rollouts_read"] != total:
        yield Finding(
            COUNTS, "counts.rollouts_read", counts["rollouts_read"], str(total), "is not packaged plus rejected"
        )


SHORT: dict[str, tuple[Check, ...]] = {
    "rollout": (_no_video, _outcome, _reward_pair, _failures, _kept_samples, _synthetic),
    "preference": (_preference,),
    "session": (_session,),
    "demonstration": (_demonstration,),
    "reward_sample": (_reward_sample,),
    "prediction": (_prediction,),
    "release": (_release,),
    "failure": (failure_checks,),
    "reward_curve": (kept_sample,),
}
LONG: dict[str, tuple[Check, ...]] = {
    "rollout": (_rollout_curves,),
    "prediction": (_prediction_curve,),
    "demonstration": (curve_checks,),
    "reward_sample": (curve_checks,),
    "reward_curve": (curve_checks,),
    "trajectory": (_trajectory,),
}
