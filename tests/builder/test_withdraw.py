"""Takedown: what was asked for is in no byte of the new release, the rest is all there, and the diff says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from bad_robot_behavior.builder.check import check
from bad_robot_behavior.builder.diff import diff, summary
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.builder.withdraw import withdraw
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Column, Rejection, Rollout, SourceSettings
from bad_robot_behavior.schema.trajectory_file import Arrays, write_arrays
from tests.builder.releases import VERDICT, make_recipe, make_release, make_rollouts
from tests.dumps import hashes

EVALUATORS = ("ev_0123456789ab", "ev_ba9876543210")


def contributed(folder: Path) -> list[Rollout]:
    """Five sessions of two rollouts: of two evaluators, two sites and two sources, with trajectories."""
    made = []
    for number, rollout in enumerate(make_rollouts(folder, sessions=5)):
        session = number // 2
        arrays = Arrays(np.full((4, 2), number, np.float32), np.zeros((4, 1), np.float32), _columns(2), _columns(1))
        write_arrays(folder / f"{number}.npz", arrays)
        judged = tuple(
            msgspec.structs.replace(p, evaluator=EVALUATORS[session % 2]) for p in rollout.session.preferences
        )
        made.append(
            msgspec.structs.replace(
                rollout,
                source="other_lab" if session == 1 else "lab",
                source_ref=f"secret-folder-{session}/{number}",
                site=f"Institute {session % 2}",
                evaluator=EVALUATORS[session % 2],
                license=VERDICT.license,
                license_evidence=VERDICT.evidence,
                attribution="Other lab" if session == 1 else VERDICT.attribution,
                trajectory=str(folder / f"{number}.npz"),
                session=msgspec.structs.replace(rollout.session, preferences=judged),
            )
        )
    return made


def _columns(count: int) -> tuple[Column, ...]:
    return tuple(Column(name=f"c{i}", unit=None) for i in range(count))


def options(rollouts: list[Rollout], layout: str = "files") -> dict[str, Any]:
    lost = Rejection(
        subject="rollout",
        subject_id="ab" * 10,
        session_id=rollouts[0].session_id,
        source="lab",
        source_ref="secret-folder-0/lost",
        stage="screen",
        code="video.black",
        detail="exterior_1: every frame is black",
    )
    other = msgspec.structs.replace(VERDICT, source="other_lab", attribution="Other lab")
    recipe = make_recipe(layout)
    added = SourceSettings(name="other_lab", kind="folder", path="other", attribution="Other lab")
    recipe = msgspec.structs.replace(recipe, sources=(*recipe.sources, added))
    licenses = (VERDICT, other)
    return {"rejections": (lost,), "rollouts_read": len(rollouts) + 1, "licenses": licenses, "recipe": recipe}


@pytest.fixture(params=["files", "shards"])
def built(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[Rollout]]:
    rollouts = contributed(tmp_path / "raw")
    make_release(tmp_path / "release", rollouts, **options(rollouts, request.param))
    assert check(tmp_path / "release") == []
    return tmp_path / "release", rollouts


def texts(release: Path) -> str:
    parts = [str(Release(release).table(name).to_pylist()) for name in ("rollouts", "preferences", "rejections")]
    parts += [p.read_text() for p in release.iterdir() if p.suffix in (".md", ".json")]
    return "\n".join([*parts, *(str(p.relative_to(release)) for p in release.rglob("*"))])


def test_a_rollout_goes_with_all_that_belongs_to_it(built: tuple[Path, list[Rollout]], tmp_path: Path) -> None:
    release, rollouts = built
    gone = rollouts[3]
    manifest = withdraw(release, [gone.rollout_id], out=tmp_path / "new")
    assert check(tmp_path / "new") == []
    assert manifest.version == "1.1.0"
    counts = manifest.counts
    assert (counts.rollouts_read, counts.rollouts_packaged, counts.rollouts_rejected) == (11, 9, 2)
    assert (counts.preferences, counts.trajectories, counts.videos) == (4, 9, 9)
    new = Release(tmp_path / "new")
    assert gone.rollout_id not in new.rollout_ids
    for config in ("trajectories", "demonstrations"):
        assert gone.rollout_id not in new.table(config, ["rollout_id"])["rollout_id"].to_pylist()
    assert not list((tmp_path / "new").rglob(f"{gone.rollout_id}*"))
    (stone,) = [row for row in new.table("rejections").to_pylist() if row["subject_id"] == gone.rollout_id]
    assert (stone["code"], stone["source_ref"], stone["session_id"]) == ("package.withdrawn", "withdrawn", None)
    old = Release(release)
    for kept in new:
        was = old[kept["rollout_id"]]
        assert {key: kept[key] for key in kept} == {key: was[key] for key in was}
        assert kept.video_bytes() == was.video_bytes()
    assert old.table("trajectories").num_rows == 10
    assert "## 1.1.0\n\nWithdrawn on request: 1 rollout and" in (tmp_path / "new" / "CHANGELOG.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "raw", "release"]


def test_the_diff_tells_it_apart_from_what_is_merely_gone(built: tuple[Path, list[Rollout]], tmp_path: Path) -> None:
    release, rollouts = built
    withdraw(release, [rollouts[3].rollout_id], out=tmp_path / "new")
    found = diff(release, tmp_path / "new")
    assert (found.withdrawn, found.removed, found.added) == ((rollouts[3].rollout_id,), (), ())
    assert (found.changed, found.moved, found.left_test) == ((), (), ())
    assert found.counts["rollouts_packaged"] == (10, 9)
    assert "withdrawn: 1 (" in summary(found)
    back = diff(tmp_path / "new", release)
    assert back.added == (rollouts[3].rollout_id,)


@pytest.mark.rule("package.withdrawn")
@pytest.mark.parametrize(
    ("name", "left", "never"),
    [
        ("session", 8, "secret-folder-2"),
        ("Institute 1", 6, "Institute 1"),
        (EVALUATORS[1], 6, EVALUATORS[1]),
        ("source=other_lab", 8, "other_lab"),
        ("Other lab", 8, "Other lab"),
    ],
)
def test_sessions_sites_and_contributors_go_whole(
    built: tuple[Path, list[Rollout]], name: str, left: int, never: str
) -> None:
    release, rollouts = built
    before = texts(release)
    assert never in before
    manifest = withdraw(release, [rollouts[4].session_id if name == "session" else name])
    assert check(release) == []
    assert manifest.counts.rollouts_packaged == left
    assert never not in texts(release)
    assert manifest.counts.rejections_by_code["package.withdrawn"] == (10 - left) + (10 - left) // 2
    assert not list(release.parent.glob(".*"))


def test_rejections_of_a_session_that_goes_lose_their_words(built: tuple[Path, list[Rollout]]) -> None:
    release, rollouts = built
    withdraw(release, [rollouts[0].session_id])
    assert "secret-folder-0" not in texts(release)
    codes = Release(release).table("rejections", ["code"])["code"].to_pylist()
    assert sorted(set(codes)) == ["package.withdrawn", "video.black"]


def test_what_was_in_test_is_remembered_there(built: tuple[Path, list[Rollout]]) -> None:
    release, rollouts = built
    gone = [rollout.rollout_id for rollout in rollouts if rollout.split == "test"]
    withdraw(release, gone[:1])
    rows = Release(release).path / "splits.parquet"
    import pyarrow.parquet as pq

    kept = {row["rollout_id"]: row for row in pq.read_table(rows).to_pylist()}
    assert kept[gone[0]] == {"rollout_id": gone[0], "split": "test", "in_release": False}


def test_twice_gives_the_same_bytes_as_once(built: tuple[Path, list[Rollout]], tmp_path: Path) -> None:
    release, rollouts = built
    one, two = rollouts[3].rollout_id, rollouts[6].rollout_id
    withdraw(release, [one, two], out=tmp_path / "a", version="2.0.0")
    withdraw(release, [two, one], out=tmp_path / "b", version="2.0.0")
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["0" * 20], "has no rollout, session"),
        (["Nobody"], "write it exactly"),
        (["lab", "other_lab"], "nothing would be left"),
        (["site=lab"], "has no rollout"),
    ],
)
def test_what_cannot_be_withdrawn_is_an_error_and_changes_nothing(
    built: tuple[Path, list[Rollout]], names: list[str], reason: str
) -> None:
    release, _ = built
    before = hashes(release)
    with pytest.raises(ReleaseError, match=reason):
        withdraw(release, names)
    assert hashes(release) == before
    assert not list(release.parent.glob(".*"))


def test_what_was_withdrawn_before_is_said(built: tuple[Path, list[Rollout]], tmp_path: Path) -> None:
    release, rollouts = built
    withdraw(release, [rollouts[0].rollout_id], out=tmp_path / "less")
    with pytest.raises(ReleaseError, match=f"{rollouts[0].rollout_id} was withdrawn or rejected before"):
        withdraw(tmp_path / "less", [rollouts[0].rollout_id])


def test_an_older_version_number_is_refused(built: tuple[Path, list[Rollout]]) -> None:
    with pytest.raises(ReleaseError, match=r"above 1\.0\.0"):
        withdraw(built[0], [built[1][0].rollout_id], version="1.0.0")


def test_killed_anywhere_the_old_release_or_the_new_one_is_there(tmp_path: Path) -> None:
    rollouts = contributed(tmp_path / "raw")
    make_release(tmp_path / "release", rollouts, **options(rollouts))
    before = hashes(tmp_path / "release")
    code = "import sys; from bad_robot_behavior.cli import main; main()"
    for delay in (0.35, 0.5, 0.65):
        command = [sys.executable, "-c", code, "withdraw", str(tmp_path / "release"), rollouts[3].rollout_id]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if hashes(tmp_path / "release") != before:
            break
        assert check(tmp_path / "release") == []
    else:
        withdraw(tmp_path / "release", [rollouts[3].rollout_id])
    assert check(tmp_path / "release") == []
    assert rollouts[3].rollout_id not in Release(tmp_path / "release").rollout_ids


def test_the_commands(built: tuple[Path, list[Rollout]], tmp_path: Path) -> None:
    release, rollouts = built
    new = str(tmp_path / "new")
    done = CliRunner().invoke(main, ["withdraw", str(release), rollouts[3].rollout_id, "-o", new])
    assert done.exit_code == 0, done.output
    assert "rollouts_packaged: 10 -> 9" in done.output and "tombstones: 2" in done.output
    done = CliRunner().invoke(main, ["diff", str(release), new, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["withdrawn"] == [rollouts[3].rollout_id]


def test_the_diff_tells_changes_moves_and_a_rollout_that_left_test(tmp_path: Path) -> None:
    rollouts = make_rollouts(tmp_path / "raw", sessions=4)
    make_release(tmp_path / "a", rollouts)
    changed = [
        msgspec.structs.replace(r, split="train" if r.split == "test" else r.split, score=0.5 if i == 0 else r.score)
        for i, r in enumerate(rollouts)
    ]
    make_release(tmp_path / "b", changed[:-2] + changed[-2:], "shards")
    found = diff(tmp_path / "a", tmp_path / "b")
    assert [(change.rollout_id, change.fields) for change in found.changed] == [(rollouts[0].rollout_id, ("score",))]
    assert {(move.before, move.after) for move in found.moved} == {("test", "train")}
    assert set(found.left_test) == {rollout.rollout_id for rollout in rollouts[-2:]}
    done = CliRunner().invoke(main, ["diff", str(tmp_path / "a"), str(tmp_path / "b")])
    assert done.exit_code == 1
    assert "LEFT TEST: 2" in done.output and "test -> train: 2" in done.output
    make_release(tmp_path / "c", rollouts[:-2])
    assert len(diff(tmp_path / "a", tmp_path / "c").removed) == 2


def test_a_withdrawn_release_loads_with_datasets(built: tuple[Path, list[Rollout]], tmp_path: Path) -> None:
    release, rollouts = built
    withdraw(release, [rollouts[3].rollout_id])
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    loaded = load_dataset(str(release), "rollouts", cache_dir=str(tmp_path / "cache"))
    ids = {row for split in loaded.values() for row in split["rollout_id"]}
    assert ids == {rollout.rollout_id for rollout in rollouts} - {rollouts[3].rollout_id}
    mlcroissant = pytest.importorskip("mlcroissant")
    made = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))
    assert made.metadata.version == "1.1.0"
