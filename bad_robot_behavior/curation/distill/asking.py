"""Feedback read by a model behind a client: it is asked to sort, then each of its claims is held against its span.

What comes back is data from outside, made out of other data from outside: it is checked against a closed schema, the
taxonomy and the feedback itself, and whatever fails a check is asked for once more, or dropped and counted.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from bad_robot_behavior.curation.distill import general, support
from bad_robot_behavior.curation.distill.claims import Case, Claim, Found, Settled, Statement, stands_in
from bad_robot_behavior.curation.distill.english import is_english
from bad_robot_behavior.curation.distill.support import closed, feedback_blocks, mark_of
from bad_robot_behavior.schema import AnnotatorType, DistillSettings, rule
from bad_robot_behavior.schema.taxonomy import Taxonomy
from bad_robot_behavior.vlm.answers import BadAnswer, Checked, ask_checked, read_json, without_server_words
from bad_robot_behavior.vlm.client import Client, Message, Request
from bad_robot_behavior.vlm.prompts import read_prompt

UNUSABLE_ANSWER = rule(
    "distill.unusable_answer",
    "A critique rests on an answer of the model that its schema and the taxonomy allow, at the latest on repair.",
    cure="Raise distill.max_tokens where answers were cut off, else take a model that keeps to a JSON schema, and "
    "build again. `--ask-again` asks the same model once more.",
)
_MAX_STATEMENT = 1_500
_ECHO_WORDS = 10
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class ModelReader:
    """Asks a model to sort each session's feedback, then lets `distill.support` judge each claim by its span."""

    annotator_type: ClassVar[AnnotatorType] = "llm"

    def __init__(self, settings: DistillSettings, client: Client, taxonomy: Taxonomy) -> None:
        self.model = client.model
        self._settings = settings
        self._client = client
        self._taxonomy = taxonomy
        self._prompt = read_prompt("distill")
        self.prompt_sha256 = self._prompt.sha256
        self._system = self._prompt.fill("system", taxonomy=_listing(taxonomy))
        self._rules = self._prompt.fill("system", taxonomy="")  # a description may well repeat a definition

    def parameters(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt_sha256": self.prompt_sha256,
            "max_tokens": self._settings.max_tokens,
            "max_claims": self._settings.max_claims,
            "temperature": self._settings.temperature,
            **support.parameters(self._settings.support),
        }

    def read(self, cases: Sequence[Case], counters: Counter[str]) -> list[Settled]:
        requests = [self._request(case) for case in cases]
        checked = ask_checked(self._client, requests, lambda i, text: self._check(cases[i], text))
        settled = [self._settle(case, answer, counters) for case, answer in zip(cases, checked, strict=True)]
        if self._settings.support == "words":
            return support.by_words(cases, settled, counters)
        return support.by_model(self._client, self._settings, self._taxonomy, cases, settled, counters)

    def _request(self, case: Case) -> Request:
        mark = mark_of(case.instruction, case.labels, case.feedback, case.own)
        question = self._prompt.fill(
            "question",
            labels=json.dumps(list(case.labels), ensure_ascii=False),
            mark=mark,
            instruction=case.instruction,
            blocks=feedback_blocks(self._prompt, case, mark),
        )
        return Request(
            model=self.model,
            messages=(Message("system", (self._system,)), Message("user", (question,))),
            max_tokens=self._settings.max_tokens * max(1, math.ceil(len(case.labels) / 2)),
            temperature=self._settings.temperature,
            seed=0,
            json_schema=self._schema(case),
        )

    def _schema(self, case: Case) -> dict[str, Any]:
        return _schema(list(case.labels), self._taxonomy, self._settings.max_claims)

    def _check(self, case: Case, text: str) -> dict[str, Any]:
        """The answer by label. Raises BadAnswer for what breaks schema or taxonomy, repeats the prompt or is not in
        English: a release is, and a demonstration is shown to models of whatever language."""
        answer = read_json(text, self._schema(case))
        entries = {entry["label"]: entry for entry in answer["rollouts"]}
        if len(entries) != len(case.labels):
            raise BadAnswer("each label must have exactly one entry")
        for entry in entries.values():
            for claim in entry["failures"]:
                if not self._taxonomy.is_legal(claim["category"], claim["kind"]):
                    raise BadAnswer(f"category {claim['category']} has no kind {claim['kind']}")
            for statement in _statements(entry):
                if len(statement) > _MAX_STATEMENT or _CONTROL.search(statement):
                    raise BadAnswer(f"a statement is longer than {_MAX_STATEMENT} characters or has control characters")
                if _echoes(statement, self._rules):
                    raise BadAnswer("a statement repeats these instructions instead of sorting the feedback")
                if not is_english(statement):
                    raise BadAnswer(
                        "a sentence or description is not in English; spans alone stay as they were written"
                    )
        return entries

    def _settle(self, case: Case, answer: Checked[dict[str, Any]], counters: Counter[str]) -> Settled:
        counters["answers_repaired"] += answer.value is not None and len(answer.answers) > 1
        if answer.value is None:
            counters["sessions_with_unusable_answer"] += 1
            why = without_server_words(answer.error or "no answer")
            return Settled(found={}, usages=(answer.usage,), broken=UNUSABLE_ANSWER, detail=why)
        return Settled(
            usages=(answer.usage,),
            found={
                rollout_id: self._found(case, label, answer.value[label], counters)
                for label, rollout_id in case.labels.items()
            },
        )

    def _found(self, case: Case, label: str, entry: dict[str, Any], counters: Counter[str]) -> Found:
        """An entry without what has no span in the feedback, and without session details in its descriptions."""
        texts = case.text_for(label)
        statements = []
        for said in entry["critique"]:
            text = " ".join(said["sentence"].split())
            if not text or not stands_in(said["span"], texts):
                counters["statements_without_span"] += 1
            elif general.is_abusive(text):
                counters["statements_abusive"] += 1
            else:
                statements.append(Statement(text=text, span=said["span"]))
        failures = []
        for claim in entry["failures"]:
            if not stands_in(claim["span"], texts):
                counters["failures_without_span"] += 1
                continue
            description: str | None = " ".join(claim["description"].split())
            if general.is_abusive(description or "") or not general.is_general(
                description or "", list(case.labels), case.details
            ):
                counters["descriptions_replaced"] += 1
                description = general.definition(self._taxonomy, (claim["category"], claim["kind"]))
            made = msgspec.convert({**claim, "description": description, "annotator": self.model}, Claim)
            failures.append(made)
        return Found(statements=tuple(dict.fromkeys(statements)), failures=tuple(dict.fromkeys(failures)))


def _statements(entry: dict[str, Any]) -> Iterator[str]:
    yield from (said["sentence"] for said in entry["critique"])
    yield from (claim["description"] for claim in entry["failures"])


def _listing(known: Taxonomy) -> str:
    """The taxonomy as the model reads it: one line a pair."""
    return "\n".join(
        f"{category.slug} / {kind.slug}: {kind.definition}"
        for category in known.categories.values()
        for kind in category.kinds.values()
    )


def _schema(labels: list[str], known: Taxonomy, most: int) -> dict[str, Any]:
    """What an answer is: for each label at most so many sentences, and failures."""
    kinds = sorted({kind for category in known.legal_categories for kind in known.legal_kinds(category)})
    statement = {"sentence": {"type": "string"}, "span": {"type": "string"}}
    failure = {
        "category": {"type": "string", "enum": list(known.legal_categories)},
        "kind": {"type": "string", "enum": kinds},
        "severity": {"type": ["string", "null"], "enum": [*known.axes["severity"].values, None]},
        "span": {"type": "string"},
        "description": {"type": "string"},
    }
    entry = {
        "label": {"type": "string", "enum": labels},
        "critique": {"type": "array", "items": closed(statement), "maxItems": most},
        "failures": {"type": "array", "items": closed(failure), "maxItems": most},
    }
    count = len(labels)
    rollouts = {"type": "array", "items": closed(entry), "minItems": count, "maxItems": count}
    return closed({"rollouts": rollouts})


def _echoes(statement: str, prompt: str) -> bool:
    """Does the statement hold a run of words of the prompt, as when a model was talked into giving it away?"""
    words = re.findall(r"\w+", statement.lower())
    source = " ".join(re.findall(r"\w+", prompt.lower()))
    runs = (" ".join(words[i : i + _ECHO_WORDS]) for i in range(len(words) - _ECHO_WORDS + 1))
    return any(f" {run} " in f" {source} " for run in runs)
