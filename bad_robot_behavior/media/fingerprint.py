"""Which videos are nearly the same, by the perceptual hashes that the screen stage makes of their frames."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_CELLS = 1 << 19  # pairs compared at once: 4 MB of intermediate results, whatever the number of videos


class Fingerprints:
    """The fingerprints of many videos, each of which belongs to an owner; holds half of their length in bytes."""

    def __init__(self) -> None:
        self._by_length: dict[int, tuple[array[int], bytearray]] = {}

    def add(self, owner: int, videos: Sequence[str]) -> None:
        """Take the fingerprints of one owner's videos: 16 hex digits for each frame. Raises ValueError for others."""
        for video in videos:
            owners, hashes = self._by_length.setdefault(len(video), (array("q"), bytearray()))
            owners.append(owner)
            hashes += bytes.fromhex(video)

    def near(self, bits: int) -> Iterator[tuple[int, int]]:
        """Pairs (i, j) of owners, i < j, with a video each that differ by at most `bits` of 64, on average over their
        sampled frames. Of more than two videos with equal fingerprints each is paired with the first alone.

        Every video is compared with every other one whatever its role, since a copy can hide under another camera's
        name. Quadratic, at about 25 ns a pair.
        """
        for length, (owners, hashes) in sorted(self._by_length.items()):
            words = length // 16
            table: NDArray[np.uint64] = np.frombuffer(hashes, dtype=np.uint64).reshape(-1, words)
            _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
            owner = np.asarray(owners)
            for i, j in zip(owner[first[which.ravel()]].tolist(), owners, strict=True):
                if i != j:
                    yield i, j
            distinct = np.sort(first)
            yield from _near(table[distinct], owner[distinct], bits * words)


def near_duplicates(fingerprints: Sequence[Sequence[str]], bits: int) -> Iterator[tuple[int, int]]:
    """As `Fingerprints.near`; owners are numbered in order."""
    taken = Fingerprints()
    for i, videos in enumerate(fingerprints):
        taken.add(i, videos)
    return taken.near(bits)


def _near(table: NDArray[np.uint64], owner: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Owners of rows that differ by at most so many bits."""
    rows = max(1, _CELLS // len(table))
    for start in range(0, len(table), rows):
        block = table[start : start + rows]
        distance = np.zeros((len(block), len(table) - start), dtype=np.uint16)
        for w in range(table.shape[1]):
            distance += np.bitwise_count(block[:, w, None] ^ table[None, start:, w])
        for i, j in zip(*np.nonzero(distance <= most), strict=True):
            a, b = int(owner[start + i]), int(owner[start + j])
            if a < b:
                yield a, b
