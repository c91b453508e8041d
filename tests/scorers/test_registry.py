"""Scorers by name: those of this package, those that other packages name, and what each says of itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bad_robot_behavior import scorers
from bad_robot_behavior.build import build
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.__main__ import page
from tests import loopback
from tests.dumps import write_dump, write_recipe

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "scorers.md"


def named(folder: Path, package: str, name: str, target: str, code: str = "") -> None:
    """A package as pip leaves it: metadata with an entry point, and a module."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{scorers.ENTRY_POINTS}]\n{name} = {target}\n")
    if code:
        (folder / f"{target.partition(':')[0]}.py").write_text(code)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    build(write_recipe(folder / "recipe.yaml", write_dump(folder / "dump", 2)), folder / "release")
    return folder / "release"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip put the package that docs/scorers.md shows, built from the very blocks of the page. No network."""
    pytest.importorskip("setuptools", reason="setuptools is not installed, which builds the package")
    source, target = tmp_path_factory.mktemp("brightness-scorer"), tmp_path_factory.mktemp("site")
    text = PAGE.read_text(encoding="utf-8")
    for name, language in (("pyproject.toml", "toml"), ("brightness_scorer.py", "python")):
        [block] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        (source / name).write_text(block)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run([*command, "--target", target, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run(site: Path, *args: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "bad_robot_behavior", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_scorer_of_another_package_scores_a_release(site: Path, release: Path, tmp_path: Path) -> None:
    out = tmp_path / "brightness.parquet"
    done = run(site, "score", release, "--scorer", "brightness", "-O", "darkest=0.1", "--num-frames", 4, "-o", out)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(out).to_pylist()
    assert rows
    assert all(len(row["value"]) == 4 and 0.1 < min(row["value"]) <= max(row["value"]) < 1 for row in rows)
    stated = json.loads(rows[0]["parameters"])
    assert (stated["scorer"], stated["kind"], stated["darkest"]) == ("brightness", "progress", 0.1)
    done = run(site, "validate", out, "--release", release)
    assert done.returncode == 0, done.stdout
    dark = run(site, "score", release, "--scorer", "brightness", "-O", "darkest=0.99", "-o", tmp_path / "dark.parquet")
    assert dark.returncode == 1
    assert {row["error"] for row in pq.read_table(tmp_path / "dark.parquet").to_pylist()} == {"the rollout is dark"}


def test_it_is_listed_with_its_card_and_its_options_are_checked(site: Path, release: Path, tmp_path: Path) -> None:
    done = run(site, "score", "--list")
    assert "brightness: brightness of the frame" in done.stdout
    cards = json.loads(run(site, "score", "--list", "--json").stdout)
    assert cards["brightness"]["evidence"] == "nothing was trained"
    assert list(cards)[: len(scorers.NAMES)] == list(scorers.NAMES)
    done = run(site, "score", release, "--scorer", "brightness", "-O", "dark=1", "-o", tmp_path / "p.parquet")
    assert done.returncode == 2
    assert "it has no option dark; its options: num_frames, darkest" in done.stderr


def test_every_scorer_of_this_package_has_a_card_and_the_page_shows_them() -> None:
    cards = scorers.cards()
    assert set(scorers.NAMES) <= set(cards)
    assert [name for name in scorers.NAMES if cards[name] is None] == []
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run python -m bad_robot_behavior.scorers docs/scorers.md"
    for name in scorers.NAMES:
        card = cards[name]
        assert card is not None
        assert card.evidence
        if card.runs != "here":
            assert card.paper or card.title.startswith("floor"), name


def test_what_was_trained_on_roboarena_says_so() -> None:
    contaminated = {name for name, card in scorers.cards().items() if card is not None and card.contaminated == "yes"}
    assert contaminated == {"roboreward", "robometer"}


def test_two_packages_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named(tmp_path / "a", "one", "twice", "json:JSONDecoder")
    named(tmp_path / "b", "two", "twice", "json:JSONEncoder")
    named(tmp_path / "c", "three", "random", "json:JSONEncoder")
    for folder in "abc":
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    with pytest.raises(BadRobotError, match=r"scorer twice is named by 2 packages \(one, two\)"):
        scorers.get("twice")
    with pytest.raises(BadRobotError, match="random is one of this package, and three names another so"):
        scorers.get("random")
    with pytest.raises(BadRobotError, match="did you mean twice"):
        scorers.get("twicee")


@pytest.mark.parametrize(
    ("code", "target", "words"),
    [
        ("import nothing_of_the_kind", "broken:Scorer", "of package mine cannot be loaded.*ModuleNotFoundError"),
        ("raise RuntimeError('no licence')", "broken:Scorer", "RuntimeError: no licence"),
        ("x = 1", "broken:Scorer", "AttributeError"),
        ("class Scorer:\n    name = 'mine'", "broken:Scorer", "is none: it has no kind, needs_frames, num_frames"),
        ("class Scorer:\n    def __init__(self, speed): pass", "broken:Scorer", "missing.*'speed'; its options: speed"),
    ],
)
def test_a_scorer_that_is_broken_says_whose_it_is(
    code: str, target: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(tmp_path, "mine", "mine", target, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(BadRobotError, match=words):
        scorers.get("mine")
    sys.modules.pop("broken", None)


def test_options_that_a_class_hands_on_are_checked_as_its_own() -> None:
    with pytest.raises(
        BadRobotError, match="it has no option moode; its options: client, mode, output, goals, num_frames"
    ):
        scorers.get("dopamine", client=None, moode="x")
    with pytest.raises(BadRobotError, match="missing a required argument: 'client'"):
        scorers.get("dopamine")


def test_scorers_that_ask_a_model_get_the_one_of_the_command_line(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    command = ["score", str(release), "--scorer", "vlac", "-o", str(out), "--num-frames", "3"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "vlac needs --base-url and --model, or --local-model" in done.output
    with loopback.serve() as base_url:
        place = ["--base-url", base_url, "--model", "loopback"]
        planned = CliRunner().invoke(main, [*command, *place, "--dry-run"])
        assert planned.exit_code == 0, planned.output
        assert loopback.stats(base_url)["requests"] == 0
        done = CliRunner().invoke(main, [*command, *place, "-O", "output=critic"])
        assert done.exit_code == 0, done.output
    rows = pq.read_table(out).to_pylist()
    assert {len(row["value"]) for row in rows} == {3}
    stated = json.loads(rows[0]["parameters"])
    assert (stated["kind"], stated["output"], stated["model"]) == ("reward", "critic", "loopback")
    assert CliRunner().invoke(main, ["validate", str(out), "--release", str(release)]).exit_code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "give RELEASE, --scorer and --out"),
        (["--scorer", "motion", "-o", "p.parquet", "--json"], "--json is for --list"),
        (["--scorer", "motion", "-o", "p.parquet", "-O", "num_frames=3"], "has a flag of its own"),
        (["--scorer", "motion", "-o", "p.parquet", "-O", "client=3"], "not for you to give"),
        (["--scorer", "motion", "-o", "p.parquet", "-O", "speed"], "give NAME=VALUE"),
        (["--scorer", "motion", "-o", "p.parquet", "-O", "a=1", "-O", "a=2"], "each name once"),
    ],
)
def test_wrong_use_of_options(args: list[str], words: str, release: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["score", *([str(release)] if args else []), *args])
    assert done.exit_code == 2
    assert words in done.output


def test_options_keep_their_kinds_and_places_stay_out_of_predictions(release: Path, tmp_path: Path) -> None:
    goals = tmp_path / "goals"
    goals.mkdir()
    out = tmp_path / "p.parquet"
    with loopback.serve() as base_url:
        command = ["score", str(release), "--scorer", "dopamine", "-o", str(out), "--limit", "1", "--num-frames", "3"]
        place = ["--base-url", base_url, "--model", "loopback", "-O", f"goals={goals}", "-O", "mode=fused"]
        done = CliRunner().invoke(main, [*command, *place])
    assert done.exit_code == 1, done.output
    [row] = pq.read_table(out).to_pylist()
    assert "there is no goal picture" in row["error"]
    data = out.read_bytes()
    assert str(tmp_path).encode() not in data
    assert b"127.0.0.1" not in data
