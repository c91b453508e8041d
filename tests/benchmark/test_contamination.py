"""Whether a scorer saw what it is judged on: each flag by its reason, in the table, on the pages and in the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from bad_robot_behavior.benchmark import leaderboard
from bad_robot_behavior.benchmark.contamination import contamination
from bad_robot_behavior.benchmark.predictions import read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.report import html, table
from bad_robot_behavior.benchmark.results_file import check, write
from bad_robot_behavior.builder.loader import Release
from tests.benchmark.conftest import write_curves

ROBOARENA = {"kind": "roboarena", "name": "roboarena"}
SIMULATED = {"kind": "roboarena", "name": "roboarena_sim", "synthetic_generator": "metaworld 3.1.1"}
LAB = {"kind": "folder", "name": "lab"}


@pytest.mark.parametrize(
    ("parameters", "sources", "flag"),
    [
        ({"scorer": "robometer"}, [ROBOARENA], "contaminated"),
        ({"scorer": "robometer"}, [ROBOARENA, LAB], "contaminated"),
        ({"scorer": "robometer"}, [SIMULATED], "unknown"),
        ({"scorer": "robometer"}, [LAB], "unknown"),
        ({"scorer": "dopamine"}, [ROBOARENA], "clean"),
        ({"scorer": "dopamine"}, [ROBOARENA, LAB], "unknown"),
        ({"scorer": "gvl"}, [ROBOARENA], "unknown"),
        ({"scorer": "time_ramp"}, [ROBOARENA, LAB], "clean"),
        ({"scorer": "motion"}, [LAB], "clean"),
        ({"scorer": "last_frame"}, [ROBOARENA], "unknown"),
        ({"scorer": "mine"}, [ROBOARENA], "unknown"),
        ({"scorer": ["robometer"]}, [ROBOARENA], "unknown"),
        ({}, [ROBOARENA], "unknown"),
        ({"scorer": "mine", "saw_roboarena": "no"}, [ROBOARENA], "clean"),
        ({"scorer": "mine", "saw_roboarena": "yes"}, [ROBOARENA], "contaminated"),
        ({"scorer": "mine", "saw_roboarena": {"a": 1}}, [ROBOARENA], "unknown"),
        ({"scorer": "rewind", "trained_on": "tiny", "trained_split": "train"}, [LAB], "clean"),
        ({"scorer": "rewind", "trained_on": "tiny", "trained_split": "test"}, [LAB], "contaminated"),
        ({"scorer": "rewind", "trained_on": "tiny", "trained_split": None}, [LAB], "contaminated"),
        ({"scorer": "rewind", "trained_on": "tiny"}, [LAB], "unknown"),
        ({"scorer": "rewind", "trained_on": "other", "trained_split": None}, [LAB], "unknown"),
    ],
)
def test_a_flag_for_every_case(parameters: dict[str, Any], sources: list[dict[str, Any]], flag: str) -> None:
    found = contamination(parameters, sources, "tiny", "test")
    assert (found.flag, bool(found.why)) == (flag, True)


def test_of_all_splits_the_one_it_was_trained_on_is_one() -> None:
    told = {"trained_on": "tiny", "trained_split": "train"}
    assert contamination(told, [LAB], "tiny", "all").flag == "contaminated"


@pytest.fixture
def scored(release: Release, tmp_path: Path) -> Path:
    stated = json.dumps({"scorer": "mine", "trained_on": "tiny", "trained_split": None})
    path = tmp_path / "mine.parquet"
    write_curves(release, path, lambda row: [row["score"]], model="mine", parameters=stated, role=None)
    return path


def test_the_flag_stands_in_the_table_on_the_pages_and_in_results_files(
    release: Release, scored: Path, tmp_path: Path
) -> None:
    files = [read(scored, release)]
    results = evaluate(release, files, draws=0)
    assert [item.contamination.flag for item in results.scorers] == ["contaminated", *["clean"] * 4]
    assert "mine: contaminated (it was trained on this release, on all of it)" in table(results)
    html(results, release, files, tmp_path / "report.html")
    assert '<span class="contaminated"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    write(tmp_path / "results", release, files, draws=0)
    leaderboard.write(leaderboard.read_board(tmp_path / "results", release), tmp_path / "board.html")
    assert '<span class="contaminated"' in (tmp_path / "board.html").read_text(encoding="utf-8")


@pytest.mark.rule("results.other_contamination")
def test_a_results_file_that_calls_itself_clean_is_found(release: Release, scored: Path, tmp_path: Path) -> None:
    [path] = write(tmp_path / "results", release, [read(scored, release)], draws=0)
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    told = json.loads(members["results.json"])
    told["results"]["scorers"][0]["contamination"] = {"flag": "clean", "why": "trust me"}
    with ZipFile(path, "w") as archive:
        for name, data in (members | {"results.json": json.dumps(told).encode()}).items():
            archive.writestr(name, data)
    _, defects = check(path, release)
    assert [(defect.rule, defect.value) for defect in defects] == [
        ("results.other_contamination", "'mine: clean, is contaminated'")
    ]
