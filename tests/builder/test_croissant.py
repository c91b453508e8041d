"""croissant.json passes mlcroissant's validation and its records are the rows of the release."""

from __future__ import annotations

from pathlib import Path

import mlcroissant
import pytest

from bad_robot_behavior import load


@pytest.fixture(scope="module")
def dataset(release: Path) -> mlcroissant.Dataset:
    return mlcroissant.Dataset(jsonld=release / "croissant.json")


def test_it_is_valid(dataset: mlcroissant.Dataset) -> None:
    assert not dataset.metadata.issues.errors
    told = [str(warning) for warning in dataset.metadata.issues.warnings]
    assert all("datePublished" in warning for warning in told), told  # a date would change the bytes of each build


def test_records_of_rollouts_are_its_rows(dataset: mlcroissant.Dataset, release: Path) -> None:
    name = "rollouts/test-00000"
    records = {record[f"{name}/rollout_id"].decode(): record for record in dataset.records(name)}
    rows = list(load(release, split="test"))
    assert len(records) == len(rows) == 2
    for row in rows:
        record = records[row["rollout_id"]]
        assert record[f"{name}/score"] == row["score"]
        assert record[f"{name}/videos.exterior_1.sha256"].decode() == row["videos"]["exterior_1"]["sha256"]
        assert record[f"{name}/videos.wrist.sha256"] is None
        if row["reward"] is not None:
            assert record[f"{name}/reward"] == row["reward"]
            assert [list(value) for value in record[f"{name}/rewards.value"]] == [row["reward"]]


def test_every_table_can_be_read(dataset: mlcroissant.Dataset, release: Path) -> None:
    found = load(release)
    counts: dict[str, int] = {}
    for record_set in dataset.metadata.record_sets:
        config = record_set.uuid.split("/")[0]
        counts[config] = counts.get(config, 0) + sum(1 for _ in dataset.records(record_set.uuid))
    assert counts == {config: found.table(config).num_rows for config in found.manifest.configs}


def test_videos_are_records_too(shards_release: Path) -> None:
    name = "videos/test-00000"
    records = list(mlcroissant.Dataset(jsonld=shards_release / "croissant.json").records(name))
    assert len(records) == 2
    for record in records:
        identity, role = record[f"{name}/rollout_id"].decode(), record[f"{name}/role"].decode()
        assert record[f"{name}/video"] == load(shards_release).video_bytes(identity, role)
