"""Make the example dump: python examples/make_roboarena_sim.py SIMULATED_DIR [OUT_DIR]

SIMULATED_DIR holds the rollouts rendered for this project in MuJoCo with Meta-World v3: one mp4 and one JSON each. They
become a dump in RoboArena's layout under OUT_DIR/roboarena_sim, with the sessions of roboarena_sim_sessions.yaml, and
OUT_DIR/simulator_truth.parquet, a predictions file with the simulator's own reward. The same input gives the same
bytes, for one version of PyAV and pyarrow.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import uuid
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bad_robot_behavior.schema import rollout_id

HERE = Path(__file__).parent
SOURCE = "roboarena_sim"  # name of the source in the recipe; goes into the ids of the truth file
NAMESPACE = uuid.UUID("5b0e0f7e-6f0a-5a3e-9d0b-0d6a7c1f2e11")
FPS = 10  # RoboArena's clients write at 10 fps whatever the control rate was
TIE_BAND = 5  # score points (of 100) up to which the evaluator calls it a tie
STEPS_PER_FRAME = 4
ROLES = {"left": "exterior_1", "right": "exterior_2"}

# What a careless recorder leaves in files: the scrub stage has to find both.
TAGGED = ("bin-picking-v3_hesitation_s1", {"artist": "Tunde Okafor", "comment": "recorded on ws-larkspur-03.local"})
WITH_AUDIO = "pick-place-v3_hesitation_s2"


def remux(source: Path, target: Path, tags: dict[str, str], audio: bool) -> int:
    """Copy the H.264 packets with timestamps for 10 fps, no encoder tag; returns the number of frames."""
    with av.open(str(source)) as read, av.open(str(target), "w", options={"fflags": "+bitexact"}) as write:
        for key, value in tags.items():
            write.metadata[key] = value
        video = read.streams.video[0]
        factor = Fraction(video.average_rate) / FPS
        copy = write.add_stream_from_template(video)
        sound = write.add_stream("aac", rate=16000, options={"flags": "+bitexact"}) if audio else None
        packets = [packet for packet in read.demux(video) if packet.size]
        for packet in packets:
            assert packet.pts is not None and packet.dts is not None
            packet.pts, packet.dts = int(packet.pts * factor), int(packet.dts * factor)
            packet.duration = int(packet.duration * factor)
            packet.stream = copy
            write.mux(packet)
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(hum(len(packets) / FPS), format="fltp", layout="mono")
            frame.sample_rate = 16000
            for packet in [*sound.encode(frame), *sound.encode(None)]:
                write.mux(packet)
    return len(packets)


def hum(seconds: float) -> np.ndarray[Any, Any]:
    """The sound of a machine room, (1, samples) float32 at 16 kHz: stands for the voices of real recordings."""
    time = np.arange(int(seconds * 16000)) / 16000
    return (0.1 * np.sin(2 * np.pi * 110 * time) + 0.05 * np.sin(2 * np.pi * 331 * time)).astype(np.float32)[None]


def truth(facts: dict[str, Any], frames: int) -> list[float]:
    """Progress less all penalties so far, at each video frame, clipped to [0, 1]."""
    reward = np.cumsum(np.asarray(facts["reward"], np.float64))
    return [round(float(v), 6) for v in np.clip(reward[: frames * STEPS_PER_FRAME : STEPS_PER_FRAME], 0, 1)]


def preference(scores: dict[str, int]) -> str:
    difference = scores["A"] - scores["B"]
    if abs(difference) <= TIE_BAND:
        return "TIE"
    return "A" if difference > 0 else "B"


def make_session(simulated: Path, dump: Path, spec: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    start = datetime.fromisoformat(spec["date"])
    session = str(uuid.uuid5(NAMESPACE, spec["date"]))
    folder = dump / "evaluation_sessions" / session
    policies: dict[str, dict[str, Any] | None] = {}
    scores: dict[str, int] = {}
    for index, (letter, pick) in enumerate(spec["rollouts"].items()):
        if pick is None:
            policies[letter] = None
            continue
        name, policy = pick
        facts = json.loads((simulated / f"{name}.json").read_text())
        episode = f"{letter}_{policy}"
        (folder / episode).mkdir(parents=True)
        stamp = (start + timedelta(minutes=2 * index, seconds=13)).strftime("%Y_%m_%d_%H_%M_%S")
        target = folder / episode / f"{policy}_{stamp}_video_{spec['camera']}.mp4"
        tags = TAGGED[1] if name == TAGGED[0] else {}
        frames = remux(simulated / f"{name}.mp4", target, tags, name == WITH_AUDIO)
        scores[letter] = facts["score"]
        policies[letter] = {
            "binary_success": int(facts["score"] == 100),
            "duration": frames - 1,
            "partial_success": round(facts["score"] / 100, 3),
            "policy_name": policy,
        }
        rows.append(
            {
                "rollout_id": rollout_id(SOURCE, session, episode, letter),
                "role": ROLES[spec["camera"]],
                "frame_index": list(range(frames)),
                "value": truth(facts, frames),
                "model": "simulator-truth",
                "parameters": json.dumps({"clip": [0, 1], "steps_per_frame": STEPS_PER_FRAME}),
                "error": None,
            }
        )
    metadata = {key: spec[key] for key in ("evaluation_location", "evaluator_name", "language_instruction")}
    metadata["longform_feedback"] = spec["longform_feedback"]
    metadata["policies"] = policies
    metadata["preference"] = preference(scores)
    metadata["session_completion_timestamp"] = (start + timedelta(minutes=14)).isoformat() + ".481516"
    metadata["session_creation_timestamp"] = start.isoformat() + ".234200"
    write_yaml(folder / "metadata.yaml", metadata)


def write_yaml(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=True, allow_unicode=True, width=100), encoding="utf-8")


def make(simulated: Path, out: Path) -> None:
    specs = yaml.safe_load((HERE / "roboarena_sim_sessions.yaml").read_text(encoding="utf-8"))
    picks = [pick for spec in specs for pick in spec["rollouts"].values() if pick is not None]
    names = [name for name, _ in picks]
    if len(set(names)) != len(names):
        sys.exit("roboarena_sim_sessions.yaml uses a simulated rollout twice")
    absent = [name for name in names if not (simulated / f"{name}.mp4").is_file()]
    if absent:
        sys.exit(f"{simulated}: has no {absent[0]}.mp4. Give the folder with the simulated rollouts")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=out, prefix=".part-") as part:
        dump = Path(part) / "roboarena_sim"
        for spec in specs:
            make_session(simulated, dump, spec, rows)
        index = {policy: {"action_space": "joint_velocity", "open_source": False} for _, policy in picks}
        write_yaml(
            dump / "global_metadata.yaml",
            {
                "created_at": "2026-03-13T00:00:00",
                "policy_index": index,
                "total_policy_episodes": len(names),
                "total_sessions": len(specs),
            },
        )
        place = out / "roboarena_sim"
        readme = place / "README.md"
        if readme.is_file():
            shutil.copyfile(readme, dump / "README.md")
        if place.exists():
            place.replace(Path(part) / "old")
        dump.replace(place)
        write_truth(Path(part) / "truth.parquet", rows)
        (Path(part) / "truth.parquet").replace(out / "simulator_truth.parquet")
    size = sum(path.stat().st_size for path in (out / "roboarena_sim").rglob("*") if path.is_file())
    print(f"{len(specs)} sessions, {len(names)} rollouts, {size / 1e6:.2f} MB: {out / 'roboarena_sim'}")


def write_truth(path: Path, rows: list[dict[str, Any]]) -> None:
    schema = pa.schema(
        [
            ("rollout_id", pa.string()),
            ("role", pa.string()),
            ("frame_index", pa.list_(pa.int64())),
            ("value", pa.list_(pa.float64())),
            ("model", pa.string()),
            ("parameters", pa.string()),
            ("error", pa.string()),
        ]
    )
    rows = sorted(rows, key=lambda row: row["rollout_id"])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulated", type=Path, help="folder with the simulated rollouts")
    parser.add_argument("out", type=Path, nargs="?", default=HERE, help="where to write; default: examples/")
    arguments = parser.parse_args()
    if not arguments.simulated.is_dir():
        sys.exit(f"{arguments.simulated}: is not a folder")
    arguments.out.mkdir(parents=True, exist_ok=True)
    make(arguments.simulated, arguments.out)


if __name__ == "__main__":
    main()
