"""A failing server, a dying one, a damaged cache and a full disk cost time and no byte, from dump to release."""

from __future__ import annotations

import pytest

from tests.chain import FAILINGS, Chain, straight


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    made = Chain(tmp_path_factory.mktemp("chain"), sessions=3, samples=3)
    straight(made)
    return made


@pytest.mark.parametrize("name", FAILINGS)
def test_what_is_made_in_the_end_is_the_same(name: str, chain: Chain) -> None:
    FAILINGS[name](chain)
    assert chain.made(name) == chain.made("straight")
    if name == "second":
        assert chain.reports[name][1]["requests"] == 0
    if name in {"corrupt", "older"}:
        assert chain.reports[name][1]["requests"] == chain.reports[name][0]["requests"] > 0
