"""The experiment of docs/experiments.md: what its page says is what its numbers are, and a tiny one runs to its end."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_robot_behavior.benchmark.intervals import estimate
from bad_robot_behavior.benchmark.metrics import Ratio

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "experiments.md"


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import failure_data
    import failure_data_plot
    import failure_data_results

    yield failure_data, failure_data_results, failure_data_plot
    for name in ("failure_data", "failure_data_results", "failure_data_plot"):
        sys.modules.pop(name)


def test_the_page_shows_its_numbers_and_no_others(experiment: Any) -> None:
    _, results, plot = experiment
    text = PAGE.read_text(encoding="utf-8")
    shown = dict(re.findall(r"<!-- (\S+) (.+?) -->", text))
    assert shown, "the page names the tables that stand in it"
    for file, name in re.findall(r"<!-- (\S+\.json) (.+?) -->", text):
        found = results.parse((ROOT / "docs" / file).read_text(encoding="utf-8"))
        table = results.tables(found)[name]
        assert f"<!-- {file} {name} -->\n\n{table}\n" in text, f"{name} of {file} is not as its numbers are"
    found = results.parse((ROOT / "docs/experiments/failure_data.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs/experiments/failure_data.svg").read_text(encoding="utf-8") == plot.plot(found)


def test_numbers_are_written_and_read_again(experiment: Any) -> None:
    _, results, _ = experiment
    found = {
        "rows": [{"arm": "a", "value": 0.5, "interval": None}, {"arm": "b", "value": None, "interval": [0.1, 0.2]}]
    }
    assert results.parse(results.dump(found | {"counts": {"good": 3}})) == found | {"counts": {"good": 3}}


def test_the_number_of_an_arm_is_the_mean_over_its_seeds(experiment: Any) -> None:
    _, results, _ = experiment
    of = np.array([4.0, 2.0, 4.0])
    seeds = [Ratio(numerator=np.array(right), denominator=of) for right in ([4.0, 0.0, 1.0], [2.0, 2.0, 2.0])]
    whole = results.pooled(seeds)
    assert whole.value == pytest.approx(np.mean([seed.value for seed in seeds]))
    [(mean, interval), (first, _), (second, _)] = estimate([results.Mean(AREAS), *AREAS], 3, draws=200)
    assert mean == pytest.approx((first + second) / 2)
    assert interval is not None and interval[0] <= mean <= interval[1]


class Area:
    support = 3

    def __init__(self, parts: list[float]) -> None:
        self.parts = np.array(parts)

    def over(self, weights: Any) -> Any:
        return np.asarray(weights @ self.parts / weights.sum(axis=1))


AREAS = [Area([0.1, 0.5, 0.9]), Area([0.3, 0.3, 0.6])]


def test_larger_shares_hold_smaller_ones_and_arms_share_their_rollouts(experiment: Any) -> None:
    data, _, _ = experiment
    world = data.World(
        good=list(range(90)), bad=list(range(100, 200)), extra=list(range(200, 260)), judged={}, known=None
    )
    added = {
        (letter, share): set(data.members(world, data.Arm(letter, share, 1))) - set(world.good)
        for letter in "bcd"
        for share in (1, 10, 40)
    }
    assert [len(added["b", share]) for share in (1, 10, 40)] == [1, 10, 60]
    assert added["b", 1] < added["b", 10] < added["b", 40] <= set(world.bad)
    assert all(added["b", share] == added["c", share] for share in (1, 10, 40))
    assert added["d", 40] == set(world.extra)
    assert set(data.members(world, data.Arm("b", 10, 2))) != set(data.members(world, data.Arm("b", 10, 1)))
    assert data.members(world, data.Arm("a", 0, 1)) == world.good
    with pytest.raises(SystemExit, match="needs 90 rollouts, and there are 60"):
        data.members(world, data.Arm("d", 50, 0))
