"""What can be wrong between a predictions file and the release it is held against."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from bad_robot_behavior.benchmark.checks import (
    INSTRUCTION,
    METADATA_KEY,
    UNKNOWN_ROLE,
    Report,
    examine_file,
    json_object,
)
from bad_robot_behavior.benchmark.metrics import Ints
from bad_robot_behavior.schema import Defect, instruction_key, rule, shorten

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

PAST_END = rule(
    "predictions.frame_index_past_end",
    "Frame indices must lie within the video.",
    cure="Count frames from 0 to num_frames - 1 of the camera that was shown.",
)
UNKNOWN_ROLLOUT = rule(
    "predictions.unknown_rollout",
    "Each rollout_id must be in the release.",
    cure="Evaluate against the release that was scored.",
)
OTHER_RELEASE = rule(
    "predictions.other_release",
    "A file that says which release it scored must be evaluated against that release.",
    cure="Evaluate against that release, or score this one.",
)


_DUPLICATE = "predictions.duplicate_rollout"
_NO_ROLLOUT = ("predictions.malformed_id", UNKNOWN_ROLLOUT.id)


def examine(path: Path, release: Release | None = None) -> tuple[pa.Table | None, list[Defect]]:
    """The file as a table of `checks.SCHEMA` (None where it cannot be made into one) and every defect found."""
    report = Report(path)
    table = examine_file(path, report)
    if table is None or not table.num_rows:
        return table, report.defects
    _check_release(table, release, report)
    return table, report.defects


def salvage(path: Path, release: Release) -> tuple[pa.Table | None, list[Defect], dict[str, int]]:
    """The file with its bad rows turned into errors, the defects that spoil all of it, and what was left out.

    A row with a defect of its own keeps its rollout and loses its curve, with the rule as its error; so does the
    earlier row of a rollout that stands there twice. Rows of no rollout of the release are left out, counted by rule.
    """
    report = Report(path)
    table = examine_file(path, report)
    if table is None or not table.num_rows or report.whole_file:
        return table, report.defects, {}
    _check_release(table, release, report, whole=True)
    if report.whole_file:
        return table, report.defects, {}
    bad = {row: broken.id for row, broken in report.bad_rows.items()}
    bad |= {row: "predictions.duplicate_rollout" for row in report.doubtful if row not in bad}
    gone = [row for row, rule_id in bad.items() if rule_id in _NO_ROLLOUT]
    again = [row for row, rule_id in bad.items() if rule_id == _DUPLICATE and row not in report.doubtful]
    rows = table.to_pylist()
    for row, rule_id in bad.items():
        rows[row] |= {"frame_index": [], "value": [], "error": rule_id}
        rows[row]["role"] = None
    kept = [row for i, row in enumerate(rows) if i not in {*gone, *again}]
    if table.num_rows and not kept:
        return table, report.defects, {}
    left_out = Counter(bad[row] for row in (*gone, *again))
    return pa.Table.from_pylist(kept, schema=table.schema), [], dict(sorted(left_out.items()))


def _check_release(table: pa.Table, release: Release | None, report: Report, *, whole: bool = False) -> None:
    """whole: also where there are defects already."""
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is not None:
        _check_metadata(metadata, release, report)
    if release is not None and (whole or not report.defects):
        _check_against(table, release, report)


def describe(release: Release) -> dict[str, str]:
    """What a predictions file says of the release it was made from.

    data_sha256 is over the hashes of the tables that hold the truth, so it changes with any label or split, though
    name and version may stay.
    """
    manifest = release.manifest
    truth = sorted(
        f"{file.path} {file.sha256}"
        for file in manifest.files
        if file.path.startswith(("rollouts/", "preferences/")) or file.path == "splits.parquet"
    )
    return {
        "name": manifest.name,
        "version": manifest.version,
        "recipe_sha256": manifest.recipe_sha256,
        "data_sha256": hashlib.sha256("\n".join(truth).encode()).hexdigest(),
    }


def _check_against(table: pa.Table, release: Release, report: Report) -> None:
    ids, roles = table["rollout_id"].to_pylist(), table["role"].to_pylist()
    whole = type(release)(release.path)  # also where only one split of it is loaded
    rows = whole.table("rollouts", columns=["rollout_id", "videos", "instruction"]).to_pylist()
    own = {row["rollout_id"]: instruction_key(row["instruction"]) for row in rows}
    frames = {
        row["rollout_id"]: {role: video["num_frames"] for role, video in row["videos"].items() if video} for row in rows
    }
    unknown = [i for i, x in enumerate(ids) if x not in frames]
    if len(unknown) == len(ids):  # another release's file: one sentence, not one for each row
        message = f"0 of {len(ids)} ids are in this release"
        report.file_defect(UNKNOWN_ROLLOUT, message, field="rollout_id", value=shorten(ids[0]))
        return
    report.rows(UNKNOWN_ROLLOUT, "rollout_id", unknown, ids.__getitem__, "is not in the release")
    absent = [i for i, x in enumerate(ids) if x in frames and roles[i] is not None and roles[i] not in frames[x]]
    report.rows(UNKNOWN_ROLE, "role", absent, roles.__getitem__, "is not a camera of this rollout")
    told = table["instruction"].to_pylist()
    right = [i for i, x in enumerate(ids) if told[i] is not None and own.get(x) == instruction_key(told[i])]
    report.rows(INSTRUCTION, "instruction", right, told.__getitem__, "is the rollout's own instruction")
    skip = {*unknown, *absent}
    index = table["frame_index"].combine_chunks()
    ends: Ints = np.full(len(ids), -1, np.int64)
    filled = index.value_lengths().to_numpy() > 0
    flat, offset = index.flatten().to_numpy(zero_copy_only=False), index.offsets.to_numpy() - index.offsets[0].as_py()
    ends[filled] = flat[offset[1:][filled] - 1]
    late = [
        i
        for i, x in enumerate(ids)
        if i not in skip and ends[i] >= (frames[x][roles[i]] if roles[i] is not None else max(frames[x].values()))
    ]
    report.rows(PAST_END, "frame_index", late, lambda row: int(ends[row]), "goes past the last frame")


def _check_metadata(metadata: bytes, release: Release | None, report: Report) -> None:
    stated = json_object(metadata)
    if stated is None:
        report.file_defect(OTHER_RELEASE, "says which release it scored in a form that cannot be read")
        return
    if release is None:
        return
    actual = describe(release)
    for key in ("name", "version", "recipe_sha256", "data_sha256"):
        if key in stated and stated[key] != actual[key]:
            report.file_defect(
                OTHER_RELEASE,
                f"was made from a release with another {key}",
                field=key,
                value=shorten(stated[key]),
                legal=actual[key],
            )
