"""The floors, by what each is for; and getting scorers by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bad_robot_behavior import scorers
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.media import sample_index
from bad_robot_behavior.scorers import Clip
from bad_robot_behavior.scorers.floors import Duration, Random


def clip(name: str = "a", num_frames: int = 100, n: int = 30, fps: float = 10.0) -> Clip:
    return Clip(
        rollout_id=name,
        instruction="pick",
        frames=None,
        frame_index=sample_index(num_frames, n),
        num_frames=num_frames,
        fps=fps,
    )


def value(scorer: scorers.Scorer, one: Clip) -> np.ndarray:
    [curve] = scorer.score([one])
    assert curve.error is None
    assert curve.value is not None
    return curve.value


@pytest.mark.parametrize("name", scorers.FLOORS)
@pytest.mark.parametrize("num_frames", [1, 2, 30, 401])
def test_every_floor_gives_one_finite_value_a_frame_within_its_kind(name: str, num_frames: int) -> None:
    scorer = scorers.get(name)
    got = value(scorer, clip(num_frames=num_frames))
    assert got.shape == (min(30, num_frames),)
    low = 0.0 if scorer.kind == "progress" else -1.0
    assert ((got >= low) & (got <= 1)).all()
    assert not scorer.needs_frames


def test_random_depends_on_seed_and_rollout_and_nothing_else() -> None:
    first = value(Random(1), clip("a"))
    together = Random(1).score([clip("b"), clip("a")])[1].value
    np.testing.assert_array_equal(first, together)
    assert not np.array_equal(first, value(Random(2), clip("a")))
    assert not np.array_equal(first, value(Random(1), clip("b")))


def test_constant_and_ramp_tie_whatever_the_length() -> None:
    for name in ("constant", "time_ramp"):
        means = {round(float(value(scorers.get(name), clip(num_frames=n)).mean()), 9) for n in (1, 2, 3, 17, 30, 400)}
        assert means == {0.5}
    assert (np.diff(value(scorers.get("time_ramp"), clip())) > 0).all()


def test_shorter_is_better_in_seconds_not_in_frames() -> None:
    by_seconds = [value(Duration(), clip(num_frames=n, fps=f))[0] for n, f in ((80, 10.0), (150, 15.0), (400, 10.0))]
    assert by_seconds == sorted(by_seconds, reverse=True)
    assert by_seconds[1] == value(Duration(), clip(num_frames=100, fps=10.0))[0]
    assert value(Duration(), clip(num_frames=600))[0] == -0.5


def test_a_scorer_by_name_with_options() -> None:
    assert scorers.get("random", seed=7).parameters() == {"seed": 7}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("randon", {}, "legal: random, constant, .*did you mean random"),
        ("", {}, "legal: random"),
        ("random", {"sed": 1}, "sed.*its options: seed"),
        ("constant", {"value": 1}, "its options: none"),
    ],
)
def test_unknown_names_and_options_say_what_is_legal(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(BadRobotError, match=message):
        scorers.get(name, **options)


def test_importing_the_package_imports_no_scorer() -> None:
    code = (
        "import sys, bad_robot_behavior.scorers;"
        "print([m for m in sys.modules if m.split('.')[0] in ('av', 'torch', 'openai') or m.endswith('floors')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
