"""A model of known quality behind the loopback server: it sees the truth of a world (`worlds`), and errs as it is told.

    python tests/judge.py --index world.npz --bias 0.5 --noise 0.05 --gains '{"dense": {"simple": 0.8}}'

It decodes the pictures, finds which attempt and frame each shows, and answers with (1 - b) * true progress + b * share
of the time gone by + noise. b is its optimism about an attempt in which something went wrong: --bias, unless the prompt
holds an example of that kind of failure. Then b falls by the gain of what is shown, for the task's group:
`text` where its words name the kind; `video` where also its pictures are of a failure of that kind; `dense` where also
their numbers fit the pictures. With --recall it answers for pictures that it has just been shown with the numbers that
stood beside them, which is how a leaking demonstration fakes a gain.

It shows that a protocol finds what was put in. It says nothing of any real model.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bad_robot_behavior import media
from bad_robot_behavior.benchmark.arms import Arm, Plan
from bad_robot_behavior.builder.loader import Release
from bad_robot_behavior.schema import taxonomy
from bad_robot_behavior.vlm import wire
from bad_robot_behavior.vlm.client import Request
from tests import loopback
from tests.worlds import FRAMES, GROUPS, TASKS, Attempt, Index

TARGET = "What follows is the attempt that you are to judge."
SHOWN = re.compile(r"stood at (\d+) percent")
_CATEGORIES = taxonomy.load().categories
DEFINITIONS = {
    kind: _CATEGORIES[category].kinds[slug].definition
    for _, kinds in TASKS.values()
    for kind, (_, (category, slug)) in kinds.items()
}
"""What the distiller writes of each kind of failure, in general words."""
Gains = dict[str, dict[str, float]]  # level -> group of categories -> share of the optimism that goes


class Judge:
    """Answers requests over one world. noise: standard deviation of a whole answer; bias: 0 is the truth."""

    def __init__(
        self, index: Index, *, bias: float, noise: float, gains: Gains, recall: bool = False, seed: int = 0
    ) -> None:
        self.index = index
        self.bias = bias
        self.noise = noise
        self.gains = gains
        self.recall = recall
        self.seed = seed
        self.find = functools.lru_cache(maxsize=65536)(self._find)

    def answer(self, request: Request) -> str:
        """The same without a server in between: what `StubClient` asks."""
        return json.dumps({"frames": self.progress(wire.payload(request, 1, "max_tokens", ()))})

    def progress(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """What loopback puts into an answer: an entry for each picture after the anchor."""
        before, target = self.read(request)
        attempt = self.index.attempts[self.find(target[0])[0]]
        optimism = self.optimism(attempt, self.gain(attempt, before))
        shown = self._recalled(before)
        body = hashlib.sha256(b"".join(target) + repr(before).encode()).hexdigest()
        chance = np.random.default_rng(
            list(hashlib.sha256(f"{self.seed}:{request.get('seed')}:{body}".encode()).digest())
        )
        offset = self.noise * float(chance.normal())
        entries = []
        for number, picture in enumerate(target[1:], start=1):
            place = self.find(picture)
            value = self.value(self.index.attempts[place[0]], place[1], optimism) + offset
            value = shown.get(place, value)
            entries.append({"frame": number, "seen": "a picture", "percent": round(100 * min(max(value, 0.0), 1.0), 2)})
        return entries

    def optimism(self, attempt: Attempt, gain: float) -> float:
        """Failures are overrated, the more the less it has been told; where nothing went wrong it sees the truth."""
        return 0.0 if attempt.kind is None else self.bias * (1 - gain)

    def value(self, attempt: Attempt, frame: int, optimism: float) -> float:
        """What it would say of a frame without noise."""
        return (1 - optimism) * attempt.progress[frame] + optimism * frame / (FRAMES - 1)

    def gain(self, attempt: Attempt, before: list[str | bytes]) -> float:
        """What the example in the prompt takes off its optimism about this attempt."""
        level = None if attempt.kind is None else self.level(attempt.kind, before)
        return 0.0 if level is None else self.gains.get(level, {}).get(GROUPS[attempt.category], 0.0)

    def level(self, kind: str, before: list[str | bytes]) -> str | None:
        """How much an example tells of a kind of failure: None, text, video or dense."""
        if not any(DEFINITIONS[kind] in text for text in before if isinstance(text, str)):
            return None
        places = [self.find(part) for part in before if isinstance(part, bytes)]
        if not places or any(self.index.attempts[attempt].kind != kind for attempt, _ in places):
            return "text"
        return "dense" if self._fits(before) else "video"

    def _fits(self, before: list[str | bytes]) -> bool:
        """Whether the numbers beside an example's pictures rise and fall with what it would have said itself."""
        numbers = self._numbers(before)
        inner = [(place, number) for place, number in numbers.items() if place[1] > 0]  # the first is 0 by definition
        if len(inner) < 3:
            return False
        said = np.array([number for _, number in inner])
        seen = [(self.index.attempts[attempt], frame) for (attempt, frame), _ in inner]
        own = np.array([self.value(attempt, frame, self.optimism(attempt, 0.0)) for attempt, frame in seen])
        if np.ptp(said) == 0 or np.ptp(own) == 0:
            return False
        return bool(np.corrcoef(said, own)[0, 1] > 0.9)

    def _numbers(self, before: list[str | bytes]) -> dict[tuple[int, int], float]:
        """By attempt and frame the progress that stands beside an example's picture."""
        found: dict[tuple[int, int], float] = {}
        beside: float | None = None
        for part in before:
            if isinstance(part, bytes):
                if beside is not None:
                    found[self.find(part)] = beside
            else:
                match = SHOWN.search(part)
                beside = int(match[1]) / 100 if match else None
        return found

    def _recalled(self, before: list[str | bytes]) -> dict[tuple[int, int], float]:
        """With recall: for every frame of an attempt that was shown with numbers, the number of the closest one."""
        if not self.recall:
            return {}
        numbers = self._numbers(before)
        return {
            (attempt, frame): min((abs(f - frame), n) for (a, f), n in numbers.items() if a == attempt)[1]
            for attempt in {a for a, _ in numbers}
            for frame in range(FRAMES)
        }

    def _find(self, picture: bytes) -> tuple[int, int]:
        import av

        with av.open(io.BytesIO(picture)) as container:
            pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
        return self.index.find(pixels)

    @staticmethod
    def read(request: dict[str, Any]) -> tuple[list[str | bytes], list[bytes]]:
        """The texts and pictures of the examples in order, and the pictures of the attempt in question."""
        before: list[str | bytes] = []
        target: list[bytes] = []
        content = next(message["content"] for message in request["messages"] if message["role"] == "user")
        ended = not any(TARGET in part.get("text", "") for part in content)
        for part in content:
            if part["type"] == "image_url":
                (target if ended else before).append(loopback.decoded(part))
            elif not ended:
                ended = TARGET in part["text"]
                before.append(part["text"])
        return before, target


class PutIn:
    """What a plan should find with a judge, worked out from the truth and the judge's parameters alone."""

    def __init__(self, release: Release, judge: Judge, plan: Plan, num_frames: int) -> None:
        self.judge = judge
        self.plan = plan
        self.shown = media.sample_index(FRAMES, num_frames)[1:]  # the first frame is 0 by definition
        by_key = {attempt.key: attempt for attempt in judge.index.attempts}
        rows = release.table("rollouts", columns=["rollout_id", "session_id", "source_ref"]).to_pylist()
        self.attempts = {row["rollout_id"]: by_key[row["source_ref"]] for row in rows}
        self.session = {row["rollout_id"]: row["session_id"] for row in rows}
        pairs = release.table("preferences", split=plan.split).to_pylist()
        self.pairs = [
            (p["rollout_a"], p["rollout_b"]) if p["preference"] == "a" else (p["rollout_b"], p["rollout_a"])
            for p in pairs
        ]
        self.sessions = [p["session_id"] for p in pairs]
        self.groups = np.array([GROUPS[self.attempts[better].category] for better, _ in self.pairs])

    def accuracies(self, arm: Arm) -> np.ndarray[Any, Any]:
        """(P,) for each pair the probability that the judge orders it as the human did."""
        if self.judge.noise == 0:
            raise ValueError("without noise there is no probability")
        chances = []
        for (better, worse), session in zip(self.pairs, self.sessions, strict=True):
            gap = self._mean(better, arm, session) - self._mean(worse, arm, session)
            chances.append(0.5 * (1 + math.erf(gap / (2 * self.judge.noise))))
        return np.array(chances)

    def _mean(self, rollout: str, arm: Arm, session: str) -> float:
        attempt = self.attempts[rollout]
        optimism = self.judge.optimism(attempt, self._gain(attempt, arm, session))
        return float(np.mean([self.judge.value(attempt, int(frame), optimism) for frame in self.shown]))

    def _gain(self, attempt: Attempt, arm: Arm, session: str) -> float:
        names = self.plan.shown[arm.pool].get(session, ()) if arm.pool is not None else ()
        if attempt.kind is None or not any(self.attempts[name].kind == attempt.kind for name in names):
            return 0.0
        level = "text" if not arm.frames else "dense" if arm.values and not arm.shuffled else "video"
        return self.judge.gains.get(level, {}).get(GROUPS[attempt.category], 0.0)


@contextlib.contextmanager
def serve(index: Path, *, gains: Gains | None = None, **flags: Any) -> Iterator[str]:
    """Run it in a process of its own and give its base URL; `flags` are its options, and those of loopback."""
    with loopback.serve(__file__, index=index, gains=json.dumps(gains or {}), **flags) as url:
        yield url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--bias", type=float, default=0.5)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--gains", type=json.loads, default={})
    parser.add_argument("--recall", action="store_true")
    parser.add_argument("--judge-seed", type=int, default=0)
    own, rest = parser.parse_known_args()
    index = Index.load(own.index)
    judge = Judge(index, bias=own.bias, noise=own.noise, gains=own.gains, recall=own.recall, seed=own.judge_seed)
    loopback.progress = judge.progress
    loopback.main(rest)


if __name__ == "__main__":
    main()
