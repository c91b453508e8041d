"""Which videos are nearly the same, by the perceptual hashes that the screen stage makes of their frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_CELLS = 1 << 19  # pairs compared at once: 4 MB of intermediate results, whatever the number of videos


def near_duplicates(fingerprints: Sequence[Sequence[str]], bits: int) -> Iterator[tuple[int, int]]:
    """Pairs (i, j) with a video each that differ by at most `bits` of 64, on average over their sampled frames.

    Every video is compared with every other one whatever its role, since a copy can hide under another camera's name.
    Quadratic, at about 25 ns a pair.
    """
    by_length: dict[int, tuple[list[int], list[str]]] = defaultdict(lambda: ([], []))
    owner_of: dict[str, int] = {}
    for i, videos in enumerate(fingerprints):
        for video in videos:
            # Equal hashes are paired with the first of them only: a thousand copies are not half a million pairs.
            first = owner_of.setdefault(video, i)
            if first != i:
                yield first, i
                continue
            owners, hashes = by_length[len(video)]
            owners.append(i)
            hashes.append(video)
    for length, (owners, hashes) in sorted(by_length.items()):
        words = length // 16
        if words == 0:
            continue
        owner = np.asarray(owners)
        table: NDArray[np.uint64] = np.array(
            [[int(h[16 * w : 16 * w + 16], 16) for w in range(words)] for h in hashes], dtype=np.uint64
        )
        rows = max(1, _CELLS // len(table))
        for start in range(0, len(table), rows):
            block = table[start : start + rows]
            distance = np.zeros((len(block), len(table) - start), dtype=np.uint16)
            for w in range(words):
                distance += np.bitwise_count(block[:, w, None] ^ table[None, start:, w])
            for i, j in zip(*np.nonzero(distance <= bits * words), strict=True):
                a, b = int(owner[start + i]), int(owner[start + j])
                if a < b:
                    yield a, b
