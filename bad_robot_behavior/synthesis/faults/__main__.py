"""Which fault can bite in which task. `python -m bad_robot_behavior.synthesis.faults docs/synthesis.md` writes the
table into that page; without an argument it is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bad_robot_behavior.synthesis import page
from bad_robot_behavior.synthesis.faults import FAULTS
from bad_robot_behavior.synthesis.tasks import tasks


def lines() -> list[str]:
    """One row a fault: what it does, in how many tasks it can bite, and why not in the others."""
    rows = []
    for fault in FAULTS.values():
        reasons = {name: fault.applies(task) for name, task in tasks().items()}
        bites = [name for name, reason in reasons.items() if reason is None]
        others = sorted({reason for reason in reasons.values() if reason is not None})
        shown = "all" if len(bites) == len(reasons) else ", ".join(name.removesuffix("-v3") for name in bites)
        if len(bites) > len(reasons) / 2 and len(bites) < len(reasons):
            shown = "all but " + ", ".join(name.removesuffix("-v3") for name in reasons if name not in bites)
        rows.append([f"`{fault.slug}`", fault.title, str(len(bites)), shown, "; ".join(others)])
    return page.table(["fault", "what is done", "tasks", "which", "why not in the others"], rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        page.replace(Path(sys.argv[1]), "faults", lines())
    else:
        sys.stdout.write("\n".join(lines()) + "\n")
