"""How long `bad-robot --help` takes, beside a bare interpreter and `hf --help`, in alternation.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "bad-robot --help": [str(BIN / "bad-robot"), "--help"],
    "hf --help": [str(BIN / "hf"), "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for i in range(runs + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if i:  # the first round warms the page cache
                times[name].append(time.perf_counter() - start)
    ours = statistics.median(times["bad-robot --help"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:18} {median:6.3f} s   {median / ours:5.2f} x bad-robot")


if __name__ == "__main__":
    main()
