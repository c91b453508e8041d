"""The report: the terminal's table, JSON, and a page that is whole, safe and the same each time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bad_robot_behavior.benchmark import report
from bad_robot_behavior.benchmark.charts import axis_range
from bad_robot_behavior.benchmark.predictions import read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.results import Number
from bad_robot_behavior.builder.loader import Release, load
from bad_robot_behavior.errors import BadRobotError
from tests.benchmark.conftest import HOSTILE

Predict = Callable[..., Path]
VOID = {"meta", "img", "line", "rect", "path", "circle", "polyline", "br"}


class Reader(HTMLParser):
    """Collects elements, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write(release: Release, paths: list[Path], out: Path) -> str:
    predictions = [read(path, release) for path in paths]
    report.html(evaluate(release, predictions, split="all", draws=20), release, predictions, out)
    return out.read_text(encoding="utf-8")


def test_the_page_holds_strips_curves_spans_and_numbers(release: Release, predict: Predict, tmp_path: Path) -> None:
    text = write(release, [predict(lambda row: 1 - row["score"])], tmp_path / "new" / "report.html")
    page = Reader(text)
    assert page.tags.count("article") == 3  # three sessions with a pair that the human ordered
    assert page.tags.count("img") == 3 * 2 * 8
    assert len(re.findall('class="line c0"', text)) == 6
    assert 'class="span"' in text
    assert "grasp / slip" in page.text
    for words in ("Reward models against judgement", "tester (vision-9)", "time_ramp", "pour", "wrong"):
        assert words in page.text


def test_nothing_is_loaded_from_elsewhere_and_no_script(release: Release, predict: Predict, tmp_path: Path) -> None:
    hostile = predict(
        lambda row: 1 - row["score"],
        model=f"m {HOSTILE}",
        parameters=json.dumps({"kind": HOSTILE, "scorer": '"><svg onload=alert(1)>'}),
        name="<b>.parquet",
    )
    text = write(release, [hostile], tmp_path / "report.html")
    page = Reader(text)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        if name in ("src", "href", "action"):
            assert (value or "").startswith("data:image/jpeg;base64,")
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert HOSTILE in page.text  # shown as text, as it is in the instruction
    assert "</style><b>dropped</b>" in page.text


def test_only_contradictions_are_shown(release: Release, predict: Predict, tmp_path: Path) -> None:
    path = predict(lambda row: row["score"])
    page = Reader(write(release, [path], tmp_path / "report.html"))
    assert page.tags.count("article") == 1  # the one session whose preference contradicts its scores
    assert "returns 0.000 and 0.350, wrong" in page.text
    train = load(release.path)
    predictions = [read(path, train)]
    report.html(evaluate(train, predictions, split="train", draws=0), train, predictions, tmp_path / "train.html")
    assert "No scorer orders a pair against the human." in (tmp_path / "train.html").read_text(encoding="utf-8")


def test_a_very_long_name_is_cut_with_the_whole_as_title(release: Release, predict: Predict, tmp_path: Path) -> None:
    name = "a" * 150 + "b" * 150
    text = write(release, [predict(lambda row: 1 - row["score"], model=name)], tmp_path / "report.html")
    page = Reader(text)
    assert ("title", f"tester ({name})") in page.attributes
    cells = re.findall(r"<td>.*?</td>", text)
    assert cells
    assert not [cell for cell in cells if "a" * 60 in re.sub("<[^>]*>", "", cell)]
    assert "…" in page.text
    assert f"<title>tester ({name})</title>" in text


def test_axis_labels_have_three_digits(release: Release, predict: Predict, tmp_path: Path) -> None:
    kind = json.dumps({"scorer": "tester"})
    text = write(release, [predict(lambda row: 1.23456789 - row["score"], parameters=kind)], tmp_path / "report.html")
    labels = re.findall(r'<text x="4" y="\d+" class="dim">([^<]*)</text>', text)
    assert "1.13" in labels
    assert all(len(label.strip("-").replace(".", "").lstrip("0")) <= 3 for label in labels)


def test_same_input_same_page(release: Release, predict: Predict, tmp_path: Path) -> None:
    path = predict(lambda row: row["score"])
    assert write(release, [path], tmp_path / "1.html") == write(release, [path], tmp_path / "2.html")


def test_without_predictions_the_floors_stand_alone(release: Release, tmp_path: Path) -> None:
    page = Reader(write(release, [], tmp_path / "report.html"))
    assert "No predictions were given" in page.text
    assert page.tags.count("article") == 3
    assert "no curve" in page.text


def test_missing_answers_are_named(release: Release, predict: Predict, tmp_path: Path) -> None:
    path = predict(lambda row: {0.2: None, 1.0: "skip"}.get(row["score"], 0.5))
    text = Reader(write(release, [path], tmp_path / "report.html")).text
    assert "Curves for 7 of 9 rollouts; 1 are not in the file, 1 have an error" in text
    assert "1 × no answer" in text


def test_a_video_that_cannot_be_shown_is_named_in_its_place(release: Release, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(release.path, copy)
    for video in (copy / "videos").rglob("*.mp4"):
        video.write_bytes(video.read_bytes()[:300])
    page = Reader(write(load(copy), [], tmp_path / "report.html"))
    assert "The video cannot be shown" in page.text
    assert "img" not in page.tags


def test_a_page_that_cannot_be_written_is_one_sentence(release: Release, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRobotError, match="cannot be written"):
        report.html(evaluate(release, [], split="all", draws=0), release, [], tmp_path / "file" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_table_has_every_number_with_interval_and_n(release: Release, predict: Predict) -> None:
    path = predict(lambda row: {0.2: None}.get(row["score"], row["score"]))
    text = report.table(evaluate(release, [read(path, release)], split="all", draws=50))
    assert "left out: 1 pairs that the human scored equally" in text
    line = r"tester \(vision-9\) +1\.000 \[1\.000, 1\.000\] .* 0\.800 \[[\d.]+, [\d.]+\] +0% +80\.0% +5 +2"
    assert re.search(line, text)
    assert re.search(r"pour +tester \(vision-9\) +1\.000 \[no interval\] +0% +100% +1 +1", text)
    assert "push_pull" not in text  # no pair of it
    assert re.search(r"scorer +mean +sum +last +max\ntester \(vision-9\)( +1\.000 \[1\.000, 1\.000\]){4}", text)
    assert re.search(r"constant( +-){3} +0\.000 \[no interval\] \(1 of 1\) +0\.000 \[0\.000, 0\.000\] \(8 of 8\)", text)
    assert "curves for 8 of 9 rollouts; 0 are not in the file, 1 have an error" in text
    assert "  1 x no answer" in text
    assert re.search(r"Success against success with a violation .*: nothing to ask here", text)


def test_the_table_cannot_steer_the_terminal(release: Release, predict: Predict) -> None:
    path = predict(lambda row: 0.5, model="evil\x1b[2J\r\nmodel")
    text = report.table(evaluate(release, [read(path, release)], split="all", draws=0))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "evil�[2J��model" in text


def test_json_has_null_where_undefined(release: Release) -> None:
    data = json.loads(report.to_json(evaluate(release, [], split="all", draws=10)))
    [row] = [
        row
        for row in data["tasks"][0]["measures"]
        if (row["scorer"], row["metric"], row["group"]) == ("random", "strict", "stack")
    ]
    assert (row["value"], row["interval"], row["n"]) == (None, None, 0)


def test_settings_of_any_size_are_written(release: Release, predict: Predict, tmp_path: Path) -> None:
    path = predict(lambda row: 0.5, parameters=json.dumps({"seed": 2**200, "text": "é\u2028"}))
    results = evaluate(release, [read(path, release)], split="all", draws=0)
    assert json.loads(report.to_json(results))["scorers"][0]["parameters"] == {"seed": 2**200, "text": "é\u2028"}
    report.html(results, release, [read(path)], tmp_path / "report.html")
    assert str(2**200) in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_how_numbers_are_shown() -> None:
    assert report.show(Number(value=None, interval=None)) == "-"
    assert report.show(Number(value=0.5, interval=None)) == "0.500 [no interval]"
    assert report.show(Number(value=0.5, interval=(0.25, 1.0))) == "0.500 [0.250, 1.000]"
    assert [report.percent(x) for x in (None, 0, 1, 0.999, 0.123)] == ["-", "0%", "100%", "99.9%", "12.3%"]


def test_axes_follow_the_kind_of_curve() -> None:
    assert axis_range("progress", [0.2, 0.4]) == (0.0, 1.0)
    assert axis_range("reward", [0.2, 1.5]) == (-1.0, 1.5)
    assert axis_range(None, [3.0, 7.0]) == (3.0, 7.0)
    assert axis_range(["hostile"], [3.0, 3.0]) == (2.5, 3.5)
    assert axis_range("progress", []) == (0.0, 1.0)
