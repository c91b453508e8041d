"""Scorers over a model in this process: a tiny LLaVA, really loaded and trained, in the formats of the scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior import scorers
from bad_robot_behavior.schema import ModelSettings
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm import transformers_client
from bad_robot_behavior.vlm.client import Request
from bad_robot_behavior.vlm.stub import StubClient
from bad_robot_behavior.vlm.transformers_client import TransformersClient
from tests.tiny_models import teach, tiny_llava

pytest.importorskip("torch", reason="the extra transformers is not installed")
pytest.importorskip("transformers", reason="the extra transformers is not installed")


def clip(*levels: int) -> Clip:
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in levels])
    index = np.arange(len(levels))
    return Clip(
        rollout_id="a" * 20, instruction="go", frames=frames, frame_index=index, num_frames=len(levels), fps=10.0
    )


def client(folder: Path) -> TransformersClient:
    return TransformersClient(ModelSettings(kind="transformers", path=str(folder)))


def asked(name: str, shown: Clip, **options: Any) -> list[Request]:
    """The questions that a scorer puts."""
    stub = StubClient(lambda request: "")
    scorers.get(name, client=stub, **options).score([shown])
    return stub.asked


def test_a_model_that_is_taught_the_format_gives_robo_dopamine_its_curve(tmp_path: Path) -> None:
    words = tmp_path / "short.txt"
    words.write_text("$instruction" + "<image>" * 8)
    shown = clip(0, 200)
    question = asked("dopamine", shown, prompt_file=words)[0]
    folder = tiny_llava(tmp_path / "model")
    teach(folder, [transformers_client._turn(turn) for turn in question.messages], "<score>+50%</score>")
    [curve] = scorers.get("dopamine", client=client(folder), prompt_file=words).score([shown])
    assert curve.error is None
    np.testing.assert_array_equal(curve.value, [0, 0.5])  # type: ignore[arg-type]


def test_topreward_reads_the_logits_of_a_model_whose_token_it_is(tmp_path: Path) -> None:
    import torch
    from transformers import AutoProcessor

    shown = clip(0, 120, 250)
    folder = tiny_llava(tmp_path / "model")
    [curve] = scorers.get("topreward", client=client(folder)).score([shown])
    assert curve.error == "question 1 of 3: refused: 'True' is 4 tokens of this model, and must be one"
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.add_tokens(["True"])
    processor.save_pretrained(folder)
    with torch.random.fork_rng():
        first, again = (scorers.get("topreward", client=client(folder)).score([shown])[0] for _ in range(2))
    assert first.value is not None
    assert first.value.shape == (3,)
    assert (first.value < 0).all()
    assert len(set(first.value.tolist())) == 3, "each beginning is another question"
    np.testing.assert_array_equal(first.value, again.value)  # type: ignore[arg-type]
    [scaled] = scorers.get("topreward", client=client(folder), scale="minmax").score([shown])
    spread = first.value - first.value.min()
    np.testing.assert_allclose(scaled.value, spread / spread.max())  # type: ignore[arg-type]
