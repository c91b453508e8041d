"""Sets that are made: the same bytes however they were interrupted, nothing half written, every name checked."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from bad_robot_behavior import media
from bad_robot_behavior.build import build
from bad_robot_behavior.cli import main
from bad_robot_behavior.curation.sources import open_source
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import MediaError
from bad_robot_behavior.schema import Rollout, SourceSettings
from bad_robot_behavior.schema.synthetic_file import Dropped, frames_of
from bad_robot_behavior.synthesis import run, scene
from bad_robot_behavior.synthesis.renderer import choose
from bad_robot_behavior.synthesis.run import read_report, read_scenes, synthesize
from bad_robot_behavior.synthesis.scene import Made, Plan, Settings
from bad_robot_behavior.synthesis.tasks import SynthesisError
from bad_robot_behavior.synthesis.writing import Clock
from tests import small_disk
from tests.dumps import hashes, write_recipe

pytestmark = pytest.mark.skipif(choose() is None, reason="neither EGL nor OSMesa can draw here")

FAULTS = ("drop", "knock_cup", "wrong_action")
SETTINGS = Settings(
    tasks=("pick-place-v3",),
    faults=FAULTS,
    seeds=(0, 2),
    cameras=("exterior_1",),
    width=64,
    height=64,
    steps_per_frame=8,
)
ARGUMENTS = [
    *("--tasks", "pick-place-v3", "--faults", ",".join(FAULTS), "--seeds", "0:2", "--cameras", "exterior_1"),
    *("--size", "64x64", "--steps-per-frame", "8"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "set"
    report = synthesize(out, SETTINGS)
    assert report.scenes == 2
    return out


def test_a_set_holds_each_success_beside_what_it_could_have_been(made: Path) -> None:
    for one in read_scenes(made):
        twins = [episode for episode in one.episodes if episode.fault is None]
        assert len(twins) == 1
        assert twins[0].success
        assert twins[0].score == 1
        assert [episode.label for episode in one.episodes] == list("ABCDEFG")[: len(one.episodes)]
        for episode in one.episodes:
            place = made / "scenes" / one.scene / episode.name
            frames = frames_of(episode.num_steps, one.steps_per_frame)
            assert media.probe(place / "exterior_1.mp4").num_frames == frames
            with np.load(place / "steps.npz") as steps:
                assert len(steps["reward"]) == episode.num_steps
                assert np.abs(steps["reward"]).max() <= 1
            if episode.fault is not None and episode.onset_step is not None and episode.inject_step is not None:
                assert episode.inject_step <= episode.onset_step


def test_what_was_tried_and_is_not_there_is_told(made: Path) -> None:
    """The scene of this task has no contrary task, so that its expert cannot be taken for the wrong one."""
    dropped = [msgspec.json.decode(line, type=Dropped) for line in (made / "dropped.jsonl").read_bytes().splitlines()]
    told = {(one.seed, one.fault) for one in dropped}
    assert {(0, "wrong_action"), (1, "wrong_action")} <= told
    kept = {(one.seed, episode.fault) for one in read_scenes(made) for episode in one.episodes if episode.fault}
    assert told | kept == {(seed, fault) for seed in (0, 1) for fault in FAULTS}
    assert not told & kept


def test_a_set_goes_through_the_whole_chain(made: Path, tmp_path: Path) -> None:
    source = {"name": "sim", "kind": "synthetic", "path": str(made)}
    recipe = write_recipe(tmp_path / "r" / "recipe.yaml", tmp_path, sources=[source], license={"allow": ["Apache-2.0"]})
    report = build(recipe, tmp_path / "release")
    assert report.unexpected_rejections == {}
    assert report.manifest is not None
    assert report.manifest.counts.rollouts_packaged == read_report(made).rollouts
    items = list(
        open_source(SourceSettings(name="s", kind="synthetic", path="x"), made).read(
            "pick-place-v3-0", Store(tmp_path / "f")
        )
    )
    assert all(isinstance(item, Rollout) and item.reward is not None for item in items)


def all_but_arguments(folder: Path) -> dict[str, str]:
    """The command line's own default of --per-scene makes another synthetic.json."""
    return {name: digest for name, digest in hashes(folder).items() if name != "synthetic.json"}


def at_work(parent: int, folder: Path) -> list[int]:
    """Processes of that parent that have a file in the folder open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            of = int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            if of == parent and any(link.readlink().is_relative_to(folder) for link in (process / "fd").iterdir()):
                found.append(int(process.name))
    return found


def test_killed_anywhere_whole_or_a_worker_alone_it_ends_with_the_same_bytes(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = [
        sys.executable,
        "-m",
        "bad_robot_behavior",
        "synthesize",
        "-o",
        str(out),
        *ARGUMENTS,
        "--per-scene",
        "25",
    ]
    first = subprocess.Popen([*command, "--workers", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 300  # starting takes five seconds, and a minute on a machine with much else to do
    while not list(out.glob(".progress/part-*/*/.part-*")) and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert list(out.glob(".progress/part-*")), "it was killed before anything was under way"
    assert not (out / "synthetic.json").exists()
    again = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (filming := at_work(again.pid, out)) and again.poll() is None:
        time.sleep(0.02)
    os.kill(filming[0], signal.SIGKILL)
    told = again.communicate()[1]
    assert again.returncode == 0, told
    assert "a worker process died on pick-place-v3-" in told
    assert "a new one takes its place (attempt 2 of 3)" in told
    assert all_but_arguments(out) == all_but_arguments(made)


def test_what_a_killed_worker_left_is_made_anew_by_the_next(made: Path, tmp_path: Path) -> None:
    first = run.plan(SETTINGS, tmp_path / "set" / ".progress")[0]
    left = Path(first.folder) / "success"
    left.mkdir(parents=True)
    (left / "exterior_1.mp4").write_bytes(b"half a video")
    run.run_plan(first)
    assert hashes(tmp_path / "set" / "scenes" / first.name) == hashes(made / "scenes" / first.name)


MEMORY = """
import json, resource, sys
from pathlib import Path
from bad_robot_behavior.synthesis import arguments, scene
from bad_robot_behavior.synthesis.run import plan
names = "pick-place-v3,hammer-v3,shelf-place-v3,faucet-open-v3"
settings = arguments.settings(tasks=names, faults="early_stop", seeds="0:1", cameras="exterior_1", size="64x64")
resident = []
for one in plan(settings, Path(sys.argv[1])):
    scene.make_scene(one)
    resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
print(json.dumps(resident))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_gives_back_what_tasks_took(tmp_path: Path) -> None:
    """It kept two renderers of 150 MB, four models of 20 MB and what lay between them: 290 MB more by the fourth."""
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    resident = json.loads(done.stdout)
    assert len(resident) == 4
    assert max(resident[1:]) - resident[0] < 100, resident


def test_a_whole_set_is_left_as_it_is(made: Path) -> None:
    before = hashes(made)
    assert synthesize(made, SETTINGS).rollouts == read_report(made).rollouts
    assert hashes(made) == before
    with pytest.raises(SynthesisError, match="other arguments"):
        synthesize(made, msgspec.structs.replace(SETTINGS, seeds=(0, 3)))


def test_a_set_that_was_begun_with_other_arguments(tmp_path: Path) -> None:
    out = tmp_path / "set"
    (out / ".progress").mkdir(parents=True)
    (out / ".progress" / "settings.json").write_text("{}")
    with pytest.raises(SynthesisError, match="begun with other arguments"):
        synthesize(out, SETTINGS)


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SynthesisError, match="something else"):
        synthesize(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_plan: Plan) -> Made:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise MediaError("x.mp4", "encode", "No space left on device") from error

    monkeypatch.setattr(scene, "_make", full)
    done = CliRunner().invoke(main, ["synthesize", "-o", str(tmp_path / "set"), *ARGUMENTS])
    assert done.exit_code == 1
    assert "No space left on device; free some space and run the same command again" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "set" / "synthetic.json").exists()


@small_disk.needed
def test_a_disk_that_filled_up_and_was_given_space_ends_with_the_same_bytes(made: Path, tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    *failed, last = small_disk.bad_robot(disk, kept, (16, 64, 4000), "synthesize", "-o", disk / "set", *ARGUMENTS)
    for code, _, told in failed:
        assert code == 1
        assert told.splitlines()[-1].endswith("free some space and run the same command again"), told
    assert last[0] == 0, last
    assert all_but_arguments(kept / "set") == all_but_arguments(made)


def test_an_expert_that_fails_is_counted_and_gives_no_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "why_not_clean", lambda trace: "it did not lift the object")
    report = synthesize(tmp_path / "set", msgspec.structs.replace(SETTINGS, seeds=(0, 1)))
    assert (report.scenes, report.rollouts) == (0, 0)
    assert report.dropped == {"twin_not_clean": 1}
    assert not list((tmp_path / "set").glob("scenes/*"))


WRONG = {
    "--tasks": ("pick-plac", "did you mean pick-place"),
    "--faults": ("drp", "did you mean drop?"),
    "--cameras": ("wrst", "did you mean wrist?"),
    "--seeds": ("3", "FIRST:END"),
    "--size": ("20x20", "32 to 1024"),
}


@pytest.mark.parametrize("option", WRONG)
def test_wrong_names_list_the_legal_ones(option: str, tmp_path: Path) -> None:
    value, said = WRONG[option]
    done = CliRunner().invoke(main, ["synthesize", "-o", str(tmp_path / "set"), option, value])
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "set").exists()


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["synthesize", "-o", str(tmp_path / "set"), *ARGUMENTS, "--dry-run"])
    assert done.exit_code == 0
    assert "scenes: 2; rollouts: at most 6" in done.output
    assert not (tmp_path / "set").exists()


def _made(faulted: int) -> Made:
    return Made(
        rollouts=faulted + 1,
        faulted=faulted,
        dropped=(),
        clock=Clock(),
        seconds=0.0,
        peak_mb=0.0,
        worker=1,
        renderer="",
    )


def test_the_number_is_reached_in_the_order_of_the_plan() -> None:
    """However the workers finish: a scene that came early but lies beyond is not needed."""
    plans = run.plan(msgspec.structs.replace(SETTINGS, seeds=(0, 4), number=5))
    made = {3: _made(3), 1: _made(3)}
    assert run._cut(plans, made, 5) is None
    made[0] = _made(2)
    assert run._cut(plans, made, 5) == 2
    assert run._cut(plans, made, 6) is None
    assert run._cut(plans, made | {2: _made(0)}, 8) == 4
    assert run._cut(plans, made | {2: _made(0)}, 99) == 4
