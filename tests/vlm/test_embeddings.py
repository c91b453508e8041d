from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.vlm import embeddings
from bad_robot_behavior.vlm.embeddings import SentenceEncoder


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_vectors_have_length_one_and_mean_something(encoder: SentenceEncoder) -> None:
    drop, fall, slow = encoder(["The robot dropped the cup.", "The mug fell out of the gripper.", "It took ages."])
    assert drop.shape == (embeddings.DIMENSION,)
    assert drop.dtype == np.float32
    assert np.linalg.norm(drop) == pytest.approx(1, abs=1e-5)
    assert drop @ fall > drop @ slow + 0.2


def test_nothing_and_endless_text_are_read(encoder: SentenceEncoder) -> None:
    assert encoder([]).shape == (0, embeddings.DIMENSION)
    endless = encoder(["cup " * 20_000, "cup " * 254])
    assert np.array_equal(endless[0], endless[1])  # cut at 256 tokens, of which two are marks
    assert np.isfinite(encoder(["", "\x00\u202e", "策略A没有抓住杯子。"])).all()


def test_case_and_accents_do_not_count(encoder: SentenceEncoder) -> None:
    assert np.array_equal(*encoder(["The CAFÉ", "the cafe"]))


def test_another_model_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "model.onnx"
    fake.write_bytes(b"not a model")
    other = SentenceEncoder()
    monkeypatch.setattr(other, "_path", fake)
    with pytest.raises(BadRobotError, match="is not the model that thresholds were chosen with"):
        other(["a"])
