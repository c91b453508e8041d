"""privacy.json adds up what the rollouts' records say; nothing is packaged that was left unchecked without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from bad_robot_behavior.builder.paperwork import licenses
from bad_robot_behavior.builder.privacy_report import PrivacyTally
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Detector, Finding, Privacy
from bad_robot_behavior.schema.contracts import published
from tests.builder.releases import VERDICT, make_release, make_rollouts

RAN = Detector(name="text_patterns", version="2", ran=True)
WAIVED = Detector(name="faces", version=None, ran=False, reason="rendered, nobody is there")


def record(**changes: Any) -> Privacy:
    fields: dict[str, Any] = {
        "faces_found": None,
        "frames_masked": None,
        "text_redactions": 2,
        "audio_removed": True,
        "metadata_removed": False,
        "detectors": (RAN, WAIVED),
        "findings": (
            Finding(kind="EMAIL", place="feedback", count=1, mark="0123abcd"),
            Finding(kind="EMAIL", place="feedback", count=1, mark="4567cdef"),
        ),
        "verdict": "not_fully_checked",
    }
    return Privacy(**(fields | changes))


def test_the_sums(tmp_path: Path) -> None:
    rollouts = make_rollouts(tmp_path / "raw", sessions=2)
    records = [record(), record(), record(faces_found=3, frames_masked=2, detectors=(RAN,), verdict="redacted"), None]
    told = [msgspec.structs.replace(r, privacy=p) for r, p in zip(rollouts, records, strict=True)]
    manifest = make_release(tmp_path / "release", told)
    report = json.loads((tmp_path / "release" / "privacy.json").read_text())
    jsonschema.validate(report, published("privacy_report"))
    assert (report["rollouts"], report["unscrubbed"]) == (4, 1)
    assert report["verdicts"] == {"not_fully_checked": 2, "redacted": 1}
    assert (report["faces_found"], report["frames_masked"], report["audio_removed"]) == (3, 2, 3)
    assert report["findings"] == [{"kind": "EMAIL", "place": "feedback", "count": 6, "rollouts": 3}]
    assert [(d["name"], d["ran"], d["rollouts"]) for d in report["detectors"]] == [
        ("faces", False, 2),
        ("text_patterns", True, 3),
    ]
    assert manifest.waived_detectors == (WAIVED,)
    assert WAIVED.reason in (tmp_path / "release" / "README.md").read_text()


def test_unknown_is_null_where_no_face_detector_ran() -> None:
    tally = PrivacyTally()
    tally.add("x", record())
    assert tally.report().faces_found is None


@pytest.mark.parametrize("reason", [None, "  "])
def test_a_detector_left_out_without_a_word_blocks_packaging(reason: str | None, tmp_path: Path) -> None:
    silent = msgspec.structs.replace(WAIVED, reason=reason)
    told = [msgspec.structs.replace(r, privacy=record(detectors=(silent,))) for r in make_rollouts(tmp_path / "raw", 1)]
    with pytest.raises(ReleaseError, match="detector faces did not run and there is no reason given"):
        make_release(tmp_path / "release", told)
    assert not (tmp_path / "release").exists()


def test_the_licences_of_a_release_as_a_whole() -> None:
    shared = msgspec.structs.replace(VERDICT, source="b", license="ODbL-1.0", share_alike=True, attribution="B | C")
    limited = msgspec.structs.replace(
        VERDICT, source="c", license="CC-BY-NC-SA-4.0", commercial=False, share_alike=True
    )
    text = licenses((msgspec.structs.replace(VERDICT, share_alike=False), shared, limited), "all three owners agreed")
    assert "- Name: A lab; B \\| C." in text
    assert "- Commercial use: not of what comes from c (CC-BY-NC-SA-4.0)." in text
    assert "- Share-alike: what is made out of b (ODbL-1.0), c (CC-BY-NC-SA-4.0) must carry" in text
    assert "each ask for themselves" in text
    assert "- Why they are in one release: all three owners agreed" in text
    plain = licenses((msgspec.structs.replace(VERDICT, share_alike=False),))
    assert "no source forbids it" in plain and "Share-alike:" not in plain
    assert "is not in our table" in licenses((VERDICT,))
