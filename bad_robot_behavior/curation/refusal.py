"""What a source says where it cannot give a rollout: inside, an exception; outside, a rejection."""

from __future__ import annotations

from bad_robot_behavior.schema import Rejection, RejectionSubject, Rule, session_id


class Refusal(Exception):
    """A file breaks a rule: `rule` says which, `reason` how. `reason` quotes no text of the source."""

    def __init__(self, rule: Rule, reason: str) -> None:
        self.rule = rule
        self.reason = reason
        super().__init__(reason)


def rejection(
    source: str, session: str, subject: RejectionSubject, subject_id: str, ref: str, code: str, detail: str
) -> Rejection:
    """The rejection of a part of a session by its source.

    `session` and `ref` are the source's own names of the session and of the subject; `code` is the id of the rule that
    was broken; `detail` holds no text of the source.
    """
    return Rejection(
        subject=subject,
        subject_id=subject_id,
        session_id=session_id(source, session),
        source=source,
        source_ref=ref,
        stage="source",
        code=code,
        detail=detail,
    )
