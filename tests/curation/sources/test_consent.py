"""consent.yaml: whole, agreed to, and in no release."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bad_robot_behavior.build import build
from bad_robot_behavior.curation.sources.folder import Folder, check
from bad_robot_behavior.errors import SourceError
from bad_robot_behavior.schema import SourceSettings
from tests.dumps import write_recipe
from tests.factories import make_video
from tests.test_privacy import strings_of

GOOD = {
    "people": "all_agreed",
    "rights": "ours",
    "rights_holder": "Example University",
    "institution": "Example University",
    "review": "IRB 2026-17",
    "contact": "Karin Brandt, karin.brandt@example.org, +41 44 632 11 11",
    "withdrawal": "told on paper, write to the contact",
    "date": "2026-11-25",
}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    root = tmp_path / "lab"
    make_video(root / "one" / "A.mp4")
    (root / "one" / "session.yaml").write_text("instruction: put the cup down\nrollouts: {A: {video: A.mp4}}\n")
    (root / "lab.yaml").write_text("license: MIT\nlicense_evidence: LICENSE\n")
    return root


def write(lab: Path, **changes: object) -> None:
    (lab / "consent.yaml").write_text(yaml.safe_dump({k: v for k, v in (GOOD | changes).items() if v is not ...}))


def test_a_folder_without_one_and_one_that_is_whole_are_fine(lab: Path) -> None:
    assert check(lab) == []
    write(lab)
    assert check(lab) == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        pytest.param(
            {"people": "not_asked"}, "lab.consent_refused", "people", marks=pytest.mark.rule("lab.consent_refused")
        ),
        pytest.param(
            {"rights": "not_asked"}, "lab.consent_refused", "rights", marks=pytest.mark.rule("lab.consent_refused")
        ),
        pytest.param(
            {"contact": "..."}, "lab.consent_unfilled", "contact", marks=pytest.mark.rule("lab.consent_unfilled")
        ),
        ({"withdrawal": ...}, "lab.missing_key", "withdrawal"),
        ({"people": "some"}, "lab.illegal_value", "people"),
        ({"date": "soon"}, "lab.illegal_value", "date"),
        ({"signature": "x"}, "lab.unknown_key", None),
    ],
)
def test_what_is_wrong_is_a_defect_and_stops_a_build(
    lab: Path, changes: dict[str, object], code: str, field: str | None
) -> None:
    write(lab, **changes)
    (defect,) = check(lab)
    assert (defect.rule, defect.field) == (code, field)
    assert defect.file.endswith("consent.yaml")
    assert "Brandt" not in str(defect)
    with pytest.raises(SourceError, match=code) as caught:
        Folder(SourceSettings(name="lab", kind="folder", path="."), lab).sessions()
    assert "Brandt" not in str(caught.value)


def test_nothing_of_it_is_in_a_release(lab: Path, tmp_path: Path) -> None:
    write(lab)
    source = {"name": "lab", "kind": "folder", "path": str(lab)}
    build(write_recipe(tmp_path / "recipe.yaml", lab, sources=[source]), tmp_path / "release")
    text = strings_of(tmp_path / "release")
    assert not any(word in text for word in ("brandt", "example.org", "632 11", "irb 2026-17", "consent.yaml"))


def test_a_change_of_it_makes_what_was_built_stale(lab: Path) -> None:
    source = Folder(SourceSettings(name="lab", kind="folder", path="."), lab)
    before = source.files("one")
    write(lab)
    assert set(source.files("one")) - set(before) == {lab / "consent.yaml"}
