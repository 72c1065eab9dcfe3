"""Clips that show the same pictures, found by their hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aura.training.data.looks import HASH_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Of 255 bits that may differ. Measured on clips of talking people: copies of 13 at half size
# and CRF 38 differed by at most 16, pictures of 37 unrelated ones by at least 74.
SAME_PICTURE_BITS = 36
SAME_CLIP_SHARE = 0.75  # of the pictures of the shorter clip that must be in the longer one
CELLS_AT_ONCE = 2**26  # pictures compared with all others in one product: bounds the memory


def look_alikes(hashes: Sequence[NDArray[np.int8]]) -> list[tuple[int, int]]:
    """Pairs of clips of which one shows (nearly) only pictures that the other shows too.

    Args:
        hashes: for each clip (K, 255) of -1 and 1; clips without any match nothing.

    Returns:
        pairs (i, j) with i < j.
    """
    counts = np.array([len(one) for one in hashes])
    clips = [i for i, count in enumerate(counts) if count]
    if len(clips) < 2:
        return []
    stacked = np.concatenate([hashes[i] for i in clips]).astype(np.float32)
    begins = np.concatenate([[0], np.cumsum(counts[clips])[:-1]])
    # The product of two hashes is (equal bits) - (differing bits).
    enough = HASH_BITS - 2 * SAME_PICTURE_BITS
    found: set[tuple[int, int]] = set()
    rows_at_once = max(1, CELLS_AT_ONCE // len(stacked))
    first = 0
    while first < len(clips):
        last = first + 1
        while last < len(clips) and begins[last] - begins[first] < rows_at_once:
            last += 1
        end = begins[last] if last < len(clips) else len(stacked)
        alike = stacked[begins[first] : end] @ stacked.T >= enough
        seen_in = np.logical_or.reduceat(alike, begins, axis=1)  # (pictures, clips)
        shared = np.add.reduceat(seen_in.astype(int), begins[first:last] - begins[first], axis=0)
        needed = np.ceil(SAME_CLIP_SHARE * counts[clips[first:last]])[:, None]
        for row, column in np.argwhere(shared >= needed):
            i, j = clips[first + row], clips[column]
            if i != j:
                found.add((min(i, j), max(i, j)))
        first = last
    return sorted(found)
