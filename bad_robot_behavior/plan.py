"""What a build would ask of models, and what that would cost: the library side of `bad-robot build --dry-run`."""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from bad_robot_behavior.build import check_recipe, workplace
from bad_robot_behavior.engine import run_local
from bad_robot_behavior.shards import cut_shards, plan_shard
from bad_robot_behavior.vlm.choose import Plan
from bad_robot_behavior.vlm.estimate import RULE


def plan(
    recipe_path: Path,
    out: Path,
    *,
    work: Path | None = None,
    workers: int = 1,
    part: tuple[int, int] | None = None,
    limit: int | None = None,
) -> dict[str, Plan]:
    """By stage what `build` with the same arguments would ask. Nothing is sent and no release is written; the stages
    that ask no model are run, because they decide who is asked about, and their results stay for the build."""
    out = Path(os.path.abspath(out))  # noqa: PTH100 - as in build
    work = out.with_name(out.name + ".work") if work is None else Path(os.path.abspath(work))  # noqa: PTH100
    recipe = check_recipe(recipe_path)
    plans: dict[str, Plan] = {}
    with workplace(work, out, shared=part is not None):
        shards = cut_shards(recipe, recipe_path, work, limit)
        mine = [shard for shard in shards if part is None or shard.number % part[1] == part[0]]
        planned = run_local(plan_shard, mine, workers)
        for _, found in tqdm(planned, total=len(mine), unit="shard", desc="plan", disable=None):
            for stage, one in found.items():
                plans[stage] = plans.get(stage, Plan()) + one
    return plans


def describe(plans: dict[str, Plan]) -> str:
    """The plans in a few lines for a person."""
    if not plans:
        return "no model would be asked"
    here = [f"{stage}: a model in this process judges {one.here} rollouts" for stage, one in plans.items() if one.here]
    asked = {stage: one for stage, one in plans.items() if not one.here}
    if not asked:
        return "\n".join([*here, "no endpoint would be asked"])
    lines = [*here, *(_line(stage, one) for stage, one in asked.items())]
    if len(asked) > 1:
        lines.append(_line("in all", sum(asked.values(), Plan())))
    return "\n".join([*lines, f"estimated: {RULE}. Faults, repairs and questions about an answer come on top."])


def _line(stage: str, plan: Plan) -> str:
    cost = f"cost at most {plan.cost:.4f}" if plan.priced else "cost not known: the recipe names no prices"
    return (
        f"{stage}: {plan.requests} requests for {plan.answers} answers, {plan.cached} in the cache; {plan.images} "
        f"pictures of {plan.image_bytes / 1e6:.1f} MB, about {plan.prompt_tokens} prompt tokens, at most "
        f"{plan.completion_tokens} tokens of answers, {cost}"
    )
