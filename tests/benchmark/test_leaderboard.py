"""The leaderboard page: checked files in order, the others named, nothing hostile on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bad_robot_behavior.benchmark import leaderboard
from bad_robot_behavior.benchmark.predictions import read
from bad_robot_behavior.benchmark.results_file import write
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import BadRobotError
from tests.benchmark.conftest import HOSTILE, write_curves
from tests.benchmark.test_report import Reader


@pytest.fixture
def folder(release: Release, tmp_path: Path) -> Path:
    """Results of a scorer that follows the score, of one that does the opposite, and of one that answers little."""
    stated = {"scorer": HOSTILE, "kind": "progress"}
    files = []
    for name, curve in (
        ("good", lambda row: [row["score"]]),
        ("bad", lambda row: [1 - row["score"]]),
        ("shy", lambda row: [row["score"]] if row["score"] in (1.0, 0.2) else None),
    ):
        path = write_curves(
            release, tmp_path / f"{name}.parquet", curve, model=name, parameters=json.dumps(stated), role=None
        )
        files.append(read(path, release))
    write(tmp_path / "results", release, files, draws=20)
    return tmp_path / "results"


def test_rows_are_ordered_by_what_cannot_be_gained_by_silence(folder: Path, release: Release, tmp_path: Path) -> None:
    board = leaderboard.read_board(folder, release)
    assert board.defects == ()
    [entries] = board.entries.values()
    # shy is right on the one pair of five that it answers, bad is wrong on all
    assert [entry.scorer.model for entry in entries] == ["good", "shy", "bad"]
    leaderboard.write(board, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert page.text.index("(good)") < page.text.index("(shy)") < page.text.index("(bad)") < page.text.index("(floor)")
    assert HOSTILE in page.text
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "default-src 'none'" in text
    assert "scored again from its predictions" in page.text
    assert "Not shown" not in page.text
    leaderboard.write(leaderboard.read_board(folder, release), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_files_that_fail_are_named_and_not_shown(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.results.zip").write_bytes(b"no archive")
    done = CliRunner().invoke(main, ["leaderboard", str(folder), "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 1
    assert "results.unreadable" in done.output
    assert "2 results files shown, 1 not shown" in done.output
    text = Reader((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "bad.results.zip: cannot be read" in text
    assert "(bad)" not in text
    assert "checked, but not scored again" in text


def test_releases_stand_apart_and_a_foreign_one_is_refused_where_one_is_named(
    folder: Path, release: Release, twins: Release, tmp_path: Path
) -> None:
    path = write_curves(twins, tmp_path / "twin.parquet", lambda row: [0.5])
    write(folder, twins, [read(path, twins)], draws=20)
    board = leaderboard.read_board(folder)
    assert [len(entries) for entries in board.entries.values()] in ([3, 1], [1, 3])
    board = leaderboard.read_board(folder, release)
    assert len(board.entries) == 1
    assert {defect.rule for defect in board.defects} <= {"results.other_release", "results.predictions"}


def test_a_folder_without_results_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match=r"has no results files \(\*\.results\.zip\)"):
        leaderboard.read_board(tmp_path)
    done = CliRunner().invoke(main, ["leaderboard", str(tmp_path / "gone"), "-o", str(tmp_path / "p.html")])
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1
