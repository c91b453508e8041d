"""The quality of self-distilled rewards: known cases, a control against real coins, and a plain count."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_robot_behavior.benchmark.quality import Samples
from bad_robot_behavior.schema import Agreement, Preference, RewardQuality, RewardSample, pair_id, stable_id

Pair = tuple[str, list[float | None], list[float | None]]  # the choice, and the returns of a and of b


def collect(pairs: list[Pair], category: str = "pour") -> Samples:
    samples = Samples()
    for number, (choice, a, b) in enumerate(pairs):
        session = stable_id("session", str(number))
        names = [stable_id(letter, str(number)) for letter in "ab"]
        pair = Preference(
            pair_id=pair_id(*names), session_id=session, rollout_a=names[0], rollout_b=names[1], preference=choice
        )  # type: ignore[arg-type]
        for name, returns in zip(names, (a, b), strict=True):
            usable = choice != "tie"
            rows = [
                RewardSample(
                    sample_id=stable_id(name, str(k)),
                    rollout_id=name,
                    session_id=session,
                    task_category=category,  # type: ignore[arg-type]
                    scorer="gvl",
                    model="stub",
                    sample=k,
                    role="exterior_1",
                    frame_index=None if mean is None else (0, 5),
                    value=None if mean is None else (mean, mean),
                    mean=mean,
                    error="no JSON" if mean is None else None,
                    pair_id=pair.pair_id if usable else None,
                    preferred=(name == names[0]) == (choice == "a") if usable else None,
                    margin=None,
                    verdict="not_usable",
                )
                for k, mean in enumerate(returns)
            ]
            samples.add(rows, (pair,))
    return samples


def quality(pairs: list[Pair], selection: str = "paired", **options: Any) -> RewardQuality:
    found = collect(pairs, **options).quality(selection, draws=50)  # type: ignore[arg-type]
    assert found is not None
    return found


def pooled(found: RewardQuality, category: str = "pooled") -> Agreement:
    return next(row for row in found.agreement if row.category == category)


def test_known_pairs() -> None:
    found = quality(
        [
            ("a", [0.2, 0.9, None], [0.5, 0.4, 0.1]),  # the second sample agrees
            ("b", [0.6, 0.6, 0.6], [0.6, 0.5, 0.2]),  # a tie and two that disagree
            ("b", [0.1, 0.1, 0.1], [0.2, 0.2, 0.2]),  # all agree
            ("tie", [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]),
            ("a", [None, None, None], [0.1, 0.2, 0.3]),  # nothing to compare
        ]
    )
    row = pooled(found)
    assert (row.pairs, row.sessions, row.no_match) == (3, 3, 1)
    assert row.first.value == pytest.approx(1 / 3)
    assert row.every.value == pytest.approx(4 / 8)
    assert row.kept.value == pytest.approx(2 / 3)
    assert row.control.value == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert row.beyond_control.value == pytest.approx(0.0)
    assert row.kept.interval is not None
    assert row.kept.interval[0] < row.kept.interval[1]
    assert found.by_sample == pytest.approx((1 / 3, 2 / 3, 1 / 2), abs=1e-9)
    assert found.noise_floor == pytest.approx(np.std([1 / 3, 2 / 3, 1 / 2], ddof=1))
    assert (found.samples_drawn, found.samples_unreadable) == (30, 4)
    assert found.flips.value == pytest.approx(1 / 3)  # of three pairs the first alone has samples of both kinds
    assert (found.flips_pairs, found.spread_rollouts, found.rollouts) == (3, 9, 10)


def test_categories_and_groups_stand_apart() -> None:
    found = quality([("a", [0.9], [0.1])] * 3, category="pour")
    assert [row.category for row in found.agreement if row.pairs] == ["pooled", "pour", "complex"]
    assert pooled(found, "simple").first.value is None
    assert pooled(found, "complex").first.value == 1
    assert found.noise_floor is None
    assert found.flips.value is None


def test_nothing_sampled_is_no_report() -> None:
    samples = Samples()
    samples.add(())
    assert samples.quality("paired") is None


def test_samples_without_a_pair_are_a_report_without_agreement() -> None:
    found = quality([("tie", [0.5, 0.4], [0.5, 0.1])])
    assert pooled(found).pairs == 0
    assert pooled(found).kept.value is None
    assert found.by_sample == ()


def test_the_spread_is_that_of_the_samples() -> None:
    found = quality([("a", [0.2, 0.4, 0.9], [0.5, 0.5, None])])
    assert found.spread_return.value == pytest.approx((np.std([0.2, 0.4, 0.9], ddof=1) + 0) / 2)
    assert found.spread_frame.value == pytest.approx(found.spread_return.value)


UNIT = st.one_of(st.none(), st.integers(0, 4).map(lambda n: n / 4))
SIDES = st.lists(st.tuples(UNIT, UNIT), min_size=2, max_size=4).map(
    lambda rows: [list(x) for x in zip(*rows, strict=True)]
)


def matches(choice: str, a: list[float | None], b: list[float | None], how: str) -> bool:
    places = zip(a, b, strict=True) if how == "paired" else itertools.product(a, b)
    return any(x is not None and y is not None and (x > y if choice == "a" else x < y) for x, y in places)


@settings(max_examples=60, deadline=None)
@given(st.lists(SIDES, min_size=1, max_size=4), st.data(), st.sampled_from(("paired", "all_pairs")))
def test_the_control_is_the_mean_over_all_coins(sides: list[list[list[float | None]]], data: Any, how: str) -> None:
    sides = [one for one in sides if any(x is not None and y is not None for x, y in zip(*one, strict=True))]
    if not sides:
        return
    choices = [data.draw(st.sampled_from("ab")) for _ in sides]
    row = pooled(quality([(c, a, b) for c, (a, b) in zip(choices, sides, strict=True)], how))
    assert row.kept.value == pytest.approx(
        np.mean([matches(c, a, b, how) for c, (a, b) in zip(choices, sides, strict=True)])
    )
    coins = itertools.product("ab", repeat=len(sides))
    kept = [np.mean([matches(c, a, b, how) for c, (a, b) in zip(coin, sides, strict=True)]) for coin in coins]
    assert row.control.value == pytest.approx(np.mean(kept))


def test_a_model_that_guesses_is_at_its_control_and_one_that_knows_is_beyond() -> None:
    rng = np.random.default_rng(0)

    def pairs(gap: float, m: int) -> list[Pair]:
        made: list[Pair] = []
        for _ in range(300):
            good, bad = 0.5 + gap + 0.1 * rng.normal(size=m), 0.5 + 0.1 * rng.normal(size=m)
            sides = (good, bad) if (choice := rng.choice(["a", "b"])) == "a" else (bad, good)
            made.append((choice, *(np.clip(side, 0, 1).tolist() for side in sides)))
        return made

    for m in (1, 10):
        guess, knows = pooled(quality(pairs(0.0, m))), pooled(quality(pairs(0.15, m)))
        assert guess.beyond_control.interval is not None
        assert guess.beyond_control.interval[0] <= 0 <= guess.beyond_control.interval[1]
        assert knows.beyond_control.interval is not None
        assert knows.beyond_control.interval[0] > 0
    assert guess.kept.value is not None
    assert guess.kept.value > 0.95  # ten samples agree with nearly any choice, which is why there is a control
