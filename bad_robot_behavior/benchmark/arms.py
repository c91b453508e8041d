"""The arms of the ladder of in-context failures (arXiv 2606.01036), and which demonstrations each session is shown.

The paper shows nothing, text, text with video, and text with video and a dense reward. The arms beyond these are
controls that it lacks: they tell a failure from any example, its numbers from any numbers, and its task from any task.
How the paper chose its demonstrations is not published; here all rollouts of a session see the same ones, drawn by a
seed from split train, never of the same session, the same normalised instruction or a near-duplicate video.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bad_robot_behavior.benchmark.predictions import describe
from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.media.fingerprint import near_duplicates
from bad_robot_behavior.schema import ROLES, Record, Role, SplitName, SplitSettings

if TYPE_CHECKING:
    from bad_robot_behavior.builder.loader import Release

Pool = Literal["failure", "success", "other_category"]

NO_EXAMPLE = "no example is left that this session may be shown"
"""The error of a prediction in an arm for whose session there is nothing to show."""
_SUCCEEDED = "The robot did what it was told to do."


class Arm(Record, frozen=True, kw_only=True):
    """One way to ask: from which pool an example comes, and what of it is shown."""

    name: str
    says: str
    pool: Pool | None = None
    text: bool = False
    frames: bool = False
    values: bool = False
    shuffled: bool = False
    """The numbers of the example in a random order."""


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(name="none", says="no example: what every other arm is compared with"),
        Arm(name="none_again", says="no example, asked a second time with other orders of the frames: the noise"),
        Arm(name="text", says="level 1: what went wrong elsewhere, in words", pool="failure", text=True),
        Arm(name="text_video", says="level 2: words and frames of a failure", pool="failure", text=True, frames=True),
        Arm(
            name="text_video_dense",
            says="level 3: words, frames and the progress in each",
            pool="failure",
            text=True,
            frames=True,
            values=True,
        ),
        Arm(
            name="text_dense",
            says="control: level 3 without the frames",
            pool="failure",
            text=True,
            values=True,
        ),
        Arm(
            name="shuffled_dense",
            says="control: level 3 with its numbers in a random order",
            pool="failure",
            text=True,
            frames=True,
            values=True,
            shuffled=True,
        ),
        Arm(
            name="positive",
            says="control: a success instead, its progress rising with time as GVL has it",
            pool="success",
            text=True,
            frames=True,
            values=True,
        ),
        Arm(
            name="wrong_category",
            says="control: level 3 of a failure at another category of tasks",
            pool="other_category",
            text=True,
            frames=True,
            values=True,
        ),
    )
}
"""All arms by name, in the order of the table."""


class Demo(Record, frozen=True, kw_only=True):
    """A rollout of split train as it can be shown. frame_index and value (progress in [0, 1]) are of one length."""

    rollout_id: str
    session_id: str
    task_category: str
    instruction: str
    instruction_key: str
    text: str
    role: Role
    frame_index: tuple[int, ...]
    value: tuple[float, ...]


class Plan(Record, frozen=True, kw_only=True):
    """Who is shown what. `shown` gives for each pool and session the rollouts that are its examples."""

    release: dict[str, str]
    split: SplitName
    examples: int
    frames: int
    seed: int
    near_duplicate_bits: int
    pools: dict[str, int]
    """How many demonstrations there are to choose from."""
    refused: dict[str, int]
    """Pairs of a session and a demonstration that were refused, by reason."""
    shown: dict[str, dict[str, tuple[str, ...]]]
    demos: dict[str, dict[str, Demo]]
    """By pool and rollout_id, those that are shown to somebody."""


def make_plan(
    release: Release,
    split: SplitName,
    arms: Iterable[Arm],
    *,
    examples: int = 1,
    frames: int = 8,
    seed: int = 0,
) -> Plan:
    """Choose demonstrations out of split train for every session of `split`.

    examples: how many each session is shown, of as many sessions; frames: of each, evenly spaced, first and last among
    them. A session for which too few are left is not in `shown`. Raises ReleaseError where the split is train, is
    empty, or where split train holds no demonstration of a pool that one of the arms needs.
    """
    if split == "train":
        raise ReleaseError("split train is where demonstrations come from; give test or validation")
    columns = ["rollout_id", "session_id", "instruction_key", "task_category", "provenance"]
    targets = release.table("rollouts", columns=columns, split=split).to_pylist()
    if not targets:
        raise ReleaseError(f"{release.path}: has no rollouts in split {split}; give another with --split")
    wanted = [arm.pool for arm in arms if arm.pool is not None]
    pools = {pool: _candidates(release, pool, frames) for pool in dict.fromkeys(wanted)}
    for pool, found in pools.items():
        if not found:
            raise ReleaseError(f"{release.path}: {_LACKING[pool]}")
    bits = int(release.manifest.recipe.get("split", {}).get("near_duplicate_bits", SplitSettings().near_duplicate_bits))
    prints = {row["rollout_id"]: row["provenance"]["fingerprint"] or [] for row in targets}
    sources = release.table("rollouts", columns=["rollout_id", "provenance"], split="train").to_pylist()
    prints |= {row["rollout_id"]: row["provenance"]["fingerprint"] or [] for row in sources}
    like = _lookalikes(prints, bits)
    refused: Counter[str] = Counter()
    shown: dict[str, dict[str, tuple[str, ...]]] = {}
    for pool, found in pools.items():
        shown[pool] = {}
        for session, rows in _by_session(targets).items():
            chosen = _choose(session, rows, found, pool, like, examples, seed, refused)
            if chosen is not None:
                shown[pool][session] = tuple(demo.rollout_id for demo in chosen)
    used = {pool: {name for names in shown[pool].values() for name in names} for pool in pools}
    return Plan(
        release=describe(release),
        split=split,
        examples=examples,
        frames=frames,
        seed=seed,
        near_duplicate_bits=bits,
        pools={pool: len(found) for pool, found in pools.items()},
        refused=dict(sorted(refused.items())),
        shown=shown,
        demos={pool: {d.rollout_id: d for d in found if d.rollout_id in used[pool]} for pool, found in pools.items()},
    )


def shuffled(value: Sequence[float], seed: int, name: str) -> tuple[float, ...]:
    """The numbers in another order, the same for the same seed and name; as they are where they are all equal."""
    rng = np.random.default_rng(list(hashlib.sha256(f"{seed}\x1f{name}".encode()).digest()))
    mixed = tuple(value)
    while len(set(value)) > 1 and mixed == tuple(value):
        mixed = tuple(float(number) for number in rng.permutation(np.array(value)))
    return mixed


_LACKING: dict[Pool, str] = {
    "failure": "split train holds no demonstration with a dense reward; build it with reward.endpoint in the recipe, "
    "or with a source that knows the true reward, or give arms that need none: none,none_again",
    "other_category": "split train holds no demonstration with a dense reward; leave arm wrong_category out",
    "success": "split train holds no rollout that succeeded; leave arm positive out",
}


def _candidates(release: Release, pool: Pool, frames: int) -> list[Demo]:
    """All that split train has to show, in the order of the release."""
    if pool == "success":
        columns = ["rollout_id", "session_id", "task_category", "instruction", "instruction_key", "success", "videos"]
        rows = release.table("rollouts", columns=columns, split="train").to_pylist()
        return [_success(row, frames) for row in rows if row["success"]]
    return failures(release, "train", frames)


def failures(release: Release, split: SplitName, frames: int) -> list[Demo]:
    """The demonstrations of a split that have all levels, with up to so many of their frames.

    Values are shown on the scale of progress: a simulator's reward so far may fall below 0, which is shown as 0.
    """
    rows = release.table("demonstrations", split=split).to_pylist()
    dense = [row for row in rows if row["level"] == "text_video_dense"]
    return [_failure(row, frames) for row in dense]


def _failure(row: dict[str, Any], frames: int) -> Demo:
    places = _spaced(len(row["frame_index"]), frames)
    return _demo(
        row,
        row["text"],
        row["role"],
        [row["frame_index"][i] for i in places],
        [min(1.0, max(0.0, row["value"][i])) for i in places],
    )


def _success(row: dict[str, Any], frames: int) -> Demo:
    """GVL gives in-context frames the progress i / (T - 1), rounded to whole percents (arXiv 2411.04549)."""
    role = next(name for name in ROLES if row["videos"][name] is not None)
    last = row["videos"][role]["num_frames"] - 1
    index = _spaced(last + 1, frames)
    return _demo(row, _SUCCEEDED, role, index, [round(i / max(last, 1), 2) for i in index])


def _demo(row: dict[str, Any], text: str, role: Any, index: Sequence[int], value: Sequence[float]) -> Demo:
    names = ("rollout_id", "session_id", "task_category", "instruction", "instruction_key")
    # Tables hold float32: the nearest number of few digits is what was written.
    rounded = tuple(round(float(number), 6) for number in value)
    return Demo(**{name: row[name] for name in names}, text=text, role=role, frame_index=tuple(index), value=rounded)


def _spaced(length: int, count: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, length - 1, min(count, length)).round()})


def _by_session(targets: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in targets:
        sessions[row["session_id"]].append(row)
    return sessions


def _choose(
    session: str,
    rows: list[dict[str, Any]],
    found: list[Demo],
    pool: Pool,
    like: dict[str, set[str]],
    examples: int,
    seed: int,
    refused: Counter[str],
) -> list[Demo] | None:
    """The examples for one session, None where too few are left."""
    keys = {row["instruction_key"] for row in rows}
    category = rows[0]["task_category"]
    alike = set().union(*(like[row["rollout_id"]] for row in rows))
    allowed = []
    for demo in found:
        if (demo.task_category == category) == (pool == "other_category"):
            continue
        if demo.session_id == session:
            refused["same_session"] += 1
        elif demo.instruction_key in keys:
            refused["same_instruction"] += 1
        elif demo.rollout_id in alike:
            refused["near_duplicate"] += 1
        else:
            allowed.append(demo)
    allowed.sort(key=lambda demo: hashlib.sha256(f"{seed}\x1f{session}\x1f{demo.rollout_id}".encode()).digest())
    chosen: dict[str, Demo] = {}
    for demo in allowed:
        if len(chosen) < examples:
            chosen.setdefault(demo.session_id, demo)
    return list(chosen.values()) if len(chosen) == examples else None


def _lookalikes(prints: dict[str, list[str]], bits: int) -> dict[str, set[str]]:
    """For each rollout those with a video that is nearly one of its own, itself among them."""
    owners: dict[str, set[str]] = defaultdict(set)
    for rollout, videos in prints.items():
        for video in videos:
            owners[video].add(rollout)
    distinct = sorted(owners)
    near: dict[str, set[str]] = {video: {video} for video in distinct}
    for i, j in near_duplicates([[video] for video in distinct], bits):
        near[distinct[i]].add(distinct[j])
        near[distinct[j]].add(distinct[i])
    return {
        rollout: {rollout}.union(*(owners[other] for video in videos for other in near[video]))
        for rollout, videos in prints.items()
    }
