"""Near-duplicate search: what a look at every pair finds."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from bad_robot_behavior.curation.screen import fingerprint_distance
from bad_robot_behavior.media.fingerprint import near_duplicates

# Few different words, so that equal and near hashes are common.
word = st.sampled_from(["0" * 16, "0" * 15 + "1", "0" * 15 + "f", "f" * 16, "0123456789abcdef"])
fingerprint = st.one_of(st.tuples(word, word), st.tuples(word)).map("".join)
rollouts = st.lists(st.lists(fingerprint, max_size=3).map(tuple), max_size=12)


@given(rollouts, st.integers(0, 8))
def test_groups_are_those_of_all_pairs(rows: list[tuple[str, ...]], bits: int) -> None:
    near = {
        (i, j)
        for i, j in itertools.combinations(range(len(rows)), 2)
        if any(fingerprint_distance(a, b) <= bits for a in rows[i] for b in rows[j])
    }
    found = set(near_duplicates(rows, bits))
    assert found <= near
    assert groups(found, len(rows)) == groups(near, len(rows))


def groups(pairs: set[tuple[int, int]], n: int) -> list[int]:
    """The smallest member of each one's group."""
    label = list(range(n))
    for _ in range(n):
        for i, j in pairs:
            label[i] = label[j] = min(label[i], label[j])
    return label
