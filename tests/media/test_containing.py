"""A decoder that crashes, eats memory or never ends costs one video: faults that are real, in the real process."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import pytest

from bad_robot_behavior import media
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.media import containing as module
from bad_robot_behavior.schema import Video
from tests.factories import make_video


def crash(path: str) -> int:
    return len(ctypes.string_at(0))


def spin(path: str) -> int:
    while True:
        pass


def swell(path: str) -> int:
    return len(bytearray(module.MAX_MEMORY))


def wait(path: str) -> int:
    time.sleep(60)
    return 0


def chatter(path: str, times: int) -> int:
    print("noise" * times, flush=True)  # as a library may, to what it takes for the terminal
    os.write(1, b"more noise\n")
    return times


def fail(path: str) -> int:
    raise KeyError("a defect of our own")


def secrets(path: str) -> list[str]:
    return sorted(os.environ)


@pytest.mark.parametrize(
    ("fault", "where", "reason"),
    [
        (crash, "crash", "SIGSEGV"),
        (spin, "limit of time", "more than 1 s of processor time"),
        (swell, "limit of memory", "4096 MiB"),
        (wait, "limit of time", "hung"),
    ],
)
def test_what_a_decoder_can_do_costs_one_video(
    fault: object, where: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is wait:
        monkeypatch.setattr(module, "MAX_WALL_S", 0.2)
    name = fault.__name__  # type: ignore[attr-defined]
    with pytest.raises(MediaError, match=reason) as caught:
        media.contained(__name__, name, "a.mp4", returns=int, max_cpu_s=1)
    assert caught.value.where == where
    monkeypatch.undo()
    path = make_video(tmp_path / "b.mp4")
    assert media.strange_video(path, "wrist", 15.0) == media.video(path, "wrist", 15.0)  # and the next is served


def test_one_process_serves_all_and_its_chatter_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert [media.contained(__name__, "chatter", "a.mp4", n, returns=int) for n in (1, 2)] == [1, 2]
    first = module._running
    media.contained(__name__, "chatter", "a.mp4", 3, returns=int)
    assert module._running is first


def test_the_limit_of_time_is_for_each_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    for _ in range(30):
        media.contained(
            "bad_robot_behavior.media.probing", "video_by_name", str(path), "c", None, returns=Video, max_cpu_s=1
        )


def test_a_defect_of_our_own_is_loud() -> None:
    with pytest.raises(RuntimeError, match="a defect of our own"):
        media.contained(__name__, "fail", "a.mp4", returns=int)


def test_keys_stay_with_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    module._end(module._process())
    assert "OPENAI_API_KEY" not in media.contained(__name__, "secrets", "a.mp4", returns=list[str])


def test_what_is_refused_in_place_is_refused_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(MediaError) as there:
        media.strange_video(tmp_path / "a.mp4", "c")
    with pytest.raises(MediaError) as here:
        media.video(tmp_path / "a.mp4", "c")
    assert str(there.value) == str(here.value)
