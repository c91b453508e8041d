"""Small releases for the tests of this room and of those that read releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bad_robot_behavior.builder.package import write_release
from bad_robot_behavior.schema import (
    Critique,
    LicenseSettings,
    LicenseVerdict,
    PackageSettings,
    Recipe,
    ReleaseManifest,
    RewardCurve,
    Rollout,
    ScrubSettings,
    SourceSettings,
)
from tests.factories import make_pair

VERDICT = LicenseVerdict(
    source="lab",
    license="CC-BY-4.0",
    evidence="LICENSE in the source's folder",
    checked="2026-01-02",
    attribution="A lab",
    redistribution=True,
    derivatives=True,
    commercial=True,
    allowed=True,
    reason="the recipe allows it",
)


def make_recipe(layout: str = "auto", version: str = "1.0.0", **package: Any) -> Recipe:
    return Recipe(
        name="bad-robot-behavior",
        version=version,
        title="Failures for tests",
        description="Synthetic squares that move.",
        sources=(SourceSettings(name="lab", kind="folder", path="lab"),),
        license=LicenseSettings(allow=("CC-BY-4.0",)),
        scrub=ScrubSettings(drop_evaluators=True),
        package=PackageSettings(videos=layout, **package),  # type: ignore[arg-type]
    )


def make_rollouts(folder: Path, sessions: int = 4) -> list[Rollout]:
    """Pairs of rollouts, the worse one with a critique and a reward curve; the last session is in split test."""
    rollouts: list[Rollout] = []
    for number in range(sessions):
        split = "test" if number == sessions - 1 else "train"
        words = f"put marker {number} in the cup"
        named = {"session": f"session-{number}", "instruction": words, "instruction_key": words}
        a, b = make_pair(folder, seed=10 * number, split=split, **named)  # the same file in two splits would be a leak
        a = msgspec.structs.replace(a, success=True, outcome="success")
        frames, value = (0, 5, 11), (0.0, 0.5, -0.25)
        curve = RewardCurve(
            name="chosen",
            kind="reward",
            scorer="gvl",
            model="stub",
            role="exterior_1",
            frame_index=frames,
            value=value,
            provenance="human",
        )
        critique = Critique(
            text="It dropped the marker.",
            attributed_spans=(),
            general="The object fell.",
            model="stub",
            prompt_sha256=None,
        )
        b = msgspec.structs.replace(b, critique=critique, rewards=(curve,), reward=value, reward_frame_index=frames)
        rollouts += [a, b]
    return rollouts


def make_release(out: Path, rollouts: list[Rollout], layout: str = "auto", **options: Any) -> ReleaseManifest:
    recipe = options.pop("recipe", None) or make_recipe(layout)
    options = {"rejections": (), "rollouts_read": len(rollouts), "licenses": (VERDICT,)} | options
    return write_release(out, recipe=recipe, recipe_sha256="0" * 64, rollouts=iter(rollouts), **options)
