"""Run a scorer over the rollouts of a release: one prediction for each rollout, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bad_robot_behavior import media
from bad_robot_behavior.errors import BadRobotError, MediaError, ReleaseError
from bad_robot_behavior.schema import Prediction, Role, shorten
from bad_robot_behavior.scorers import MAX_VALUE
from bad_robot_behavior.scorers.scorer import Clip, Curve, Scorer, moments


class Watchable(Protocol):
    """What a scorer needs of a rollout: the columns of its row, and its frames (`builder.loader.LoadedRollout`)."""

    def __getitem__(self, column: str) -> Any: ...

    def frames(self, role: Role, *, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB at those indices. Raises MediaError, ReleaseError."""
        ...


def score_release(
    rollouts: Iterable[Watchable], scorer: Scorer, *, batch_size: int = 8, total: int | None = None
) -> Iterator[Prediction]:
    """One prediction for each rollout, in order, as they are made.

    A clip is `scorer.num_frames` evenly spaced frames of the first camera there is of exterior_1, exterior_2, wrist,
    and the same moments of the others for a scorer whose `cameras` are "all", or of the wrist's for "wrist"; it is
    decoded only where the scorer needs frames. A video that cannot be decoded, a scorer that throws on a rollout,
    and a curve that is not one finite number a frame each give a prediction with `error`, so that n is never silently
    smaller. `total` is for the progress bar.
    """
    parameters = stated_parameters(scorer)
    model = str(parameters.get("model", scorer.name))
    stream = iter(rollouts)
    with tqdm(total=total, desc=f"score {scorer.name}", unit="rollout", disable=None) as bar:
        while batch := list(islice(stream, batch_size)):
            views = [view(rollout, scorer) for rollout in batch]
            curves = iter(_score([shown for shown in views if isinstance(shown, Clip)], scorer))
            for rollout, shown in zip(batch, views, strict=True):
                outcome = next(curves) if isinstance(shown, Clip) else None
                yield to_prediction(rollout, shown, outcome, model, parameters)
                bar.update()


def to_prediction(
    rollout: Watchable, shown: Clip | str, curve: Curve | None, model: str, parameters: Mapping[str, Any]
) -> Prediction:
    """What a scorer made of the clip that `view` gave, or why there was none; a curve with a flaw is an error."""
    index: tuple[int, ...] = ()
    value: tuple[float, ...] = ()
    error: str | None
    if isinstance(shown, str):
        error = shown
    elif curve is None:
        error = "the clip was not scored"
    else:
        error = _flaw(curve, len(shown.frame_index))
        if error is None:
            index = tuple(shown.frame_index.tolist())
            value = tuple(np.asarray(curve.value, np.float64).tolist())
    return Prediction(
        rollout_id=rollout["rollout_id"],
        role=pick_role(rollout["videos"]),
        frame_index=index,
        value=value,
        model=model,
        parameters=json.dumps(parameters, sort_keys=True),
        error=error,
    )


def stated_parameters(scorer: Scorer) -> dict[str, Any]:
    """What a prediction keeps of the scorer it came from: its name, kind, frames a clip and own parameters."""
    return {"scorer": scorer.name, "kind": scorer.kind, "num_frames": scorer.num_frames, **scorer.parameters()}


def pick_role(videos: Any) -> Role | None:
    """The camera that a scorer is shown: the first there is of exterior_1, exterior_2, wrist; None for no camera."""
    return next((role for role in get_args(Role) if _get(videos, role) is not None), None)


def clip_without_frames(rollout_id: str, instruction: str, video: Any, num_frames: int) -> Clip:
    """The clip of a rollout whose frames are not needed; `video` is its schema.Video, or that as a mapping."""
    length = int(_get(video, "num_frames"))
    return Clip(
        rollout_id=rollout_id,
        instruction=instruction,
        frames=None,
        frame_index=media.sample_index(length, num_frames),
        num_frames=length,
        fps=float(_get(video, "fps")),
    )


def view(rollout: Watchable, scorer: Scorer) -> Clip | str:
    """The clip of a rollout as this scorer is shown it, or why there is none."""
    role = pick_role(rollout["videos"])
    if role is None:
        return "the rollout has no video"
    clip = clip_without_frames(
        rollout["rollout_id"], rollout["instruction"], _get(rollout["videos"], role), scorer.num_frames
    )
    if not scorer.needs_frames:
        return clip
    indices = {role: clip.frame_index}
    wanted = {"all": get_args(Role), "wrist": ("wrist",)}.get(getattr(scorer, "cameras", "first"), ())
    for other in wanted:
        if other != role and (video := _get(rollout["videos"], other)) is not None:
            indices[other] = moments(int(_get(video, "num_frames")), len(clip.frame_index))
    shown: list[NDArray[np.uint8]] = []
    for camera, index in indices.items():
        try:
            shown.append(rollout.frames(camera, index=index))
        except MediaError as error:
            return f"{camera} cannot be decoded: broke at {error.where}: {error.reason}"
        except (ReleaseError, ValueError) as error:  # a release whose bytes are not those of its manifest
            return f"{camera} cannot be read: {shorten(str(error), 200)}"
    return msgspec.structs.replace(clip, frames=shown[0], others=tuple(shown[1:]), roles=tuple(indices))


def _score(clips: list[Clip], scorer: Scorer) -> list[Curve]:
    """One curve a clip. Where a batch throws, each clip is scored alone, and those that throw again carry the error."""
    if not clips:
        return []
    try:
        return _score_batch(clips, scorer)
    except Exception as error:  # a scorer may be anyone's code; what it raises is kept as the rollout's error
        if isinstance(error, BadRobotError) and not isinstance(error, MediaError):
            raise  # for the user to mend: no clip could be scored, now or after
        if len(clips) == 1:
            return [Curve(value=None, error=f"the scorer raised {type(error).__name__}: {shorten(str(error), 200)}")]
        return [curve for clip in clips for curve in _score([clip], scorer)]


def _score_batch(clips: list[Clip], scorer: Scorer) -> list[Curve]:
    curves = scorer.score(clips)
    if len(curves) != len(clips):
        raise ValueError(f"scorer {scorer.name} gave {len(curves)} curves for {len(clips)} clips")
    return curves


def _flaw(curve: Curve, length: int) -> str | None:
    """Why a curve cannot be used, None where it can."""
    if curve.value is None:
        return curve.error or "the scorer gave no curve and no reason"
    if curve.error is not None:
        return curve.error
    value = np.asarray(curve.value)
    if value.dtype.kind not in "fiu" or value.shape != (length,):
        return f"the scorer gave values of shape {value.shape} and type {value.dtype} for {length} frames"
    if not np.isfinite(value).all():
        return f"the scorer gave {int((~np.isfinite(value)).sum())} values that are not finite, of {length}"
    if np.abs(value).max() > MAX_VALUE:
        return f"the scorer gave values over {MAX_VALUE:g}; scale them, the order does not change"
    return None


def _get(record: Any, name: str) -> Any:
    """A field of a record or a key of a mapping."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name)
