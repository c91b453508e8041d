"""What asking took is added up once for each question, whoever shares it, and unknown stays unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bad_robot_behavior.builder.asking_tally import AskingTally
from bad_robot_behavior.schema import Asked, ModelUse, Rollout, Took
from tests.builder.releases import make_rollouts

USES = [ModelUse(stage=stage, model="m", prompt_sha256=None, parameters={}) for stage in ("distill", "reward")]  # type: ignore[arg-type]


def asked(stage: Any, rollouts: int, **changes: Any) -> Asked:
    took = {"requests": 1, "answers": 2, "prompt_tokens": 100, "completion_tokens": 10, "cost": 0.1} | changes
    return Asked(stage=stage, model="m", rollouts=rollouts, **took)


def tally(rollouts: list[Rollout], *each: tuple[Asked, ...]) -> list[Took | None]:
    counted = AskingTally()
    for rollout, one in zip(rollouts, each, strict=True):
        counted.add(rollout.session_id, one)
    return [use.took for use in counted.of(USES)]


def test_a_question_about_a_session_counts_once(tmp_path: Path) -> None:
    both = asked("distill", 2), asked("reward", 1)
    distill, reward = tally(make_rollouts(tmp_path, sessions=2), both, both, both, both)
    assert distill == Took(requests=2, answers=4, prompt_tokens=200, completion_tokens=20, cost=0.2)
    assert reward == Took(requests=4, answers=8, prompt_tokens=400, completion_tokens=40, cost=0.4)


def test_one_unknown_number_makes_the_sum_unknown(tmp_path: Path) -> None:
    rollouts = make_rollouts(tmp_path, sessions=1)
    silent = asked("reward", 1, prompt_tokens=None, cost=None)
    distill, reward = tally(rollouts, (asked("reward", 1),), (silent,))
    assert distill is None, "nobody was asked"
    assert reward == Took(requests=2, answers=4, prompt_tokens=None, completion_tokens=20, cost=None)
