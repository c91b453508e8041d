"""A release on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from bad_robot_behavior.builder.reading import read_manifest
from bad_robot_behavior.errors import ReleaseError, hub_errors


def push(release: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload a release folder as the dataset `owner/name`, made if it is not there; returns the commit's URL.

    Private unless told otherwise, as what is public once cannot be taken back. Uses the credentials of
    huggingface_hub. Raises ReleaseError where the folder is no release, or where the Hub refuses.
    """
    from huggingface_hub import HfApi

    manifest = read_manifest(release)
    api = HfApi()
    try:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=release,
            repo_type="dataset",
            commit_message=f"{manifest.name} {manifest.version}",
            delete_patterns=["*"],  # a file of an earlier version that this one lacks must not stay
        )
    except hub_errors() as error:
        reason = str(error).strip().splitlines()[0]
        raise ReleaseError(f"{repo_id}: the Hub does not take the release: {reason}") from error
    return str(commit.commit_url)
