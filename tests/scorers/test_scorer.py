from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior import media
from bad_robot_behavior.scorers.scorer import moments


@given(st.integers(1, 500), st.integers(1, 64))
def test_moments_of_another_camera_are_as_many_and_span_its_video(num_frames: int, n: int) -> None:
    index = moments(num_frames, n)
    assert index.shape == (n,)
    assert (np.diff(index) >= 0).all()
    assert index[0] == 0
    assert index[-1] == (num_frames - 1 if n > 1 else 0)
    if n <= num_frames:
        np.testing.assert_array_equal(index, media.sample_index(num_frames, n))
