"""Curves held against marked failures: each definition by hand, and what does not depend on scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_robot_behavior.benchmark.localisation import Localised, localise

TIME = np.array([0.0, 1.0, 2.0, 3.0, 4.0])


def at(value: list[float], *spans: tuple[float, float], scale: float = 1.0) -> Localised:
    return localise(TIME, np.array(value), spans, scale)


def test_a_curve_that_falls_where_the_failure_is() -> None:
    found = at([0.1, 0.3, 0.5, 0.2, 0.2], (2.2, 2.8))
    assert found == Localised(inside=True, rises=False, noticed=True, delay_s=pytest.approx(0.8), false_alarm=False)


def test_a_curve_that_rises_on() -> None:
    found = at([0.0, 0.2, 0.4, 0.6, 0.8], (1.0, 2.0))
    assert found == Localised(inside=False, rises=True, noticed=False, delay_s=None, false_alarm=False)


def test_a_curve_that_falls_elsewhere_is_a_false_alarm_and_not_inside() -> None:
    found = at([0.5, 0.1, 0.6, 0.7, 0.8], (3.0, 4.0))
    assert found == Localised(inside=False, rises=True, noticed=False, delay_s=None, false_alarm=True)


def test_an_alarm_that_went_before_notices_nothing_unless_the_curve_falls_again() -> None:
    found = at([0.8, 0.2, 0.2, 0.2, 0.2], (3.0, 4.0))
    assert (found.noticed, found.delay_s, found.false_alarm, found.inside) == (False, None, True, False)
    again = at([0.8, 0.4, 0.4, 0.4, 0.2], (2.5, 4.0))
    assert (again.noticed, again.delay_s, again.false_alarm) == (True, 1.5, True)
    recovered = at([0.8, 0.4, 0.8, 0.8, 0.4], (3.0, 4.0))
    assert (recovered.noticed, recovered.delay_s, recovered.false_alarm) == (True, 1.0, True)


def test_a_fall_into_the_frame_at_which_the_span_begins_is_noticed_at_once() -> None:
    found = at([0.1, 0.5, 0.9, 0.2, 0.2], (3.0, 4.0))
    assert (found.noticed, found.delay_s, found.false_alarm) == (True, 0.0, False)
    rounded = localise(np.arange(5) / 3, np.array([0.1, 0.5, 0.9, 0.2, 0.2]), [(round(3 / 3 + 1e-7, 6), 2.0)], 1.0)
    assert (rounded.noticed, rounded.delay_s) == (True, 0.0)
    third = localise(np.arange(5) / 3, np.array([0.1, 0.9, 0.2, 0.2, 0.2]), [(round(2 / 3, 6), 2.0)], 1.0)
    assert (third.noticed, third.false_alarm, third.delay_s) == (True, False, 0.0)


def test_the_largest_fall_counts_whichever_span_it_overlaps() -> None:
    value = [0.5, 0.4, 0.9, 0.2, 0.2]
    assert at(value, (0.1, 0.4)).inside is False
    assert at(value, (0.1, 0.4), (2.5, 2.6)).inside is True
    assert at(value, (3.0, 3.5)).inside is True  # the fall ends where the span begins
    assert at(value, (3.1, 3.5)).inside is False


def test_a_span_without_end_lasts_to_the_end_of_the_curve() -> None:
    assert at([0.1, 0.2, 0.3, 0.4, 0.05], (1.0, float("inf"))).rises is False
    assert at([0.1, 0.2, 0.3, 0.4, 0.05], (1.0, float("inf"))).inside is True


@pytest.mark.parametrize("span", [(5.0, 6.0), (4.0, 4.0), (2.0, 2.0)])
def test_a_span_without_time_on_the_curve_leaves_rises_undefined(span: tuple[float, float]) -> None:
    assert at([0.1, 0.2, 0.3, 0.2, 0.4], span).rises is None


def test_a_constant_curve_and_one_value_mark_nothing() -> None:
    assert at([0.5] * 5, (1.0, 2.0)) == Localised(
        inside=False, rises=False, noticed=False, delay_s=None, false_alarm=False
    )
    single = localise(np.array([0.0]), np.array([0.3]), [(0.0, 1.0)], 1.0)
    assert single == Localised(inside=False, rises=None, noticed=False, delay_s=None, false_alarm=False)


def test_a_fall_of_a_tenth_is_enough_and_less_is_not() -> None:
    assert at([0.5, 0.5, 0.4, 0.4, 0.4], (1.0, 2.0)).noticed is True
    assert at([0.5, 0.5, 0.401, 0.401, 0.401], (1.0, 2.0)).noticed is False
    assert at([0.5, 0.5, 0.4, 0.4, 0.4], (1.0, 2.0), scale=2.0).noticed is False


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=12),
    st.floats(0, 11),
    st.floats(0, 5),
    st.sampled_from([0.25, 2.0, 8.0]),
    st.integers(-5, 5),
)
@settings(max_examples=100, deadline=None)
def test_shift_and_scale_of_the_values_change_nothing(
    value: list[int], start: float, length: float, factor: float, shift: int
) -> None:
    time, curve = np.arange(len(value), dtype=float), np.array(value, float)
    plain = localise(time, curve, [(start, start + length)], 100.0)
    other = localise(time, curve * factor + shift, [(start, start + length)], 100.0 * factor)
    assert (other.inside, other.noticed, other.delay_s, other.false_alarm) == (
        plain.inside,
        plain.noticed,
        plain.delay_s,
        plain.false_alarm,
    )
