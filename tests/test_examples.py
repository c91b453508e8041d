"""What the README's first command does with --fresh, beyond what it does with the committed rollouts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from bad_robot_behavior.build import build
from bad_robot_behavior.synthesis.renderer import choose

TRY_IT = Path(__file__).parents[1] / "examples" / "try_it.py"


@pytest.mark.skipif(choose() is None, reason="neither EGL nor OSMesa can draw here")
def test_fresh_rollouts_come_with_a_recipe_that_builds(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("try_it", TRY_IT)
    assert spec is not None
    assert spec.loader is not None
    try_it = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(try_it)
    dump, recipe = try_it.fresh(tmp_path / "fresh", 5, "push-v3")
    report = build(recipe, tmp_path / "release")
    assert report.unexpected_rejections == {}
    assert report.manifest is not None
    made = json.loads((dump / "simulated.json").read_text(encoding="utf-8"))["settings"]
    assert (made["tasks"], made["seeds"], made["per_scene"]) == (["push-v3"], [5, 6], 4)
    assert 2 <= report.manifest.counts.rollouts_packaged <= 5
    assert (dump / "simulator_truth.parquet").is_file()
