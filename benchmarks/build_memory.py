"""Peak memory of a build against the number of rollouts: it should not grow with them.

Builds a dump of tiny videos at each size with the command line and reports peak resident memory, wall time, and the
same as multiples of the smallest size.

    python benchmarks/build_memory.py --sizes 100 1000 10000 30000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.dumps import write_dump, write_recipe  # noqa: E402


def measure(folder: Path, workers: int) -> tuple[int, float, float]:
    """Rollouts packaged, peak of the largest process in MB, and seconds of `bad-robot build`."""
    command = ["build", str(folder / "recipe.yaml"), "-o", str(folder / "release"), "--workers", str(workers), "--json"]
    start = time.perf_counter()
    run = subprocess.Popen([sys.executable, "-m", "bad_robot_behavior", *command], stdout=subprocess.PIPE, cwd=ROOT)
    assert run.stdout is not None
    told = json.loads(run.stdout.read())
    _, status, usage = os.wait4(run.pid, 0)  # of this process alone; its largest child is in it too
    assert status == 0
    return told["manifest"]["counts"]["rollouts_packaged"], usage.ru_maxrss / 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000, 30000])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    first: float | None = None
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_dump(folder / "dump", size // 2, cameras=("left",), npz=False, frames=8)
            write_recipe(folder / "recipe.yaml", folder / "dump")
            rollouts, megabytes, seconds = measure(folder, args.workers)
        first = first or megabytes
        print(
            f"{rollouts:6} rollouts   peak {megabytes:6.0f} MB ({megabytes / first:4.2f} x the first)   "
            f"{seconds:7.1f} s   {rollouts / seconds:6.1f} rollouts/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
