"""Personal data planted in every place where a lab can put it, and looked for in every byte of the release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from bad_robot_behavior import load
from bad_robot_behavior.build import build
from tests.dumps import write_dump, write_npz, write_recipe, write_session
from tests.factories import make_video

PLANTED = (
    "karin",
    "brandt",
    "example.org",
    "+1 555 0142 777",
    "10.20.30.40",
    "SN-38472918",
    "lab-gpu-07.local",
)


def strings_of(release: Path) -> str:
    """All text of a release in lower case: tables decoded, all other files as they are, file names too."""
    parts = [str(path.relative_to(release)) for path in release.rglob("*")]
    for path in sorted(release.rglob("*")):
        if path.suffix == ".parquet":
            parts.append(str(pq.read_table(path).to_pylist()))
            parts.append(str(pq.read_schema(path).metadata))
        elif path.is_file():
            parts.append(path.read_bytes().decode("utf-8", errors="replace"))
    return "\n".join(parts).lower()


def test_a_lab_folder(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    for session in ("brandt_karin_monday", "karin_brandt_broken", "karin_brandt_black"):
        folder = lab / session
        tags = {"comment": "karin.brandt@example.org", "title": "filmed on lab-gpu-07.local"}
        for label in "AB":
            make_video(folder / f"{label}.mp4", seed=len(session) + ord(label), audio=True, tags=tags)
        columns = np.array(["karin.brandt@example.org [rad]", "/home/karin/rig [m]"])
        np.savez(
            folder / "A.npz",
            state=np.zeros((5, 2)),
            action=np.zeros((5, 1)),
            state_columns=columns,
            action_columns=np.array(["Karin Brandt gripper"]),
        )
        data = {
            "instruction": "put the marker in the cup",
            "evaluator": "Karin Brandt",
            "feedback": "A dropped the cup. Call Karin on +1 555 0142 777. B was fine on 10.20.30.40, says K. Brandt.",
            "cameras": {"exterior_1": "zed SN-38472918 of Karin"},
            "rollouts": {
                "A": {
                    "video": "A.mp4",
                    "trajectory": "A.npz",
                    "score": 0.2,
                    "policy": "karin_policy",
                    "feedback": "Karin saw it slip, ssh karin@lab-gpu-07.local",
                    "failures": [{"category": "grasp", "kind": "slip_or_drop", "description": "as Karin Brandt said"}],
                },
                "B": {"video": "B.mp4", "score": 0.9},
            },
            "preference": "B",
        }
        (folder / "session.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    (lab / "karin_brandt_broken" / "session.yaml").write_text("rollouts: [Karin Brandt")
    black = lab / "karin_brandt_black" / "A.mp4"
    black.write_bytes(black.read_bytes()[:300])
    (lab / "lab.yaml").write_text(
        "site: karin.brandt@example.org\nlicense: MIT\nlicense_evidence: mail from Karin Brandt\n"
    )

    source = {"name": "lab", "kind": "folder", "path": str(lab), "license_evidence": "asked Karin Brandt"}
    recipe = write_recipe(tmp_path / "recipe.yaml", lab, sources=[source], description="With thanks to Karin Brandt.")
    report = build(recipe, tmp_path / "release")
    assert report.manifest is not None
    assert report.manifest.counts.rollouts_packaged >= 2
    assert report.manifest.counts.trajectories >= 1
    assert sum(report.rejections_by_code.values()) >= 2
    text = strings_of(tmp_path / "release")
    assert [planted for planted in PLANTED if planted.lower() in text] == []
    assert "<person_" in text


def test_a_dump(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 1)
    metadata = {
        "evaluator_name": "Karin.Brandt@Example.ORG",
        "evaluation_location": "lab of karin.brandt@example.org",
        "longform_feedback": "Policy A dropped it, Brandt says. Policy B on lab-gpu-07.local ran. Call +1 555 0142 777",
    }
    kept = write_session(dump, "kept", seed=7, metadata=metadata)
    video = next((kept / "A_policy_a").glob("*_left.mp4"))
    make_video(video, seed=70, tags={"artist": "Karin Brandt", "comment": "SN-38472918"}, audio=True)
    nan = write_session(dump, "nan", seed=8, metadata=metadata)
    path = next((nan / "A_policy_a").glob("*.npz"))
    write_npz(path, 3, 0)
    (write_session(dump, "broken", seed=9) / "metadata.yaml").write_text(
        "evaluator_name: karin.brandt@example.org\n: ["
    )
    build(write_recipe(tmp_path / "recipe.yaml", dump), tmp_path / "release")
    text = strings_of(tmp_path / "release")
    assert [planted for planted in PLANTED if planted.lower() in text] == []
    assert "<email_1>" in text or "<phone_1>" in text


@pytest.mark.parametrize("what", ["source_ref", "detail"])
def test_rejections_name_nobody(what: str, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", 1)
    session = write_session(dump, "session-of-jane.doe@example.org", seed=3)
    next((session / "A_policy_a").glob("*_left.mp4")).write_bytes(b"")
    build(write_recipe(tmp_path / "recipe.yaml", dump), tmp_path / "release")
    column = pq.read_table(tmp_path / "release" / "rejections.parquet").column(what).to_pylist()
    assert len(column) == 2
    assert not any("jane" in text or "example.org" in text for text in column)


def test_an_attribution_keeps_its_names_and_loses_its_addresses(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    make_video(lab / "one" / "A.mp4")
    session = {"instruction": "wipe", "evaluator": "Karin Brandt", "rollouts": {"A": {"video": "A.mp4", "score": 0.1}}}
    (lab / "one" / "session.yaml").write_text(yaml.safe_dump(session))
    about = {"license": "MIT", "license_evidence": "LICENSE", "attribution": "Karin Brandt, karin@example.org"}
    (lab / "lab.yaml").write_text(yaml.safe_dump(about))
    source = {"name": "lab", "kind": "folder", "path": str(lab)}
    build(write_recipe(tmp_path / "recipe.yaml", lab, sources=[source]), tmp_path / "release")
    rows = load(tmp_path / "release").table("rollouts", ["attribution", "evaluator"]).to_pylist()
    assert [row["attribution"] for row in rows] == ["Karin Brandt, <EMAIL_1>"]
    assert rows[0]["evaluator"].startswith("ev_")
    assert "Karin Brandt, <EMAIL_1>" in (tmp_path / "release" / "LICENSES.md").read_text().replace("\\", "")
