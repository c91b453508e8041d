"""Peak memory of a build against the number of rollouts: it should not grow with them.

Builds a dump of tiny videos at each size in a process of its own and reports peak resident memory, wall time, and the
same as multiples of the smallest size.

    python benchmarks/build_memory.py --sizes 100 1000 10000 30000
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.dumps import write_dump, write_recipe  # noqa: E402


def measure(folder: Path, workers: int, connection: multiprocessing.connection.Connection) -> None:
    from bad_robot_behavior.build import build

    start = time.perf_counter()
    report = build(folder / "recipe.yaml", folder / "release", workers=workers)
    seconds = time.perf_counter() - start
    assert report.manifest is not None
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    connection.send((report.manifest.counts.rollouts_packaged, kilobytes / 1024, seconds))


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
            receiver, sender = multiprocessing.Pipe(duplex=False)
            # spawn: a forked child would inherit this process's memory as its own peak.
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=measure, args=(folder, args.workers, sender))
            process.start()
            sender.close()  # else a child that dies would be waited for without end
            rollouts, megabytes, seconds = receiver.recv()
            process.join()
        first = first or megabytes
        print(
            f"{rollouts:6} rollouts   peak {megabytes:6.0f} MB ({megabytes / first:4.2f} x the first)   "
            f"{seconds:7.1f} s   {rollouts / seconds:6.1f} rollouts/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
