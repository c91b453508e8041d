"""Does a curve fall where a human marked the failure? One curve at a time, as pure functions.

The definitions are this project's: the paper (arXiv 2606.01036) shows such curves and gives no number for them. All
are scale-free but `DROP`, which is a share of the range that the scorer's values have.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.metrics import Floats

DROP = 0.1
"""Fall below the highest value so far that counts as noticing, as a share of the range of the scorer's values."""

SAME_TIME = 1e-6
"""Seconds by which a frame's time and an annotated one may differ and be the same: annotations keep six decimals."""


class Localised(msgspec.Struct, frozen=True, kw_only=True):
    """What one curve says of one rollout with marked failures. None is undefined.

    inside     the largest fall between two consecutive frames overlaps a marked span. A curve that never falls marks
               nothing: False.
    rises      the curve is higher at the end of the first span than at its start, read linearly between frames. None
               where the span holds no time or lies beyond the curve.
    noticed    from the last frame before the first span on, the curve falls by `DROP` of the range below its highest
               value since then. A fall that went before says nothing of this failure, even where the curve stays low.
    delay_s    seconds from the start of the first span to the first such frame; None where it was not noticed.
    false_alarm   it had fallen so far below its highest value before the first span began.
    """

    inside: bool
    rises: bool | None
    noticed: bool
    delay_s: float | None
    false_alarm: bool


def localise(time_s: Floats, value: Floats, spans: Sequence[tuple[float, float]], scale: float) -> Localised:
    """Hold a curve against the marked spans of its rollout.

    time_s, value: (K,) with K >= 1, time_s increasing; spans: (start, end) in seconds of the same clock, at least one,
    start <= end; scale: range of the scorer's values, above 0.
    """
    first, end = min(spans)
    before = time_s < first - SAME_TIME
    fall = value[:-1] - value[1:]
    inside = False
    if fall.size and fall.max() > 0:
        at = int(np.argmax(fall))
        here, then = time_s[at] - SAME_TIME, time_s[at + 1] + SAME_TIME
        inside = any(here <= stop and then >= start for start, stop in spans)
    since = max(int(before.sum()) - 1, 0)
    late = _fallen(value[since:], scale)
    delay = max(0.0, float(time_s[since + np.argmax(late)] - first)) if late.any() else None
    rises = None
    low, high = max(first, float(time_s[0])), min(end, float(time_s[-1]))
    if high > low:
        rises = bool(np.interp(high, time_s, value) > np.interp(low, time_s, value))
    return Localised(
        inside=inside,
        rises=rises,
        noticed=delay is not None,
        delay_s=delay,
        false_alarm=bool(_fallen(value[before], scale).any()),
    )


def _fallen(value: Floats, scale: float) -> NDArray[np.bool_]:
    """(K,) where a curve is `DROP` of its range below its highest value so far."""
    return np.asarray(np.maximum.accumulate(value) - value >= DROP * scale - 1e-12)
