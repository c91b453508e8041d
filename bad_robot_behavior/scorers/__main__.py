"""Write what the scorers of this package say of themselves into a page, between its two marks.

python -m bad_robot_behavior.scorers docs/scorers.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from bad_robot_behavior import scorers
from bad_robot_behavior.scorers.card import markdown

BEGIN, END = "<!-- cards: written by python -m bad_robot_behavior.scorers -->\n", "<!-- end of cards -->\n"


def page(text: str) -> str:
    """The page with the cards as they are now. Raises ValueError where it has not the two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no marks {BEGIN.strip()} and {END.strip()}")
    cards = {name: card for name, card in scorers.cards().items() if name in scorers.NAMES}
    return f"{before}{BEGIN}\n{markdown(cards)}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
