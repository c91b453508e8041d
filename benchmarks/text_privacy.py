"""How much planted personal data is found in text, and how much of what is none is left alone.

    python benchmarks/text_privacy.py

Prints a table by kind. A text counts as found where no piece of three letters or digits of the planted value is left.
The corpus is tests/text_corpus.py; `--seed` makes another one of the same templates. Beside it stand names in sentences
written apart, the fifth part before the last change to the finders and first run after it, and spaCy's tagger alone,
which presidio asks too.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bad_robot_behavior.curation.scrub.names import MODEL, Names  # noqa: E402
from bad_robot_behavior.curation.scrub.text import SessionText  # noqa: E402
from tests.text_corpus import HELD_OUT, HELD_OUT_CLEAN, KINDS, ORDINARY, ORDINARY_APART, Planted, clean, leaks, planted  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    names = Names()
    names("Load the model before the clock starts, Anna.")
    items = [*planted(seed=seed)]
    total, found, plain = Counter[str](), Counter[str](), Counter[str]()
    started = time.process_time()
    for item in items:
        total[item.kind] += 1
        found[item.kind] += not leaks(item, _scrub(item.text, names, camera=item.field == "camera"))
    seconds = (time.process_time() - started) / len(items)
    for item in items:
        plain[item.kind] += not leaks(item, _scrub(item.text, None, camera=item.field == "camera"))
    print("| kind | planted | found | without the extra `privacy` |\n|---|---|---|---|")
    for kind in KINDS:
        rates = [f"{100 * counter[kind] / total[kind]:.1f} %" for counter in (found, plain)]
        print(f"| {kind} | {total[kind]} | {found[kind]} ({rates[0]}) | {rates[1]} |")
    for part, apart in HELD_OUT.items():
        held = sum(not leaks(item, _scrub(item.text, names)) for item in apart)
        print(f"| name, {part.replace('_', ' ')} | {len(apart)} | {held} ({100 * held / len(apart):.1f} %) | |")
    print(f"name, the tagger alone: {_tagger_alone(items)} of {total['name']}")
    print(f"milliseconds of CPU a text: {1000 * seconds:.1f}\n")
    print("| texts without personal data | changed |\n|---|---|")
    feedback = yaml.safe_load((ROOT / "tests/curation/distill/feedback.yaml").read_text(encoding="utf-8"))
    instructions = (ROOT / "tests/schema/instructions.tsv").read_text(encoding="utf-8").splitlines()
    for what, texts in (
        ("sentences about robots, this corpus", list(clean(seed=seed + 1))),
        ("invented feedback and real instructions, written for other tests", _texts(feedback, instructions)),
        ("ordinary words with capital letters; the rules were mended on these", ORDINARY),
        ("the same kinds, kept apart", ORDINARY_APART),
        ("held out, full of makers and brands", list(HELD_OUT_CLEAN)),
    ):
        changed = [text for text in texts if _scrub(text, names) != text]
        print(f"| {what}: {len(texts)} | {len(changed)} ({100 * len(changed) / len(texts):.1f} %) |")


def _scrub(text: str, names: Names | None, camera: bool = False) -> str:
    session = SessionText(names=names)
    session.learn(text)
    return session.scrub(text, camera=camera)[0]


def _texts(feedback: list[dict[str, str]], instructions: list[str]) -> list[str]:
    return [entry["text"] for entry in feedback] + [line.split("\t")[0] for line in instructions if line[:1] != "#"]


def _tagger_alone(items: list[Planted]) -> int:
    import spacy

    model = spacy.load(MODEL)
    count = 0
    for item in items:
        if item.kind == "name":
            text = item.text
            for entity in reversed(model(item.text).ents):
                if entity.label_ == "PERSON":
                    text = text[: entity.start_char] + "<PERSON>" + text[entity.end_char :]
            count += not re.search("|".join(re.findall(r"[^\W_]{3,}", item.value)), text)
    return count


if __name__ == "__main__":
    main()
