"""Reports, leaderboards and cards made of hostile text, opened in a real browser: nothing in them runs."""

from __future__ import annotations

import html
import html.parser
import json
from pathlib import Path
from typing import Any

import pytest

from bad_robot_behavior.benchmark import leaderboard, report
from bad_robot_behavior.benchmark.predictions import read
from bad_robot_behavior.benchmark.protocol import evaluate
from bad_robot_behavior.benchmark.results_file import write
from bad_robot_behavior.schema import Failure
from tests.benchmark.conftest import make_session, package, write_curves
from tests.hostile import browser

BROWSER = browser.find()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")

BEACON = "fetch('/ran')"
ATTACKS = (
    f"<script>{BEACON}</script>",
    f'"><img src=x onerror="{BEACON}">',
    f"</title></style></svg><svg onload={BEACON}>",
    f"`]](javascript:{BEACON}) <a href=javascript:{BEACON} autofocus onfocus={BEACON}>x</a>",
    f"<iframe srcdoc='<script>parent.{BEACON}</script>'></iframe> --> ]]> {{{{7*7}}}} =HYPERLINK(\"http://x\")",
)
HOSTILE = " ".join(ATTACKS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def release(place: Path) -> Any:
    bad = Failure(
        category="grasp", kind="slip", severity="low", start_s=0.4, end_s=0.8, description=HOSTILE,
        annotator="lab", annotator_type="human", mapping_version="1.0.0",
    )  # fmt: skip
    rollouts = make_session(
        place / "v", "s1", [1.0, 0.2], instruction=HOSTILE, policy=HOSTILE, feedback=HOSTILE, failures=(bad,)
    )
    return package(place / "release", rollouts)


@pytest.fixture(scope="module")
def answers(release: Any, place: Path) -> Any:
    path = write_curves(
        release, place / f"{ATTACKS[1].replace('/', '')}.parquet", lambda row: [1 - row["score"]], model=HOSTILE,
        parameters=json.dumps({"scorer": HOSTILE}), role=None,
    )  # fmt: skip
    return read(path, release)


class Elements(html.parser.HTMLParser):
    """The names of elements and attributes of what the browser made of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def harmless(place: Path, name: str) -> None:
    assert BROWSER is not None
    shown, asked = browser.visit(BROWSER, place, name)
    assert f"/{name}" in asked
    assert not [path for path in asked if "ran" in path], asked
    page = Elements()
    page.feed(shown)
    assert not {"script", "iframe", "object", "embed", "base"} & page.tags
    assert not [name for name in page.attributes if name.startswith("on")]
    assert BEACON in html.unescape(shown)  # it is there, as text


def test_the_browser_would_run_it(place: Path) -> None:
    (place / "bare.html").write_text(f"<!doctype html><p>{HOSTILE}</p>")
    assert BROWSER is not None
    _, asked = browser.visit(BROWSER, place, "bare.html")
    assert "/ran" in asked


def test_a_report(release: Any, answers: Any, place: Path) -> None:
    report.html(evaluate(release, [answers], split="all", draws=20), release, [answers], place / "report.html")
    harmless(place, "report.html")


def test_a_leaderboard(release: Any, answers: Any, place: Path) -> None:
    write(place / "results", release, [answers], draws=20)
    leaderboard.write(leaderboard.read_board(place / "results", release), place / "board.html")
    harmless(place, "board.html")
