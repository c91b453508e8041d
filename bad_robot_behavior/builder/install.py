"""`load_dataset("bad-robot-behavior")` from any working directory, with no network.

`datasets` looks for a name in the working directory, on the Hub and, where the Hub has or gives nothing, in its own
cache. Installing puts a release into that cache under its plain name, the way `datasets` itself would have, so nothing
of this package has to be there when the release is loaded. How `datasets` 5 picks from its cache decides the rest:

- with no config asked for it takes the folder modified last, whatever the card's default is; so the folder of config
  `rollouts` gets a modification time far in the future, and a `.map()` on another config cannot overtake it;
- two configs under the same version and hash make it ask which one; so each config is stored under its own hash;
- an older install would stand beside the new one; so what an earlier install put there is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from bad_robot_behavior.builder.card import content_hash
from bad_robot_behavior.builder.features import DEFAULT_CONFIG
from bad_robot_behavior.builder.finding import installed_file
from bad_robot_behavior.builder.loader import DEFAULT_NAME, open_release
from bad_robot_behavior.errors import ReleaseError

_FUTURE = 4_102_444_800  # 2100-01-01, later than any folder that is modified in earnest


def install(release: Path, name: str = DEFAULT_NAME) -> None:
    """Seed the cache of `datasets` with every config of a release, under `name`.

    The videos of a release in layout `files` stay where they are: `bad_robot_behavior.load(name)` reads them from
    there. Raises ReleaseError where `release` is not one, or where `name` could not be loaded by.
    """
    from datasets.naming import camelcase_to_snakecase
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ReleaseError(f"{name!r} cannot be the name of a dataset: {error}") from error
    if "/" in name or camelcase_to_snakecase(name) != name:
        raise ReleaseError(
            f"{name!r} cannot be the name of an installed release; legal: small letters, digits, - and _"
        )
    root = release.absolute()
    manifest = open_release(root).manifest
    note = installed_file(name)
    earlier = _read_note(note)
    seeded = {
        config: _seed(root, name, config, manifest.version, content_hash(config, manifest))
        for config in sorted(manifest.configs, key=lambda config: config == DEFAULT_CONFIG)
    }
    for folder in earlier:
        if folder not in seeded.values() and folder.is_dir():
            shutil.rmtree(folder)
    newest = seeded[DEFAULT_CONFIG]
    for folder in newest.parents[2].glob("*/*/*"):
        if folder != newest and folder.stat().st_mtime >= _FUTURE:
            os.utime(folder)  # an install whose note was lost
    os.utime(newest, (_FUTURE, _FUTURE))
    _write_note(note, {"path": str(root), "version": manifest.version, "folders": [*map(str, seeded.values())]})


def _seed(root: Path, name: str, config: str, version: str, digest: str) -> Path:
    import datasets

    from bad_robot_behavior.builder.dataset import BadRobotBehavior

    class Versioned(BadRobotBehavior):
        # A version given as an argument would make `datasets` take the config for a custom one, and refuse its name.
        BUILDER_CONFIGS: ClassVar = [datasets.BuilderConfig(name=config, version=datasets.Version(version))]

    builder = Versioned(dataset_name=name, config_name=config, hash=digest, base_path=str(root))
    builder.download_and_prepare()
    return Path(builder.cache_dir)


def _read_note(note: Path) -> list[Path]:
    try:
        return [Path(folder) for folder in json.loads(note.read_text(encoding="utf-8"))["folders"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{note}: is damaged; delete it and install again") from error


def _write_note(note: Path, data: dict[str, object]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, suffix=".json", delete=False, encoding="utf-8") as file:
        json.dump(data, file, indent=1)
    Path(file.name).replace(note)
