"""Krippendorff's alpha: how far several judges of the same things agree beyond chance.

Definition and distances: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), whose worked examples
`tests/benchmark/test_agreement.py` repeats.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.benchmark.metrics import Floats, Ints

Level = Literal["nominal", "ordinal", "interval", "ratio"]


def alpha(ratings: Floats, level: Level) -> float | None:
    """1 - observed disagreement / disagreement expected by chance; 1 is full agreement, 0 is chance.

    ratings: (judges, units), NaN where a judge did not judge a unit; a unit with fewer than two judgements says
    nothing. level: which differences count, and how much. None where no unit has two judgements, and where all
    judgements are the same value: without variation there is no chance to compare with.
    """
    units = ratings.shape[1]
    if not units:
        return None
    found = AlphaStatistic(ratings, level, np.zeros(units, np.int64), 1).over(np.ones((1, 1)))[0]
    return None if np.isnan(found) else float(found)


class AlphaStatistic:
    """Alpha as the bootstrap over sessions takes it. session: (units,) in 0..sessions-1; the rest as in `alpha`."""

    def __init__(self, ratings: Floats, level: Level, session: Ints, sessions: int) -> None:
        self._level = level
        self._values = np.unique(ratings[~np.isnan(ratings)])
        width = len(self._values)
        counts = np.zeros((ratings.shape[1], width))
        for k, value in enumerate(self._values):
            counts[:, k] = (ratings == value).sum(axis=0)
        judged = counts.sum(axis=1)
        kept = judged >= 2
        counts, judged, session = counts[kept], judged[kept], session[kept]
        self.support = len(np.unique(session))
        pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(width)
        self._coincidences = np.zeros((sessions, width, width))
        np.add.at(self._coincidences, session, pairs / (judged - 1)[:, None, None])

    def over(self, weights: Floats) -> Floats:
        """Alpha in each draw, (B,); NaN where undefined."""
        together = np.tensordot(weights, self._coincidences, axes=1)  # (B, V, V)
        each = together.sum(axis=2)
        total = each.sum(axis=1)
        distance = self._distances(each)
        observed = (together * distance).sum(axis=(1, 2))
        expected = (each[:, :, None] * each[:, None, :] * distance).sum(axis=(1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = np.where(expected > 0, 1 - (total - 1) * observed / expected, np.nan)
        return found

    def _distances(self, each: Floats) -> NDArray[Any]:
        """Squared differences between values, (1 or B, V, V); those of ranks depend on how often each value is used."""
        values = self._values
        if self._level == "nominal":
            return np.asarray(values[:, None] != values[None, :], np.float64)[None]
        if self._level == "interval":
            return ((values[:, None] - values[None, :]) ** 2)[None]
        if self._level == "ratio":
            top, bottom = values[:, None] - values[None, :], values[:, None] + values[None, :]
            return (np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0) ** 2)[None]
        middle = np.cumsum(each, axis=1) - each / 2  # the mean rank of each value
        return (middle[:, :, None] - middle[:, None, :]) ** 2
