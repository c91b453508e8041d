"""A lab folder to break, and what is said of it when it is broken."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bad_robot_behavior.curation.sources.folder import Folder, check
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.schema import Defect, Rejection, Rollout, SourceSettings

GOOD: dict[str, Any] = {
    "instruction": "put the marker in the cup",
    "feedback": "Policy A did it. Policy B pushed the cup over.",
    "rollouts": {
        "A": {"video": "A.mp4", "score": 0.9, "success": True, "policy": "pi0"},
        "B": {"video": "B.mp4", "score": 0.2, "success": False},
    },
    "preference": "A",
}


@dataclasses.dataclass
class Lab:
    """A lab folder to break, with one session and two videos."""

    root: Path
    tmp: Path

    @property
    def session(self) -> Path:
        return self.root / "s1"

    def write(self, data: Any = None, **changes: Any) -> Lab:
        text = data if isinstance(data, str) else yaml.safe_dump(GOOD | changes, sort_keys=False)
        (self.session / "session.yaml").write_text(text, encoding="utf-8")
        return self

    def rollout(self, label: str = "B", **changes: Any) -> Lab:
        """session.yaml with one rollout changed; a value of ... removes the field."""
        entry = {k: v for k, v in (GOOD["rollouts"].get(label, {}) | changes).items() if v is not ...}
        return self.write(rollouts=GOOD["rollouts"] | {label: entry})

    def read(self, **settings: Any) -> list[Rollout | Rejection]:
        source = Folder(SourceSettings(name="lab", kind="folder", path=".", **settings), self.root)
        store = Store(self.tmp / "store")
        return [item for session in source.sessions() for item in source.read(session, store)]

    def rollouts(self, **settings: Any) -> dict[str, Rollout]:
        return {r.source_ref.rsplit("/", 1)[-1]: r for r in self.read(**settings) if isinstance(r, Rollout)}

    def assert_broken(self, code: str, subject: str, field: str | None = None) -> Defect:
        """The defect of `code`, after a look that reading and checking say the same. The other rollouts must stay."""
        defects = check(self.root)
        defect = next((d for d in defects if d.rule == code), None)
        assert defect is not None, [str(d) for d in defects]
        assert defect.field == field
        assert defect.cure and code in str(defect)
        items = self.read()
        rejections = [item for item in items if isinstance(item, Rejection)]
        assert (subject, code) in {(r.subject, r.code) for r in rejections}, rejections
        assert {d.rule for d in defects} >= {r.code for r in rejections}
        assert all(r.stage == "source" and str(self.root) not in r.detail for r in rejections)
        kept = {item.source_ref for item in items if isinstance(item, Rollout)}
        if subject == "session":
            assert kept == set() and {r.code for r in rejections} == {code}  # what is lost with it has the same
            assert [r.subject for r in rejections].count("session") == 1
        if subject == "preference":
            assert kept == {"s1/A", "s1/B"}
        if subject == "rollout":
            assert "s1/A" in kept
        return defect


def save(path: Path, **arrays: Any) -> None:
    good = {"state": np.zeros((5, 2), np.float32), "action": np.ones((5, 3), np.float32)}
    np.savez_compressed(path, **{k: v for k, v in (good | arrays).items() if v is not None})
