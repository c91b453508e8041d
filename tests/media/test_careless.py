"""What a careless recorder leaves: tags and sound are there, and the pictures are the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.errors import MediaError
from tests.factories import make_video


def test_tags_and_sound_are_added_and_the_pictures_stay(tmp_path: Path) -> None:
    clean = make_video(tmp_path / "clean.mp4", num_frames=9)
    tags = {"artist": "Jane Doe", "comment": "recorded on ws-doe.local"}
    for name in ("one", "two"):
        media.remux_careless(clean, tmp_path / f"{name}.mp4", tags, sound=True)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    found = media.probe(tmp_path / "one.mp4")
    assert found.has_audio
    assert tags.items() <= found.tags.items()
    pictures = zip(media.frames(clean), media.frames(tmp_path / "one.mp4"), strict=True)
    assert all(np.array_equal(a, b) for a, b in pictures)
    media.remux(tmp_path / "one.mp4", tmp_path / "scrubbed.mp4")
    scrubbed = media.probe(tmp_path / "scrubbed.mp4")
    assert not scrubbed.has_audio
    assert not scrubbed.tags


def test_without_sound_only_tags_are_added(tmp_path: Path) -> None:
    clean = make_video(tmp_path / "clean.mp4")
    media.remux_careless(clean, tmp_path / "tagged.mp4", {"artist": "Jane Doe"}, sound=False)
    found = media.probe(tmp_path / "tagged.mp4")
    assert not found.has_audio
    assert found.tags["artist"] == "Jane Doe"


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    with pytest.raises(MediaError):
        media.remux_careless(tmp_path / "x.mp4", tmp_path / "y.mp4", {}, sound=False)
    assert not (tmp_path / "y.mp4").exists()
