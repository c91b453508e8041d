"""Which of the paper's seven task categories an instruction belongs to, by keyword rules.

The paper (arXiv 2606.01036) does not say how it assigns categories; these rules are ours. The most specific category is
tried first, and no match is `other`, never a silent pick_place. docs/task-categories.md shows how they fare.
"""

from __future__ import annotations

import re

from bad_robot_behavior.schema.records import TaskCategory

_TOOLS = (
    "spoon|knife|brush|sponge|towel|cloth|spatula|eraser|broom|tool|pen|marker|fork|ladle|rag|tissue|hammer|"
    "screwdriver|scoop|whisk|tongs"
)
_RULES: tuple[tuple[TaskCategory, str], ...] = (
    (
        "tool_use",
        r"wip(?:e|es|ing)|sweep|scoop|stir|cut|slice|draw|write|erase|clean|hammer(?= the| a)|(?:^|and |then )brush|"
        rf"(?:use|using|with) (?:\w+ ){{0,3}}(?:{_TOOLS})",
    ),
    ("pour", r"pour|dump|empty|sprinkle"),
    ("stack", r"stack|unstack|pile|tower|on top of each other"),
    ("open_close", r"open|close|shut|cover|uncover|zip|unzip|fold|unfold|lid|cap|uncap"),
    ("reorient", r"rotate|turn|flip|upright|reorient|spin|upside|stand (?:\w+ ){0,4}up"),
    ("push_pull", r"push|pull|slide|drag|press|poke|nudge"),
    (
        "pick_place",
        r"pick|place|put|move|grab|grasp|take|lift|remove|insert|hand|bring|drop|hang|sort|return|unplug|plug|"
        r"transfer|add",
    ),
)
_COMPILED = tuple((category, re.compile(rf"\b(?:{pattern})\b")) for category, pattern in _RULES)


def task_category(instruction: str) -> TaskCategory:
    """The category of an instruction in plain words; `other` where no rule matches."""
    text = re.sub(r"\s+", " ", instruction.lower())
    for category, pattern in _COMPILED:
        if pattern.search(text):
            return category
    return "other"
