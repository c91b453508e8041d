"""The results file: the numbers of one scorer together with the predictions that they came from.

A zip archive, stored, with fixed times: `results.json` (ResultsFile) and the predictions files byte for byte, so that
anyone with the release can score them again without the model. Predictions files say themselves what they were made
with: parameters, prompt hash, versions, git state, and the hash of the truth that was scored.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from bad_robot_behavior.benchmark import tasks
from bad_robot_behavior.benchmark.predictions import Predictions, read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.report import write_bytes
from bad_robot_behavior.benchmark.results import Part, Results
from bad_robot_behavior.errors import BadRobotError, PredictionsError
from bad_robot_behavior.schema import Defect, Record, rule, shorten
from bad_robot_behavior.schema.archive import more_entries_than

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

FORMAT: Literal["bad-robot-results-1"] = "bad-robot-results-1"
SUFFIX = ".results.zip"
MAX_BYTES = 2 << 30
_JSON = "results.json"
_OWN = "predictions.parquet"
_MEMBERS = (_JSON, _OWN, "wrong_instruction.parquet", "reversed.parquet")
_AGAIN = "Write it again with `bad-robot evaluate RELEASE PREDICTIONS -o FOLDER`."

UNREADABLE = rule(
    "results.unreadable",
    "A results file must be an archive with results.json and its predictions files, and nothing else.",
    cure=_AGAIN,
)
CHANGED = rule(
    "results.changed",
    "The predictions in a results file must be those that its numbers came from, by their SHA-256.",
    cure=_AGAIN,
)
PREDICTIONS = rule(
    "results.predictions",
    "The predictions in a results file must keep the rules of predictions files.",
    cure="`bad-robot validate` on the predictions file names every defect.",
)
OTHER_TASK = rule(
    "results.other_task",
    "The numbers must be of the tasks in the versions that this package has.",
    cure=f"What a number means has changed. {_AGAIN}",
)
OTHER_SPLIT = rule(
    "results.other_split",
    "The numbers must be over the split that the tasks name, as the release has it.",
    cure=f"Leave out --split and --splits. {_AGAIN}",
)
OTHER_RELEASE = rule(
    "results.other_release",
    "The numbers must be over this release, by name, version and the hash of its truth.",
    cure=f"Score this release. {_AGAIN}",
)
WRONG_NUMBERS = rule(
    "results.wrong_numbers",
    "Scoring the predictions again must give the numbers in the file.",
    cure=_AGAIN,
)
OTHER_FLAG = rule(
    "results.other_contamination",
    "A results file must say of its scorers what their cards and predictions say: contaminated, unknown or clean.",
    cure=_AGAIN,
)


class ResultsFile(Record, frozen=True, kw_only=True):
    """results.json of a results file."""

    format: Literal["bad-robot-results-1"]
    predictions: dict[str, str]
    """Member to SHA-256."""
    results: Results
    """Of this scorer beside the floors."""


def write(
    folder: Path,
    release: Release,
    predictions: Sequence[Predictions],
    *,
    split: Part | None = None,
    splits: Mapping[str, str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> list[Path]:
    """Write a results file for each scorer of `predictions` into a folder, named after its predictions file.

    Files of changed inputs go with their scorer. Raises PredictionsError where two scorers' files have the same name,
    and what `evaluate` raises.
    """
    made: dict[str, bytes] = {}
    for base in predictions:
        if base.intervention is not None:
            continue
        together = [item for item in predictions if item is base or (item.intervention and item.same_scorer(base))]
        members = {f"{item.intervention or 'predictions'}.parquet": _bytes(item) for item in together}
        results = evaluate(release, together, split=split, splits=splits, draws=draws, seed=seed)
        said = ResultsFile(
            format=FORMAT,
            predictions={name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
            results=results,
        )
        name = f"{base.path.stem if base.path else base.name}{SUFFIX}"
        if name in made:
            raise PredictionsError(f"{base.path}: another file is called {name} too; rename one of them")
        text = msgspec.json.format(msgspec.json.encode(said), indent=1)
        made[name] = _archive({_JSON: text, **members})
    for name, data in made.items():
        write_bytes(folder / name, data, "the results file")
    return [folder / name for name in made]


def check(path: Path, release: Release | None = None) -> tuple[ResultsFile | None, list[Defect]]:
    """What a results file says (None where it cannot be read), and every defect.

    With a release, the predictions are scored again and must give the same numbers. Without one, they are only held
    to the rules of predictions files.
    """
    defects: list[Defect] = []

    def tell(broken: str, message: str, value: str | None = None) -> None:
        defects.append(Defect(rule=broken, file=str(path), message=message, value=value))

    try:
        members = _members(path)
        said = msgspec.json.decode(members[_JSON], type=ResultsFile)
        _require_whole(said.results)
    except _BROKEN as error:
        tell(UNREADABLE.id, "cannot be read", shorten(str(error), 200))
        return None, defects
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != _JSON}
    if hashes != said.predictions or _OWN not in hashes:
        tell(CHANGED.id, "holds other predictions than its numbers came from", ", ".join(sorted(hashes)))
    if said.results.split != "test" or "splits_sha256" in said.results.release:
        tell(OTHER_SPLIT.id, "was not scored on the test split of the release", said.results.split)
    others = [result.task for result in said.results.tasks if result.task != _known(result.task.name)]
    missing = [name for name in tasks.ORDER if name not in {result.task.name for result in said.results.tasks}]
    for task in others:
        tell(OTHER_TASK.id, "has a task that this package has otherwise", shorten(f"{task.name} {task.version}"))
    if missing:
        tell(OTHER_TASK.id, "lacks tasks", ", ".join(missing))
    if defects:
        return said, defects
    try:
        _score_again(members, said, release, tell)
    except PredictionsError as error:
        tell(PREDICTIONS.id, "has predictions with defects", shorten(str(error).replace("\n", " "), 300))
    return said, defects


def _known(name: str) -> tasks.Task | None:
    return tasks.get(name) if name in tasks.ORDER else None


def _score_again(members: Mapping[str, bytes], said: ResultsFile, release: Release | None, tell: object) -> None:
    assert callable(tell)  # noqa: S101 - for mypy
    told = said.results
    with tempfile.TemporaryDirectory(prefix="bad-robot-") as folder:
        found = []
        for name, data in members.items():
            if name != _JSON:
                path = Path(folder) / name
                path.write_bytes(data)
                found.append(read(path))
    stated = [pair for item in found for pair in (item.release or {}).items()]
    if any(told.release.get(key) != value for key, value in stated):
        tell(OTHER_RELEASE.id, "has predictions of another release than its numbers")
        return
    if release is None:
        return
    again = evaluate(release, found, draws=told.draws, seed=told.seed)
    if again.release != told.release:
        tell(OTHER_RELEASE.id, "was scored on another release", f"{told.release['name']} {told.release['version']}")
        return
    names = [item.name for item in told.scorers]
    flags = [item.contamination for item in told.scorers]
    if [item.contamination for item in again.scorers] != flags:
        tell(OTHER_FLAG.id, "says otherwise what its scorers were trained on", shorten(_other_flag(told, again)))
    if [item.name for item in again.scorers] != names or again.tasks != told.tasks:
        tell(WRONG_NUMBERS.id, "gives other numbers when it is scored again", _first_difference(told, again))


def _other_flag(told: Results, again: Results) -> str:
    pairs = zip(again.scorers, told.scorers, strict=False)
    wrong = [(ours, theirs) for ours, theirs in pairs if ours.contamination != theirs.contamination]
    return "; ".join(
        f"{ours.name}: {theirs.contamination.flag}, is {ours.contamination.flag}" for ours, theirs in wrong
    )


def _first_difference(told: Results, again: Results) -> str:
    for ours, theirs in zip(again.tasks, told.tasks, strict=False):
        for right, wrong in zip(ours.measures, theirs.measures, strict=False):
            if right != wrong:
                return f"{ours.task.name} {right.metric} of {right.scorer}: {wrong.value}, and again {right.value}"
    return "the scorers have other names or numbers are missing"


class _Strange(Exception):
    """An archive that is none of ours, or numbers that are not whole."""


_BROKEN = (
    *(OSError, zipfile.BadZipFile, EOFError, ValueError, struct.error, NotImplementedError),
    *(_Strange, msgspec.DecodeError, RecursionError),
)


def _require_whole(results: Results) -> None:
    """Raise _Strange where a number that every page shows is not there."""
    lacking = {"name", "version", "recipe_sha256", "data_sha256"} - results.release.keys()
    if lacking:
        raise _Strange(f"the release has no {sorted(lacking)[0]}")
    for result in results.tasks:
        for scorer in results.scorers:
            try:
                result.headline(scorer.name)
            except KeyError:
                raise _Strange(f"task {result.task.name} has no number of scorer {scorer.name}") from None


def _members(path: Path) -> dict[str, bytes]:
    """The members by name; nothing is unpacked to a name that the archive chose, and nothing past the limit."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES + (1 << 20):
        raise _Strange(f"it is not a regular file of at most {MAX_BYTES >> 30} GiB")
    if more_entries_than(path, len(_MEMBERS)):
        raise _Strange(f"it has more than {len(_MEMBERS)} members")
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        listed = archive.infolist()
        names = [info.filename for info in listed]
        if _JSON not in names or len(set(names)) != len(names) or not set(names) <= set(_MEMBERS):
            raise _Strange(f"it has the members {', '.join(names[:6]) or 'none'}; legal: {', '.join(_MEMBERS)}")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in listed):
            raise _Strange("its members are compressed or encrypted; they must be stored as they are")
        if sum(info.file_size for info in listed) > MAX_BYTES:
            raise _Strange(f"it has more than {MAX_BYTES >> 30} GiB")
        return {name: archive.read(name) for name in names}


def _archive(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def _bytes(item: Predictions) -> bytes:
    if item.path is None:
        raise BadRobotError(f"{item.name}: has no file, so no results file can hold it")
    return item.path.read_bytes()
