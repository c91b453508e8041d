"""Robo-Dopamine's GRM: how far a task moved between two moments, as a signed share of what was left or reached.

Method: Tan et al., "Robo-Dopamine" (arXiv 2512.23703), General Reward Model. A question shows eight pictures: reference
start, reference end, and front, left and right wrist BEFORE and AFTER. The answer is a hop h in [-1, 1], written as a
whole percentage in <score> tags. With the progress p in [0, 1] of the state before (paper, equations 2 and 18)

    h >= 0:  p' = p + (1 - p) h        the share of what was missing that was gained
    h <  0:  p' = p + p h              the share of what was reached that was lost

so p' stays in [0, 1] from p = 0 on, which the released code (FlagOpen/Robo-Dopamine examples/inference.py @7d4415f)
breaks at its first step, where it takes a negative hop as the progress. Four modes:

    incremental  BEFORE is the frame before; p as above
    forward      BEFORE is the first frame, where progress is 0: p = h
    backward     BEFORE is the goal, where progress is 1: p = 1 + h
    fused        p is the mean of the three, and the next incremental step starts from it (paper, section 3.1.2)

Forward and backward values are cut to [0, 1].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior import media
from bad_robot_behavior.errors import BadRobotError, check_choice
from bad_robot_behavior.scorers.asking import Asking
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.answers import BadAnswer
from bad_robot_behavior.vlm.client import Client, Image

Mode = Literal["incremental", "forward", "backward", "fused"]
Output = Literal["progress", "hop"]

_SCORE = re.compile(r"<score>\s*([+-]?\d+(?:\.\d+)?)\s*%?\s*</score>")
_MAGIC: dict[bytes, Literal["image/png", "image/jpeg"]] = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8": "image/jpeg"}
_GREY = Image(media.jpeg(np.full((224, 224, 3), 128, np.uint8)), "image/jpeg")
"""Stands for a goal that nobody has a picture of, as robometer/robometer robometer/evals/baselines/robodopamine.py does
it. The released code takes the last frame of the rollout, which makes every failure look finished."""

Hops = NDArray[np.float64]


class Dopamine(Asking):
    """The scorer `dopamine`: progress in [0, 1] per frame, 0 at the first; or the hops between frames in [-1, 1].

    One wrist camera is shown in both wrist slots; a rollout without one has its front camera in all three. Without
    goals, the reference end is a grey picture, and the modes that compare with the goal cannot be had. A hop is what
    the model says in mode `incremental`, and the difference of progress in the others; it is 0 at the first frame.
    """

    name = "dopamine"
    cameras = "wrist"
    min_frames: ClassVar[int] = 2
    max_tokens: ClassVar[int] = 1024
    form: ClassVar[str] = "one whole percentage in <score> tags, such as <score>+12%</score>, and nothing else"
    places: ClassVar[int | None] = 8
    card: ClassVar[Card] = Card(
        title="Robo-Dopamine, General Reward Model",
        runs="model",
        base_model="RoboBrain-2.0-3B (GRM-3B); others announced from RoboBrain 2.0-8B and 2.5-8B",
        weights="tanhuajie2001/Robo-Dopamine-GRM-3B",
        paper="arXiv 2512.23703",
        license="code: Apache-2.0; weights: Apache-2.0, by a listing of them (featherless.ai)",
        inputs="pairs of moments, each a front and two wrist pictures; two reference pictures; the instruction",
        output="progress in [0, 1], or hops in [-1, 1]",
        contaminated="no",
        evidence=(
            "table 6 of the paper lists its sources: AGIBot-World, DROID, RoboBrain-X, LIBERO, RoboTwin, RoboCasa, "
            "EgoDex and its own; RoboArena is not among them, though DROID is the same robot and camera set-up"
        ),
        differs=(
            "worded anew unless a prompt_file is given; one wrist camera in both wrist slots; grey goal, or goals from "
            "a folder, never the rollout's last frame; progress kept in [0, 1]; an answer that cannot be read is an "
            "error and not 0; temperature 0, not 0.1 with top_p 0.9 and top_k 50"
        ),
        sources=(
            "FlagOpen/Robo-Dopamine examples/inference.py and README.md @7d4415f",
            "robometer/robometer robometer/evals/baselines/robodopamine.py @c7f38e2",
            "the paper, sections 3.1.2, A.1 and B, and its table 6",
        ),
    )

    def __init__(
        self,
        client: Client,
        mode: Mode = "incremental",
        output: Output = "progress",
        goals: str | Path | None = None,
        **options: Any,
    ) -> None:
        """goals: folder with `<rollout_id>.png` or `.jpg`, the task done, from another run than the rollout's own; a
        rollout without one has no curve. `options` are those of `Asking`. Raises BadRobotError for a mode or folder
        that cannot be had."""
        super().__init__(client, **options)
        check_choice("mode", mode, get_args(Mode))
        check_choice("output", output, get_args(Output))
        self.goals = None if goals is None else Path(goals).expanduser()
        if self.goals is None and mode in {"backward", "fused"}:
            raise BadRobotError(
                f"mode {mode} compares frames with the finished task, of which there is no picture: give goals, a "
                "folder with <rollout_id>.png from other runs, or take the mode incremental or forward"
            )
        if self.goals is not None and not self.goals.is_dir():
            raise BadRobotError(f"{self.goals}: there is no such folder of goal pictures")
        self.mode: Mode = mode
        self.output: Output = output
        self.kind = "progress" if output == "progress" else "reward"

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON."""
        goals = "grey" if self.goals is None else _fingerprint(self.goals)
        mine = {"mode": self.mode, "output": self.output, "goals": goals, "wrist": "both", "no_wrist": "front"}
        return super().parameters() | mine

    def shown(self, clip: Clip, frames: NDArray[np.uint8]) -> list[Sequence[Image]] | str:
        """Eight pictures for each frame after the first; three times as many questions where modes are fused."""
        goal = self._goal(clip.rollout_id)
        if isinstance(goal, str):
            return goal
        front = self.pictures(frames)
        has_wrist = "wrist" in clip.roles[1:]
        wrist = self.pictures(clip.others[clip.roles.index("wrist") - 1]) if has_wrist else front
        views = [(front[t], wrist[t], wrist[t]) for t in range(len(front))]
        later = range(1, len(front))
        before = {
            "incremental": [views[t - 1] for t in later],
            "forward": [views[0] for t in later],
            "backward": [(goal, goal, goal) for t in later],
        }
        asked = list(before) if self.mode == "fused" else [self.mode]
        return [(front[0], goal, *before[mode][t - 1], *views[t]) for mode in asked for t in later]

    def read(self, text: str) -> float:
        """The hop in [-1, 1]. Raises BadAnswer where there is not exactly one score, or one outside."""
        found = _SCORE.findall(text)
        if len(found) != 1 or text.count("<score>") != 1:
            raise BadAnswer(f"it holds {text.count('<score>')} scores in <score> tags; there must be one percentage")
        percent = float(found[0])
        if abs(percent) > 100:
            raise BadAnswer("the score lies outside -100 % to +100 %")
        return percent / 100

    def curve(self, answers: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        """Values (length,) from length - 1 hops, or from three times as many."""
        value = fuse(*answers.reshape(3, -1)) if self.mode == "fused" else _READ[self.mode](answers)
        if self.output == "progress":
            return value
        return np.concatenate([[0.0], answers if self.mode == "incremental" else np.diff(value)])

    def _goal(self, rollout_id: str) -> Image | str:
        if self.goals is None:
            return _GREY
        for suffix in (".png", ".jpg"):
            path = self.goals / f"{rollout_id}{suffix}"
            if path.is_file():
                data = path.read_bytes()
                kinds = [kind for magic, kind in _MAGIC.items() if data.startswith(magic)]
                return Image(data, kinds[0]) if kinds else f"the goal picture {path.name} is no PNG or JPEG file"
        return f"there is no goal picture {rollout_id}.png or {rollout_id}.jpg"


def step(progress: float, hop: float) -> float:
    """Progress after a hop, both in their ranges: [0, 1] and [-1, 1]."""
    return progress + (1 - progress) * hop if hop >= 0 else progress + progress * hop


def incremental(hops: Hops) -> NDArray[np.float64]:
    """Progress (N,) from hops (N - 1,) between frames that follow each other."""
    value = [0.0]
    for hop in hops:
        value.append(step(value[-1], hop))
    return np.array(value)


def forward(hops: Hops) -> NDArray[np.float64]:
    """Progress (N,) from hops (N - 1,) from the first frame."""
    return np.concatenate([[0.0], np.clip(hops, 0, 1)])


def backward(hops: Hops) -> NDArray[np.float64]:
    """Progress (N,) from hops (N - 1,) from the goal; 0 at the first frame, of which nobody is asked."""
    return np.concatenate([[0.0], np.clip(1 + hops, 0, 1)])


def fuse(steps: Hops, from_start: Hops, from_goal: Hops) -> NDArray[np.float64]:
    """Progress (N,): the mean of the three estimates, where the incremental one goes on from the last mean."""
    value = [0.0]
    for hop, first, last in zip(steps, forward(from_start)[1:], backward(from_goal)[1:], strict=True):
        value.append((step(value[-1], hop) + first + last) / 3)
    return np.array(value)


_READ = {"incremental": incremental, "forward": forward, "backward": backward}


def _fingerprint(folder: Path) -> str:
    """SHA-256 of a folder's pictures and their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"}):
        digest.update(f"{path.name}\x1f".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
