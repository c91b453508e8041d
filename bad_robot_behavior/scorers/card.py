"""What is to be known of a scorer before its numbers are believed, as one record; `bad-robot score --list` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Overlap = Literal["yes", "no", "unknown"]
Place = Literal["here", "model", "server", "file"]

PLACES: dict[Place, str] = {
    "here": "in this process, and asks nobody",
    "model": "asks a model: an OpenAI-compatible endpoint, or transformers in this process",
    "server": "asks the model's own server",
    "file": "reads a file that the model wrote in its own environment",
}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Where a scorer comes from and what its numbers can be trusted for.

    base_model: what it was trained from; None: nothing was trained. weights: where they are to be had, as its authors
    say. runs: how it is run here, one of PLACES. inputs, output: of one rollout. contaminated: whether rollouts of
    RoboArena were in its training data; evidence: how that is known. license: of code and of weights, as stated by
    their authors. differs: where running it here is not the published inference. sources: what was read to write this.
    """

    title: str
    runs: Place
    inputs: str
    output: str
    contaminated: Overlap
    evidence: str
    base_model: str | None = None
    weights: str | None = None
    paper: str | None = None
    license: str = "Apache-2.0, as this package"
    differs: str | None = None
    sources: tuple[str, ...] = ()

    @property
    def untrained(self) -> bool:
        """Nothing was trained, so that there is nothing it could have seen."""
        return self.base_model is None and self.contaminated == "no"


def floor(title: str, inputs: str, output: str) -> Card:
    """The card of a scorer that was never trained."""
    return Card(
        title=title, runs="here", inputs=inputs, output=output, contaminated="no", evidence="nothing was trained"
    )


def table(cards: Mapping[str, Card | None]) -> str:
    """The cards as plain text: a line each, and under it what is to be known."""
    lines = []
    for name, card in cards.items():
        if card is None:
            lines += [f"{name}", "  says nothing of itself: its class has no card", ""]
            continue
        lines += [f"{name}: {card.title}"]
        facts = {
            "runs": PLACES[card.runs],
            "base model": card.base_model or "none",
            "weights": card.weights,
            "inputs": card.inputs,
            "output": card.output,
            "saw RoboArena": f"{card.contaminated}: {card.evidence}",
            "license": card.license,
            "paper": card.paper,
            "not as published": card.differs,
        }
        lines += [f"  {fact}: {value}" for fact, value in facts.items() if value is not None]
        lines.append("")
    return "\n".join(lines).rstrip()


def markdown(cards: Mapping[str, Card | None]) -> str:
    """The cards as docs/scorers.md shows them: a table, then a paragraph for each that has more to say."""
    rows = ["| scorer | what | base model | runs | saw RoboArena | license |", "|---|---|---|---|---|---|"]
    more = []
    for name, card in cards.items():
        if card is None:
            continue
        cells = (f"`{name}`", card.title, card.base_model or "-", card.runs, card.contaminated, card.license)
        rows.append(f"| {' | '.join(cells)} |")
        said = [f"**`{name}`**. In: {card.inputs}. Out: {card.output}. RoboArena: {card.evidence}."]
        said += [f"Weights: {card.weights}."] if card.weights else []
        said += [f"Paper: {card.paper}."] if card.paper else []
        said += [f"Not as published: {card.differs}."] if card.differs else []
        said += [f"Read: {'; '.join(card.sources)}."] if card.sources else []
        more.append(" ".join(said))
    runs = [f"- {place}: {meaning}" for place, meaning in PLACES.items()]
    return "\n".join([*rows, "", *runs, "", "\n\n".join(more)]) + "\n"
