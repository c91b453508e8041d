"""What is wrong with a recipe, in words: field, what was found, what is legal, and the nearest legal word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.errors import RecipeError
from bad_robot_behavior.schema.rules import Defect
from bad_robot_behavior.schema.validate import CHOICE, TYPE, UNKNOWN_FIELD, validate_rows

SHOWN = 5  # defects that one error names
FORMS = {
    r"^[a-z0-9_]{1,40}(?!\n)$": "1 to 40 lower-case letters, digits and underscores, such as my_lab",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?!\n)$": "a date written YYYY-MM-DD, such as 2026-01-31",
    "^https?://": "an address that begins with http:// or https://, such as http://localhost:8000/v1",
    r"^[a-z0-9][a-z0-9-]{0,80}(?!\n)$": (
        "up to 81 lower-case letters, digits and hyphens, a letter or digit first, such as my-release"
    ),
    r"^[0-9]+\.[0-9]+\.[0-9]+(?!\n)$": "three whole numbers written X.Y.Z, such as 1.0.0",
}
"""Each pattern of a recipe's fields in words: nobody should have to read a regular expression to mend a recipe."""


def recipe_defects(data: Any, file: str, error: msgspec.ValidationError) -> list[str]:
    """A sentence for each defect of a recipe's plain data, which the record type refused with `error`."""
    # JSON Schema counts 3.0 as the integer 3 and does not look at keys that are no text; the record type does.
    return [_sentence(defect) for defect in validate_rows([data], "recipe", file)] or [_of_record_type(str(error))]


def _of_record_type(error: str) -> str:
    number = re.fullmatch(r"Expected `int`, got `float` - at `\$\.(.+)`", error)
    if number:
        return f"{number[1]} has a decimal point; legal: a whole number, such as 3 and not 3.0"
    key = re.fullmatch(r"Expected `str`, got `\w+` - at `key` in `\$\.(.+)`", error)
    return f"{key[1]} has a key that is no text; write it in quotes" if key else error.replace("`$.", "`")


def refuse(path: Path, wrong: Sequence[str]) -> RecipeError:
    """The error that names the first defects of a recipe, one a line."""
    if len(wrong) == 1:
        return RecipeError(f"{path}: {wrong[0]}. The fields are described in docs/recipe.md")
    lines = [f"{path}: {len(wrong)} defects; the fields are described in docs/recipe.md"]
    lines += [f"  {sentence}" for sentence in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        lines.append(f"  and {len(wrong) - SHOWN} more")
    return RecipeError("\n".join(lines))


def _sentence(defect: Defect) -> str:
    legal = _in_words(defect.legal or "")
    if defect.rule == UNKNOWN_FIELD.id:
        return _unknown(defect, legal)
    text = f"{defect.field or 'the recipe'} {defect.message}"
    if defect.value is not None:
        text += f": {defect.value}"
    if defect.rule == CHOICE.id and defect.value is not None:
        text += _nearest(defect.value.strip("'"), legal.removeprefix("one of "))
    text += f"; legal: {legal}"
    if defect.rule == TYPE.id and defect.field == "version":
        text += "; write it in quotes as X.Y.Z"
    elif defect.rule == TYPE.id and "text" in legal and re.match(r"[-+.0-9]|True|False", defect.value or ""):
        text += "; write it in quotes"
    return text


def _unknown(defect: Defect, legal: str) -> str:
    names = [f"{name!r}{_nearest(name, legal)}" for name in (defect.value or "").split(", ")]
    place = f"{defect.field} has" if defect.field else "there is"
    no = "no field" if len(names) == 1 else "no fields"
    return f"{place} {no} {', '.join(names)}; legal: {legal}"


def _nearest(word: str, legal: str) -> str:
    near = difflib.get_close_matches(word, legal.split(", "), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _in_words(legal: str) -> str:
    for pattern, words in FORMS.items():
        shown = pattern.replace(r"(?!\n)$", "$")  # as `describe` writes it
        legal = legal.replace(f"a text that matches {shown}", words)
    legal = re.sub(r"a text of a length from 1(?!\d)", "a text that is not empty", legal)
    return legal if legal != "an object" else "fields, each written as name: value"
