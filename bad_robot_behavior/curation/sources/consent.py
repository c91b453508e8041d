"""consent.yaml: who agreed to what, and who may say so. It stays with the contribution and is in no release.

Whoever contributes fills it in once for the folder. A folder without one is read all the same, because a recipe may
rest on an agreement made elsewhere; one that is there must be whole, and must say that everyone agreed.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import Meta

from bad_robot_behavior.curation.sources.lab_yaml import ILLEGAL_VALUE, Findings, read_yaml, take
from bad_robot_behavior.schema import Record, rule

FILE = "consent.yaml"

REFUSED = rule(
    "lab.consent_refused",
    "Everyone who can be seen or heard has agreed to be published, and whoever owns the data to its licence.",
    cure="Ask them, or leave out the sessions of those who were not asked or did not agree.",
)
UNFILLED = rule(
    "lab.consent_unfilled",
    "Every line of consent.yaml is filled in.",
    cure="Write your own words in the place of `...`; leave the file out only where an agreement lies elsewhere.",
)

People = Literal["nobody", "all_agreed", "not_asked"]
Rights = Literal["ours", "permitted", "not_asked"]


class Consent(Record, frozen=True, kw_only=True):
    """What a contributor declares."""

    people: Annotated[People, Meta(description=", ".join(get_args(People)))]
    rights: Annotated[Rights, Meta(description=", ".join(get_args(Rights)))]
    rights_holder: Annotated[str, Meta(description="text; who owns the videos and labels")]
    institution: Annotated[str, Meta(description="text; the institution at which they were recorded")]
    review: Annotated[str, Meta(description="text; the ethics review and its number, or why none was needed")]
    contact: Annotated[str, Meta(description="text; a name and an address at which the contributor can be reached")]
    withdrawal: Annotated[str, Meta(description="text; how those in the videos were told that they can withdraw")]
    date: Annotated[str, Meta(description="the day on which this was filled in, YYYY-MM-DD")]


def read_consent(folder: Path, findings: Findings) -> Consent | None:
    """The declaration of a lab folder, or None where it has none; what is wrong goes into `findings`."""
    path = folder / FILE
    if not path.exists() and not path.is_symlink():
        return None
    data = read_yaml(path, findings)
    made = None if data is None else take(data, Consent, (), findings)
    if made is None:
        return None
    for name in made.__struct_fields__:
        if str(getattr(made, name)).strip(". ") == "":
            findings.add(UNFILLED, (name,), "is not filled in", legal="your own words")
    if made.people == "not_asked":
        findings.add(REFUSED, ("people",), "says that people were not asked", legal="nobody, all_agreed")
    if made.rights == "not_asked":
        findings.add(REFUSED, ("rights",), "says that the owner was not asked", legal="ours, permitted")
    try:
        datetime.date.fromisoformat(made.date)
    except ValueError:
        if made.date.strip(". "):
            findings.add(ILLEGAL_VALUE, ("date",), "is no date", legal="YYYY-MM-DD")
    return made


TEMPLATE = """\
# Who agreed to what. This file stays in your folder: nothing of it goes into a release or to a model.
# Put your own words in the place of every ...

people: not_asked        # who can be seen or heard: nobody, all_agreed, or not_asked (then nothing is published)
rights: not_asked        # ours: we own the videos and labels; permitted: their owner allows it; or not_asked
rights_holder: "..."     # who owns them
institution: "..."       # where they were recorded
review: "..."            # the ethics review and its number, or why none was needed
contact: "..."           # a name and an address at which you can be reached
withdrawal: "..."        # how those in the videos were told that they can withdraw, and from whom
date: "..."              # the day on which you filled this in, such as 2026-11-25
"""
