"""Which reward curves a failure can be shown or learnt by."""

from __future__ import annotations


def low_where_it_failed(provenance: str, preferred: bool | None) -> bool:
    """Whether the chosen curve of a failed rollout is known to be low where it should be.

    `provenance` and `preferred` are those of its `RewardCurve`. A simulator, a human and an edit know what happened. Of
    the samples of a model the kept one is low where the human rejected the rollout; of a failure that the human
    preferred to a worse one, it is the high one.
    """
    return provenance in {"simulator", "human", "edit"} or preferred is False
