"""Fingerprints of tiles, so that the same picture is found again though it was re-encoded, scaled or a little noisy."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAR", "fingerprint", "like_pairs"]

FAR = 3
"""Bits that fingerprints of the same picture may differ in."""
_SIDE = 8
_MOST_ALIKE = 64
"""Tiles of one key that are compared with each other: more than that are a pattern, not copies."""
_FIFTHS = tuple(0x1FFF << at & 0xFFFF_FFFF_FFFF_FFFF for at in range(0, 64, 13))
"""The bits of each fifth of a fingerprint."""


def fingerprint(image: NDArray[Any]) -> int:
    """64 bits of a (C, S, S) tile: whether brightness grows from left to right, over 8 x 9 blocks (difference hash).

    0 for a tile that is flat or smaller than 9 pixels: it has no fingerprint.
    """
    high, wide = image.shape[1] // _SIDE, image.shape[2] // (_SIDE + 1)
    if not high or not wide:
        return 0
    part = image[:, : high * _SIDE, : wide * (_SIDE + 1)]
    # Rows first: sums along the fast axis of few numbers cost more than the rest of the fingerprint.
    rows = part.reshape(len(image), _SIDE, high, -1).sum(axis=(0, 2), dtype=np.float64)
    blocks = rows.reshape(_SIDE, _SIDE + 1, wide).sum(axis=2)
    if blocks.max() == blocks.min():
        return 0
    bits = np.packbits((blocks[:, 1:] > blocks[:, :-1]).ravel())
    return int.from_bytes(bits.tobytes(), "big")


def like_pairs(prints: NDArray[np.uint64], side: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) pairs of tiles on different sides whose fingerprints differ in at most FAR bits.

    prints: (T,), 0 where there is none; side: (T,) split of each tile, negative for those that do not matter.
    Fingerprints that differ in three bits agree in at least two fifths: only tiles that share those are compared. By
    quarters, of which they share one, three million tiles would be some hundred times as many comparisons.
    """
    matter = np.flatnonzero((prints != 0) & (side >= 0))
    found = [_sharing(prints, side, matter, one | other) for one, other in combinations(_FIFTHS, 2)]
    return np.unique(np.concatenate(found), axis=0)


def _sharing(
    prints: NDArray[np.uint64], side: NDArray[np.int64], matter: NDArray[np.int64], bits: int
) -> NDArray[np.int64]:
    """The pairs that agree in some bits and differ in at most FAR others."""
    key = prints[matter] & np.uint64(bits)
    order = matter[np.lexsort((prints[matter], key))]
    sorted_key = np.sort(key)
    pairs = []
    # Within a run of one key, each is compared with the next one, the one after, …: equal prints stand side by side.
    for step in range(1, min(_MOST_ALIKE, len(order))):
        same = sorted_key[step:] == sorted_key[:-step]
        if not same.any():
            break
        a, b = order[:-step][same], order[step:][same]
        a, b = a[side[a] != side[b]], b[side[a] != side[b]]
        close = np.bitwise_count(prints[a] ^ prints[b]) <= FAR
        pairs.append(np.sort(np.stack([a[close], b[close]], axis=1), axis=1))
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
