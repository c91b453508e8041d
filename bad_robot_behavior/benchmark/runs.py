"""The scorers' side of an evaluation: each predictions file, and each floor, in the order of the world's rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from bad_robot_behavior import scorers
from bad_robot_behavior.benchmark.localisation import Localised, localise
from bad_robot_behavior.benchmark.metrics import AGGREGATIONS, Aggregation, Floats, Ints, returns, voc
from bad_robot_behavior.benchmark.predictions import Predictions
from bad_robot_behavior.benchmark.results import Scored
from bad_robot_behavior.benchmark.world import Mask, World
from bad_robot_behavior.errors import PredictionsError, ReleaseError
from bad_robot_behavior.scorers.run import clip_without_frames, pick_role, stated_parameters

_CHUNK = 10_000  # rollouts whose floors are held at a time
_LISTED = 20  # missing rollouts and errors that are named
_LENGTH = 120  # of an error that is named


class Run:
    """One scorer over the N rollouts of a world; NaN where it has no answer.

    wrong, backward: the same scorer told another instruction, or shown the video backwards; None where there is no
    such file.
    """

    def __init__(self, world: World, summary: Scored, item: Predictions) -> None:
        self.summary = summary
        self._world, self._item = world, item
        self._rows = np.array([world.row.get(rollout, -1) for rollout in item.rollout_id], np.int64)
        self.returns: dict[Aggregation, Floats] = {
            how: self._placed(returns(item.value, item.offset, how, item.frame_index)) for how in AGGREGATIONS
        }
        self.voc = self._placed(voc(item.value, item.offset))
        self.covered: Mask = ~np.isnan(self.returns["mean"])
        self.wrong: Run | None = None
        self.backward: Run | None = None

    @property
    def kind(self) -> Any:
        return self.summary.parameters.get("kind")

    @cached_property
    def localised(self) -> dict[int, Localised]:
        """By row of the world: what the curve says of each rollout that has failures marked in time."""
        fixed = {"progress": 1.0, "reward": 2.0}.get(self.kind) if isinstance(self.kind, str) else None
        value = self._item.value
        scale = fixed or (float(np.ptp(value)) if value.size else 0.0) or 1.0
        found = {}
        for i, row in enumerate(self._rows.tolist()):
            start, end = int(self._item.offset[i]), int(self._item.offset[i + 1])
            spans = marked_spans(self._world, row) if row >= 0 and end > start else []
            if spans:
                video = _video(self._world, row, self._item.role[i])
                seconds = self._item.frame_index[start:end] / video["fps"]
                found[row] = localise(seconds, value[start:end], spans, scale)
        return found

    def _placed(self, numbers: Floats) -> Floats:
        placed = np.full(len(self._world.ids), np.nan)
        inside = self._rows >= 0
        placed[self._rows[inside]] = numbers[inside]
        return placed


def marked_spans(world: World, row: int) -> list[tuple[float, float]]:
    """Start and end in seconds of each failure of a rollout that was marked in time; one without end lasts on."""
    spans = [(f["start_s"], f["end_s"]) for f in world.failures[row] if f["start_s"] is not None]
    return [(start, float("inf") if end is None else max(start, end)) for start, end in spans]


def read_runs(world: World, predictions: Sequence[Predictions]) -> list[Run]:
    """A run for each file; files of a changed input are joined to the run of the same scorer.

    Raises PredictionsError for a rollout that the release does not have, for a changed input without its run, and
    where two files claim the same changed input.
    """
    plain = [item for item in predictions if item.intervention is None]
    runs = [_read(world, item, name) for item, name in zip(plain, _names(plain), strict=True)]
    for item in predictions:
        if item.intervention is None:
            continue
        own = [run for run, base in zip(runs, plain, strict=True) if item.same_scorer(base)]
        slot = {"wrong_instruction": "wrong", "reversed": "backward"}[item.intervention]
        if len(own) != 1:
            found = "no file" if not own else f"{len(own)} files"
            raise PredictionsError(
                f"{item.path or item.model}: was made with the intervention {item.intervention}, and {found} of the "
                "same model and parameters without it are given; give exactly one beside it"
            )
        if getattr(own[0], slot) is not None:
            raise PredictionsError(
                f"{item.path or item.model}: a second file with the intervention {item.intervention}"
            )
        setattr(own[0], slot, _read(world, item, own[0].summary.name))
        made = (*own[0].summary.interventions, item.intervention)
        own[0].summary = msgspec.structs.replace(own[0].summary, interventions=made)
    return runs


def floors(world: World) -> list[Run]:
    """The scorers that see no frame and no instruction, so that each is its own run under a wrong instruction.

    Shown backwards, they say the same in the order of what is shown; by frame index that is the curve turned round.
    """
    made = [scorers.get(name) for name in scorers.FLOORS]
    columns: list[list[Floats]] = [[] for _ in made]
    indices: list[Ints] = []
    for start in range(0, len(world.ids), _CHUNK):
        videos = world.videos.slice(start, _CHUNK).to_pylist()
        names = zip(world.ids[start:], world.instructions[start:], videos, strict=False)
        for rollout, instruction, views in names:
            role = pick_role(views)
            if role is None:
                raise ReleaseError(f"rollout {rollout} has no video; validate the release")
            clip = clip_without_frames(rollout, instruction, views[role], made[0].num_frames)
            indices.append(clip.frame_index)
            for floor, column in zip(made, columns, strict=True):
                value = floor.score([clip])[0].value
                assert value is not None  # noqa: S101 - a floor needs nothing that could be missing
                column.append(value)
    offset = np.concatenate([[0], np.cumsum([len(index) for index in indices])]).astype(np.int64)
    runs = []
    for floor, column in zip(made, columns, strict=True):
        summary = _summary(world, floor.name, None, floor.name, stated_parameters(floor), predicted=len(world.ids))
        summary = msgspec.structs.replace(summary, floor=True)

        def run(values: list[Floats], summary: Scored = summary) -> Run:
            item = Predictions(
                path=None,
                model=summary.model,
                parameters=summary.parameters,
                release=None,
                rollout_id=world.ids,
                role=[None] * len(world.ids),
                offset=offset,
                frame_index=np.concatenate(indices),
                value=np.concatenate(values),
                error=[None] * len(world.ids),
            )
            return Run(world, summary, item)

        forward = run(column)
        forward.wrong, forward.backward = forward, run([value[::-1] for value in column])
        runs.append(forward)
    return runs


def _names(predictions: Sequence[Predictions]) -> list[str]:
    """What the tables call each file: its scorer, with the file's name where two are called the same."""
    names = [item.name for item in predictions]
    files = [
        f"{name} [{item.path.name}]" if names.count(name) > 1 and item.path else name
        for name, item in zip(names, predictions, strict=True)
    ]
    seen: Counter[str] = Counter()
    for i, name in enumerate(files):
        seen[name] += 1
        if seen[name] > 1 or name in scorers.FLOORS:
            files[i] = f"{name} #{seen[name] + (name in scorers.FLOORS)}"
    return files


def _read(world: World, item: Predictions, name: str) -> Run:
    unknown = [rollout for rollout in item.rollout_id if rollout not in world.known]
    if unknown:
        raise PredictionsError(
            f"{item.path or name}: {len(unknown)} rollouts are not in the release, such as {unknown[0]}. Evaluate "
            "against the release that was scored"
        )
    inside = np.array([rollout in world.row for rollout in item.rollout_id], bool)
    answered = np.diff(item.offset) > 0
    errors = Counter(error for error, here in zip(item.error, inside, strict=True) if here and error is not None)
    summary = _summary(
        world,
        name,
        item.path.name if item.path else None,
        item.model,
        item.parameters,
        predicted=int((inside & answered).sum()),
        failed=int((inside & ~answered).sum()),
        origin=item.origin,
        errors=_most_frequent(errors),
        left_out=item.left_out,
        missing=sorted(set(world.ids).difference(item.rollout_id)),
    )
    return Run(world, summary, item)


def _summary(
    world: World,
    name: str,
    file: str | None,
    model: str,
    parameters: dict[str, Any],
    *,
    predicted: int,
    failed: int = 0,
    origin: dict[str, Any] | None = None,
    errors: dict[str, int] | None = None,
    left_out: dict[str, int] | None = None,
    missing: Sequence[str] = (),
) -> Scored:
    return Scored(
        name=name,
        floor=False,
        model=model,
        parameters=parameters,
        file=file,
        origin=origin,
        interventions=(),
        rollouts=len(world.ids),
        predicted=predicted,
        failed=failed,
        errors=errors or {},
        left_out=left_out or {},
        missing=len(missing),
        missing_ids=tuple(missing[:_LISTED]),
    )


def _most_frequent(errors: Counter[str]) -> dict[str, int]:
    shortened: Counter[str] = Counter()
    for error, count in errors.items():
        shortened[error if len(error) <= _LENGTH else f"{error[: _LENGTH - 3]}..."] += count
    return dict(sorted(shortened.items(), key=lambda pair: (-pair[1], pair[0]))[:_LISTED])


def _video(world: World, row: int, role: str | None) -> dict[str, Any]:
    views: dict[str, Any] = world.videos[row].as_py()
    role = role or pick_role(views)
    if role is None or views.get(role) is None:
        raise ReleaseError(f"rollout {world.ids[row]} has no video {role}; validate the release")
    video: dict[str, Any] = views[role]
    return video
