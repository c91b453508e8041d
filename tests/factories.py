"""Small real files and records that many tests need."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np

from bad_robot_behavior import __version__
from bad_robot_behavior.schema import (
    Preference,
    Provenance,
    Rollout,
    Session,
    Video,
    Videos,
    instruction_key,
    pair_id,
    rollout_id,
    session_id,
    task_category,
)


def make_video(
    path: Path,
    num_frames: int = 12,
    size: tuple[int, int] = (64, 48),
    fps: int = 10,
    seed: int = 0,
    gop: int = 250,
    audio: bool = False,
    tags: dict[str, str] | None = None,
) -> Path:
    """An H.264 mp4 of a bright square that moves over a textured ground; `seed` picks texture and path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(40, 160, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    start = rng.integers(0, max(1, width // 2))
    with av.open(str(path), "w") as container:
        for key, value in (tags or {}).items():
            container.metadata[key] = value
        # One thread: the bytes follow the number of threads, and tests compare what several processes wrote.
        stream = container.add_stream("libx264", rate=fps, options={"g": str(gop), "crf": "18", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=16000) if audio else None
        for i in range(num_frames):
            picture = np.ascontiguousarray(ground[:height, :width])
            x = int(start + i * width / (2 * num_frames))
            picture[height // 3 : height // 3 + 10, x : x + 10] = (250, 240, 30)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
        if sound is not None:
            samples = (np.sin(np.arange(1024 * 4) / 20) * 0.3).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            for packet in [*sound.encode(frame), *sound.encode(None)]:
                container.mux(packet)
    return path


def make_rollout(
    video: Path,
    *,
    source: str = "lab",
    session: str = "session-1",
    label: str = "A",
    instruction: str = "put the marker in the cup",
    num_frames: int = 12,
    **changes: Any,
) -> Rollout:
    """A valid rollout over a file written by `make_video`; `changes` replace any field."""
    sid = session_id(source, session)
    fields: dict[str, Any] = {
        "rollout_id": rollout_id(source, session, label, label),
        "session_id": sid,
        "source": source,
        "source_ref": f"{session}/{label}",
        "policy": f"policy_{label.lower()}",
        "instruction": instruction,
        "instruction_key": instruction_key(instruction),
        "task_category": task_category(instruction),
        "task_category_source": "rule",
        "videos": Videos(exterior_1=make_record(video, num_frames)),
        "score": 0.4,
        "success": False,
        "outcome": "failure",
        "provenance": Provenance(raw_sha256=(_sha256(video),), recipe_sha256=None, engine_version=__version__),
        "session": Session(session_id=sid),
    }
    return Rollout(**(fields | changes))


def make_record(video: Path, num_frames: int = 12, fps: float = 10.0) -> Video:
    """The Video record of a file written by `make_video` with its default size."""
    return Video(
        camera="left",
        path=str(video),
        width=64,
        height=48,
        fps=fps,
        num_frames=num_frames,
        codec="h264",
        size_bytes=video.stat().st_size,
        sha256=_sha256(video),
    )


def make_pair(
    folder: Path, session: str = "session-1", preference: str = "a", seed: int = 1, **changes: Any
) -> tuple[Rollout, Rollout]:
    """Two rollouts A (better) and B of one session, with a preference between them."""
    first, second = (make_video(folder / f"{session}-{name}.mp4", seed=seed + i) for i, name in enumerate("ab"))
    a = make_rollout(first, session=session, label="A", score=0.8, **changes)
    b = make_rollout(second, session=session, label="B", score=0.2, **changes)
    judged = Session(
        session_id=a.session_id,
        feedback="Policy A put the marker in the cup. Policy B dropped the marker on the table.",
        preferences=(
            Preference(
                pair_id=pair_id(a.rollout_id, b.rollout_id),
                session_id=a.session_id,
                rollout_a=a.rollout_id,
                rollout_b=b.rollout_id,
                preference=preference,  # type: ignore[arg-type]
            ),
        ),
        labels=(("A", a.rollout_id), ("B", b.rollout_id)),
    )
    return msgspec.structs.replace(a, session=judged), msgspec.structs.replace(b, session=judged)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
