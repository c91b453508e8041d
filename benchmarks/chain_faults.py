"""The whole chain with 200 rollouts and m = 10 against a server that fails in every way; what is made must be the same.

    python benchmarks/chain_faults.py

A dump of 100 sessions is built over HTTP, critiques and rewards asked of the tests' loopback server. First without
faults, then once for each of `tests.chain.FAILINGS`; the release is compared byte for byte. Needs a clone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import small_disk
from tests.chain import FAILINGS, Chain, straight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--only", choices=FAILINGS, nargs="+", default=list(FAILINGS), help="these failings alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder), options.sessions, options.samples)
        for name, failing in {"straight": straight, **{name: FAILINGS[name] for name in options.only}}.items():
            if name == "disk" and not small_disk.possible():
                print("disk      not run: this kernel lets a user mount no file system of his own")
                continue
            start = time.perf_counter()
            failing(chain)
            took = time.perf_counter() - start
            same = chain.made(name) == chain.made("straight")
            print(f"{name:9} {took:4.0f} s  {'same bytes' if same else 'OTHER BYTES'}  {failing.__doc__}")
            for report in chain.reports[name]:
                faults = {
                    key.removeprefix("fault "): n for key, n in sorted(report.items()) if key.startswith("fault ")
                }
                counts = ", ".join(f"{report.get(key, 0)} {key}" for key in COUNTED)
                print(f"          {counts}" + (f"; faults: {faults}" if faults else ""), flush=True)


COUNTED = ("requests", "choices", "prompt_tokens", "completion_tokens", "bytes")


if __name__ == "__main__":
    main()
