"""Reading recipes: what is legal, and one sentence for everything that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema import read_recipe
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
    assert recipe.scrub.faces.threshold == 0.3
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
        ("name: example", "name: Example", r"\$\.name"),
        ("version: 1.0.0", "version: 1.0", r"Expected `str`, got `float` - at `\$\.version`"),
        ("title: Example", "titel: Example", "titel|title"),
        ("kind: folder", "kind: rosbag", r"rosbag.*\$\.sources\[0\]\.kind"),
        ("path: lab", "path: ''", r"\$\.sources\[0\]\.path"),
        ("threshold: 0.3", "threshold: 1.3", r"<= 1.*\$\.scrub\.faces\.threshold"),
        ("threshold: 0.3", "threshold: .nan", r"scrub\.faces\.threshold"),
        ("threshold: 0.3", "padding: .inf", "padding"),
        ("title: Example", "title: Example\nscreen: {max_duration_s: .inf}", "screen.max_duration_s is inf"),
        ("title: Example", "title: Example\ntitle: Other", "line 4 repeats a key"),
        ("title: Example", "title: !!python/object/apply:os.getcwd []", "line 3 has a tag"),
        ("title: Example", "title: [", "is not valid YAML"),
        ("title: Example", "title: " + "[" * 5000, "levels of nesting"),
        ("drop_evaluators: true", "drop_evaluators: false", "exactly one of pseudonym_key_file"),
        ("drop_evaluators: true", "drop_evaluators: true\n  pseudonym_key_env: KEY", "exactly one of"),
        ("threshold: 0.3", "detector: none", "waived_because must say why"),
        ("threshold: 0.3", "detector: none\n    waived_because: no", "waived_because"),
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


def test_two_sources_of_one_name(tmp_path: Path) -> None:
    recipe = VALID["recipe"]()
    recipe["sources"] += VALID["recipe"]()["sources"]  # made anew: the same object would be written as an alias
    with pytest.raises(RecipeError, match="sources have the same name: lab, lab"):
        read_recipe(write(tmp_path, yaml.safe_dump(recipe)))


@pytest.mark.parametrize("text", ["", "3", "- a", "null"])
def test_what_is_no_recipe_at_all(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9")
    with pytest.raises(RecipeError, match="is not UTF-8 text"):
        read_recipe(tmp_path / "latin.yaml")
