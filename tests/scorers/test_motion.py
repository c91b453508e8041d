from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.scorers import Clip, Scorer
from bad_robot_behavior.scorers.motion import Motion, motion


def clip(frames: np.ndarray, instruction: str = "pick it") -> Clip:
    return Clip(
        rollout_id="a" * 20,
        instruction=instruction,
        frames=frames,
        frame_index=np.arange(len(frames)),
        num_frames=len(frames),
        fps=10.0,
    )


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((2, 2, 3), level, np.uint8) for level in levels])


def test_worked_by_hand() -> None:
    """Steps of 10, 0 and 30 grey levels, the last downwards: shares 0, 1/4, 1/4, 1."""
    np.testing.assert_allclose(motion(grey(50, 60, 60, 30)), [0, 10, 10, 40])
    scorer: Scorer = Motion()
    [curve] = scorer.score([clip(grey(50, 60, 60, 30))])
    np.testing.assert_allclose(curve.value, [0, 0.25, 0.25, 1])  # type: ignore[arg-type]
    np.testing.assert_allclose(motion(grey(255, 0)), [0, 255], err_msg="a byte ran over")


@pytest.mark.parametrize("frames", [grey(9, 9, 9), grey(9)])
def test_where_nothing_moves_there_is_no_curve(frames: np.ndarray) -> None:
    [curve] = Motion().score([clip(frames)])
    assert (curve.value, curve.error) == (None, "no pixel changes between the sampled frames")


@given(st.lists(st.integers(0, 255), min_size=2, max_size=20).filter(lambda levels: len(set(levels)) > 1), st.text())
def test_it_never_falls_and_never_looks_at_the_instruction(levels: list[int], instruction: str) -> None:
    shown = clip(grey(*levels))
    one, two = Motion().score([shown, msgspec.structs.replace(shown, instruction=instruction)])
    assert one.value is not None
    assert two.value is not None
    assert one.value.tobytes() == two.value.tobytes()
    assert (one.value[0], one.value[-1]) == (0, 1)
    assert (np.diff(one.value) >= 0).all()
