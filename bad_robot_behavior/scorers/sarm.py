"""SARM: reads the progress that LeRobot's SARM wrote for the episodes of a data set.

Method: "SARM" (arXiv 2509.25358). It is trained on the demonstrations of one task, needs the robot's state beside the
pictures, and is run over a whole LeRobot data set, so it runs in LeRobot's environment (huggingface/lerobot @7427f31):

    python -m lerobot.rewards.sarm.compute_rabc_weights --dataset-repo-id DATASET --reward-model-path MODEL

That writes sarm_progress.parquet with a row for each frame: episode_index, frame_index, progress_sparse and, for models
with a dense head, progress_dense, NaN where there is none. LeRobot's Robometer writes the same columns
(python -m lerobot.rewards.robometer.compute_rabc_weights). Which episode is which rollout stands in a CSV file with the
columns episode_index and rollout_id; episodes hold all frames of a rollout's first camera.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import BadRobotError, check_choice
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip, Curve

Head = Literal["sparse", "dense"]
_SLACK = 1e-6
"""How far outside [0, 1] a value may lie to be taken for rounding: the column is float32."""


class SARM:
    """The scorer `sarm`: what the file says of the frames of a clip, in [0, 1].

    A rollout without an episode, or with a frame of which the file says nothing, has an error.
    """

    name = "sarm"
    kind: CurveKind = "progress"
    needs_frames = False
    card: ClassVar[Card] = Card(
        title="SARM, by LeRobot",
        runs="file",
        base_model="CLIP ViT-B/32",
        weights="none for all tasks: it is trained on the demonstrations of one",
        paper="arXiv 2509.25358",
        license="code: Apache-2.0",
        inputs="nine frames a second apart, the robot's state, the instruction; from LeRobot's data set",
        output="progress in [0, 1]",
        contaminated="unknown",
        evidence="it is what the user trained it on",
        sources=(
            "huggingface/lerobot src/lerobot/rewards/sarm/compute_rabc_weights.py, configuration_sarm.py and "
            "docs/source/sarm.mdx @7427f31",
        ),
    )

    def __init__(
        self,
        progress: str | Path,
        episodes: str | Path,
        model: str | None = None,
        head: Head = "sparse",
        num_frames: int = 30,
    ) -> None:
        """progress: the parquet file; episodes: the CSV file; model: its weights, where the file does not name them.
        Raises BadRobotError for files that cannot be read or do not say what is asked of them."""
        check_choice("head", head, get_args(Head))
        self.head: Head = head
        self.num_frames = num_frames
        self._curves, named = _read_progress(Path(progress), f"progress_{head}")
        self._episodes = _read_episodes(Path(episodes))
        self.model = model or named
        if not self.model:
            raise BadRobotError(f"{progress}: does not name the model that wrote it; give model, its path or Hub id")

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        return {"model": self.model, "head": self.head}

    def score(self, clips: list[Clip]) -> list[Curve]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Curve:
        episode = self._episodes.get(clip.rollout_id)
        if episode is None:
            return Curve(value=None, error="the list of episodes does not name the rollout")
        known = self._curves.get(episode)
        if known is None:
            return Curve(value=None, error=f"the progress file has no episode {episode}")
        if len(known) != clip.num_frames:
            return Curve(value=None, error=f"episode {episode} has {len(known)} frames, the video {clip.num_frames}")
        value = known[clip.frame_index]
        if not np.isfinite(value).all():
            missing = int(clip.frame_index[~np.isfinite(value)][0])
            return Curve(value=None, error=f"the progress file says nothing of frame {missing} of episode {episode}")
        if value.min() < -_SLACK or value.max() > 1 + _SLACK:
            return Curve(value=None, error=f"the progress file has values outside [0, 1] in episode {episode}")
        return Curve(value=value.clip(0, 1))


def _read_progress(path: Path, column: str) -> tuple[dict[int, NDArray[np.float64]], str | None]:
    """The values of each episode's frames (N,), in order, and the model that the file names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = ["episode_index", "frame_index", column]
    try:
        schema = pq.read_schema(path)
        absent = [name for name in wanted if name not in schema.names]
        if absent:
            raise BadRobotError(
                f"{path}: has no column {', '.join(absent)}; it is to be the file that LeRobot's compute_rabc_weights "
                f"writes, which has {', '.join(wanted)}"
            )
        table = pq.read_table(path, columns=wanted)
        episode, frame = (table[name].to_numpy().astype(np.int64, casting="safe") for name in wanted[:2])
        value = table[column].cast(pa.float64()).to_numpy()
    except (OSError, pa.ArrowException, TypeError) as error:
        raise BadRobotError(f"{path}: cannot be read as LeRobot's progress file: {error}") from error
    order = np.lexsort((frame, episode))
    starts = np.flatnonzero(np.diff(episode[order], prepend=episode[order][:1] - 1))
    curves = {}
    for rows in np.split(order, starts[1:]) if len(order) else []:
        if not np.array_equal(frame[rows], np.arange(len(rows))):
            raise BadRobotError(
                f"{path}: the frames of episode {episode[rows[0]]} are not 0 to {len(rows) - 1}, each once"
            )
        curves[int(episode[rows[0]])] = value[rows]
    named = (schema.metadata or {}).get(b"reward_model_path")
    return curves, named.decode("utf-8", "replace") if named else None


def _read_episodes(path: Path) -> dict[str, int]:
    """The episode of each rollout."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRobotError(f"{path}: cannot be read as a CSV file: {error}") from error
    episodes: dict[str, int] = {}
    taken: set[int] = set()
    for number, row in enumerate(rows, start=2):
        rollout, episode = row.get("rollout_id"), row.get("episode_index")
        if not rollout or not (episode or "").isdecimal():
            raise BadRobotError(
                f"{path}: line {number}: needs rollout_id and episode_index, a whole number; found {rollout!r} and "
                f"{episode!r}"
            )
        if rollout in episodes or int(episode or "") in taken:
            raise BadRobotError(f"{path}: line {number}: rollout {rollout} or episode {episode} stands there twice")
        episodes[rollout] = int(episode or "")
        taken.add(episodes[rollout])
    if not episodes:
        raise BadRobotError(f"{path}: names no rollout; its columns are to be episode_index and rollout_id")
    return episodes
