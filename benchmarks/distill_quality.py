"""How many of the failures that feedback reports each way of reading it finds, and how often it is wrong.

    python benchmarks/distill_quality.py                       rules, and rules with sentence embeddings
    python benchmarks/distill_quality.py --smollm2             also SmolLM2 (135 M), by llama.cpp; takes minutes a text
    python benchmarks/distill_quality.py --base-url URL --model NAME --cache FILE     also a model behind an endpoint
    python benchmarks/distill_quality.py --tune                what the thresholds of the embeddings were chosen from

Texts and labels are in tests/curation/distill: feedback_held_out.yaml (part `held_out`, written after rules, phrases
and thresholds were settled), feedback.yaml (`dev`, `test`), feedback_sessions.yaml (`sessions`) and feedback_late.yaml
(`late`).
Counted are triples of text, rollout and category (or category and kind), so
a failure put to the wrong rollout is one too many and one missed. Macro: mean over the categories where it is defined.
Answers of models are kept in `--cache`, so that a second run asks nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bad_robot_behavior.curation.distill import attribution, keywords, nearness  # noqa: E402
from bad_robot_behavior.curation.distill.asking import ModelReader  # noqa: E402
from bad_robot_behavior.curation.distill.claims import Reader  # noqa: E402
from bad_robot_behavior.curation.distill.embedded import EmbeddedReader  # noqa: E402
from bad_robot_behavior.schema import DistillSettings, EndpointSettings, ModelSettings, taxonomy  # noqa: E402
from bad_robot_behavior.vlm.cache import Cache  # noqa: E402
from bad_robot_behavior.vlm.cached import CachedClient  # noqa: E402
from tests.curation.distill.labelled import Claimed, Item, Score, claimed, items, macro, scores  # noqa: E402

KNOWN = taxonomy.load()
Ways = dict[str, Callable[[Sequence[Item]], list[set[Claimed]]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["dev", "test", "sessions", "late", "held_out"], default="held_out")
    parser.add_argument("--limit", type=int, help="the first N texts only")
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--base-url")
    parser.add_argument("--model")
    parser.add_argument("--support", choices=["model", "words"], default=None, help="default: words for smollm2 only")
    parser.add_argument("--cache", type=Path, default=Path("distill-quality.sqlite"))
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    if options.tune:
        tune()
        return
    near = nearness.Nearness()
    ways: Ways = {
        "rules": lambda chosen: by(EmbeddedReader(KNOWN), chosen),
        "embeddings (rules first)": lambda chosen: by(EmbeddedReader(KNOWN, near), chosen),
        "embeddings alone": lambda chosen: [alone(near, item) for item in chosen],
    }
    if options.smollm2:
        from bad_robot_behavior.vlm.llamacpp_client import LlamaCppClient

        # One thread: on a busy machine two wait for each other, and waiting takes processor time, too.
        client = LlamaCppClient(ModelSettings(kind="llamacpp", path="smollm2", threads=1), cache=Cache(options.cache))
        # It fills whatever lists it is allowed, so they are short.
        ways["SmolLM2 135M"] = asked(client, options.support or "words", max_tokens=400, max_claims=2)
    if options.base_url:
        from bad_robot_behavior.vlm.openai_client import OpenAIClient

        endpoint = EndpointSettings(base_url=options.base_url, model=options.model)
        ways[options.model] = asked(OpenAIClient(endpoint, Cache(options.cache)), options.support or "model")
    compare(ways, items(options.part)[: options.limit], options.part)


def by(reader: Reader, chosen: Sequence[Item], counters: Counter[str] | None = None) -> list[set[Claimed]]:
    """What a reader claims of each item, one at a time: a model's item that cannot be read claims nothing."""
    counters = Counter() if counters is None else counters
    progress = tqdm(chosen, unit="text", disable=None)
    return [claimed(reader.read([item.case], counters)[0].found) for item in progress]


def asked(client: CachedClient, support: str, **changes: Any) -> Callable[[Sequence[Item]], list[set[Claimed]]]:
    def read(chosen: Sequence[Item]) -> list[set[Claimed]]:
        counters: Counter[str] = Counter()
        settings = msgspec.convert({"support": support, **changes}, DistillSettings)
        start = time.process_time()
        made = by(ModelReader(settings, client, KNOWN), chosen, counters)
        print(
            f"{client.model}, second pass by {support}, {time.process_time() - start:.0f} s of processor time: "
            f"{dict(sorted((counters + client.counters).items()))}",
            file=sys.stderr,
        )
        return made

    return read


def alone(near: nearness.Nearness, item: Item) -> set[Claimed]:
    """What the embeddings claim where no rule is asked but whom a sentence speaks of and whether it denies."""
    said = attribution.attribute(item.text, item.labels)
    return {(label, *pair) for one in said for label in one.labels for pair in near.failures(one.text, item.labels)}


def compare(ways: Ways, chosen: Sequence[Item], part: str) -> None:
    wanted = sum(len(item.wanted) for item in chosen)
    print(f"part {part}: {len(chosen)} texts, {wanted} failures\n")
    print("| reader | category P | category R | macro P | macro R | kind P | kind R | right / extra / missed |")
    print("|---|---|---|---|---|---|---|---|")
    tables: dict[str, dict[str, Score]] = {}
    for name, read in ways.items():
        made = list(zip(read(chosen), (item.wanted for item in chosen), strict=True))
        tables[name] = found = scores(made, 2)
        micro, kind = found["all"], scores(made, 3)["all"]
        numbers = [micro.precision, micro.recall, macro(found, "precision"), macro(found, "recall")]
        shown = " | ".join(map(_shown, [*numbers, kind.precision, kind.recall]))
        print(f"| {name} | {shown} | {micro.right} / {micro.extra} / {micro.missed} |", flush=True)
    print(f"\n| category | labelled | {' | '.join(f'{name} P, R' for name in tables)} |")
    print("|---|---|" + "---|" * len(tables))
    for category in KNOWN.categories:
        row = [found.get(category, Score(right=0, extra=0, missed=0)) for found in tables.values()]
        if any(score.right + score.extra + score.missed for score in row):
            cells = " | ".join(f"{_shown(s.precision)}, {_shown(s.recall)} ({s.right}+{s.extra})" for s in row)
            print(f"| {category} | {row[0].right + row[0].missed} | {cells} |")


def tune() -> None:
    """Precision of the embeddings alone on the development parts, by cosine and by lead."""
    near = nearness.Nearness()
    judged = []
    for item in items("dev", "sessions", "late"):
        for said in attribution.attribute(item.text, item.labels):
            if said.labels and not keywords.is_guarded(said.text):
                pair, cosine, lead = near.nearest(said.text, item.labels)
                kind = all((label, *pair) in item.wanted for label in said.labels)
                category = all((label, pair[0]) in {claim[:2] for claim in item.wanted} for label in said.labels)
                judged.append((cosine, lead, category, kind))
    print("cosine from | lead from | claims | category right | kind right")
    for cosine in (0.5, 0.6, 0.65, 0.7):
        for lead in (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12):
            kept = [one for one in judged if one[0] >= cosine and one[1] >= lead]
            if kept:
                right = [f"{sum(one[i] for one in kept) / len(kept):.2f}" for i in (2, 3)]
                print(f"{cosine:.2f} | {lead:.2f} | {len(kept)} | {right[0]} | {right[1]}")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
