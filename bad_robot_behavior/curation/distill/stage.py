"""Stage `distill`: what people wrote about a session becomes one critique and a list of failures for each rollout."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from bad_robot_behavior.curation.distill import attribution, keywords
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.schema import (
    Critique,
    DistillSettings,
    Failure,
    Rejection,
    Rollout,
    Rule,
    Severity,
    reject,
    rule,
    taxonomy,
)
from bad_robot_behavior.vlm.answers import BadAnswer, Checked, ask_checked, read_json, without_server_words
from bad_robot_behavior.vlm.client import Client, Message, Request
from bad_robot_behavior.vlm.prompts import read_prompt

UNUSABLE_ANSWER = rule(
    "distill.unusable_answer",
    "A critique rests on an answer of the model that its schema and the taxonomy allow, at the latest on repair.",
    cure="Raise distill.max_tokens where answers were cut off, else take a model that keeps to a JSON schema, and "
    "build again. To ask the same model again, first remove `distill` and `requests.sqlite` from the work folder.",
)
LONG_FEEDBACK = rule(
    "distill.long_feedback",
    "The feedback of a session is read up to 20,000 characters in all; longer feedback gives no critique.",
    cure="See that no log or other file was pasted into the feedback, shorten it and build again.",
)

MAX_FEEDBACK = 20_000
"""Characters of feedback of one session beyond which it is not read: no person writes that about two rollouts."""
_MAX_STATEMENT = 1_500
_MAX_FAILURES = 32
_SESSIONS_AT_ONCE = 32
_ECHO_WORDS = 10
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to sort for one session. `own` is feedback on one rollout alone, by label."""

    instruction: str
    labels: dict[str, str]  # label -> rollout_id, of all rollouts that the feedback names
    feedback: str | None
    own: dict[str, str]

    def text_for(self, label: str) -> list[str]:
        """The texts in which a span for this rollout may stand."""
        return [text for text in (self.feedback, self.own.get(label)) if text is not None]


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """What a model or the rule found for one rollout. failures: (category, kind, severity, description)."""

    critique: str | None
    spans: tuple[str, ...]
    failures: tuple[tuple[str, str, Severity | None, str], ...]


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one session: by rollout_id what was found, or the rule for which nothing was, and how it broke."""

    found: dict[str, Sorted]
    broken: Rule | None = None
    detail: str = ""


class Distill:
    """Feedback to critique and failures, by a model behind `client`, or by the keyword rule where that is None.

    A span that does not stand in the feedback letter by letter takes its claim with it. An answer that breaks the
    schema or the taxonomy is asked once more; then the session's rollouts pass on as they came, and after them comes a
    rejection of subject `critique` for each, as also where the feedback is too long. `report()` counts both. Failures
    that are there already are kept. Raises EndpointError where the endpoint does not answer.
    """

    name: ClassVar[str] = "distill"

    def __init__(self, settings: DistillSettings, client: Client | None = None) -> None:
        self.settings = settings
        self.client = client
        self.taxonomy = taxonomy.load()
        self.prompt = read_prompt("distill")
        self._system = self.prompt.fill("system", taxonomy=_listing(self.taxonomy))
        self._rules = self.prompt.fill("system", taxonomy="")  # a description may well repeat a definition
        self._counters: Counter[str] = Counter()

    def parameters(self) -> Mapping[str, Any]:
        shared = {"taxonomy": self.taxonomy.version, "max_feedback": MAX_FEEDBACK}
        if self.client is None:
            return {"model": keywords.MODEL, "rule_sha256": keywords.sha256(), **shared}
        return {
            "model": self.client.model,
            "prompt_sha256": self.prompt.sha256,
            "max_tokens": self.settings.max_tokens,
            "temperature": self.settings.temperature,
            **shared,
        }

    def report(self) -> dict[str, int]:
        """Counters over all that this stage has read: sessions by what became of them, and claims that were dropped."""
        return dict(sorted(self._counters.items()))

    def run(self, rollouts: Iterable[Rollout], store: Store) -> Iterator[Rollout | Rejection]:
        sessions = (list(group) for _, group in itertools.groupby(rollouts, key=lambda rollout: rollout.session_id))
        while batch := list(itertools.islice(sessions, _SESSIONS_AT_ONCE)):
            for session, settled in zip(batch, self._sort([self._case(session) for session in batch]), strict=True):
                for rollout in session:
                    yield self._with(rollout, settled.found.get(rollout.rollout_id))
                if settled.broken is not None:
                    for rollout in filter(_is_written_about, session):
                        yield reject(rollout, "distill", settled.broken, settled.detail, subject="critique")

    def _case(self, session: Sequence[Rollout]) -> Case | Settled:
        said = session[0].session
        labels = dict(said.labels)
        known = set(labels.values())
        # A rollout that its session gives no label is still judged by its own feedback, under a label of ours.
        for rollout in session:
            if rollout.rollout_id not in known:
                free = (f"rollout_{number}" for number in itertools.count(1))
                labels[next(label for label in free if label not in labels)] = rollout.rollout_id
        names = {rollout_id: label for label, rollout_id in labels.items()}
        own = {
            names[rollout.rollout_id]: rollout.feedback
            for rollout in session
            if rollout.feedback and rollout.feedback.strip() and rollout.feedback != said.feedback
        }
        feedback = said.feedback if said.feedback and said.feedback.strip() else None
        if feedback is None and not own:
            self._counters["sessions_without_feedback"] += 1
            return Settled(found={})
        length = len(feedback or "") + sum(map(len, own.values()))
        if length > MAX_FEEDBACK:
            self._counters["sessions_with_too_long_feedback"] += 1
            return Settled(found={}, broken=LONG_FEEDBACK, detail=f"the session's feedback has {length:,} characters")
        self._counters["sessions_with_feedback"] += 1
        return Case(instruction=session[0].instruction, labels=labels, feedback=feedback, own=own)

    def _sort(self, cases: list[Case | Settled]) -> list[Settled]:
        """For each session what came of it."""
        present = [case for case in cases if isinstance(case, Case)]
        if self.client is None:
            found = iter([self._by_rule(case) for case in present])
        else:
            requests = [self._request(case, self.client.model) for case in present]
            checked = ask_checked(self.client, requests, lambda i, text: self._read(present[i], text))
            found = iter([self._settle(case, result) for case, result in zip(present, checked, strict=True)])
        return [next(found) if isinstance(case, Case) else case for case in cases]

    def _by_rule(self, case: Case) -> Settled:
        said = [] if case.feedback is None else attribution.attribute(case.feedback, list(case.labels))
        for label, own in case.own.items():
            said += attribution.attribute_own(own, label, [other for other in case.labels if other != label])
        self._counters["sentences"] += len(said)
        self._counters["sentences_of_no_rollout"] += sum(not piece.labels for piece in said)
        found: dict[str, Sorted] = {}
        for label, rollout_id in case.labels.items():
            texts = tuple(dict.fromkeys(piece.text for piece in said if label in piece.labels))
            failures: dict[tuple[str, str], str] = {}
            for text in texts:
                for pair in keywords.read(text, case.instruction).said:
                    failures.setdefault(pair, text)
            if texts:
                claims = tuple((category, kind, None, text) for (category, kind), text in failures.items())
                found[rollout_id] = Sorted(critique=" ".join(texts), spans=texts, failures=claims)
        return Settled(found=found)

    def _request(self, case: Case, model: str) -> Request:
        # The mark hangs on the texts themselves, so no text can hold its own closing mark.
        mark = hashlib.sha256(msgspec.json.encode(case, order="deterministic")).hexdigest()[:12]
        blocks = [] if case.feedback is None else [self.prompt.fill("block_session", mark=mark, feedback=case.feedback)]
        for label, text in case.own.items():
            blocks.append(self.prompt.fill("block_rollout", mark=mark, label=label, feedback=text))
        question = self.prompt.fill(
            "question",
            labels=json.dumps(list(case.labels), ensure_ascii=False),
            mark=mark,
            instruction=case.instruction,
            blocks="\n\n".join(blocks),
        )
        return Request(
            model=model,
            messages=(Message("system", (self._system,)), Message("user", (question,))),
            max_tokens=self.settings.max_tokens * max(1, math.ceil(len(case.labels) / 2)),
            temperature=self.settings.temperature,
            seed=0,
            json_schema=_schema(list(case.labels), self.taxonomy),
        )

    def _read(self, case: Case, text: str) -> dict[str, Any]:
        """The answer by label. Raises BadAnswer for what breaks schema or taxonomy, or repeats the prompt."""
        answer = read_json(text, _schema(list(case.labels), self.taxonomy))
        entries = {entry["label"]: entry for entry in answer["rollouts"]}
        if len(entries) != len(case.labels):
            raise BadAnswer("each label must have exactly one entry")
        for entry in entries.values():
            for claim in entry["failures"]:
                if not self.taxonomy.is_legal(claim["category"], claim["kind"]):
                    raise BadAnswer(f"category {claim['category']} has no kind {claim['kind']}")
            statements = [claim["description"] for claim in entry["failures"]]
            for statement in [*statements, *([] if entry["critique"] is None else [entry["critique"]])]:
                if len(statement) > _MAX_STATEMENT or _CONTROL.search(statement):
                    raise BadAnswer(f"a statement is longer than {_MAX_STATEMENT} characters or has control characters")
                if _echoes(statement, self._rules):
                    raise BadAnswer("a statement repeats these instructions instead of sorting the feedback")
        return entries

    def _settle(self, case: Case, result: Checked[dict[str, Any]]) -> Settled:
        self._counters["answers_repaired"] += result.value is not None and len(result.answers) > 1
        if result.value is None:
            self._counters["sessions_with_unusable_answer"] += 1
            detail = without_server_words(result.error or "no answer")
            return Settled(found={}, broken=UNUSABLE_ANSWER, detail=detail)
        found: dict[str, Sorted] = {}
        for label, rollout_id in case.labels.items():
            entry = result.value[label]
            texts = case.text_for(label)
            spans = tuple(dict.fromkeys(span for span in entry["spans"] if _stands_in(span, texts)))
            self._counters["spans_dropped"] += sum(not _stands_in(span, texts) for span in entry["spans"])
            claims = []
            for claim in entry["failures"]:
                description = claim["description"].strip()
                if not _stands_in(claim["span"], texts) or not description:
                    self._counters["failures_dropped"] += 1
                    continue
                spans = tuple(dict.fromkeys([*spans, claim["span"]]))
                claims.append((claim["category"], claim["kind"], claim["severity"], description))
            critique = (entry["critique"] or "").strip() or None
            if critique is not None and not spans:
                self._counters["critiques_dropped"] += 1
                critique = None
            found[rollout_id] = Sorted(critique=critique, spans=spans, failures=tuple(claims))
        return Settled(found=found)

    def _with(self, rollout: Rollout, found: Sorted | None) -> Rollout:
        if found is None:
            return rollout
        changes: dict[str, Any] = {}
        if found.critique is not None:
            changes["critique"] = Critique(
                text=found.critique,
                attributed_spans=found.spans,
                model=keywords.MODEL if self.client is None else self.client.model,
                prompt_sha256=None if self.client is None else self.prompt.sha256,
            )
            self._counters["critiques"] += 1
        made = [
            Failure(
                category=category,
                kind=kind,
                severity=severity,
                description=description,
                annotator="keyword_rule" if self.client is None else self.client.model,
                annotator_type="rule" if self.client is None else "llm",
                observable=self.taxonomy.observable(category, kind),
                mapping_version=self.taxonomy.version,
            )
            for category, kind, severity, description in found.failures
        ]
        new = [failure for failure in dict.fromkeys(made) if failure not in rollout.failures]
        if new:
            changes["failures"] = (*rollout.failures, *new)
            self._counters["failures"] += len(new)
        return msgspec.structs.replace(rollout, **changes)


def _is_written_about(rollout: Rollout) -> bool:
    return any(text and text.strip() for text in (rollout.session.feedback, rollout.feedback))


def _listing(known: taxonomy.Taxonomy) -> str:
    """The taxonomy as the model reads it: one line a pair."""
    return "\n".join(
        f"{category.slug} / {kind.slug}: {kind.definition}"
        for category in known.categories.values()
        for kind in category.kinds.values()
    )


def _schema(labels: list[str], known: taxonomy.Taxonomy) -> dict[str, Any]:
    kinds = sorted({kind for category in known.legal_categories for kind in known.legal_kinds(category)})
    failure = {
        "category": {"type": "string", "enum": list(known.legal_categories)},
        "kind": {"type": "string", "enum": kinds},
        "severity": {"type": ["string", "null"], "enum": [*known.axes["severity"].values, None]},
        "span": {"type": "string"},
        "description": {"type": "string"},
    }
    entry = {
        "label": {"type": "string", "enum": labels},
        "critique": {"type": ["string", "null"]},
        "spans": {"type": "array", "items": {"type": "string"}, "maxItems": _MAX_FAILURES},
        "failures": {"type": "array", "items": _closed(failure), "maxItems": _MAX_FAILURES},
    }
    count = len(labels)
    rollouts = {"type": "array", "items": _closed(entry), "minItems": count, "maxItems": count}
    return _closed({"rollouts": rollouts})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object in which every property is required and no other is allowed, as strict structured output wants it."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _stands_in(span: str, texts: Sequence[str]) -> bool:
    """Does the span stand in one of the texts letter by letter, from word edge to word edge, and say something?

    A single Latin word rests on nothing ("the" stands in every text) unless it is all that was written.
    """
    if len(re.findall(r"\w+", span)) < 2 and re.fullmatch(r"[\W\w]{0,3}|[\x00-\u024f]*", span):
        return any(span.strip() and span.strip(" .!") == text.strip(" .!\n") for text in texts)
    edge = (r"(?<![A-Za-z0-9])" if span[0].isalnum() else "") + re.escape(span)
    edge += r"(?![A-Za-z0-9])" if span[-1].isascii() and span[-1].isalnum() else ""
    return any(re.search(edge, text) for text in texts)


def _echoes(statement: str, prompt: str) -> bool:
    """Does the statement hold a run of words of the prompt, as when a model was talked into giving it away?"""
    words = re.findall(r"\w+", statement.lower())
    source = " ".join(re.findall(r"\w+", prompt.lower()))
    runs = (" ".join(words[i : i + _ECHO_WORDS]) for i in range(len(words) - _ECHO_WORDS + 1))
    return any(f" {run} " in f" {source} " for run in runs)
