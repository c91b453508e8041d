"""A synthetic set as a dump in RoboArena's layout (arXiv 2506.18123), with the traps that its real dumps have.

```
OUT/global_metadata.yaml
    evaluation_sessions/<uuid>/metadata.yaml
                               <LETTER>_<policy>/<policy>_<time>_video_{left,right,wrist}.mp4
    simulator_truth.parquet    a predictions file: the simulator's reward so far at each frame
    simulated.json             what it was made with, and the private data that were planted (all invented)
```
A session of a set can have many rollouts; here it is cut into sessions of two to five. Traps: more than two policies,
policies that never ran, a missing camera, one frame more than steps, instructions with typing errors, sites in several
spellings, private data in texts, container tags, an audio track. States and actions are not kept: a Sawyer has no log
of a DROID robot.
"""

from __future__ import annotations

import datetime
import json
import random
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from bad_robot_behavior import media
from bad_robot_behavior.schema import Role, rollout_id
from bad_robot_behavior.schema.synthetic_file import Episode, Scene
from bad_robot_behavior.synthesis.feedback import Nouns, pair_feedback, scene_feedback
from bad_robot_behavior.synthesis.run import Report, read_report, read_scenes, synthesize
from bad_robot_behavior.synthesis.scene import LABELS, Settings, preferred
from bad_robot_behavior.synthesis.tasks import SynthesisError, find_task

SOURCE = "roboarena_sim"
"""The name that the source must have in a recipe for simulator_truth.parquet to fit: it goes into rollout ids."""

FACTS, TRUTH = "simulated.json", "simulator_truth.parquet"
_NAMESPACE = uuid.UUID("5b0e0f7e-6f0a-5a3e-9d0b-0d6a7c1f2e11")
_CAMERAS: dict[Role, str] = {"exterior_1": "left", "exterior_2": "right", "wrist": "wrist"}
_POLICIES = (
    "sim_flow_base",
    "sim_flow_tuned",
    "sim_token_small",
    "sim_token_large",
    "sim_diffusion_v1",
    "sim_chunk_v2",
    "sim_retrieval_v1",
)
_SITES = (
    (("Northfield University", "northfield university ", "Northfield Univ."), "northfield.example"),
    (("Larkspur Institute of Technology", "Larkspur Inst. of Technology", "LARKSPUR"), "larkspur.example"),
    (("Ostermoor Technical University", "Ostermoor TU", "ostermoor technical university"), "ostermoor.example"),
)
_PLANTED = (
    ("The camera froze before we started, call {first} at {phone} if it does it again.", ("{first}", "{phone}")),
    ("Raw videos are at /home/{user}/eval_logs/run{n}.", ("/home/{user}/eval_logs/run{n}",)),
    ("Sent the log to {user}@{domain} as well.", ("{user}@{domain}",)),
    ("The policy server was at 192.0.2.{n}, it was slow.", ("192.0.2.{n}",)),
    ("Recorded on ws-{user}-0{d}.local with the old camera.", ("ws-{user}-0{d}.local",)),
)
_FIRST = ("Maria Delgado", "Jonas Weber", "Priya Raman", "Tunde Okafor", "Lena Fischer", "Kenji Morita")
_TYPOS = {"the ": "teh ", "from": "form", "marker": "makrer", "without": "withuot", "push": "psuh", "open": "opne"}


def synthesize_dump(out: Path, settings: Settings, workers: int = 1) -> Report:
    """Make `<out>.set`, resumable as every set is, and from it the dump at `out`. A dump of the same is left as it is.

    Raises SynthesisError where `out` is there and holds something else, and as `run.synthesize`.
    """
    there = _facts(out)
    if there is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SynthesisError(f"{out}: is there already and is no dump of this command; give the path of a new folder")
    if there is not None and there["settings"] != settings.as_json():
        raise SynthesisError(f"{out}: holds a dump of other arguments; give the path of a new folder")
    whole = out.with_name(out.name + ".set")
    report = synthesize(whole, settings, workers)
    if there is None:
        write_dump(whole, out, settings)
    return msgspec.structs.replace(report, path=str(out))


def write_dump(folder: Path, out: Path, settings: Settings) -> int:
    """Write the set in `folder` as a dump at `out`, which is not there or empty; how many sessions it has.

    A scene of which only the success is left has nobody to be compared with, and stays out.
    """
    read_report(folder)  # a set that is not whole is none
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        sessions = _write(folder, part, settings)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return sessions


def _write(folder: Path, part: Path, settings: Settings) -> int:
    rows: list[dict[str, Any]] = []
    planted: dict[str, list[str]] = {}
    policies: set[str] = set()
    episodes = 0
    start = datetime.datetime(2026, 3, 2, 9, 0, 11)
    sessions = 0
    for scene, group in _sessions(folder):
        when = start + datetime.timedelta(minutes=19 * sessions)
        session = _Session(folder, part, scene, group, when, number=sessions, before=episodes)
        rows += session.write()
        policies |= set(session.policies)
        sessions += 1
        episodes += len(group)
        if session.planted:
            planted[session.name] = session.planted
    if not sessions:
        raise SynthesisError(f"{folder}: no scene has two rollouts to compare; give more --faults or --seeds")
    index = {policy: {"action_space": "joint_velocity", "open_source": False} for policy in sorted(policies)}
    write_yaml(
        part / "global_metadata.yaml",
        {
            "created_at": start.isoformat(),
            "policy_index": index,
            "total_policy_episodes": episodes,
            "total_sessions": sessions,
        },
    )
    facts = {"settings": settings.as_json(), "planted": planted}
    (part / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_truth(part / TRUTH, rows)
    return sessions


def _sessions(folder: Path) -> Iterator[tuple[Scene, tuple[Episode, ...]]]:
    """The scenes of a set, each cut into groups of two to five, with letters from A; most groups are pairs."""
    for scene in read_scenes(folder):
        draw = random.Random(f"sessions/{scene.scene}")
        left = list(scene.episodes)
        draw.shuffle(left)
        while len(left) > 1:
            size = min(draw.choice((2, 2, 2, 3, 4, 5)), len(left))
            if len(left) - size == 1:  # one alone could not be compared
                size += 1 if size < 5 else -1
            group, left = left[:size], left[size:]
            yield (
                scene,
                tuple(msgspec.structs.replace(e, label=letter) for e, letter in zip(group, LABELS, strict=False)),
            )


class _Session:
    """One session of the dump: what is invented for it follows from its name."""

    def __init__(
        self,
        folder: Path,
        dump: Path,
        scene: Scene,
        group: tuple[Episode, ...],
        start: datetime.datetime,
        *,
        number: int,
        before: int,
    ) -> None:
        self.source, self.scene, self.group, self.start = folder / "scenes" / scene.scene, scene, group, start
        names = "/".join(episode.name for episode in group)
        self.name = str(uuid.uuid5(_NAMESPACE, f"{scene.scene}/{names}"))
        self.draw = random.Random(f"session/{self.name}")
        self.folder = dump / "evaluation_sessions" / self.name
        self.policies = self.draw.sample(_POLICIES, len(group) + 1)
        self.planted: list[str] = []
        self.number, self.count = number, before  # what is rare comes by turns, so that a small dump has it too

    def write(self) -> list[dict[str, Any]]:
        """The session's files; the rows of its rollouts for the truth."""
        entries: dict[str, Any] = {}
        rows = [self._rollout(episode, policy, entries) for episode, policy in zip(self.group, self.policies)]  # noqa: B905 - there is one name more
        if self.number % 10 == 3:
            entries[LABELS[len(self.group)]] = None  # a policy that was drawn and never ran
        spellings, domain = self.draw.choice(_SITES)
        who = self.draw.choice(_FIRST)
        user = who.lower().replace(" ", ".")
        a, b = self.group[:2]
        metadata = {
            "evaluation_location": self.draw.choice((spellings[0], *spellings)),
            "evaluator_name": f"{user}@{domain}",
            "language_instruction": _typed(self.scene.instruction, self.draw),
            "longform_feedback": self._feedback(domain),
            "policies": entries,
            "preference": {"a": "A", "b": "B", "tie": "TIE"}[preferred(a, b)],
            "session_completion_timestamp": (self.start + datetime.timedelta(minutes=14)).isoformat() + ".481516",
            "session_creation_timestamp": self.start.isoformat() + ".234200",
        }
        write_yaml(self.folder / "metadata.yaml", metadata)
        return rows

    def _rollout(self, episode: Episode, policy: str, entries: dict[str, Any]) -> dict[str, Any]:
        place = self.folder / f"{episode.label}_{policy}"
        place.mkdir(parents=True)
        self.count += 1
        minutes = 2 * LABELS.index(episode.label)
        stamp = (self.start + datetime.timedelta(minutes=minutes, seconds=13)).strftime("%Y_%m_%d_%H_%M_%S")
        cameras = list(episode.cameras)
        if {"exterior_1", "exterior_2"} <= set(cameras) and self.draw.random() < 1 / 6:
            cameras.remove("exterior_1")  # about so often a left video is missing in the real dumps
        for camera in cameras:
            target = place / f"{policy}_{stamp}_video_{_CAMERAS[camera]}.mp4"
            self._copy(self.source / episode.name / f"{camera}.mp4", target)
        with np.load(self.source / episode.name / "steps.npz", allow_pickle=False) as steps:
            value = np.clip(np.cumsum(steps["reward"]), 0, 1)
        every = self.scene.steps_per_frame
        at = [min(frame, len(value) - 1) for frame in range(0, len(value) + every - 1, every)]
        score = round(episode.score or 0.0, 3)
        entries[episode.label] = {
            "binary_success": int(score == 1.0),
            # moviepy may write one frame more than there were steps; `duration` is the index of the last step
            "duration": len(at) - (2 if self.draw.random() < 0.25 else 1),
            "partial_success": score,
            "policy_name": policy,
        }
        return {
            "rollout_id": rollout_id(SOURCE, self.name, place.name, episode.label),
            "role": cameras[0],
            "frame_index": list(range(len(at))),
            "value": [round(float(value[step]), 6) for step in at],
            "model": "simulator-truth",
            "parameters": json.dumps({"clip": [0, 1], "steps_per_frame": every}),
            "error": None,
        }

    def _copy(self, source: Path, target: Path) -> None:
        """As it is, or with what a careless recorder leaves in files."""
        turn = self.count % 20
        if turn == 5:
            who = self.draw.choice(_FIRST)
            comment = f"recorded on ws-{who.split()[1].lower()}-03.local"
            self.planted += [who, comment.split()[-1]]
            media.remux_careless(source, target, {"artist": who, "comment": comment}, sound=False)
        elif turn == 15:
            media.remux_careless(source, target, {}, sound=True)
        else:
            shutil.copyfile(source, target)

    def _feedback(self, domain: str) -> str:
        task, draw = find_task(self.scene.task), self.draw
        nouns = Nouns(task.object, task.goal)
        if len(self.group) == 2:
            a, b = self.group
            text = pair_feedback(a, b, preferred(a, b), nouns, self.name)
        else:
            text = scene_feedback(self.group, nouns, self.name)
        if draw.random() < 0.5:
            sentence, private = draw.choice(_PLANTED)
            first = draw.choice(_FIRST)
            facts = {
                "first": first,
                "user": first.split()[0].lower(),
                "domain": domain,
                "phone": f"(206) 555-01{draw.randrange(100):02d}",  # kept for fiction
                "n": draw.randrange(1, 200),
                "d": draw.randrange(1, 9),
            }
            self.planted += [one.format(**facts) for one in private]
            text = f"{text}\n{sentence.format(**facts)}"
        return text


def _typed(instruction: str, draw: random.Random) -> str:
    """An instruction as people type it: with a capital and full stop, or a typing error, or neither."""
    luck = draw.random()
    if luck < 0.2:
        return instruction[0].upper() + instruction[1:] + "."
    fitting = [word for word in _TYPOS if word in instruction]
    if luck < 0.35 and fitting:
        word = draw.choice(fitting)
        return instruction.replace(word, _TYPOS[word], 1)
    return instruction


def write_yaml(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=True, allow_unicode=True, width=100), encoding="utf-8")


def _write_truth(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"frame_index": pa.list_(pa.int64()), "value": pa.list_(pa.float64())}
    names = ("rollout_id", "role", "frame_index", "value", "model", "parameters", "error")
    schema = pa.schema([(name, numbers.get(name, pa.string())) for name in names])
    ordered = sorted(rows, key=lambda row: str(row["rollout_id"]))
    pq.write_table(pa.Table.from_pylist(ordered, schema=schema), path, compression="zstd")


def _facts(out: Path) -> dict[str, Any] | None:
    """What the dump at `out` was made with; None where there is none of this command."""
    try:
        found = json.loads((out / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "settings" in found else None


__all__ = ["FACTS", "SOURCE", "TRUTH", "synthesize_dump", "write_dump"]
