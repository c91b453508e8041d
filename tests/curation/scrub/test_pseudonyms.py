"""Pseudonyms of evaluators and spellings of sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_robot_behavior.curation.scrub.pseudonyms import Pseudonyms, normalise_site, read_pseudonyms
from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import ScrubSettings

KEY = b"0123456789abcdef"


def test_a_pseudonym_is_the_published_hmac_and_blind_to_case_and_spaces() -> None:
    # printf jane.doe@example.edu | openssl dgst -sha256 -hmac 0123456789abcdef
    expected = "ev_47c832d26289"
    made = Pseudonyms(KEY)
    assert {made(name) for name in ("jane.doe@example.edu", " Jane.Doe@EXAMPLE.edu\n")} == {expected}


def test_another_key_gives_another_pseudonym_and_another_key_id() -> None:
    one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    assert one("jane") != other("jane")
    assert one.key_id != other.key_id
    assert KEY.hex() not in one.key_id


def test_a_key_comes_from_a_file_beside_the_recipe_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    monkeypatch.setenv("A_KEY", KEY.decode())
    from_file = read_pseudonyms(ScrubSettings(pseudonym_key_file="key"), tmp_path)
    from_env = read_pseudonyms(ScrubSettings(pseudonym_key_env="A_KEY"), tmp_path)
    assert from_file is not None
    assert from_env is not None
    assert from_file("jane") == from_env("jane") == Pseudonyms(KEY)("jane")
    assert read_pseudonyms(ScrubSettings(drop_evaluators=True), tmp_path) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScrubSettings(pseudonym_key_file="absent"), "absent cannot be read: No such file"),
        (ScrubSettings(pseudonym_key_file="short"), "short holds 15 bytes; a key needs at least 16"),
        (ScrubSettings(pseudonym_key_env="ABSENT_KEY"), "environment variable ABSENT_KEY is not set"),
        (ScrubSettings(pseudonym_key_env="SHORT_KEY"), "SHORT_KEY holds 0 bytes"),
        (ScrubSettings(), "pseudonym_key_file, pseudonym_key_env, drop_evaluators"),
    ],
)
def test_a_missing_or_short_key_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: ScrubSettings, message: str
) -> None:
    (tmp_path / "short").write_bytes(KEY[:-1] + b"\n\n")
    monkeypatch.setenv("SHORT_KEY", "  ")
    with pytest.raises(RecipeError, match=message):
        read_pseudonyms(settings, tmp_path)


@pytest.mark.parametrize(
    ("spellings", "site"),
    [
        (
            ("UC Berkeley", "uc  berkeley", "University of California, Berkeley", "UCB"),
            "University of California, Berkeley",
        ),
        (("stanford", "Stanford Univ.", "STANFORD UNIVERSITY"), "Stanford University"),
        (("Universite de Montreal", "UdeM"), "Université de Montréal"),
        (("northfield university ", "Northfield  University", "NORTHFIELD UNIV."), "Northfield University"),
        (("institute of robotics at MIT", "Institute of Robotics at mit"), "Institute of Robotics at MIT"),
        (("acme-robotics (eu)",), "Acme-Robotics (Eu)"),
    ],
)
def test_spellings_of_a_site_become_one(spellings: tuple[str, ...], site: str) -> None:
    assert {normalise_site(spelling) for spelling in spellings} == {site}
    assert normalise_site(site) == site


def test_a_site_of_nothing_is_unknown() -> None:
    assert normalise_site(" . ") is None
