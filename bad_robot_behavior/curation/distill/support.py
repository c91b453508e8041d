"""The second pass, which refuses invention: a claim that its span does not support is dropped and counted.

A claim is a sentence of a critique, or a failure with its category, kind and description. Its span supports it where
the span, read in its place in the feedback, says the same of the same rollout. Who decides is in the recipe:

- `model`: a second request shows the model all claims of a session with their spans and asks for a verdict on each. A
  session whose verdicts cannot be had goes without critique (rule `distill.unverified`): what is not checked is not
  kept.
- `words`: no request. A failure is supported where the keyword rule reads the same category out of the span; a sentence
  where at least half of its words of content stand in the span, by stem, and both or neither of them negate. English
  only: what rests on a span in another language is dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bad_robot_behavior.curation.distill import keywords
from bad_robot_behavior.curation.distill.claims import Case, Claim, Found, Settled, Statement
from bad_robot_behavior.schema import DistillSettings, rule
from bad_robot_behavior.schema.taxonomy import Taxonomy
from bad_robot_behavior.vlm.answers import BadAnswer, ask_checked, read_json, without_server_words
from bad_robot_behavior.vlm.client import Client, Message, Request
from bad_robot_behavior.vlm.prompts import Prompt, read_prompt

UNVERIFIED = rule(
    "distill.unverified",
    "Each claim of a model is held against its span by a second request before it is kept.",
    cure="Take a model that keeps to a JSON schema, or set distill.support to words, and build again. "
    "`--ask-again` asks the same model once more.",
)
SHARED_WORDS = 0.5
"""Part of a sentence's words of content that must stand in its span, where words decide."""
_TOKENS_A_VERDICT = 24
_EMPTY = re.compile(  # words that say nothing by themselves
    r"\b(?:a|an|the|its?|this|that|these|those|s?he|they|them|his|her|their|t?here|is|was|were|be|been|being|are|am|has|"
    r"had|have|do|did|does|and|or|but|so|then|than|as|at|by|for|from|into|in|of|off|on|onto|out|over|to|towards?|under|"
    r"up|down|with|within|when|while|which|who|what|how|robot|policy|rollout|arm|gripper|one|object|task|very|too|also|"
    r"just|only|even|again|some|any|all|both)\b"
)
_NEGATED = re.compile(r"\b(?:not|no|never|nothing|none|neither|nor|without|fail\w*|unable|miss\w*|refus\w*)\b")

Numbered = tuple[str, Statement | Claim]
"""(label, claim)"""


def parameters(how: str) -> dict[str, Any]:
    """What of this module decides a stage's output."""
    if how == "model":
        return {"support": "model", "support_prompt_sha256": read_prompt("support").sha256}
    return {"support": "words", "rule_sha256": keywords.sha256(), "shared_words": SHARED_WORDS}


def by_words(cases: Sequence[Case], settled: Sequence[Settled], counters: Counter[str]) -> list[Settled]:
    """The cases with only those claims that their spans support by the words alone."""
    kept = []
    for case, one in zip(cases, settled, strict=True):
        claims = _numbered(case, one)
        kept.append(_without(case, one, [claim for _, claim in claims if not says(claim)], counters))
    return kept


def by_model(
    client: Client,
    settings: DistillSettings,
    taxonomy: Taxonomy,
    cases: Sequence[Case],
    settled: Sequence[Settled],
    counters: Counter[str],
) -> list[Settled]:
    """The cases with only those claims that the model, asked again, calls supported. Raises EndpointError."""
    prompt = read_prompt("support")
    numbered = [_numbered(case, one) for case, one in zip(cases, settled, strict=True)]
    asked = [i for i, claims in enumerate(numbered) if claims]
    requests = [_request(client.model, settings, taxonomy, prompt, cases[i], numbered[i]) for i in asked]
    verdicts = ask_checked(client, requests, lambda k, text: _verdicts(text, len(numbered[asked[k]])))
    kept = list(settled)
    for i, answer in zip(asked, verdicts, strict=True):
        usages = (*settled[i].usages, answer.usage)
        if answer.value is None:
            counters["sessions_unverified"] += 1
            why = without_server_words(answer.error or "no answer")
            kept[i] = Settled(found={}, usages=usages, broken=UNVERIFIED, detail=why)
            continue
        refused = [claim for (_, claim), yes in zip(numbered[i], answer.value, strict=True) if not yes]
        verified = _without(cases[i], settled[i], refused, counters)
        kept[i] = msgspec.structs.replace(verified, usages=usages)
    return kept


def mark_of(*texts: Any) -> str:
    """A mark that no text can hold: it hangs on a hash of all of them."""
    return hashlib.sha256(msgspec.json.encode(texts, order="deterministic")).hexdigest()[:12]


def feedback_blocks(prompt: Prompt, case: Case, mark: str) -> str:
    """The case's feedback between marks, by parts `block_session` and `block_rollout` of prompt `distill`."""
    blocks = [] if case.feedback is None else [prompt.fill("block_session", mark=mark, feedback=case.feedback)]
    for label, text in case.own.items():
        blocks.append(prompt.fill("block_rollout", mark=mark, label=label, feedback=text))
    return "\n\n".join(blocks)


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object in which every property is required and no other is allowed, as strict structured output wants it."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _numbered(case: Case, settled: Settled) -> list[Numbered]:
    """All claims of a session in a fixed order."""
    claims: list[Numbered] = []
    for label, rollout_id in case.labels.items():
        found = settled.found.get(rollout_id, Found())
        claims += [(label, statement) for statement in found.statements]
        claims += [(label, claim) for claim in found.failures]
    return claims


def _without(case: Case, settled: Settled, refused: Iterable[Statement | Claim], counters: Counter[str]) -> Settled:
    """The session without the claims that were refused; `refused` holds the very objects of `settled`."""
    gone = {id(claim) for claim in refused}
    found = {}
    for rollout_id, one in settled.found.items():
        statements = tuple(claim for claim in one.statements if id(claim) not in gone)
        failures = tuple(claim for claim in one.failures if id(claim) not in gone)
        counters["statements_unsupported"] += len(one.statements) - len(statements)
        counters["failures_unsupported"] += len(one.failures) - len(failures)
        found[rollout_id] = Found(statements=statements, failures=failures)
    return msgspec.structs.replace(settled, found=found)


def _request(
    model: str, settings: DistillSettings, taxonomy: Taxonomy, prompt: Prompt, case: Case, claims: Sequence[Numbered]
) -> Request:
    texts = [(label, _sentence(claim, taxonomy), claim.span) for label, claim in claims]
    mark = mark_of(case.labels, case.feedback, case.own, texts)
    shown = [
        prompt.fill("claim", number=number, mark=mark, label=label, claim=text, span=span)
        for number, (label, text, span) in enumerate(texts, start=1)
    ]
    question = prompt.fill(
        "question",
        blocks=feedback_blocks(read_prompt("distill"), case, mark),
        claims="\n".join(shown),
        count=len(claims),
    )
    return Request(
        model=model,
        messages=(Message("system", (prompt.fill("system"),)), Message("user", (question,))),
        max_tokens=max(settings.max_tokens, _TOKENS_A_VERDICT * len(claims)),
        temperature=settings.temperature,
        seed=0,
        json_schema=_schema(len(claims)),
    )


def _sentence(claim: Statement | Claim, taxonomy: Taxonomy) -> str:
    """The claim as one sentence. Of a failure the definition is shown, so that it is judged and not its slug."""
    if isinstance(claim, Statement):
        return claim.text
    category = taxonomy.categories[claim.category]
    kind = category.kinds[claim.kind]
    severity = "" if claim.severity is None else f" Severity: {claim.severity}."
    return f"{category.name}, {kind.name}: {kind.definition}{severity} Here: {claim.description or kind.name}"


def _schema(count: int) -> dict[str, Any]:
    verdict = {"claim": {"type": "integer", "minimum": 1, "maximum": count}, "supported": {"type": "boolean"}}
    verdicts = {"type": "array", "items": closed(verdict), "minItems": count, "maxItems": count}
    return closed({"verdicts": verdicts})


def _verdicts(text: str, count: int) -> list[bool]:
    """Whether each claim is supported, by number. Raises BadAnswer."""
    answer = read_json(text, _schema(count))
    verdicts = {verdict["claim"]: verdict["supported"] for verdict in answer["verdicts"]}
    if len(verdicts) != count:
        raise BadAnswer("each claim must have exactly one verdict")
    return [verdicts[number] for number in range(1, count + 1)]


def says(claim: Statement | Claim) -> bool:
    """Do the words of the span alone support the claim?"""
    span = keywords.plain(claim.span)
    if isinstance(claim, Claim):
        return any(category == claim.category for category, _ in keywords.read(claim.span).said)
    text = keywords.plain(claim.text)
    wanted, there = _stems(text), _stems(span)
    if not wanted or (_NEGATED.search(text) is None) != (_NEGATED.search(span) is None):
        return False
    return len(wanted & there) >= SHARED_WORDS * len(wanted)


def _stems(text: str) -> set[str]:
    """Words of content, cut to what their forms share: dropped and drops are one."""
    words = re.findall(r"[^\W\d_]{2,}", _EMPTY.sub(" ", text))
    return {re.sub(r"(?:(.)\1)?(?:ing|ed|es|s|ly)$", r"\1", word)[:8] for word in words}
