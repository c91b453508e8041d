"""Atomic folders: whole or absent, stale ones written anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bad_robot_behavior.engine import MARK, is_complete, writing


def test_a_folder_is_complete_for_its_own_key_only(tmp_path: Path) -> None:
    folder = tmp_path / "screen" / "00000"
    assert not is_complete(folder, "one")
    with writing(folder, "one") as part:
        (part / "rows").write_text("1")
        assert not folder.exists()
    assert is_complete(folder, "one")
    assert not is_complete(folder, "two")
    with writing(folder, "two") as part:
        (part / "rows").write_text("2")
    assert (folder / "rows").read_text() == "2"
    assert [p.name for p in folder.parent.iterdir()] == ["00000"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "00000"
    with writing(folder, "one") as part:
        (part / "rows").write_text("1")

    def broken() -> None:
        with writing(folder, "two") as part:
            (part / "rows").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        broken()
    assert (folder / "rows").read_text() == "1"
    assert is_complete(folder, "one")
    assert [p.name for p in tmp_path.iterdir()] == ["00000"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "other"}'])
def test_a_damaged_mark_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MARK).write_text(text)
    assert not is_complete(tmp_path, "one")


def test_kill_leaves_no_folder_in_place(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from bad_robot_behavior.engine import writing
        import os, signal
        with writing(Path({str(tmp_path / "00000")!r}), "one") as part:
            (part / "rows").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "00000").exists()
