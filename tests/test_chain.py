"""A failing server, a dying one, a damaged cache and a full disk cost time and no byte, from dump to release."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from tests import small_disk
from tests.chain import FAILINGS, Chain, straight


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    made = Chain(tmp_path_factory.mktemp("chain"), sessions=3, samples=3)
    straight(made)
    return made


NEEDS = {"disk": small_disk.needed}


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS.get(name, ())) for name in FAILINGS])
def test_what_is_made_in_the_end_is_the_same(name: str, chain: Chain) -> None:
    FAILINGS[name](chain)
    assert chain.made(name) == chain.made("straight")
    if name == "second":
        assert chain.reports[name][1]["requests"] == 0
    if name in {"corrupt", "older"}:
        assert chain.reports[name][1]["requests"] == chain.reports[name][0]["requests"] > 0


def test_what_it_took_stands_in_the_release_as_the_server_counted_it(chain: Chain) -> None:
    """Of a run without faults, so that what is used is all that there was; the tests above hold the others to it."""
    (seen,) = chain.reports["straight"]
    manifest = json.loads((chain.release("straight") / "release.json").read_bytes())
    took = {use["stage"]: use["took"] for use in manifest["models"]}
    assert took.keys() == {"distill", "reward"}
    assert sum(one["requests"] for one in took.values()) == seen["requests"]
    assert sum(one["answers"] for one in took.values()) == seen["choices"]
    for kind in ("prompt_tokens", "completion_tokens"):
        assert sum(one[kind] for one in took.values()) == seen[kind] > 0
    for one in took.values():
        assert one["cost"] == pytest.approx((2 * one["prompt_tokens"] + 10 * one["completion_tokens"]) / 1e6)
    rows = pq.read_table(chain.release("straight") / "rollouts", columns=["asked"]).column("asked").to_pylist()
    of_reward = [one for row in rows for one in row if one["stage"] == "reward"]
    assert {(one["requests"], one["answers"], one["rollouts"]) for one in of_reward} == {(1, chain.samples, 1)}
    assert sum(one["prompt_tokens"] for one in of_reward) == took["reward"]["prompt_tokens"]
    of_distill = [one for row in rows for one in row if one["stage"] == "distill"]
    assert sum(one["completion_tokens"] / one["rollouts"] for one in of_distill) == took["distill"]["completion_tokens"]
    said = (chain.release("straight") / "README.md").read_text()
    assert f"{took['reward']['prompt_tokens']:,} tokens of questions" in said
    assert f"{took['reward']['requests']:,} requests" in chain.said_first
