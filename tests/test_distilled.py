"""Rewards distilled without an endpoint, from recipe to release: what is planned, what is said, what is made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from bad_robot_behavior import load
from bad_robot_behavior.audit import audit
from bad_robot_behavior.build import build
from bad_robot_behavior.errors import BadRobotError, RecipeError
from bad_robot_behavior.plan import describe, plan
from bad_robot_behavior.schema import read_recipe
from bad_robot_behavior.scorers.rewind import checkpoint
from tests.dumps import write_dump, write_recipe

REWARD = {"scorer": "rewind", "num_frames": 4, "samples": 3}


def test_a_release_says_what_its_rewards_were_sampled_from(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 3)
    recipe = write_recipe(tmp_path / "recipe.yaml", dump, reward=REWARD)
    out = tmp_path / "release"
    planned = plan(recipe, out)
    count = planned["reward"].here
    assert describe(planned) == f"reward: a model in this process judges {count} rollouts\nno endpoint would be asked"

    build(recipe, out)
    release = load(out)
    assert len(release) == count
    card = checkpoint.read_card(checkpoint.EMBEDDED)
    (use,) = [use for use in release.manifest.models if use.stage == "reward"]
    assert use.model == f"rewind#{card.weights_sha256[:12]}"
    assert use.parameters["weights_sha256"] == card.weights_sha256
    assert use.parameters["frames_id"] == card.features.frames_id
    assert checkpoint.SIMULATED in (out / "README.md").read_text(encoding="utf-8")
    samples = release.table("reward_samples").to_pylist()
    assert len(samples) == 3 * count
    assert {row["scorer"] for row in samples} == {"rewind"}
    assert all(len(rollout["rewards"]) == 1 for rollout in release)
    assert (out / "reward_quality.json").is_file()
    assert audit(out, names=False).leaks == (), "what the engine calls a model passes for nobody's login"

    # again, nothing is done; with another checkpoint the stage is, and no path of it is published
    assert build(recipe, out).shards_reused == build(recipe, out).shards
    other = tmp_path / "mine"
    shutil.copytree(checkpoint.EMBEDDED, other)
    trained, weights = checkpoint.read(other)
    weights["head.4.bias"] = weights["head.4.bias"] + 0.5
    checkpoint.write(other, msgspec.structs.replace(trained, warnings=()), weights)
    write_recipe(recipe, dump, reward=REWARD | {"checkpoint": "mine"})
    assert build(recipe, out).shards_reused == 0
    again = load(out)
    (use,) = [use for use in again.manifest.models if use.stage == "reward"]
    assert use.model != f"rewind#{card.weights_sha256[:12]}"
    assert again.manifest.recipe["reward"]["checkpoint"] == "mine"


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (REWARD | {"temperature": 0.1}, "reward.temperature is 0.1, which is for scorer gvl"),
        (REWARD | {"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}}, "rewind, which asks no model"),
        ({"checkpoint": "mine"}, "reward.checkpoint is for scorer rewind"),
        ({"scorer": "rewound"}, r"'rewound' \(did you mean rewind\?\)"),
    ],
)
def test_settings_that_contradict_each_other_are_told(tmp_path: Path, reward: dict[str, object], message: str) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", tmp_path, reward=reward)
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe)


def test_a_checkpoint_that_is_none_is_said_before_any_work(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 3)
    recipe = write_recipe(tmp_path / "recipe.yaml", dump, reward=REWARD | {"checkpoint": "nothing"})
    with pytest.raises(BadRobotError, match="nothing: is no checkpoint of rewind"):
        build(recipe, tmp_path / "release")
    assert not (tmp_path / "release").exists()
