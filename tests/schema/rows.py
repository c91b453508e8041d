"""Valid records of every contract as plain data, and a walk over all places in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from bad_robot_behavior.schema import stable_id

Place = tuple[str | int, ...]

_SHA = "0123456789abcdef" * 4


def video() -> dict[str, Any]:
    return {
        "camera": "left",
        "path": "videos/a.mp4",
        "width": 64,
        "height": 48,
        "fps": 10.0,
        "capture_hz": 15.0,
        "num_frames": 12,
        "codec": "h264",
        "size_bytes": 900,
        "sha256": _SHA,
    }


def curve() -> dict[str, Any]:
    return {
        "name": "gvl",
        "kind": "progress",
        "scorer": "gvl",
        "model": "some-model",
        "role": "exterior_1",
        "frame_index": [0, 4, 8, 11],
        "value": [0.0, 0.25, 0.5, 0.25],
        "provenance": "self_distilled",
        "samples": 10,
        "kept_sample": 3,
        "margin": 0.25,
        "agreement": "match",
    }


def failure() -> dict[str, Any]:
    return {
        "category": "grasp",
        "kind": "slip_or_drop",
        "severity": "low",
        "start_s": 0.5,
        "end_s": 1.0,
        "description": "the marker fell",
        "source_label": None,
        "annotator": "rule:drop",
        "annotator_type": "rule",
        "observable": True,
        "mapping_version": "1.0.0",
    }


def preference(number: int = 0) -> dict[str, Any]:
    return {
        "pair_id": stable_id("pair", str(number)),
        "session_id": stable_id("session"),
        "rollout_a": stable_id("a", str(number)),
        "rollout_b": stable_id("b", str(number)),
        "preference": "a",
        "feedback": "A was better",
        "evaluator": None,
        "presented_first": "b",
        "split": "train",
    }


def took() -> dict[str, Any]:
    return {"requests": 2, "answers": 2, "prompt_tokens": 900, "completion_tokens": 80, "cost": 0.0125}


def rollout(number: int = 0) -> dict[str, Any]:
    return {
        "rollout_id": stable_id("rollout", str(number)),
        "session_id": stable_id("session"),
        "source": "lab",
        "source_ref": "session-1/A",
        "split": "train",
        "site": None,
        "evaluator": None,
        "policy": "policy_a",
        "robot": "panda",
        "instruction": "put the marker in the cup",
        "instruction_key": "put the marker in the cup",
        "task_category": "pick_place",
        "task_category_source": "rule",
        "videos": {"exterior_1": video(), "exterior_2": None, "wrist": video()},
        "num_steps": 30,
        "control_hz": 15.0,
        "score": 0.5,
        "success": False,
        "outcome": "failure",
        "failures": [failure()],
        "feedback": None,
        "critique": {"text": "It fell.", "attributed_spans": ["it fell"], "model": "m", "prompt_sha256": None},
        "rewards": [curve(), curve() | {"kind": "reward", "value": [-0.5, 0.25, 0.5, 0.25]}],
        "reward": [0.0, 0.25, 0.5, 0.25],
        "reward_frame_index": [0, 4, 8, 11],
        "license": "CC-BY-4.0",
        "attribution": None,
        "license_evidence": None,
        "privacy": {
            "faces_found": 0,
            "frames_masked": 0,
            "text_redactions": 0,
            "audio_removed": False,
            "metadata_removed": True,
            "detectors": [{"name": "centerface", "version": "1", "ran": True, "reason": None}],
            "verdict": "clean",
        },
        "synthetic": {"generator": "mujoco", "injector": None, "parameters": '{"seed": 1}', "seed": 1},
        "asked": [took() | {"stage": "distill", "model": "m", "rollouts": 2}],
        "provenance": {
            "raw_sha256": [_SHA],
            "content_sha256": [],
            "fingerprint": ["0" * 16],
            "recipe_sha256": _SHA,
            "engine_version": "0.1.0",
        },
    }


def trajectory(number: int = 0) -> dict[str, Any]:
    columns = [{"name": "x", "unit": "m"}, {"name": "y", "unit": None}]
    return {
        "rollout_id": stable_id("rollout", str(number)),
        "split": None,
        "state": [[0.0, 1.0], [0.5, -2.0]],
        "action": [[0.0, 1.0], [0.5, -2.0]],
        "state_columns": columns,
        "action_columns": copy.deepcopy(columns),
    }


def demonstration(number: int = 0) -> dict[str, Any]:
    return {
        "demonstration_id": stable_id("demonstration", str(number)),
        "rollout_id": stable_id("rollout", str(number)),
        "session_id": stable_id("session"),
        "split": "train",
        "level": "text_video_dense",
        "task_category": "pick_place",
        "instruction": "put the marker in the cup",
        "instruction_key": "put the marker in the cup",
        "text": "It fell.",
        "role": "exterior_1",
        "frame_index": [0, 4],
        "value": [0.0, -0.5],
        "kind": "reward",
    }


def reward_sample(number: int = 0) -> dict[str, Any]:
    return {
        "sample_id": stable_id("sample", str(number)),
        "rollout_id": stable_id("rollout", str(number)),
        "session_id": stable_id("session"),
        "split": "train",
        "task_category": "pick_place",
        "scorer": "gvl",
        "model": "some-model",
        "sample": 3,
        "role": "exterior_1",
        "frame_index": [0, 4],
        "value": [0.0, 0.5],
        "mean": 0.25,
        "error": None,
        "pair_id": stable_id("pair"),
        "preferred": False,
        "margin": -0.25,
        "verdict": "disagrees",
    }


def reward_quality(number: int = 0) -> dict[str, Any]:
    known = {"value": 0.5, "interval": [0.25, 0.75]}
    unknown = {"value": None, "interval": None}
    shares = {"first": known, "every": known, "kept": known, "control": known, "beyond_control": known}
    return {
        "scorer": "gvl",
        "model": "some-model",
        "selection": "paired",
        "samples": 10,
        "rollouts": 4,
        "sessions": 2,
        "samples_drawn": 40,
        "samples_unreadable": number,
        "agreement": [{"category": "pooled", "pairs": 2, "sessions": 2, "no_match": 1, **shares}],
        "flips": known,
        "flips_pairs": 2,
        "spread_return": known,
        "spread_frame": unknown,
        "spread_rollouts": 4,
        "by_sample": [0.5, None],
        "noise_floor": None,
        "draws": 1000,
        "seed": 0,
    }


def privacy_report(number: int = 0) -> dict[str, Any]:
    return {
        "rollouts": number,
        "unscrubbed": 0,
        "verdicts": {"redacted": number},
        "faces_found": None,
        "frames_masked": None,
        "audio_removed": 0,
        "metadata_removed": 1,
        "detectors": [
            {"name": "text", "version": "2", "ran": True, "reason": None, "settings": '{"a": 0.2}', "rollouts": 1}
        ],
        "findings": [{"kind": "EMAIL", "place": "feedback", "count": 2, "rollouts": 1}],
    }


def prediction(number: int = 0) -> dict[str, Any]:
    return {
        "rollout_id": stable_id("rollout", str(number)),
        "role": None,
        "frame_index": [0, 4],
        "value": [0.0, -3.5],
        "model": "m",
        "parameters": "{}",
        "error": None,
    }


def session(number: int = 0) -> dict[str, Any]:
    return {
        "session_id": stable_id("session", str(number)),
        "feedback": None,
        "preferences": [preference()],
        "labels": [["A", stable_id("a")]],
    }


def rejection(number: int = 0) -> dict[str, Any]:
    return {
        "subject": "rollout",
        "subject_id": stable_id("rollout", str(number)),
        "session_id": None,
        "source": "lab",
        "source_ref": "session-1/A",
        "stage": "screen",
        "code": "video.undecodable",
        "detail": "broke at frame 3",
    }


def release(number: int = 0) -> dict[str, Any]:
    return {
        "name": "example",
        "version": f"1.0.{number}",
        "schema_version": "1.0.0",
        "taxonomy_version": "1.0.0",
        "engine_version": "0.1.0",
        "recipe": {"name": "example"},
        "recipe_sha256": _SHA,
        "counts": {
            "rollouts_read": 3,
            "rollouts_packaged": 2,
            "rollouts_rejected": 1,
            "sessions": 1,
            "preferences": 1,
            "trajectories": 0,
            "demonstrations": 0,
            "videos": 2,
            "rejections_by_code": {"video.undecodable": 1},
            "rollouts_by_split": {"train": 2},
        },
        "models": [
            {
                "stage": "distill",
                "model": "m",
                "prompt_sha256": None,
                "parameters": {"temperature": 0.0},
                "took": took(),
            }
        ],
        "licenses": [],
        "waived_detectors": [],
        "video_layout": "files",
        "configs": ["rollouts"],
        "files": [{"path": "README.md", "sha256": _SHA, "size_bytes": 3}],
    }


def recipe(number: int = 0) -> dict[str, Any]:
    return {
        "name": "example",
        "version": f"1.0.{number}",
        "title": "Example",
        "description": "An example.",
        "sources": [{"name": "lab", "kind": "folder", "path": "lab"}],
        "license": {"allow": ["CC-BY-4.0"]},
        "scrub": {"drop_evaluators": True, "faces": {"every_s": 0.5}},
        "distill": {"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}},
    }


VALID: dict[str, Any] = {
    "rollout": rollout,
    "preference": preference,
    "trajectory": trajectory,
    "demonstration": demonstration,
    "reward_sample": reward_sample,
    "reward_quality": reward_quality,
    "privacy_report": privacy_report,
    "rejection": rejection,
    "release": release,
    "recipe": recipe,
    "prediction": prediction,
    "session": session,
    "failure": lambda number=0: failure(),
    "reward_curve": lambda number=0: curve(),
}


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every place in a record, from the record itself to the last number of a list."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


def changed(row: dict[str, Any], place: Place, value: Any) -> Any:
    """A copy with another value at a place."""
    if not place:
        return value
    copied = copy.deepcopy(row)
    holder: Any = copied
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    return copied


def removed(row: dict[str, Any], place: Place) -> dict[str, Any]:
    """A copy without the field or list entry at a place."""
    copied = copy.deepcopy(row)
    holder: Any = copied
    for part in place[:-1]:
        holder = holder[part]
    del holder[place[-1]]
    return copied
