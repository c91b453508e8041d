"""Robometer: asks the model's own server, which runs in the environment of its repository.

Method: "Robometer" (arXiv 2603.02115). Its heads give a progress and a success probability for each frame, so no chat
endpoint can serve it. Its repository (robometer/robometer @c7f38e2) has a server:

    uv run python robometer/evals/eval_server.py --config_path=robometer/configs/config.yaml --port=8000

and this is a client of it: POST /evaluate_batch_npy, a form with the field `sample_0` (JSON: sample_type "progress",
trajectory {frames, frames_shape, task, id, metadata.subsequence_length, video_embeddings}), the file
`sample_0_trajectory_frames` (.npy, uint8 (T, H, W, 3)) and `use_frame_steps`. The answer is JSON:
outputs_progress.progress_pred and outputs_success.success_probs, a list of T numbers for each sample.
"""

from __future__ import annotations

import io
import json
from typing import Any, ClassVar, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import EndpointDownError, EndpointError, check_choice, require
from bad_robot_behavior.schema import CurveKind
from bad_robot_behavior.scorers.card import Card
from bad_robot_behavior.scorers.scorer import Clip, Curve

Output = Literal["progress", "success"]
_SLACK = 1e-3
"""How far outside [0, 1] a value may lie to be taken for rounding: the server computes in bfloat16."""


class _Progress(msgspec.Struct):
    progress_pred: list[list[float]]


class _Success(msgspec.Struct):
    success_probs: list[list[float]]


class _Said(msgspec.Struct):
    outputs_progress: _Progress | None = None
    outputs_success: _Success | None = None


class Robometer:
    """The scorer `robometer`: progress, or the probability of success, in [0, 1] per frame.

    frame_steps: each frame is judged at the end of its own beginning of the rollout, of which the server shows the
    model four frames; without, all frames are judged in one pass, and early ones may be judged by what comes later.
    An answer for another number of frames, or outside [0, 1], is the rollout's error. Raises EndpointError, from
    `score`, where the server is not there or does not know the path.
    """

    name = "robometer"
    kind: CurveKind = "progress"
    needs_frames = True
    card: ClassVar[Card] = Card(
        title="Robometer-4B",
        runs="server",
        base_model="Qwen3-VL-4B-Instruct",
        weights="robometer/Robometer-4B",
        paper="arXiv 2603.02115",
        license="code: MIT, by its README and setup.py",
        inputs="the frames up to a moment, of which its server takes four; the instruction",
        output="progress, or the probability of success, in [0, 1]",
        contaminated="yes",
        evidence=(
            "the training list rbm-1m-id in robometer/data/dataset_category.py holds "
            "jesbu1_roboarena_0825_rfm_roboarena, RoboArena's dump of August 2025"
        ),
        differs="evenly spaced frames (16), not one a second",
        sources=(
            "robometer/robometer scripts/example_inference.py, robometer/evals/eval_server.py, "
            "robometer/data/dataset_category.py and README.md @c7f38e2",
            "huggingface/lerobot src/lerobot/rewards/robometer/ @7427f31",
        ),
    )

    def __init__(
        self,
        base_url: str,
        model: str = "robometer/Robometer-4B",
        num_frames: int = 16,
        output: Output = "progress",
        frame_steps: bool = True,
        timeout_s: float = 600.0,
    ) -> None:
        """base_url: of the server, such as http://localhost:8000. model: the weights that it was started with, for the
        record: the server is not asked. Raises BadRobotError for an output that there is not."""
        require("httpx2", "vlm")
        check_choice("output", output, get_args(Output))
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.num_frames = num_frames
        self.output: Output = output
        self.frame_steps = frame_steps
        self.timeout_s = timeout_s

    def parameters(self) -> dict[str, Any]:
        """Everything that decides a curve, as JSON; not where the server is."""
        return {"model": self.model, "output": self.output, "frame_steps": self.frame_steps}

    def score(self, clips: list[Clip]) -> list[Curve]:
        """One curve for each clip, asked one after the other: the server takes the whole machine for each."""
        import httpx2

        with httpx2.Client(timeout=self.timeout_s) as api:
            return [self._score(api, clip) for clip in clips]

    def _score(self, api: Any, clip: Clip) -> Curve:
        import httpx2

        if clip.frames is None:
            raise ValueError(f"rollout {clip.rollout_id}: robometer needs the frames of the clip")
        data, files = form(clip, frame_steps=self.frame_steps)
        try:
            response = api.post(f"{self.base_url}/evaluate_batch_npy", data=data, files=files)
        except httpx2.ConnectError as error:
            raise EndpointDownError(f"{self.base_url}: no Robometer server is there ({type(error).__name__})") from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise EndpointError(f"{self.base_url}: gave no answer ({type(error).__name__})") from None
        if response.status_code in {401, 403, 404, 405}:
            raise EndpointError(
                f"{self.base_url}: answered {response.status_code} to /evaluate_batch_npy; the address is that of "
                "Robometer's eval_server.py, without a path"
            )
        if not response.is_success:
            return Curve(value=None, error=f"the server answered {response.status_code}")
        try:
            return Curve(value=self._read(response.content, len(clip.frames)))
        except ValueError as error:
            return Curve(value=None, error=str(error))

    def _read(self, content: bytes, length: int) -> NDArray[np.float64]:
        try:
            said = msgspec.json.decode(content, type=_Said)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError("the server's answer is not of the form that Robometer's server gives") from None
        if self.output == "progress":
            lists = [] if said.outputs_progress is None else said.outputs_progress.progress_pred
        else:
            lists = [] if said.outputs_success is None else said.outputs_success.success_probs
        if len(lists) != 1 or len(lists[0]) != length:
            found = f"{len(lists[0])} values" if len(lists) == 1 else f"values for {len(lists)} clips"
            raise ValueError(f"the server gave {found} of {self.output} for one clip of {length} frames")
        value = np.array(lists[0], np.float64)
        if not (np.isfinite(value) & (value >= -_SLACK) & (value <= 1 + _SLACK)).all():
            raise ValueError(f"the server gave values of {self.output} outside [0, 1]")
        return value.clip(0, 1)


def form(clip: Clip, *, frame_steps: bool) -> tuple[dict[str, str], dict[str, tuple[str, bytes, str]]]:
    """(fields, files) of the form that asks about a clip."""
    frames = np.ascontiguousarray(clip.frames)
    file = io.BytesIO()
    np.save(file, frames, allow_pickle=False)
    name = "sample_0_trajectory_frames"
    sample = {
        "sample_type": "progress",
        "trajectory": {
            "frames": {"__numpy_file__": name},
            "frames_shape": list(frames.shape),
            "task": clip.instruction,
            "id": clip.rollout_id,
            "metadata": {"subsequence_length": len(frames)},
            "video_embeddings": None,
        },
    }
    fields = {"sample_0": json.dumps(sample), "use_frame_steps": "true" if frame_steps else "false"}
    return fields, {name: (f"{name}.npy", file.getvalue(), "application/octet-stream")}
