"""Where the sources of a store lie: footprints in metres, distances and overlaps.

Letters: F sources. All footprints are boxes (left, bottom, right, top).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.crs import check_crs, stay_offline
from greenschemas.errors import StoreError
from greenschemas.store import Store

__all__ = ["footprints", "gaps", "near_pairs"]

stay_offline()

_METRES = 111_195.0
"""Of a degree of latitude, on the sphere of 6,371 km."""


def footprints(store: Store) -> NDArray[np.float64]:
    """(F, 4) boxes of the sources in metres; NaN for one without a coordinate system.

    In the system that most sources have; the others are carried over to it, so that all distances can be compared.
    Degrees are stretched to metres along the meridian and along the mean parallel.
    """
    rows, cols = store.read("extent").astype(np.float64).T
    edge = np.zeros(len(rows))
    crs = store.texts("crs")
    transform = store.read("transform")
    boxes = _mapped(np.stack([edge, edge, cols, rows], axis=1), transform)
    boxes[crs == ""] = np.nan
    names, index, count = np.unique(crs, return_inverse=True, return_counts=True)
    known = names != ""
    if not known.any():
        return boxes
    main = str(names[np.argmax(np.where(known, count, 0))])
    for i, name in enumerate(names):
        rows = index == i
        if name and name != main:
            boxes[rows] = _carried(boxes[rows], _system(store, str(name)), _system(store, main))
    return _in_metres(boxes, _system(store, main))


def _mapped(box: NDArray[np.float64], transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F, 4) boxes on the ground, from (left, top, right, bottom) in pixels."""
    a, b, c, d, e, f = transform.T
    cols, rows = box[:, [0, 2, 0, 2]].T, box[:, [1, 1, 3, 3]].T
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    return np.stack([x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)], axis=1)


def _system(store: Store, crs: str) -> Any:
    """The coordinate system that a store names; raises StoreError for one that is none."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return CRS.from_string(check_crs(crs))
    except (ValueError, CRSError) as problem:
        raise StoreError(
            store.location,
            f"`{crs[:60]}` in `crs` is no coordinate system ({problem})",
            "build it from files that have one",
        ) from None


def _carried(boxes: NDArray[np.float64], crs: Any, to: Any) -> NDArray[np.float64]:
    from rasterio._err import CPLE_BaseError  # what warp raises: no other name leads to it
    from rasterio.warp import transform

    x, y = boxes[:, [0, 2, 0, 2]], boxes[:, [1, 1, 3, 3]]
    try:
        there: tuple[Any, Any] = transform(crs, to, x.ravel().tolist(), y.ravel().tolist())
    except CPLE_BaseError:  # A box lies where no projection reaches: it has no place, and the others have theirs.
        if len(boxes) == 1:
            return np.full((1, 4), np.nan)
        return np.concatenate([_carried(box[None], crs, to) for box in boxes])
    x, y = (np.asarray(values).reshape(-1, 4) for values in there)
    return np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)


def _in_metres(boxes: NDArray[np.float64], system: Any) -> NDArray[np.float64]:
    scale = np.full(4, 1.0)
    if system.is_geographic:
        along = _METRES * np.cos(np.radians(np.nanmean(boxes[:, [1, 3]])))
        scale = np.array([along, _METRES, along, _METRES])
    elif system.is_projected:  # Of a local system GDAL knows no unit: metres, most likely.
        scale *= float(system.linear_units_factor[1])
    metres: NDArray[np.float64] = boxes * scale
    return metres


def near_pairs(boxes: NDArray[np.float64], reach: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (i, j), i < j, of sources whose boxes come within `reach` metres of each other, some at a time.

    A sweep from left to right over the boxes; those without a place are in no pair.
    """
    placed = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    order = placed[np.argsort(boxes[placed, 0], kind="stable")]
    left, right = boxes[order, 0], boxes[order, 2]
    # Nothing that begins beyond the right edge of a box can touch it.
    ends = np.searchsorted(left, right + reach, side="right")
    for at in range(0, len(order), 4096):
        here = np.arange(at, min(at + 4096, len(order)))
        many = ends[here] - here - 1
        first = np.repeat(here, many)
        second = first + 1 + np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        i, j = order[first], order[second]
        close = gaps(boxes, i, j) <= reach
        yield np.minimum(i, j)[close], np.maximum(i, j)[close]


def gaps(boxes: NDArray[np.float64], i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Metres between the boxes of pairs (i, j); negative where they overlap: then how deep."""
    a, b = boxes[i], boxes[j]
    x = np.maximum(a[:, 0], b[:, 0]) - np.minimum(a[:, 2], b[:, 2])
    y = np.maximum(a[:, 1], b[:, 1]) - np.minimum(a[:, 3], b[:, 3])
    apart: NDArray[np.float64] = np.hypot(np.maximum(x, 0), np.maximum(y, 0))
    np.maximum(x, y, out=apart, where=(x < 0) & (y < 0))
    return apart
