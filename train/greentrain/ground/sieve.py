"""Which patches of a map are large enough, found strip by strip: the answer of the whole map, in the memory of a strip.

A patch is a set of pixels that touch by their sides. Each strip is labelled by itself; patches that meet across the
edge of two strips are one (Hoshen and Kopelman 1976). Of the whole map only one size a patch is kept.
Letters: H rows of a strip, W columns of the map, N patches of a strip.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["find_large", "only_large"]

Bools = NDArray[np.bool_]


def find_large(strips: Iterable[Bools], least: int) -> list[Bools]:
    """For each strip (H, W), from the top down: (N + 1,) whether each of its patches has `least` pixels on the map."""
    sizes: list[NDArray[np.int32]] = []
    pairs: list[NDArray[np.int64]] = []
    begin, above = 0, None
    for strip in strips:
        labels, count = label(strip)
        size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        sizes.append(np.minimum(size, least).astype(np.int32))  # whatever is large enough is so for good
        top, bottom = (np.where(row > 0, row.astype(np.int64) + (begin - 1), -1) for row in (labels[0], labels[-1]))
        if above is not None:
            meet = (top >= 0) & (above >= 0)
            pairs.append(np.unique(np.stack([above[meet], top[meet]], 1), axis=0))
        above, begin = bottom, begin + count
    large = _joined(np.concatenate(sizes), np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)) >= least
    cuts = np.cumsum([len(own) for own in sizes])[:-1]
    return [np.concatenate([[False], own]) for own in np.split(large, cuts)]


def only_large(strip: Bools, large: Bools) -> Bools:
    """(H, W) the pixels of a strip that lie in large patches; large: what `find_large` says of this strip."""
    kept: Bools = large[label(strip)[0]]
    return kept


def _joined(sizes: NDArray[np.int32], pairs: NDArray[np.int64]) -> NDArray[np.int32]:
    """Size of the patch to which each part belongs; pairs: (…, 2) of parts that are one."""
    parts, at = np.unique(pairs, return_inverse=True)
    one, other = at.reshape(pairs.shape).T
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), (len(parts), len(parts)))
    count, patch = connected_components(graph, directed=False)
    sizes[parts] = np.bincount(patch, sizes[parts], count)[patch].clip(max=np.iinfo(np.int32).max)
    return sizes
