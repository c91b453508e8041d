"""Imports point one way, and the command line starts without heavy modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bad_robot_behavior"

# ARCHITECTURE.md says the same in words.
ALLOWED = {
    "schema": set(),
    "engine": set(),
    "media": {"schema"},
    "vlm": {"schema"},
    "scorers": {"schema", "media", "vlm"},
    "curation": {"schema", "media", "vlm", "scorers"},
    "synthesis": {"schema", "media", "engine"},
    "builder": {"schema", "media"},
    "benchmark": {"schema", "media", "scorers", "builder"},
}
ABOVE = {"cli"}  # may import all
EVERYWHERE = {"errors", "__version__"}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            parts = node.module.split(".")
            if parts[0] == "bad_robot_behavior":
                rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "bad_robot_behavior":
                    rooms.add(parts[1])
    return rooms


def test_every_folder_is_a_room_of_the_map() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ALLOWED) | ABOVE


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_one_way(room: str) -> None:
    wrong = {
        str(path.relative_to(PACKAGE)): bad
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if (bad := imported_rooms(path) - ALLOWED[room] - EVERYWHERE - {room})
    }
    assert wrong == {}


def test_only_media_opens_videos() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "av" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "av")
    }
    assert users == {"media"}


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from bad_robot_behavior.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "heavy = ('numpy', 'pyarrow', 'av', 'datasets', 'msgspec', 'yaml', 'torch', 'openai');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_all_names_in_all_exist(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names = ast.literal_eval(node.value)
            assert names == list(dict.fromkeys(names)), "a name is exported twice"
