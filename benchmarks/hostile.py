"""The hostile corpus: how many cases, how many contained, and the worst processor time and memory of each reader.

    python benchmarks/hostile.py

Time and memory are those of a case's process and the processes below it, with the making of its file.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.hostile.__main__ import run
from tests.hostile.cases import CASES


def main() -> int:
    rows = [run(name) for name in CASES]
    print("| reader | cases | contained | worst processor time | worst memory |\n|---|---|---|---|---|")
    for reader in [*dict.fromkeys(row["reader"] for row in rows), "all"]:
        own = [row for row in rows if reader in (row["reader"], "all")]
        slow, large = (max(own, key=lambda row: row[key]) for key in ("cpu_s", "mb"))
        held = sum(row["outcome"] == row["expects"] for row in own)
        print(
            f"| {reader} | {len(own)} | {held} | {slow['cpu_s']:.2f} s ({slow['name']}) "
            f"| {large['mb']} MB ({large['name']}) |"
        )
    loose = [row for row in rows if row["outcome"] != row["expects"]]
    for row in loose:
        print(f"NOT CONTAINED: {row['name']}: {row['outcome']}, expected {row['expects']}")
    return 1 if loose else 0


if __name__ == "__main__":
    sys.exit(main())
