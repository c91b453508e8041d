"""The embedded encoders, the published kind of pair with tiny weights, and which rollouts get what progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind import features as module
from bad_robot_behavior.scorers.rewind.choose import choose
from bad_robot_behavior.scorers.rewind.extract import Extracted
from bad_robot_behavior.scorers.rewind.features import SIDE, Embedded, Features, Transformers, open_features, squares
from bad_robot_behavior.vlm import embeddings
from tests.scorers.rewind.conftest import draw


@pytest.fixture(scope="module")
def embedded() -> Embedded:
    return Embedded()


def test_a_frame_is_told_by_what_stands_where(embedded: Embedded) -> None:
    frames = squares(draw([0.0, 0.02, 1.0]))
    assert frames.shape == (3, SIDE, SIDE, 3)
    made = embedded.frames(frames)
    assert made.shape == (3, embedded.pair.frame_dimension)
    assert made.dtype == np.float32
    regions = made.reshape(3, -1, 3, 3)
    change = np.abs(regions[0] - regions[2]).mean(axis=0)  # (3, 3): the block went from left to right
    assert change[:, [0, 2]].mean() > 1.2 * change[:, 1].mean()
    assert np.linalg.norm(made[0] - made[2]) > 3 * np.linalg.norm(made[0] - made[1])
    assert np.array_equal(embedded.frames(frames[1:2])[0], made[1])
    assert embedded.frames(frames[:0]).shape == (0, embedded.pair.frame_dimension)


def test_an_encoder_that_was_changed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "efficientnet_lite0.onnx"
    fake.write_bytes(b"another")
    monkeypatch.setattr(module, "_ENCODER", fake)
    with pytest.raises(BadRobotError, match="is not the encoder of this version"):
        Embedded().frames(np.zeros((1, SIDE, SIDE, 3), np.uint8))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A DINOv2 and a BERT with random weights, in folders as they are published."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**size, image_size=SIDE, patch_size=56, mlp_ratio=2)).save_pretrained(folder / "dino")
    text = BertConfig(**size, intermediate_size=32, vocab_size=30522)
    BertModel(text).save_pretrained(folder / "bert")
    BertTokenizerFast(str(embeddings._VOCABULARY)).save_pretrained(folder / "bert")
    return folder / "dino", folder / "bert"


def test_the_published_kind_of_pair_is_loaded_from_folders(tiny: tuple[Path, Path]) -> None:
    pair = Transformers(*map(str, tiny))
    assert (pair.pair.frames, pair.pair.text) == ("dino", "bert")
    assert (pair.pair.frame_dimension, pair.pair.text_dimension) == (16, 16)
    frames = squares(draw([0.0, 1.0]))
    both = pair.frames(frames)
    assert both.shape == (2, 16)
    np.testing.assert_allclose(pair.frames(frames[1:])[0], both[1], atol=1e-5)
    drop, again = pair.text("drop the cup"), pair.text("drop the cup")
    assert np.array_equal(drop, again)
    assert np.linalg.norm(drop) == pytest.approx(1)
    assert not np.allclose(drop, pair.text("lift the cup"))
    assert pair.pair.frames_id != pair.pair.text_id
    assert pair.pair == Transformers(*map(str, tiny)).pair


def test_what_cannot_be_loaded_is_named(tmp_path: Path, tiny: tuple[Path, Path]) -> None:
    with pytest.raises(BadRobotError, match="cannot be loaded"):
        Transformers(str(tmp_path), str(tiny[1]))
    with pytest.raises(BadRobotError, match="features is 'dino'; legal: embedded, transformers"):
        open_features("dino")
    with pytest.raises(BadRobotError, match="bring their own models"):
        open_features("embedded", frames="facebook/dinov2-base")


class Told:
    """Stands for encoders where only the text is asked for."""

    def text(self, sentence: str) -> Any:
        return np.full(3, len(sentence), np.float32)


def row(outcome: str, **changes: Any) -> dict[str, Any]:
    curve = {
        "role": "wrist",
        "frame_index": [0, 10, 20],
        "value": [0.0, 0.8, -0.4],
        "provenance": "simulator",
        "preferred": None,
    } | changes.pop("curve", {})
    return {
        "rollout_id": "0" * 20,
        "instruction": "push",
        "instruction_key": "push",
        "outcome": outcome,
        "videos": {"exterior_1": {"num_frames": 11}, "wrist": {"num_frames": 21}},
        "rewards": [curve],
        "reward": curve["value"],
        "reward_frame_index": curve["frame_index"],
        "synthetic": None,
    } | changes


def chosen(found: dict[str, Any], failures: Any, frames: int = 5) -> Any:
    features: Features = Told()  # type: ignore[assignment]
    index = np.linspace(0, 10, frames).astype(np.int64)
    extracted = Extracted(found, "exterior_1", index, np.zeros((frames, 2), np.float16), None)  # type: ignore[arg-type]
    made = choose([extracted], features, failures)
    assert len(made.trajectories) + sum(made.left_out.values()) == 1
    return made.trajectories[0].progress.round(6).tolist() if made.trajectories else next(iter(made.left_out))


def test_progress_of_a_rollout() -> None:
    even = [0.2, 0.4, 0.6, 0.8, 1.0]
    assert chosen(row("success"), "none") == even
    # done badly, it is a success, but learnt from its curve where that is asked for and known
    assert chosen(row("success_suboptimal"), "binary") == even == chosen(row("success_suboptimal"), "none")
    assert chosen(row("success_suboptimal"), "dense") == [0.0, 0.32, 0.8, 0.32, 0.0]
    assert chosen(row("success_suboptimal", rewards=[]), "dense") == even
    # the curve is of the wrist's 21 frames, the features of 11: 0, 5, 10 here are 0, 10, 20 there
    assert chosen(row("failure"), "dense") == [0.0, 0.32, 0.8, 0.32, 0.0]
    assert chosen(row("success_side_effect"), "dense") == [0.0, 0.32, 0.8, 0.32, 0.0]
    assert chosen(row("failure"), "binary") == [0.0] * 5
    assert chosen(row("failure"), "none") == "failures are not asked for"
    assert chosen(row("unknown"), "dense") == "outcome is unknown"
    assert chosen(row("success"), "dense", frames=2) == "fewer than 3 frames"


def test_a_failure_is_learnt_from_a_curve_that_is_known_to_be_low() -> None:
    kept = {"provenance": "self_distilled"}
    assert chosen(row("failure", curve=kept | {"preferred": False}), "dense") == [0.0, 0.32, 0.8, 0.32, 0.0]
    for other in ({"curve": kept | {"preferred": True}}, {"curve": {"provenance": "sampled"}}, {"rewards": []}):
        assert chosen(row("failure", **other), "dense") == "failure without a dense curve"
    assert chosen(row("failure", reward=[0.0, 0.1, 0.2]), "dense") == "failure without a dense curve"


def test_a_video_that_could_not_be_read_is_counted() -> None:
    broken = Extracted(row("success"), "exterior_1", np.arange(5), None, "broke at frame 3")  # type: ignore[arg-type]
    made = choose([broken], Told(), "none")  # type: ignore[arg-type]
    assert (made.trajectories, made.left_out) == ([], {"video cannot be used": 1})
