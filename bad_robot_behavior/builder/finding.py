"""Finding a release that is no folder: by the name it was installed under, or on the Hub."""

from __future__ import annotations

import json
from pathlib import Path

from bad_robot_behavior.errors import ReleaseError, hub_errors


def installed_file(name: str) -> Path:
    """The note that says where the release installed as `name` lies. Beside the Hugging Face caches, under HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "bad-robot-behavior" / f"{name}.json"


def find_release(name: str) -> Path:
    """The folder of an installed release, or of the Hub snapshot of `owner/name`, or of `owner/name@revision`, where a
    full commit always gives the same files. Raises ReleaseError."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    repo_id, _, revision = name.partition("@")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ReleaseError(f"{name}: there is no such folder; give that of a release") from error
    note = installed_file(name)
    if "/" not in name:
        if not note.is_file():
            raise ReleaseError(
                f"{name}: there is no such folder, and no release is installed under this name; "
                "run: bad-robot install RELEASE"
            )
        try:
            folder = Path(json.loads(note.read_text(encoding="utf-8"))["path"])
        except (ValueError, KeyError, TypeError) as error:
            raise ReleaseError(f"{note}: is damaged; run bad-robot install again") from error
        if not folder.is_dir():
            raise ReleaseError(
                f"{name}: was installed from {folder}, which is gone; run bad-robot install with its new place"
            )
        return folder
    return _download(repo_id, revision or None)


def _download(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, repo_type="dataset", revision=revision))
    except hub_errors() as error:
        reason = str(error).strip().splitlines()[0]
        raise ReleaseError(f"{repo_id}: is no folder, and the Hub does not give it: {reason}") from error
