"""Which of the paper's seven task categories an instruction belongs to, by keyword rules.

The paper (arXiv 2606.01036) does not say how it assigns categories; these rules are ours. The most specific category is
tried first, and no match is `other`, never a silent pick_place. docs/task-categories.md shows how they fare.
"""

from __future__ import annotations

import re

from bad_robot_behavior.schema.records import TaskCategory

_TOOLS = (
    "spoon|knife|brush|sponge|towel|cloth|spatula|eraser|broom|tool|pen|marker|fork|ladle|rag|tissue|hammer|"
    "screwdriver|scoop|whisk|tongs|stick"
)
_THINGS = "blocks?|cubes?|bowls?|cups?|plates?|books?|bricks?|boxes|box|cans?"


def _verbs(words: str, ends: str = "") -> str:
    """Verbs in all their forms: put, puts, putting; close, closes, closed, closing. `ends` is what may not follow."""
    forms = []
    for word in words.split():
        stem = word.removesuffix("e") if word.endswith("e") and not word.endswith("ee") else word
        double = f"{word[-1]}?" if re.fullmatch(r".*[^aeiou][aeiou][^aeiouwxy]", word) else ""
        forms.append(rf"{word}(?:s|es|d|ed)?|{stem}{double}(?:ing|ed)")
    return rf"(?:{'|'.join(forms)})\b{ends}"


_RULES: tuple[tuple[TaskCategory, str], ...] = (
    # "cover the bowl with the towel" covers, and does not use a tool
    ("open_close", r"^(?:un)?cover"),
    (
        "tool_use",
        _verbs("wipe sweep scoop stir slice draw write erase whisk")
        + "|"
        + _verbs("cut", "(?! board)")
        + r"|cleaned|clean(?! up)|clean up(?!.*\b(?:putt?(?:ing)?|plac(?:e|ing)|pick(?:ing)?)\b)"
        + r"|hammer(?= the| a)|(?:^|and |then )brush"
        # not "the cup with the spoon in it", which only describes the cup
        + rf"|(?:use|using) (?:\w+ ){{0,3}}(?:{_TOOLS})|with (?:\w+ ){{0,3}}(?:{_TOOLS})(?! (?:in|on|inside)\b)",
    ),
    ("pour", _verbs("pour dump empty sprinkle fill") + r"|water the"),
    (
        "stack",
        _verbs("stack unstack pile")
        + rf"|tower|on top of each other|({_THINGS})\b(?: \w+)? on(?: top of| to|to)? (?:the |a )?(?:\w+ )?\1",
    ),
    # "pick up the lid" is about a lid, and opens nothing
    (
        "open_close",
        _verbs(
            "open close shut uncover cover zip unzip fold unfold cap uncap unscrew",
            "(?! (?:box|container)s? (?:on|in|to))",
        )
        + r"|(?<!pick up the )lid",
    ),
    (
        "reorient",
        r"turn(?:ing)?(?! (?:on|off)\b)|upright|upside|stand (?:\w+ ){0,4}up|" + _verbs("rotate flip reorient spin"),
    ),
    (
        "push_pull",
        # ring, roll and tap are things as often as verbs: "put the ring on the peg"
        r"turn (?:on|off)|(?:^|and |then )(?:ring|roll|tap|knock)|" + _verbs("push pull slide drag press poke nudge"),
    ),
    (
        "pick_place",
        _verbs(
            "pick place put move grab grasp take lift remove insert hand bring drop hang sort return unplug plug "
            "transfer add throw toss give"
        ),
    ),
)
_COMPILED = tuple((category, re.compile(rf"\b(?:{pattern})\b")) for category, pattern in _RULES)


def task_category(instruction: str) -> TaskCategory:
    """The category of an instruction in plain words; `other` where no rule matches."""
    text = " ".join(instruction.lower().split())
    for category, pattern in _COMPILED:
        if pattern.search(text):
            return category
    return "other"
