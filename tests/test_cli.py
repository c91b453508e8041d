"""The command line: exit codes, one-sentence errors, JSON alone on stdout."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bad_robot_behavior import __version__
from bad_robot_behavior.build import build
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import DiskFullError, naming_disk
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


@pytest.mark.parametrize(("names", "named"), [(("/elsewhere/model.bin",), "/elsewhere/model.bin"), ((), "work")])
def test_the_disk_that_is_full_is_the_one_of_the_file_that_the_system_names(names: tuple[str, ...], named: str) -> None:
    with pytest.raises(DiskFullError, match=f"^{named}: no space is left"), naming_disk(Path("work")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("args", [["--help"], ["--version"], ["build", "--help"]])
def test_help_that_cannot_be_written_is_one_sentence(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "bad_robot_behavior", *args]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch("bad-robot: No space left on device; .*\n", done.stderr)


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


OUTPUTS = {
    "init": (["init"], "folder"),
    "download": (["download", "roboarena"], "folder"),
    "synthesize": (["synthesize", "-o"], "folder"),
    "edit": (["edit", "release", "-o"], "folder"),
    "build": (["build", "recipe.yaml", "-o"], "folder"),
    "build-work": (["build", "recipe.yaml", "-o", "out", "--work"], "folder"),
    "withdraw": (["withdraw", "release", "id", "-o"], "folder"),
    "split": (["split", "release", "-o"], "parquet"),
    "score": (["score", "release", "--scorer", "time_ramp", "-o"], "parquet"),
    "evaluate": (["evaluate", "release", "-o"], "folder"),
    "evaluate-html": (["evaluate", "release", "--html"], "file"),
    "ladder": (["ladder", "release", "--local-model", "x", "-o"], "folder"),
    "train": (["train", "rewind", "release", "-o"], "folder"),
    "leaderboard": (["leaderboard", "results", "-o"], "file"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_path_that_cannot_be_written_is_said_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.parquet").write_text("x")
    (tmp_path / "folder.parquet").mkdir()
    before = sorted(tmp_path.rglob("*"))
    args, kind = OUTPUTS[name]
    wrong, said = {
        "folder": ("file.parquet", "file.parquet: is a file; give the path of a new folder"),
        "file": ("folder.parquet", "folder.parquet: is a folder; give the path of a file"),
        "parquet": ("folder.parquet", "folder.parquet: is a folder; give the path of a file"),
    }[kind]
    below = "file.parquet/new/x.parquet"
    cases = [(wrong, said), (below, f"{below}: cannot be made, because {tmp_path}/file.parquet is a file; give")]
    if kind == "parquet":
        cases.append(("out.csv", "out.csv: is to be a .parquet file; give a path that ends in .parquet"))
    for path, sentence in cases:
        done = CliRunner().invoke(main, [*args, path])
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"bad-robot: {sentence}") and done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_belongs_to_another_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root, who may run the tests, may write anywhere
    done = CliRunner().invoke(main, ["init", str(tmp_path / "lab")])
    assert done.exit_code == 2
    assert done.stderr == (
        f"bad-robot: {tmp_path}/lab: you may not write to {tmp_path}; give a path in a folder of your own\n"
    )


@pytest.mark.parametrize(
    ("number", "code", "cure"),
    [
        (errno.EACCES, 2, "change who may read and write there, or give another path"),
        (errno.EROFS, 2, "give a path that can be written to"),
        (errno.ENOSPC, 1, "free some space and run the same command again"),
        (errno.EIO, 1, "mend that and run the same command again"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    number: int, code: int, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> list[Path]:
        raise OSError(number, os.strerror(number), str(folder / "lab.yaml"))

    monkeypatch.setattr("bad_robot_behavior.curation.sources.init.write_template", refuse)
    done = CliRunner().invoke(main, ["init", str(tmp_path / "lab")])
    assert done.exit_code == code
    assert done.stderr == f"bad-robot: {tmp_path}/lab/lab.yaml: {os.strerror(number)}; {cure}\n"


@pytest.mark.parametrize(
    "args",
    [
        *(["audit", "lost", "--no-names"], ["split", "lost"], ["diff", "lost", "lost"], ["withdraw", "lost", "x"]),
        *(
            ["install", "lost"],
            ["evaluate", "lost"],
            ["edit", "lost", "-o", "out"],
            ["train", "rewind", "lost", "-o", "o"],
        ),
        ["score", "lost", "--scorer", "time_ramp", "-o", "p.parquet"],
        ["ladder", "lost", "--base-url", "http://localhost:9", "--model", "m", "-o", "out"],
    ],
    ids=lambda args: args[0],
)
def test_a_release_that_lost_its_tables_or_manifest_is_refused_at_once(
    args: list[str], release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lost").mkdir()
    shutil.copy(release / "release.json", tmp_path / "lost")
    for said in ("cannot be found; download or build the release again", "is not a valid manifest"):
        done = CliRunner().invoke(main, args)
        assert (done.exit_code, done.stdout) == (2, ""), done.output
        assert said in done.stderr and done.stderr.count("\n") == 1
        (tmp_path / "lost" / "release.json").write_text("{")
    assert [path.name for path in tmp_path.iterdir()] == ["lost"]


@pytest.mark.parametrize(
    "args", [["score", "release", "--scorer", "gvl", "-o", "p.parquet"], ["ladder", "release", "-o", "out"]]
)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--local-model", "x", "--model", "m"], "--local-model is given in place of --base-url and --model"),
        (["--local-model", "x", "--base-url", "http://localhost:9"], "--local-model is given in place of"),
        (["--model", "m"], "needs --base-url and --model, or --local-model"),
        ([], "needs --base-url and --model, or --local-model"),
    ],
)
def test_which_model_is_asked_is_said_once(args: list[str], more: list[str], said: str) -> None:
    done = CliRunner().invoke(main, [*args, *more])
    assert done.exit_code == 2 and said in done.stderr


def test_a_key_that_is_not_set_stops_at_once(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    for args in (
        ["score", release, "--scorer", "gvl", "-o", tmp_path / "p.parquet"],
        ["ladder", release, "-o", tmp_path / "out"],
    ):
        options = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--api-key-env", "NO_SUCH_KEY"]
        done = CliRunner().invoke(main, [*map(str, args), *options])
        assert done.exit_code == 2
        assert "NO_SUCH_KEY" in done.stderr and "--api-key-env" in done.stderr
    assert not (tmp_path / "p.parquet").exists()


def test_an_address_that_is_none_stops_at_once(release: Path, tmp_path: Path) -> None:
    done = run(
        "score", release, "--scorer", "gvl", "--base-url", "localhost", "--model", "m", "-o", tmp_path / "p.parquet"
    )
    assert done.returncode == 2
    assert "localhost is no address of an endpoint" in done.stderr and "http://localhost:8000/v1" in done.stderr
    assert not (tmp_path / "p.parquet").exists()


def test_what_cannot_draw_leaves_nothing(tmp_path: Path) -> None:
    args = ["synthesize", "-o", str(tmp_path / "set"), "--tasks", "pick-place-v3", "--faults", "drop", "--seeds", "0:1"]
    done = subprocess.run(
        [sys.executable, "-m", "bad_robot_behavior", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MUJOCO_GL": "nonsense", "BAD_ROBOT_GL": ""},
    )
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr.startswith("bad-robot: MUJOCO_GL=nonsense cannot draw here; unset it")
        and done.stderr.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []


def test_what_a_build_rejected_adds_up(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 3)
    sessions = sorted((dump / "evaluation_sessions").iterdir())
    next(sessions[0].glob("A_*/*.mp4")).write_bytes(b"no video")
    (sessions[1] / "metadata.yaml").write_text("no metadata")
    done = run("build", write_recipe(tmp_path / "recipe.yaml", dump), "-o", tmp_path / "release")
    assert done.returncode == 1
    counted = [int(count) for count in re.findall(r"^rejected: (\d+) x ", done.stdout, re.MULTILINE)]
    (told,) = re.findall(
        r"^rejected: (\d+) rollouts in all, and (\d+) sessions, preferences or parts", done.stdout, re.MULTILINE
    )
    (whole,) = re.findall(r"^rollouts: (\d+) read = (\d+) packaged \+ (\d+) rejected", done.stdout, re.MULTILINE)
    assert sum(counted) == int(told[0]) + int(told[1])
    assert int(told[0]) == int(whole[2]) == int(whole[0]) - int(whole[1]) > 0


def test_nothing_is_written_into_a_release(release: Path, tmp_path: Path) -> None:
    before = sorted(release.rglob("*"))
    for args in (
        ["score", release, "--scorer", "time_ramp", "-o", release / "p.parquet"],
        ["init", release / "a" / "lab"],
    ):
        done = run(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"lies in the release {release}, which stays as it was made; give a path outside" in done.stderr
    assert sorted(release.rglob("*")) == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["evaluate", "RELEASE", "nowhere.parquet"], "nowhere.parquet: is not there."),
        (["leaderboard", "nowhere", "-o", "page.html"], "nowhere: is no folder; give one with results files"),
        (["split", "RELEASE", "--keep", "file"], "file: is no splits file that can be read"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_input_that_is_none_is_named(args: list[str], said: str, release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "bad_robot_behavior", *(str(release) if arg == "RELEASE" else arg for arg in args)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_hub_out_of_reach_is_not_wrong_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bad_robot_behavior", "download", "roboarena", str(tmp_path / "dump")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "HF_HOME": str(tmp_path / "home"),
        },
    )
    assert done.returncode == 1
    assert "broke off" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "dump").exists()


def test_builds_take_their_memory_from_the_c_library() -> None:
    told = "import bad_robot_behavior.cli, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    plain = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=plain)
    assert done.stdout == "system\n"
