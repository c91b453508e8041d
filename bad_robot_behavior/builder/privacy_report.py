"""privacy.json: what the scrub stage did to the rollouts of a release, added up: kinds and places, no values."""

from __future__ import annotations

from collections import Counter

import msgspec

from bad_robot_behavior.errors import ReleaseError
from bad_robot_behavior.schema import Detector, DetectorRuns, FindingCount, Privacy, PrivacyReport


class PrivacyTally:
    """Takes privacy records one at a time; holds a count for each detector, kind and place."""

    def __init__(self) -> None:
        self._rollouts = 0
        self._verdicts: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._looked: Counter[str] = Counter()  # rollouts on which a detector of faces, or any of pictures, ran
        self._detectors: Counter[Detector] = Counter()
        self._found: Counter[tuple[str, str]] = Counter()
        self._found_in: Counter[tuple[str, str]] = Counter()

    def add(self, rollout_id: str, privacy: Privacy | None) -> None:
        """Count one rollout; None: it never went through the scrub stage.

        Raises ReleaseError where a detector did not run and nobody said why: that is never packaged.
        """
        self._rollouts += 1
        if privacy is None:
            return
        for detector in privacy.detectors:
            if not detector.ran and not (detector.reason or "").strip():
                raise ReleaseError(
                    f"rollout {rollout_id}: detector {detector.name} did not run and there is no reason given; "
                    f"let it run, or say in the recipe under `scrub` why it need not"
                )
            self._detectors[detector] += 1
        self._verdicts[privacy.verdict] += 1
        self._sums["audio"] += privacy.audio_removed
        self._sums["tags"] += privacy.metadata_removed
        for what, count in (("faces", privacy.faces_found), ("frames", privacy.frames_masked)):
            if count is not None:
                self._looked[what] += 1
                self._sums[what] += count
        here: set[tuple[str, str]] = set()
        for finding in privacy.findings:
            here.add((finding.kind, finding.place))
            self._found[finding.kind, finding.place] += finding.count
        self._found_in.update(here)

    @property
    def unscrubbed(self) -> int:
        """Rollouts without a privacy record."""
        return self._rollouts - sum(self._verdicts.values())

    def waived(self) -> tuple[Detector, ...]:
        """The detectors that did not run somewhere, each with its reason, sorted."""
        waived = {(d.name, d.reason or ""): d for d in self._detectors if not d.ran}
        return tuple(waived[key] for key in sorted(waived))

    def report(self) -> PrivacyReport:
        """The sums so far; the same rollouts in any order give the same."""
        runs = [DetectorRuns(**msgspec.structs.asdict(d), rollouts=n) for d, n in self._detectors.items()]
        return PrivacyReport(
            rollouts=self._rollouts,
            unscrubbed=self.unscrubbed,
            verdicts=dict(sorted(self._verdicts.items())),
            faces_found=self._sums["faces"] if self._looked["faces"] else None,
            frames_masked=self._sums["frames"] if self._looked["frames"] else None,
            audio_removed=self._sums["audio"],
            metadata_removed=self._sums["tags"],
            detectors=tuple(sorted(runs, key=lambda d: [str(part) for part in msgspec.structs.astuple(d)])),
            findings=tuple(
                FindingCount(kind=kind, place=place, count=count, rollouts=self._found_in[kind, place])
                for (kind, place), count in sorted(self._found.items())
            ),
        )
