"""`bad-robot split`: new splits that do not leak, keep test in test, are even, and can be cited and evaluated on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bad_robot_behavior import splits
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.cli import main
from bad_robot_behavior.curation.split import read_test_ids
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import SplitSettings
from tests.benchmark.conftest import make_session, package

TASKS = ("put the cup on the mat", "push the red block", "pour water into the bowl", "open the drawer")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Twelve sessions of twelve instructions of four kinds at two sites; the factory's videos have no fingerprints."""
    folder = tmp_path_factory.mktemp("videos")
    rollouts = []
    for i in range(12):
        words = f"{TASKS[i % 4]} number {i}"
        made = make_session(
            folder, f"s{i}", (1.0, 0.2), instruction=words, site="ns"[i // 4 % 2], split="train" if i else "test"
        )
        # videos that differ from session to session
        rollouts += [
            msgspec.structs.replace(r, videos=msgspec.structs.replace(r.videos, exterior_1=v))
            for r, v in ((r, unique(folder, f"{i}-{k}", 100 * i + k)) for k, r in enumerate(made))
        ]
    return package(tmp_path_factory.mktemp("release") / "r", rollouts)


def unique(folder: Path, name: str, seed: int) -> object:
    from tests.factories import make_record, make_video

    return make_record(make_video(folder / f"own-{name}.mp4", seed=seed))


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["split", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_report_on_a_release_as_it_is(release: Release) -> None:
    code, text = run(release.path)
    assert code == 0, text
    assert "rollouts: test 2, train 22" in text
    assert "leaks: 0 (session 0, instruction 0, near_duplicate_video 0" in text
    assert "24 rollouts have no fingerprint" in text


def test_new_splits_are_leak_free_even_the_same_each_time_and_keep_test(release: Release, tmp_path: Path) -> None:
    shares = ("--train", 0.5, "--validation", 0.25, "--test", 0.25)
    out, again = tmp_path / "new" / "splits.parquet", tmp_path / "again.parquet"
    code, text = run(release.path, "-o", out, *shares, "--json")
    assert code == 0, text
    told = json.loads(text)
    assert (told["leaks"], told["rollouts"]) == ([], {"test": 6, "train": 12, "validation": 6})
    # four kinds of task in twelve sessions, and every split has its share of each kind and site
    for counts in (*told["by_category"].values(), *told["by_site"].values()):
        assert max(counts.values()) <= 2 * min(counts.values()) + 2
    own_test = {r["rollout_id"] for r in release.table("rollouts").to_pylist() if r["split"] == "test"}
    made = splits.read_splits(out)
    assert {made[name] for name in own_test} == {"test"}
    run(release.path, "-o", again, *shares)
    assert again.read_bytes() == out.read_bytes()
    assert read_test_ids(out) == {name for name, split in made.items() if split == "test"}
    _, other = run(release.path, "-o", again, *shares, "--seed", 5, "--fresh")
    assert splits.read_splits(again) != made
    assert "sha256" in other


def test_test_membership_survives_a_later_version_without_the_rollouts(release: Release, tmp_path: Path) -> None:
    whole = splits.split_release(release, SplitSettings(train=0.5, validation=0.0, test=0.5))
    gone = {"f" * 20: "test", "e" * 20: "train"}
    later = splits.split_release(
        release, SplitSettings(seed=8, train=0.9, validation=0.0, test=0.1), keep=[whole, gone]
    )
    assert all(later[name] == "test" for name, split in whole.items() if split == "test")
    assert later["f" * 20] == "test"
    assert "e" * 20 not in later
    path = tmp_path / "s.parquet"
    splits.write_splits(path, release, later)
    rows = {row["rollout_id"]: row for row in pq.read_table(path).to_pylist()}
    assert rows["f" * 20] == {"rollout_id": "f" * 20, "split": "test", "in_release": False}
    assert Counter(row["in_release"] for row in rows.values()) == {True: 24, False: 1}


def test_a_planted_leak_is_found_and_the_exit_code_says_so(release: Release, tmp_path: Path) -> None:
    torn = dict(splits.read_splits(release.path))
    victim = next(name for name, split in torn.items() if split == "train")
    torn[victim] = "test"
    found = splits.examine(release, torn, bits=4)
    assert {kind: n for kind, n in found.leaks_by_kind.items() if n} == {"session": 1, "instruction": 1}
    assert "leak: session" in splits.summary(found)
    earlier = tmp_path / "earlier.parquet"
    splits.write_splits(earlier, release, dict.fromkeys(torn, "test"))
    code, text = run(release.path, "--keep", earlier)
    assert code == 1
    assert "left_test 22" in text
    assert "and 2 more leaks" in text


def test_an_evaluation_on_new_splits(release: Release) -> None:
    made = splits.split_release(release, SplitSettings(train=0.5, validation=0.0, test=0.5))
    results = evaluate(release, [], splits=made, draws=10)
    assert (results.split, results.rollouts, results.sessions) == ("test", 12, 6)
    assert results.task("preference").headline("random").n == 6
    assert "splits_sha256" in results.release
    whole = evaluate(release, [], splits=made, split="all", draws=10)
    assert whole.rollouts == 24


def test_what_is_no_splits_file(release: Release, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="is no splits file and no release"):
        splits.read_splits(tmp_path)
    broken = tmp_path / "s.parquet"
    broken.write_bytes(b"PAR1 not")
    with pytest.raises(ReleaseError, match="no splits file that can be read"):
        splits.read_splits(broken)
    for columns, words in (
        ({"rollout_id": ["a"], "split": ["dev"]}, "has the split 'dev'; legal: train, validation, test"),
        ({"rollout_id": ["a"], "split": pa.array([None], pa.string())}, "has the split None"),
        ({"rollout_id": ["a", "a"], "split": ["test", "test"]}, "names a rollout more than once"),
    ):
        pq.write_table(pa.table(columns), broken)
        with pytest.raises(ReleaseError, match=words):
            splits.read_splits(broken)
    with pytest.raises(ReleaseError, match="lack 24 rollouts"):
        splits.examine(release, {"a": "test"}, bits=4)


def test_shares_that_do_not_add_up(release: Release, tmp_path: Path) -> None:
    code, text = run(release.path, "-o", tmp_path / "s.parquet", "--test", 0.5)
    assert code == 2
    assert "sum to 1.4, not to 1" in text
    assert load(release.path)
