from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from bad_robot_behavior.vlm.wire import retry_after


def testretry_after_is_read_as_seconds_and_as_a_date() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": date, "date": format_datetime(now, usegmt=True)}) == 90
    assert retry_after({"retry-after": format_datetime(now, usegmt=True)}) == 0  # long past
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None
