"""Reading recipes: what is legal, and one sentence for everything that is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import read_recipe
from bad_robot_behavior.schema.contracts import contract_text
from bad_robot_behavior.schema.recipe_defects import FORMS
from tests.schema.rows import VALID

RECIPES = Path(__file__).parent.parent.parent / "recipes"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def valid() -> str:
    return yaml.safe_dump(VALID["recipe"](), sort_keys=False)


def test_a_valid_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, valid()))
    assert recipe.name == "example"
    assert recipe.sources[0].kind == "folder"
    assert recipe.scrub.faces.every_s == 0.5
    assert recipe.reward.samples == 10


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_recipes_of_this_repository(path: Path) -> None:
    assert read_recipe(path).sources


def test_a_date_need_not_be_quoted(tmp_path: Path) -> None:
    text = valid().replace("path: lab", "path: lab\n  license_checked: 2026-01-31")
    assert read_recipe(write(tmp_path, text)).sources[0].license_checked == "2026-01-31"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: example", "name: Example", "name .*'Example'; legal: up to 81 lower-case letters, digits and hyphens"),
        ("version: 1.0.0", "version: 1.0", r"version has the wrong type: 1.0; .*write it in quotes as X\.Y\.Z"),
        ("version: 1.0.0", "version: '1.0'", r"version .*'1.0'; legal: three whole numbers written X\.Y\.Z"),
        ("title: Example", "title: 2026", "title has the wrong type: 2026; .*write it in quotes"),
        ("title: Example", "titel: Example", r"title is missing(.|\n)*no field 'titel' \(did you mean title\?\)"),
        ("title: Example", "title: Example\nsplits: {}", r"no field 'splits' \(did you mean split\?\); legal: name, "),
        ("every_s: 0.5", "evry_s: 0.5", r"scrub\.faces has no field 'evry_s' \(did you mean every_s\?\)"),
        ("kind: folder", "kind: rosbag", r"sources\[0\]\.kind .*'rosbag'; legal: one of folder, roboarena"),
        ("kind: folder", "kind: roborena", r"'roborena' \(did you mean roboarena\?\)"),
        ("path: lab", "path: ''", r"sources\[0\]\.path is too short.*: ''; legal: a text that is not empty"),
        ("path: lab", "path: lab\n  license_checked: 2026-1-31", "'2026-1-31'; legal: a date written YYYY-MM-DD"),
        ("path: lab", "path: lab\n  license_checked: 2026-13-45", "license_checked is 2026-13-45, which is no date"),
        ("every_s: 0.5", "every_s: 2.3", r"scrub\.faces\.every_s is out of range: 2.3; .*a number from 0 to 2"),
        ("every_s: 0.5", "padding: -1", "padding is out of range: -1; legal: a number from 0 to 2"),
        ("title: Example", "title: Example\nreward: {samples: 3.0}", r"reward\.samples has a decimal point"),
        (
            "title: Example",
            "title: Example\nexpected_rejections: {3: 1}",
            "expected_rejections has a key that is no text",
        ),
        ("title: Example", "title: Example\nscreen: [1]", r"screen has the wrong type: \[1\]; legal: fields, each"),
        ("title: Example", "title: Example\nscreen: {min_duration_s: 5, max_duration_s: 3}", "5, above screen.max_dur"),
        ("title: Example", "title: Example\nscreen: {min_duration_s: .nan, max_duration_s: 3}", "finite number"),
        ("title: Example", "title:\n\t- Example", "line 4 has a tab; YAML indents with spaces"),
        ("every_s: 0.5", "every_s: .nan", r"scrub\.faces\.every_s"),
        ("every_s: 0.5", "padding: .inf", "padding"),
        ("title: Example", "title: Example\nscreen: {max_duration_s: .inf}", "screen.max_duration_s is inf"),
        ("title: Example", "title: Example\ntitle: Other", "line 4 repeats a key"),
        ("title: Example", "title: !!python/object/apply:os.getcwd []", "line 3 has a tag"),
        ("title: Example", "title: [", "is not valid YAML"),
        ("title: Example", "title: " + "[" * 5000, "levels of nesting"),
        ("drop_evaluators: true", "drop_evaluators: false", "exactly one of pseudonym_key_file"),
        ("drop_evaluators: true", "drop_evaluators: true\n  pseudonym_key_env: KEY", "exactly one of"),
        ("every_s: 0.5", "detector: none", "waived_because must say why"),
        ("every_s: 0.5", "detector: none\n    waived_because: no", "waived_because"),
        ("title: Example", "title: Example\nsplit: {train: 0.8, validation: 0.3, test: 0.1}", "is 1.2; it must be 1"),
        ("base_url: http://localhost:1/v1", "base_url: file:///etc/passwd", "base_url"),
        ("license:", "sources2: []\nlicense:", "sources2"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = valid()
    assert old in text
    path = write(tmp_path, text.replace(old, new, 1))
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert "$" not in str(caught.value)
    assert "^" not in str(caught.value)


def test_several_defects_are_told_one_a_line_and_five_at_most(tmp_path: Path) -> None:
    text = valid().replace("title: Example", "title: 3").replace("kind: folder", "kind: bag")
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("recipe.yaml: 2 defects; the fields are described in docs/recipe.md")
    assert [line.split()[0] for line in lines[1:]] == ["title", "sources[0].kind"]
    text = "name: A\nversion: 1.0\nlicense: {}\nsources: []\nsplit: {train: 2}\nreward: {samples: 0}\n"
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    assert lines[-1] == "  and 3 more"


def test_contradictions_are_told_together(tmp_path: Path) -> None:
    text = valid().replace("drop_evaluators: true", "drop_evaluators: false").replace("every_s: 0.5", "detector: none")
    with pytest.raises(RecipeError, match=r"waived_because must say why(.|\n)*exactly one of"):
        read_recipe(write(tmp_path, text))


def test_every_pattern_of_a_recipe_has_words() -> None:
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', contract_text("recipe"))
    assert {json.loads(pattern) for pattern in patterns} == set(FORMS)


def test_an_unknown_field_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, valid() + '"a\\e[2J": 1\n'))
    assert "\x1b" not in str(caught.value)


def test_two_sources_of_one_name(tmp_path: Path) -> None:
    recipe = VALID["recipe"]()
    recipe["sources"] += VALID["recipe"]()["sources"]  # made anew: the same object would be written as an alias
    with pytest.raises(RecipeError, match="sources have the same name: lab, lab"):
        read_recipe(write(tmp_path, yaml.safe_dump(recipe)))


@pytest.mark.parametrize("text", ["", "3", "- a", "null"])
def test_what_is_no_recipe_at_all(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path, text))


@pytest.mark.parametrize("text", ["", "# only a remark\n"])
def test_an_empty_file_is_called_empty(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match="the file is empty"):
        read_recipe(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9")
    with pytest.raises(RecipeError, match="is not UTF-8 text"):
        read_recipe(tmp_path / "latin.yaml")
