"""What a careless recorder leaves in a file, tags and sound: for data that is to show how both are removed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np

from bad_robot_behavior.media.opening import guard, open_video, packets
from bad_robot_behavior.media.writing import whole

_RATE = 16_000


def remux_careless(source: str | Path, path: str | Path, tags: Mapping[str, str], *, sound: bool) -> None:
    """Copy the packets of an H.264 mp4 and add container tags and, with `sound`, an audio track of a humming machine.

    The same file and tags give the same bytes. Raises MediaError as `remux` does.
    """
    path = Path(path)
    with (
        open_video(source) as (given, stream),
        whole(path) as part,
        guard(path, "write"),
        av.open(str(part), "w", format="mp4", options={"fflags": "+bitexact"}) as container,
    ):
        container.metadata.update(tags)
        copy = container.add_stream_from_template(stream)
        track = container.add_stream("aac", rate=_RATE, options={"flags": "+bitexact"}) if sound else None
        count = 0
        for packet in packets(source, given, stream):
            count += 1
            packet.stream = copy
            container.mux(packet)
        if track is not None:
            rate = float(stream.average_rate or 10)
            frame = av.AudioFrame.from_ndarray(_hum(count / rate), format="fltp", layout="mono")
            frame.sample_rate = _RATE
            for packet in [*track.encode(frame), *track.encode(None)]:
                container.mux(packet)


def _hum(seconds: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(1, samples) float32: stands for the voices of real recordings."""
    time = np.arange(int(seconds * _RATE)) / _RATE
    return (0.1 * np.sin(2 * np.pi * 110 * time) + 0.05 * np.sin(2 * np.pi * 331 * time)).astype(np.float32)[None]
