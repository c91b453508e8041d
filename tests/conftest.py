"""Fixtures that many tests need, and the mark for the real sample clips."""

from __future__ import annotations

from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent.parent / "shared" / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real sample clips; a test that asks for it is skipped where they are absent."""
    if not SAMPLES.is_dir():
        pytest.skip("the real sample clips are not part of the repository")
    return SAMPLES
