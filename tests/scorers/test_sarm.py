"""SARM's file as LeRobot writes it, read into a predictions file that passes our own checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bad_robot_behavior import scorers
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.run import clip_without_frames
from bad_robot_behavior.scorers.scorer import Clip

A, B, C = ("a" * 20, "b" * 20, "c" * 20)


def clip(name: str = A, num_frames: int = 6, n: int = 3) -> Clip:
    return clip_without_frames(name, "pick it", {"num_frames": num_frames, "fps": 10.0}, n)


def written(folder: Path, lengths: tuple[int, ...] = (6, 4), named: str | None = "me/sarm", **columns: Any) -> Path:
    """The columns of lerobot/rewards/sarm/compute_rabc_weights.py, shuffled: nothing says that rows are in order."""
    episode = np.concatenate([np.full(n, i) for i, n in enumerate(lengths)])
    frame = np.concatenate([np.arange(n) for n in lengths])
    value = np.concatenate([np.linspace(0, 1, n) for n in lengths]).astype(np.float32)
    data = {"index": np.arange(len(frame)), "episode_index": episode, "frame_index": frame, "progress_sparse": value}
    order = np.random.default_rng(0).permutation(len(frame))
    table = pa.table({name: column[order] for name, column in (data | columns).items() if column is not None})
    if named:
        table = table.replace_schema_metadata({"reward_model_path": named})
    path = folder / "sarm_progress.parquet"
    pq.write_table(table, path)
    return path


def listed(folder: Path, text: str = f"episode_index,rollout_id\n1,{A}\n0,{B}\n") -> Path:
    path = folder / "episodes.csv"
    path.write_text(text)
    return path


def test_values_are_those_of_the_frames_that_a_clip_shows(tmp_path: Path) -> None:
    scorer = scorers.get("sarm", progress=str(written(tmp_path)), episodes=str(listed(tmp_path)))
    first, second = scorer.score([clip(B), clip(A, num_frames=4, n=2)])
    np.testing.assert_allclose(first.value, np.linspace(0, 1, 6)[clip(B).frame_index], atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(second.value, [0, 1])  # type: ignore[arg-type]
    assert scorer.parameters() == {"model": "me/sarm", "head": "sparse"}
    assert scorer.needs_frames is False


def test_what_the_file_does_not_say_is_the_rollouts_error(tmp_path: Path) -> None:
    value = np.linspace(0, 1, 10).astype(np.float32)
    value[5] = np.nan
    path = written(tmp_path, progress_sparse=value)
    scorer = scorers.get("sarm", progress=path, episodes=listed(tmp_path, f"episode_index,rollout_id\n0,{B}\n7,{A}\n"))
    missing, unknown, absent, other = scorer.score([clip(B), clip(C), clip(A), clip(B, num_frames=7)])
    assert missing.error == "the progress file says nothing of frame 5 of episode 0"
    assert unknown.error == "the list of episodes does not name the rollout"
    assert absent.error == "the progress file has no episode 7"
    assert other.error == "episode 0 has 6 frames, the video 7"
    value[5] = 1.5
    [outside] = scorers.get("sarm", progress=written(tmp_path, progress_sparse=value), episodes=listed(tmp_path)).score(
        [clip(B)]
    )
    assert "outside [0, 1]" in (outside.error or "")


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"progress_sparse": None}, {}, "has no column progress_sparse"),
        ({}, {"head": "dense"}, "has no column progress_dense"),
        ({}, {"head": "both"}, "legal: sparse, dense"),
        ({"frame_index": np.zeros(10, int)}, {}, "frames of episode 0 are not 0 to 5, each once"),
        ({"frame_index": np.linspace(0, 1, 10)}, {}, "cannot be read"),
        ({"named": None}, {}, "give model"),
    ],
)
def test_files_that_do_not_fit_say_what_is_wrong(
    columns: dict[str, Any], options: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRobotError, match=words):
        scorers.get("sarm", progress=written(tmp_path, **columns), episodes=listed(tmp_path), **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no rollout"),
        ("episode_index,rollout_id\n", "names no rollout"),
        (f"episode,rollout_id\n1,{A}\n", "line 2: needs rollout_id and episode_index"),
        (f"episode_index,rollout_id\n-1,{A}\n", "line 2"),
        (f"episode_index,rollout_id\n1,{A}\n1,{B}\n", "line 3: .* stands there twice"),
        (f"episode_index,rollout_id\n1,{A}\n2,{A}\n", "line 3"),
    ],
)
def test_a_list_of_episodes_that_does_not_fit(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match=words):
        scorers.get("sarm", progress=written(tmp_path), episodes=listed(tmp_path, text))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_text("no")
    for name in ("no.parquet", "absent.parquet"):
        with pytest.raises(BadRobotError, match="cannot be read"):
            scorers.get("sarm", progress=tmp_path / name, episodes=listed(tmp_path))
    with pytest.raises(BadRobotError, match="cannot be read as a CSV file"):
        scorers.get("sarm", progress=written(tmp_path), episodes=tmp_path / "absent.csv")


def test_an_empty_file_knows_nothing(tmp_path: Path) -> None:
    scorer = scorers.get("sarm", progress=written(tmp_path, lengths=(0,)), episodes=listed(tmp_path))
    assert scorer.score([clip(A)])[0].error == "the progress file has no episode 1"
