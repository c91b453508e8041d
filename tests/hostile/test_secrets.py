"""A planted key goes to its endpoint and stands nowhere else: all that whole runs leave is searched."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import loopback
from tests.dumps import write_dump, write_recipe

KEY = "Planted:77/81+of=nobody"  # in no form that a pattern for keys knows
FORMS = tuple(form.encode() for form in (KEY, base64.b64encode(KEY.encode()).decode().rstrip("="), repr(KEY)[1:-1]))


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dump(tmp_path_factory.mktemp("dump"), 1, frames=4)


def bad_robot(*arguments: object) -> bytes:
    command = [sys.executable, "-m", "bad_robot_behavior", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"PLANTED_KEY": KEY}, capture_output=True, check=False)
    return done.stdout + done.stderr


def recipe_over(path: Path, dump: Path, url: str) -> Path:
    endpoint = {"base_url": url, "model": "loopback", "max_attempts": 1, "api_key_env": "PLANTED_KEY"}
    reward = {"endpoint": endpoint, "num_frames": 4, "samples": 2, "image_size": 64}
    return write_recipe(path, dump, distill={"endpoint": dict(endpoint)}, reward=reward)


def leaks(folder: Path, *said: bytes) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [str(path) for path in files if any(form in path.read_bytes() for form in FORMS)]
    return found + [text.decode() for text in said if any(form in text for form in FORMS)]


def test_a_run_that_goes_well(dump: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    with loopback.serve() as url:
        said = [bad_robot("build", recipe_over(tmp_path / "recipe.yaml", dump, url), "-o", out)]
        options = ("--base-url", url, "--model", "loopback", "--api-key-env", "PLANTED_KEY", "--num-frames", "4")
        said.append(bad_robot("score", out, "--scorer", "gvl", *options, "-o", tmp_path / "gvl.parquet"))
        assert loopback.stats(url)["authorizations"] == [f"Bearer {KEY}"]
    said.append(bad_robot("evaluate", out, tmp_path / "gvl.parquet", "-o", tmp_path / "results"))
    assert (out / "release.json").is_file(), said[0].decode()
    assert (tmp_path / "gvl.parquet").is_file(), said[1].decode()
    assert list((tmp_path / "release.work").rglob("*.sqlite"))
    assert leaks(tmp_path, *said) == []


@pytest.mark.parametrize("fault", ["401", "500"])
def test_a_run_that_fails(fault: str, dump: Path, tmp_path: Path) -> None:
    with loopback.serve(fault=fault, times=1000) as url:
        said = bad_robot("build", recipe_over(tmp_path / "recipe.yaml", dump, url), "-o", tmp_path / "release")
        assert loopback.stats(url)["authorizations"] == [f"Bearer {KEY}"]
    assert b"Traceback" not in said
    assert leaks(tmp_path, said) == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"key=" + KEY.encode())
    assert leaks(tmp_path) == [str(tmp_path / "x")]
