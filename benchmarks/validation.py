"""How fast a table is validated in bulk, against jsonschema row by row.

    python benchmarks/validation.py --rows 100000 --sample 300

Makes a table of valid rollouts with three videos, two failures and two reward curves of 30 frames each, and a table of
the same with one row in a hundred broken. The reference (`jsonschema` and the rules across fields) runs over a sample
of the rows and is scaled up; the bulk check runs over all of them, conversion out of Arrow included.
"""

from __future__ import annotations

import argparse
import time

import pyarrow as pa

from bad_robot_behavior.builder.features import arrow_schema
from bad_robot_behavior.schema import RolloutRow, stable_id
from bad_robot_behavior.schema.validate import validate_rows, validate_table

SHA = "0123456789abcdef" * 4


def make_row(number: int, broken: bool) -> dict[str, object]:
    video = {
        "camera": "left",
        "path": f"videos/{number}.mp4",
        "width": 320,
        "height": 180,
        "fps": 10.0,
        "capture_hz": 15.0,
        "num_frames": 400,
        "codec": "h264",
        "size_bytes": 90_000,
        "sha256": SHA,
    }
    failure = {
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
    curve = {
        "name": "gvl",
        "kind": "progress",
        "scorer": "gvl",
        "model": "some-model",
        "role": "wrist",
        "frame_index": list(range(0, 390, 13)),
        "value": [i / 30 for i in range(30)],
        "provenance": "self_distilled",
        "samples": 10,
        "kept_sample": 3,
        "margin": 0.25,
        "agreement": "match",
    }
    values = [1.5 if broken and i == 17 else i / 30 for i in range(30)]
    return {
        "rollout_id": stable_id("rollout", str(number)),
        "session_id": stable_id("session", str(number // 2)),
        "source": "lab",
        "source_ref": f"session-{number // 2}/A",
        "instruction": "put the marker in the cup",
        "instruction_key": "put the marker in the cup",
        "task_category": "pick_place",
        "task_category_source": "rule",
        "videos": {"exterior_1": video, "exterior_2": video, "wrist": video},
        "score": 0.5,
        "success": False,
        "outcome": "failure",
        "failures": [failure, failure],
        "rewards": [curve, curve],
        "reward": values,
        "reward_frame_index": curve["frame_index"],
        "provenance": {
            "raw_sha256": [SHA],
            "content_sha256": [SHA],
            "fingerprint": ["0" * 128],
            "recipe_sha256": SHA,
            "engine_version": "0.1.0",
        },
    }


def make_table(rows: int, broken_every: int) -> pa.Table:
    """`rows` rollouts, made in blocks so that Python objects of only one block are held at a time."""
    schema = arrow_schema(RolloutRow)
    blocks = []
    for start in range(0, rows, 5000):
        numbers = range(start, min(rows, start + 5000))
        some = [make_row(i, broken_every > 0 and i % broken_every == 0) for i in numbers]
        blocks.append(pa.Table.from_pylist(some, schema=schema))
    return pa.concat_tables(blocks)


def timed(table: pa.Table, bulk: bool) -> tuple[float, int]:
    started = time.perf_counter()
    found = validate_table(table, "rollout", "x") if bulk else validate_rows(table.to_pylist(), "rollout", "x")
    count = sum(1 for _ in found)
    return time.perf_counter() - started, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=300, help="rows that the reference is timed on")
    options = parser.parse_args()
    print(f"{'table':<22}{'reference':>14}{'bulk':>14}{'ratio':>8}{'defects':>9}   (rows a second)")
    for name, every in (("valid", 0), ("1 in 100 broken", 100)):
        table = make_table(options.rows, every)
        timed(table.slice(0, 10), bulk=True)  # compiles the schema
        slow, _ = timed(table.slice(0, options.sample), bulk=False)
        fast, defects = timed(table, bulk=True)
        reference, bulk = min(options.sample, options.rows) / slow, options.rows / fast
        print(f"{name:<22}{reference:>14,.0f}{bulk:>14,.0f}{bulk / reference:>8.1f}{defects:>9,}")


if __name__ == "__main__":
    main()
