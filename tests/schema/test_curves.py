"""A failure is shown and learnt by a curve that is low where the rollout failed, and by no other."""

from __future__ import annotations

from typing import get_args

import pytest

from bad_robot_behavior.schema.curves import low_where_it_failed
from bad_robot_behavior.schema.records import CurveProvenance


@pytest.mark.parametrize("preferred", [True, False, None])
def test_who_knows_and_who_was_rejected(preferred: bool | None) -> None:
    known = {name for name in get_args(CurveProvenance) if low_where_it_failed(name, preferred)}
    assert known == (set(get_args(CurveProvenance)) if preferred is False else {"simulator", "human", "edit"})
