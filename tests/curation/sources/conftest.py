"""A whole lab folder, and the clips to make others of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.factories import make_video
from tests.labs import Lab


@pytest.fixture
def lab(tmp_path: Path, clips: Path) -> Lab:
    made = Lab(tmp_path / "lab", tmp_path)
    made.session.mkdir(parents=True)
    for name in ("A.mp4", "B.mp4"):
        shutil.copyfile(clips / name, made.session / name)
    return made.write()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("A.mp4", "B.mp4", "B_wrist.mp4", "C.mp4", "B_right_wrist.mp4")):
        make_video(folder / name, seed=seed)
    return folder
