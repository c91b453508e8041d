"""A synthetic set as a dump: the source for RoboArena reads it, and its traps are those of the real dumps."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import yaml

from bad_robot_behavior import media
from bad_robot_behavior.curation.sources import open_source
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.schema import Rejection, Rollout, SourceSettings
from bad_robot_behavior.synthesis.roboarena import FACTS, SOURCE, TRUTH, synthesize_dump, write_dump
from bad_robot_behavior.synthesis.scene import Settings
from bad_robot_behavior.synthesis.tasks import SynthesisError
from tests.dumps import hashes
from tests.synthetic_sets import make_episode, make_scene, make_set, write_scene

SETTINGS = Settings(tasks=("pick-place-v3",), faults=("drop",), seeds=(0, 40))
SCENES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of forty scenes of three to six episodes, all with the same few small videos."""
    root = tmp_path_factory.mktemp("sets") / "set"
    scores = (1.0, 0.98, 0.3, 0.5, 0.1, 0.94)
    for seed in range(SCENES):
        episodes = tuple(
            make_episode(
                "success" if i == 0 else f"fault_{i}",
                "ABCDEF"[i],
                score=scores[i],
                cameras=("exterior_1", "exterior_2"),
                success=i == 0,
                outcome="success" if i == 0 else "failure",
            )
            for i in range(3 + seed % 4)
        )
        write_scene(root, make_scene(f"pick-place-v3-{seed}", episodes=episodes, pairs=(), fps=10.0), seed=seed)
    (root / "dropped.jsonl").write_bytes(b"")
    (root / "synthetic.json").write_bytes(msgspec.json.encode(make_set()))
    return root


@pytest.fixture(scope="module")
def dump(folder: Path) -> Path:
    out = folder.parent / "dump"
    assert write_dump(folder, out, SETTINGS) > SCENES
    return out


def read(dump: Path) -> list[Rollout | Rejection]:
    source = open_source(SourceSettings(name=SOURCE, kind="roboarena", path=str(dump)), dump)
    store = Store(dump.parent / "files")
    return [item for session in source.sessions() for item in source.read(session, store)]


def test_every_rollout_arrives_once(folder: Path, dump: Path) -> None:
    items = read(dump)
    rollouts = [item for item in items if isinstance(item, Rollout)]
    assert len(rollouts) == sum(3 + seed % 4 for seed in range(SCENES))
    rejected = [item for item in items if isinstance(item, Rejection)]
    assert {item.code for item in rejected} == {"roboarena.null_policy"}


def test_the_truth_fits_the_rollouts(dump: Path) -> None:
    import pyarrow.parquet as pq

    from bad_robot_behavior.benchmark.predictions import check

    rows = pq.read_table(dump / TRUTH).to_pylist()
    rollouts = {item.rollout_id: item for item in read(dump) if isinstance(item, Rollout)}
    assert {row["rollout_id"] for row in rows} == rollouts.keys()
    assert check(dump / TRUTH, None) == []
    for row in rows:
        video = getattr(rollouts[row["rollout_id"]].videos, row["role"])
        assert row["frame_index"] == list(range(video.num_frames))


def test_preferences_follow_the_scores_with_a_tie_band(dump: Path) -> None:
    seen: Counter[str] = Counter()
    for item in read(dump):
        if not isinstance(item, Rollout) or not item.session.preferences:
            continue
        (preference,) = item.session.preferences
        if item.rollout_id != preference.rollout_a:
            continue
        b = next(r for r in read_session(dump, item) if r.rollout_id == preference.rollout_b)
        assert item.score is not None
        assert b.score is not None
        difference = item.score - b.score
        wanted = "tie" if abs(difference) <= 0.05 + 1e-9 else "a" if difference > 0 else "b"
        assert preference.preference == wanted
        seen[wanted] += 1
    assert set(seen) == {"a", "b", "tie"}


def read_session(dump: Path, rollout: Rollout) -> list[Rollout]:
    source = open_source(SourceSettings(name=SOURCE, kind="roboarena", path=str(dump)), dump)
    items = source.read(rollout.source_ref.split("/")[0], Store(dump.parent / "files"))
    return [item for item in items if isinstance(item, Rollout)]


def test_the_traps_are_there(dump: Path) -> None:
    files = sorted((dump / "evaluation_sessions").glob("*/metadata.yaml"))
    facts = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    assert {len(fact["policies"]) for fact in facts} >= {2, 3, 4}
    assert any(entry is None for fact in facts for entry in fact["policies"].values())
    sites = {fact["evaluation_location"] for fact in facts}
    assert {"Northfield University", "northfield university "} <= sites
    rollouts = [item for item in read(dump) if isinstance(item, Rollout)]
    surplus = Counter(
        item.videos.exterior_2.num_frames - (item.num_steps or 0)
        for item in rollouts
        if item.videos.exterior_2 is not None
    )
    assert set(surplus) == {0, 1}
    assert 0 < sum(item.videos.exterior_1 is None for item in rollouts) < len(rollouts) / 3
    probes = [media.probe(path) for path in sorted(dump.glob("evaluation_sessions/*/*/*.mp4"))]
    assert any(probe.has_audio for probe in probes)
    assert any(probe.tags for probe in probes)
    assert {probe.fps for probe in probes} == {10.0}


def test_what_was_planted_stands_in_the_dump(dump: Path) -> None:
    planted = json.loads((dump / FACTS).read_text(encoding="utf-8"))["planted"]
    assert len(planted) > 10
    for session, private in planted.items():
        folder = dump / "evaluation_sessions" / session
        text = " ".join(
            yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))["longform_feedback"].split()
        )
        tags = " ".join(" ".join(media.probe(path).tags.values()) for path in folder.glob("*/*.mp4"))
        assert all(one in text or one in tags for one in private)


def test_the_same_set_gives_the_same_bytes(folder: Path, dump: Path, tmp_path: Path) -> None:
    write_dump(folder, tmp_path / "again", SETTINGS)
    assert hashes(tmp_path / "again") == hashes(dump)


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path, dump: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SynthesisError, match="no dump of this command"):
        synthesize_dump(tmp_path, SETTINGS)
    with pytest.raises(SynthesisError, match="other arguments"):
        synthesize_dump(dump, msgspec.structs.replace(SETTINGS, seeds=(0, 2)))
