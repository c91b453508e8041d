"""Which fault can bite in which task. `python -m bad_robot_behavior.synthesis.faults docs/synthesis.md` writes the
tables into that page; without an argument they are printed.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from bad_robot_behavior.synthesis import page
from bad_robot_behavior.synthesis.faults import FAULTS
from bad_robot_behavior.synthesis.tasks import tasks


def lines() -> list[str]:
    """A row a fault: what is done, and in how many tasks it can bite; then a row for tasks with the same faults."""
    rows, alike = [], defaultdict(list)
    for fault in FAULTS.values():
        reasons = [fault.applies(task) for task in tasks().values()]
        why = "; ".join(sorted({reason for reason in reasons if reason is not None}))
        where = "all" if not why else f"{reasons.count(None)} of {len(reasons)}: in the others {why}"
        rows.append([f"`{fault.slug}`", fault.title, where])
    for name, task in tasks().items():
        alike[tuple(slug for slug, fault in FAULTS.items() if fault.applies(task) is not None)].append(name)
    groups = [
        [", ".join(names), str(len(FAULTS) - len(missing)), ", ".join(f"`{slug}`" for slug in missing) or "none"]
        for missing, names in sorted(alike.items(), key=lambda pair: (len(pair[0]), pair[1]))
    ]
    return [
        *page.table(["fault", "what is done", "tasks"], rows),
        "",
        *page.table(["tasks", "faults that can bite", "faults that cannot"], groups),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        page.replace(Path(sys.argv[1]), "faults", lines())
    else:
        sys.stdout.write("\n".join(lines()) + "\n")
