"""`python -m bad_robot_behavior.schema`: write what is generated from the records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bad_robot_behavior.schema import contracts, pages


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done, or nothing differs; 1: --check found files that are not what the records say."""
    parser = argparse.ArgumentParser(
        prog="python -m bad_robot_behavior.schema",
        description="Write the JSON Schemas of the records, and the reference pages that are generated from the code.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a JSON Schema file is stale")
    parser.add_argument(
        "--docs", type=Path, metavar="DIR", help="write rules.md, schema.md, recipe.md and taxonomy.md into DIR"
    )
    parser.add_argument("--rules", nargs="?", const=Path("docs"), type=Path, metavar="DIR", help="write rules.md only")
    options = parser.parse_args(arguments)
    if options.check:
        wrong = contracts.differing()
        for name in wrong:
            sys.stderr.write(
                f"schema/json/{name} is not what the records say; run python -m bad_robot_behavior.schema\n"
            )
        return 1 if wrong else 0
    if options.rules is None and options.docs is None:
        contracts.write()
    if options.rules is not None:
        contracts.write_text(options.rules / "rules.md", pages.rules_page())
    if options.docs is not None:
        for name, page in pages.PAGES.items():
            contracts.write_text(options.docs / name, page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
