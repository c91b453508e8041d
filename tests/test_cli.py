"""The command line: exit codes, one-sentence errors, JSON alone on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bad_robot_behavior import __version__
from bad_robot_behavior.build import build
from bad_robot_behavior.cli import main
from tests.dumps import write_dump, write_recipe


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    build(write_recipe(folder / "recipe.yaml", write_dump(folder / "dump", 3)), folder / "release")
    return folder / "release"


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bad_robot_behavior", *map(str, args)], capture_output=True, text=True, check=False
    )


def test_version() -> None:
    assert run("--version").stdout.strip() == f"bad-robot, version {__version__}"


def test_every_command_has_help_with_an_example() -> None:
    def commands(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        inner = getattr(group, "commands", None)
        if inner is None:
            return [path]
        return [found for name, command in inner.items() for found in commands(command, (*path, name))]

    for path in commands(main):
        done = CliRunner().invoke(main, [*path, "--help"])
        assert done.exit_code == 0
        assert f"Example: bad-robot {' '.join(path)}" in done.output, path


@pytest.mark.parametrize(
    "args",
    [
        ["validate", "nowhere"],
        ["build", "nowhere.yaml", "-o", "out"],
        ["evaluate", "nowhere"],
        ["score", "nowhere", "--scorer", "time_ramp", "-o", "p.parquet"],
        ["install", "nowhere"],
        ["build", "nowhere.yaml", "-o", "out", "--shard", "3/2"],
        ["unknown"],
    ],
    ids=lambda args: "-".join(args[:2]),
)
def test_wrong_use_is_one_sentence_and_exit_code_2(args: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bad_robot_behavior", *args], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_validate_a_good_release(release: Path) -> None:
    done = run("validate", release, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout) == {"path": str(release), "kind": "release", "defects": []}


def test_validate_names_a_defect(release: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "p.parquet"
    predictions.write_bytes(b"not parquet")
    done = run("validate", predictions, "--release", release)
    assert done.returncode == 1
    assert str(predictions) in done.stdout


def test_score_and_evaluate(release: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "ramp.parquet"
    done = run("score", release, "--scorer", "time_ramp", "-o", predictions)
    assert done.returncode == 0, done.stderr
    done = run("evaluate", release, predictions, "--json", "--draws", 50)
    assert done.returncode == 2
    assert "no rollouts to evaluate on in split test; --split all takes every rollout" in done.stderr
    done = run("evaluate", release, predictions, "--split", "all", "--json", "--draws", 50)
    assert done.returncode == 0, done.stderr
    assert "time_ramp" in json.dumps(json.loads(done.stdout))
    page = tmp_path / "report.html"
    done = run("evaluate", release, predictions, "--split", "all", "--html", page, "--draws", 50)
    assert done.stdout.strip().endswith(f"release: {release}")
    assert page.read_text().startswith("<!doctype html>")


def test_an_unknown_scorer_lists_the_legal_ones(release: Path, tmp_path: Path) -> None:
    done = run("score", release, "--scorer", "time_rap", "-o", tmp_path / "p.parquet")
    assert done.returncode == 2
    assert "time_ramp" in done.stderr
    assert not (tmp_path / "p.parquet").exists()


def test_gvl_without_an_endpoint_is_wrong_use(release: Path, tmp_path: Path) -> None:
    done = run("score", release, "--scorer", "gvl", "-o", tmp_path / "p.parquet")
    assert done.returncode == 2
    assert "--base-url" in done.stderr


def test_build_json_owns_stdout(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", write_dump(tmp_path / "dump", 2))
    done = run("build", recipe, "-o", tmp_path / "release", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == str(tmp_path / "release")


def test_init_then_validate_says_what_is_missing(tmp_path: Path) -> None:
    assert run("init", tmp_path / "lab").returncode == 0
    done = run("validate", tmp_path / "lab")
    assert done.returncode == 1
    assert "lab folder" in done.stdout
    again = run("init", tmp_path / "lab")
    assert again.returncode == 2
    assert "Traceback" not in again.stderr
