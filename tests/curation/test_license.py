"""The license stage: who may state a licence, what blocks, and what is written on the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bad_robot_behavior.curation import license as license_module
from bad_robot_behavior.curation.license import License, spdx, upstream_of, verdict, verdicts
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import LicenseSettings, Rejection, Rollout, SourceSettings
from tests.factories import make_rollout, make_video

ALLOW = LicenseSettings(allow=("MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0"))
CARD = "https://huggingface.co/datasets/RoboArena/DataDump_02-03-2026"


def source(**changes: Any) -> SourceSettings:
    fields: dict[str, Any] = {"name": "lab", "kind": "folder", "path": "lab"}
    return SourceSettings(**(fields | changes))


@pytest.fixture
def rollout(tmp_path: Path) -> Rollout:
    return make_rollout(make_video(tmp_path / "a.mp4"))


def run(rollout: Rollout, settings: SourceSettings, tmp_path: Path, allow: LicenseSettings = ALLOW) -> Any:
    rollout = msgspec.structs.replace(rollout, source=settings.name)
    (made,) = License(allow, (settings,)).run([rollout], Store(tmp_path))
    return made


def test_a_licence_of_the_rollout_itself_is_kept_in_canonical_form(rollout: Rollout, tmp_path: Path) -> None:
    stated = msgspec.structs.replace(rollout, license="cc-by-4.0", license_evidence="LICENSE.txt", attribution="A Lab")
    made = run(stated, source(), tmp_path)
    assert (made.license, made.license_evidence, made.attribution) == ("CC-BY-4.0", "LICENSE.txt", "A Lab")


def test_a_recipe_speaks_for_rollouts_that_say_nothing(rollout: Rollout, tmp_path: Path) -> None:
    made = run(rollout, source(license="MIT", license_evidence="mail of the owner", attribution="A Lab"), tmp_path)
    assert (made.license, made.license_evidence, made.attribution) == ("MIT", "mail of the owner", "A Lab")


def test_the_upstream_table_speaks_for_a_known_kind(rollout: Rollout, tmp_path: Path) -> None:
    made = run(rollout, source(name="arena", kind="roboarena"), tmp_path)
    assert (made.license, made.license_evidence) == ("MIT", CARD)
    assert "2506.18123" in made.attribution


def assert_rejected(made: Any, code: str) -> Rejection:
    assert isinstance(made, Rejection)
    assert (made.code, made.stage) == (code, "license")
    return made


@pytest.mark.rule("license.unknown")
@pytest.mark.parametrize("stated", [None, "unknown", "N/A", "  "])
def test_an_unknown_licence_blocks(rollout: Rollout, tmp_path: Path, stated: str | None) -> None:
    assert_rejected(run(msgspec.structs.replace(rollout, license=stated), source(), tmp_path), "license.unknown")


@pytest.mark.rule("license.unknown")
def test_a_source_whose_publisher_states_nothing_blocks_with_the_reason(rollout: Rollout, tmp_path: Path) -> None:
    made = assert_rejected(run(rollout, source(name="soar"), tmp_path), "license.unknown")
    assert "No statement of a licence for the data was found" in made.detail


@pytest.mark.rule("license.not_spdx")
@pytest.mark.parametrize("stated", ["Creative Commons", "MIT AND", "(" * 150 + "MIT", "MIT OR " * 400 + "MIT"])
def test_what_is_not_spdx_blocks_and_is_not_repeated(rollout: Rollout, tmp_path: Path, stated: str) -> None:
    made = run(msgspec.structs.replace(rollout, license=stated, license_evidence="x"), source(), tmp_path)
    assert stated not in assert_rejected(made, "license.not_spdx").detail


@pytest.mark.rule("license.no_evidence")
def test_a_statement_without_evidence_blocks(rollout: Rollout, tmp_path: Path) -> None:
    assert_rejected(run(rollout, source(license="MIT"), tmp_path), "license.no_evidence")


@pytest.mark.rule("license.no_evidence")
def test_evidence_for_another_licence_is_no_evidence(rollout: Rollout, tmp_path: Path) -> None:
    stated = msgspec.structs.replace(rollout, license="CC-BY-4.0")
    assert_rejected(run(stated, source(license="MIT", license_evidence="LICENSE"), tmp_path), "license.no_evidence")


@pytest.mark.rule("license.conflict")
def test_a_recipe_that_contradicts_the_publisher_blocks(rollout: Rollout, tmp_path: Path) -> None:
    claim = source(name="arena", kind="roboarena", license="Apache-2.0", license_evidence="a guess")
    made = assert_rejected(run(rollout, claim, tmp_path), "license.conflict")
    assert "Apache-2.0" in made.detail
    assert "MIT" in made.detail


def test_simulated_rollouts_in_a_known_layout_have_no_upstream(rollout: Rollout, tmp_path: Path) -> None:
    claim = source(
        name="sim",
        kind="roboarena",
        license="CC0-1.0",
        license_evidence="examples/README.md",
        synthetic_generator="metaworld 3.1.1",
    )
    assert upstream_of(claim) is None
    assert run(rollout, claim, tmp_path).license == "CC0-1.0"


@pytest.mark.rule("license.not_allowed")
@pytest.mark.parametrize("stated", ["CC-BY-NC-4.0", "MIT AND CC-BY-NC-4.0", "LicenseRef-mine"])
def test_what_the_recipe_does_not_allow_blocks(rollout: Rollout, tmp_path: Path, stated: str) -> None:
    made = run(rollout, source(license=stated, license_evidence="LICENSE"), tmp_path)
    assert_rejected(made, "license.not_allowed")


@pytest.mark.parametrize("stated", ["MIT OR CC-BY-NC-4.0", "(mit and CC0-1.0) or GPL-2.0-only"])
def test_a_choice_of_licences_is_allowed_where_one_choice_is(rollout: Rollout, tmp_path: Path, stated: str) -> None:
    made = run(rollout, source(license=stated, license_evidence="LICENSE"), tmp_path)
    assert made.license == spdx(stated)


def test_uses_are_known_only_where_the_table_knows_them() -> None:
    def uses(stated: str) -> tuple[bool | None, ...]:
        v = verdict(source(license=stated, license_evidence="x"), allow=ALLOW.allow)
        return v.redistribution, v.derivatives, v.commercial

    assert uses("MIT") == (True, True, True)
    assert uses("CC-BY-NC-4.0") == (True, True, False)
    assert uses("MIT AND CC-BY-NC-ND-4.0") == (True, False, False)
    assert uses("MIT OR CC-BY-NC-4.0") == (True, True, True)
    assert uses("EUPL-1.2") == (None, None, None)
    assert uses("EUPL-1.2 AND CC-BY-NC-4.0") == (None, None, False)


def test_verdicts_are_the_same_from_rows_before_and_after_the_stage_and_in_any_order(
    rollout: Rollout, tmp_path: Path
) -> None:
    arena = source(name="arena", kind="roboarena")
    lab = source(license="MIT", license_evidence="LICENSE", license_checked="2026-11-01")
    stated = msgspec.structs.replace(rollout, license="apache-2.0", license_evidence="NOTICE", attribution="B")
    rows = [msgspec.structs.replace(rollout, source="arena"), rollout, stated, rollout]
    done = [r for r in License(ALLOW, (arena, lab)).run(rows, Store(tmp_path)) if isinstance(r, Rollout)]
    before = verdicts(rows, ALLOW, (arena, lab))
    assert before == verdicts(done, ALLOW, (lab, arena)) == verdicts(reversed(done), ALLOW, (arena, lab))
    assert [(v.source, v.license, v.checked) for v in before] == [
        ("arena", "MIT", "2026-11-25"),
        ("lab", "Apache-2.0", None),
        ("lab", "MIT", "2026-11-01"),
    ]
    assert all(v.allowed for v in before)


def test_a_blocked_verdict_says_so() -> None:
    blocked = verdict(source(name="soar"), allow=ALLOW.allow)
    assert (blocked.license, blocked.allowed, blocked.redistribution) == (None, False, None)


def test_a_recipe_that_allows_no_spdx_id_is_refused() -> None:
    with pytest.raises(RecipeError, match="'CC BY'"):
        License(LicenseSettings(allow=("MIT", "CC BY")), (source(),))


def test_a_rollout_of_a_source_that_is_not_in_the_recipe_is_an_error(rollout: Rollout, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'lab' is not in the recipe"):
        list(License(ALLOW, (source(name="other"),)).run([rollout], Store(tmp_path)))


def test_parameters_change_with_what_decides_and_not_with_paths() -> None:
    stage = License(ALLOW, (source(license="MIT"),)).parameters()
    assert stage == License(ALLOW, (source(license="MIT", path="elsewhere"),)).parameters()
    assert stage != License(ALLOW, (source(license="CC0-1.0"),)).parameters()
    msgspec.json.encode(stage)


def test_the_table_is_whole() -> None:
    path = Path(license_module.__file__).with_name("upstream_licenses.yaml")
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, row in table["upstream"].items():
        assert (row["license"] is None) == (row["evidence"] is None), name
        assert row["license"] is None or spdx(row["license"]) == row["license"], name
    for name in table["uses"]:
        assert spdx(name) == name
    for known in ("roboarena", "droid", "oopsie", "roboreward", "robofac", "guardian", "fino_net", "soar", "failsafe"):
        assert known in table["upstream"]


@pytest.mark.rule("license.forbids")
@pytest.mark.parametrize("stated", ["CC-BY-ND-4.0", "MIT AND CC-BY-NC-ND-4.0"])
def test_a_licence_that_forbids_derivatives_blocks_whatever_the_recipe_says(
    rollout: Rollout, tmp_path: Path, stated: str
) -> None:
    allow = LicenseSettings(allow=("MIT", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0"), mixed_because="a reason for the test")
    made = assert_rejected(
        run(rollout, source(license=stated, license_evidence="x"), tmp_path, allow), "license.forbids"
    )
    assert "forbids that the data are changed" in made.detail


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        (("MIT", "CC-BY-NC-4.0"), "CC-BY-NC-4.0 forbids commercial use, MIT does not"),
        (("MIT", "CC-BY-SA-4.0"), "CC-BY-SA-4.0 asks derivatives to carry the same terms, MIT does not"),
        (("CC-BY-SA-4.0", "ODbL-1.0"), "each ask for their own terms"),
        (("MIT AND CC-BY-NC-4.0",), "forbids commercial use"),
    ],
)
def test_share_alike_and_non_commercial_do_not_mix_in_without_a_reason(allow: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        License(LicenseSettings(allow=allow), (source(),))
    License(LicenseSettings(allow=allow, mixed_because="asked for by all owners"), (source(),))


@pytest.mark.parametrize(
    "allow", [("MIT", "CC-BY-4.0", "CC0-1.0"), ("CC-BY-NC-4.0",), ("CC-BY-SA-4.0",), ("EUPL-1.2",)]
)
def test_licences_that_go_together_need_no_reason(allow: tuple[str, ...]) -> None:
    assert License(LicenseSettings(allow=allow), (source(),)).parameters()["allow"] == sorted(allow)


@pytest.mark.parametrize(
    ("stated", "canonical"),
    [
        ("cc-by-4.0", "CC-BY-4.0"),
        ("(mit)", "MIT"),
        ("MIT or (apache-2.0 and cc0-1.0)", "MIT OR (Apache-2.0 AND CC0-1.0)"),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ("LicenseRef-my-lab", "LicenseRef-my-lab"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        *((text, None) for text in ("()", "MIT MIT", "CC BY 4.0", "mine", "MIT+", "LicenseRef-", "\0", "MIT AND ()")),
    ],
)
def test_expressions_are_read_as_spdx_means_them(stated: str, canonical: str | None) -> None:
    assert spdx(stated) == canonical
    assert canonical is None or spdx(canonical) == canonical


def test_share_alike_is_an_obligation() -> None:
    def shares(stated: str) -> bool | None:
        return verdict(source(license=stated, license_evidence="x"), allow=ALLOW.allow).share_alike

    assert [shares(text) for text in ("MIT", "CC-BY-SA-4.0", "MIT AND ODbL-1.0", "MIT OR ODbL-1.0", "EUPL-1.2")] == [
        *(False, True, True, False, None)
    ]


def test_the_page_has_a_row_for_each_of_the_table() -> None:
    path = Path(license_module.__file__).with_name("upstream_licenses.yaml")
    page = (Path(__file__).parents[2] / "docs" / "licenses.md").read_text(encoding="utf-8")
    for name, row in yaml.safe_load(path.read_text(encoding="utf-8"))["upstream"].items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[2:] == [row["license"] or "unknown", row["covers"], row["confidence"], row["checked"]], name
        assert row["evidence"] is None or row["evidence"] in line
