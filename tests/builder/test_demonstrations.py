"""Demonstrations: three levels, of failures only, with nothing made up."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bad_robot_behavior.builder.demonstrations import demonstrations
from bad_robot_behavior.schema import Failure
from tests.builder.releases import make_rollouts


def test_a_failure_with_critique_and_curve_has_all_levels(tmp_path: Path) -> None:
    rollout = make_rollouts(tmp_path, sessions=1)[1]
    text, video, dense = demonstrations(rollout, num_frames=4)
    assert text.text == "The object fell."
    assert [text.level, video.level, dense.level] == ["text", "text_video", "text_video_dense"]
    assert (text.role, text.frame_index, text.value) == (None, None, None)
    assert (video.role, video.frame_index, video.value) == ("exterior_1", (0, 5, 11), None)
    assert (dense.role, dense.frame_index, dense.value) == ("exterior_1", (0, 5, 11), (0.0, 0.5, -0.25))
    assert len({text.demonstration_id, video.demonstration_id, dense.demonstration_id}) == 3


def test_without_a_curve_there_is_no_dense_level(tmp_path: Path) -> None:
    rollout = make_rollouts(tmp_path, sessions=1)[1]
    bare = msgspec.structs.replace(rollout, rewards=(), reward=None, reward_frame_index=None)
    _, video = demonstrations(bare, num_frames=4)
    assert video.frame_index == (0, 4, 7, 11)
    assert [d.level for d in demonstrations(bare, num_frames=100)] == ["text", "text_video"]


def test_only_a_curve_that_is_known_to_be_low_is_dense(tmp_path: Path) -> None:
    rollout = make_rollouts(tmp_path, sessions=1)[1]
    for changes, dense in (
        ({"provenance": "self_distilled", "preferred": False}, True),
        ({"provenance": "self_distilled", "preferred": True}, False),
        ({"provenance": "sampled", "preferred": None}, False),
        ({"provenance": "simulator"}, True),
        ({"provenance": "edit"}, True),
    ):
        (curve,) = rollout.rewards
        changed = msgspec.structs.replace(rollout, rewards=(msgspec.structs.replace(curve, **changes),))
        made = list(demonstrations(changed, num_frames=4))
        assert [d.level for d in made] == ["text", "text_video", "text_video_dense"][: 2 + dense]
        assert made[1].frame_index == (0, 5, 11)
        assert made[-1].kind == ("reward" if dense else None)


def test_a_curve_whose_camera_is_not_known_gives_no_dense_level(tmp_path: Path) -> None:
    rollout = make_rollouts(tmp_path, sessions=1)[1]
    other = msgspec.structs.replace(rollout, reward=(0.0, 0.1, 0.2))
    assert [d.level for d in demonstrations(other, num_frames=4)] == ["text", "text_video"]


def test_success_or_silence_gives_none(tmp_path: Path) -> None:
    good, bad = make_rollouts(tmp_path, sessions=1)
    assert list(demonstrations(msgspec.structs.replace(bad, critique=None), 4)) == []
    assert bad.critique is not None
    particular = msgspec.structs.replace(bad.critique, general=None)
    assert list(demonstrations(msgspec.structs.replace(bad, critique=particular), 4)) == []
    assert list(demonstrations(msgspec.structs.replace(good, critique=bad.critique, score=1.0), 4)) == []
    unknown = msgspec.structs.replace(bad, success=None, score=0.5)
    assert list(demonstrations(unknown, 4)) == []
    failure = Failure(category="grasp", kind="unknown", annotator="x", annotator_type="human", mapping_version="1.0.0")
    assert len(list(demonstrations(msgspec.structs.replace(unknown, failures=(failure,)), 4))) == 3
