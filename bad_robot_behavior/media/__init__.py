"""The one place that opens a video: probe, decode, sample, encode, strip. Everything goes through PyAV."""

from bad_robot_behavior.media.careless import remux_careless
from bad_robot_behavior.media.containing import contained
from bad_robot_behavior.media.opening import CODECS, MAX_BYTES, MAX_FRAMES, MAX_PIXELS, VERSION, MediaInput
from bad_robot_behavior.media.picture import jpeg, resize, stretch
from bad_robot_behavior.media.probing import Probe, probe, remuxed, strange_video, video
from bad_robot_behavior.media.reading import decode, frames, full_range, planes
from bad_robot_behavior.media.sampling import sample, sample_index
from bad_robot_behavior.media.writing import encode, encoder, remux

__all__ = [
    "CODECS",
    "MAX_BYTES",
    "MAX_FRAMES",
    "MAX_PIXELS",
    "VERSION",
    "MediaInput",
    "Probe",
    "contained",
    "decode",
    "encode",
    "encoder",
    "frames",
    "full_range",
    "jpeg",
    "planes",
    "probe",
    "remux",
    "remux_careless",
    "remuxed",
    "resize",
    "sample",
    "sample_index",
    "strange_video",
    "stretch",
    "video",
]
