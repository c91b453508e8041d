"""The predictions file: what one scorer, run with one set of parameters, said of the rollouts of a release.

A parquet file with a row for each rollout and the columns of `schema.Prediction`; docs/benchmark.md shows how to write
one without this package. A row either has a curve (`frame_index` and `value`) or an `error` that says why not.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bad_robot_behavior.benchmark import fit
from bad_robot_behavior.benchmark.checks import METADATA_KEY, ORIGIN_KEY, SCHEMA, json_object
from bad_robot_behavior.benchmark.fit import describe, examine
from bad_robot_behavior.benchmark.metrics import Floats, Ints
from bad_robot_behavior.errors import PredictionsError, naming_disk
from bad_robot_behavior.schema import Defect, Prediction

__all__ = ["Predictions", "check", "describe", "read", "write"]

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

_BATCH = 1000  # rows that are held before they are written
_SHOWN = 5  # defects named in an error


@dataclass(frozen=True, eq=False)
class Predictions:
    """A predictions file in memory, N rows.

    `frame_index` and `value` (M,) hold all curves one after another; the curve of row i is `offset[i]:offset[i + 1]`,
    empty where `error[i]` is not None.
    """

    path: Path | None
    model: str
    parameters: dict[str, Any]
    release: dict[str, str] | None
    """What `describe` says of the release that was scored; None where the file does not say."""
    rollout_id: list[str]
    role: list[str | None]
    offset: Ints
    frame_index: Ints
    value: Floats
    error: list[str | None]
    origin: dict[str, Any] | None = None
    """What `origin.origin` says of the run; None where the file does not say."""

    left_out: dict[str, int] = field(default_factory=dict)
    """Rows that belong to no rollout, or to one that stands there already, by rule; only where defects are salvaged."""

    @property
    def intervention(self) -> str | None:
        """What was changed of the input, `wrong_instruction` or `reversed`; None where nothing was."""
        changed = self.parameters.get("intervention")
        return changed["name"] if isinstance(changed, dict) else None

    def same_scorer(self, other: Predictions) -> bool:
        """Was the other made by the same model with the same parameters, interventions aside?"""
        mine, theirs = (
            {name: value for name, value in item.parameters.items() if name != "intervention"} for item in (self, other)
        )
        return self.model == other.model and mine == theirs

    @property
    def name(self) -> str:
        """What tables call it: the name of the scorer where the parameters give one, with the model, or the model."""
        scorer = self.parameters.get("scorer")
        if not isinstance(scorer, str) or scorer in self.model:
            return self.model
        return f"{scorer} ({self.model})"


def write(
    path: Path,
    predictions: Iterable[Prediction],
    release: Mapping[str, str] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> int:
    """Write a predictions file as the predictions come, and return the number of rows.

    `release` (see `describe`) is kept in the file, so that it cannot be joined with another release by mistake, and so
    is `origin`, what the values were made with. The file appears whole or not at all. Raises PredictionsError where the
    rows break a rule of `check`, DiskFullError where there is no room, and whatever the iterable raises.
    """
    path = Path(path)
    stated = {METADATA_KEY: release, ORIGIN_KEY: origin}
    schema = SCHEMA.with_metadata(
        {key: json.dumps(dict(said), sort_keys=True) for key, said in stated.items() if said} or None
    )
    try:
        with naming_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".part")
    except OSError as error:
        raise PredictionsError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    part = Path(name)
    rows = 0
    try:
        stream = iter(predictions)
        with naming_disk(path), pq.ParquetWriter(part, schema, compression="zstd") as writer:
            while batch := list(islice(stream, _BATCH)):
                columns = [[getattr(row, name) for row in batch] for name in schema.names]
                arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=_BATCH)
                rows += len(batch)
        _table, defects = examine(part)
        _raise_for(path, defects)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return rows


def read(path: Path, release: Release | None = None, *, salvage: bool = False) -> Predictions:
    """A predictions file, checked by all rules of `check`. Raises PredictionsError that names the first defects.

    salvage: rows with defects of their own lose their curve and count as not answered, instead; a defect of the whole
    file still raises. Needs the release.
    """
    path = Path(path)
    if path.is_dir():
        raise PredictionsError(f"{path}: is a folder; give a predictions file (.parquet), as bad-robot score writes it")
    left_out: dict[str, int] = {}
    if salvage:
        if release is None:
            raise ValueError("salvage needs the release")
        table, defects, left_out = fit.salvage(path, release)
    else:
        table, defects = examine(path, release)
    against = f" --release {shlex.quote(str(release.path))}" if release is not None else ""
    _raise_for(path, defects, f"bad-robot validate {shlex.quote(str(path))}{against}")
    if table is None:
        raise PredictionsError(f"{path}: cannot be read")
    value, index = table["value"].combine_chunks(), table["frame_index"].combine_chunks()
    metadata = table.schema.metadata or {}
    return Predictions(
        path=path,
        model=table["model"][0].as_py(),
        parameters=json.loads(table["parameters"][0].as_py()),
        release=json_object(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None,
        origin=json_object(metadata[ORIGIN_KEY]) if ORIGIN_KEY in metadata else None,
        rollout_id=table["rollout_id"].to_pylist(),
        role=table["role"].to_pylist(),
        offset=np.asarray(value.offsets, dtype=np.int64) - value.offsets[0].as_py(),
        frame_index=index.flatten().to_numpy(zero_copy_only=False),
        value=value.flatten().to_numpy(zero_copy_only=False),
        error=table["error"].to_pylist(),
        left_out=left_out,
    )


def check(path: Path, release: Release | None = None) -> list[Defect]:
    """Every defect of a predictions file; with a release, also what does not fit that release.

    Rollouts of the release that the file does not hold are not a defect: they show as coverage in every result.
    """
    return examine(Path(path), release)[1]


def _raise_for(path: Path, defects: list[Defect], listing: str | None = None) -> None:
    """One defect a line, the file named once. listing: the command that lists all of them."""
    if not defects:
        return
    shown = [str(defect).removeprefix(defect.file).lstrip(": ") for defect in defects[:_SHOWN]]
    if len(defects) == 1:
        raise PredictionsError(f"{path}: {shown[0]}")
    lines = [f"{path}: {len(defects)} defects", *shown]
    if len(defects) > _SHOWN:
        lines.append(f"and {len(defects) - _SHOWN} more" + (f": {listing} lists all" if listing else ""))
    raise PredictionsError("\n  ".join(lines))
