"""Prompts are files in `prompts/`, so that their hash can stand beside everything that was made with them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from string import Template

import msgspec

from bad_robot_behavior.errors import BadRobotError

_FOLDER = Path(__file__).parent / "prompts"
_HEADING = re.compile(r"^=== ([a-z_]+) ===\n", re.MULTILINE)


class Prompt(msgspec.Struct, frozen=True):
    """A prompt file: its name, the SHA-256 of its bytes, and its parts by heading (`=== name ===`)."""

    name: str
    sha256: str
    parts: dict[str, str]

    def fill(self, part: str, **values: str | int) -> str:
        """A part with its `$names` replaced. Values are not read for names again, so they may hold any text.
        Raises KeyError for a part or a value that is missing."""
        return Template(self.parts[part]).substitute(values)


def prompt_names() -> list[str]:
    """The names of all prompts, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.txt"))


def load_prompt(name: str) -> tuple[str, str]:
    """(text, SHA-256 hex of its bytes) of `prompts/<name>.txt`. Raises ValueError that lists the names there are."""
    path = _FOLDER / f"{name}.txt"
    if not re.fullmatch(r"[a-z0-9_]+", name) or not path.is_file():
        raise ValueError(f"there is no prompt {name!r}; there are: {', '.join(prompt_names())}")
    data = path.read_bytes()
    return data.decode("utf-8"), hashlib.sha256(data).hexdigest()


def read_prompt(name: str) -> Prompt:
    """The prompt file cut into its parts."""
    text, sha256 = load_prompt(name)
    return Prompt(name, sha256, _parts(text))


def read_prompt_file(path: Path) -> Prompt:
    """A prompt of a user's own. A file without headings is one part, `question`. Raises BadRobotError."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRobotError(f"{path}: cannot be read as a prompt, which is a text file in UTF-8: {error}") from error
    return Prompt(path.name, hashlib.sha256(data).hexdigest(), _parts(text) or {"question": text.strip()})


def _parts(text: str) -> dict[str, str]:
    pieces = _HEADING.split(text)
    return {heading: body.strip() for heading, body in zip(pieces[1::2], pieces[2::2], strict=True)}
