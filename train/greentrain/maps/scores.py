"""Scores of a finished class map against a mask of the same scene, block by block.

Letters: H rows, W columns, all of one block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greentrain.data.targets import TargetRule
from greentrain.maps.blend import blocks
from greentrain.maps.predict import NO_CLASS
from greentrain.maps.raster import open_raster
from greentrain.scores.metrics import scores

__all__ = ["score_map"]


def score_map(
    out: Path,
    labels: Path,
    rule: TargetRule,
    stored: Sequence[str],
    unlabelled: float | None = None,
    codes: Mapping[int, int] | None = None,
) -> dict[str, object]:
    """Scores of a class map against a mask on the same grid: one band of class indices, or one band a class.

    rule: what the map's classes are. stored: the classes that the mask holds. unlabelled: value of the mask that means
    no label, beside its own nodata. codes: position in `stored` of each code of a mask of one band; None: the code
    itself. Where the mask holds shares, the largest counts, the first of equal ones; pixels
    without data, with NaN or with no share at all are not counted.
    Raises SourceError where grids or bands do not fit.
    """
    k = len(rule.classes)
    counts = np.zeros(k * k, np.int64)
    with open_raster(out) as found, open_raster(labels) as truth:
        placed = bool(truth.grid.crs)
        size = (truth.grid.height, truth.grid.width)
        wrong = found.grid.differs(truth.grid if placed else Grid(*size, found.grid.transform))
        if wrong is not None:
            raise SourceError(labels, f"not on the grid of the map: {wrong}", "give the mask of this very scene")
        if len(truth.names) not in (1, len(stored)):
            raise SourceError(
                labels,
                f"{len(truth.names)} bands for {len(stored)} classes",
                "give one band of class indices, or one band a class",
            )
        for block in blocks(*size, 1024):
            box = (block.row, block.col, block.height, block.width)
            (values, usable), ((predicted,), _) = truth.read(*box), found.read(*box)
            label, known = _labels(values, rule, codes or {code: code for code in range(len(stored))})
            counted = usable & known & (predicted != NO_CLASS)
            if unlabelled is not None:
                counted &= ~_all_or_any(values == unlabelled, unlabelled)
            cells = label[counted] * k + predicted[counted]
            counts += np.bincount(cells, minlength=k * k)
    found_scores: dict[str, object] = scores(counts.reshape(k, k), rule.classes)
    return found_scores


def _all_or_any(same: NDArray[np.bool_], value: float) -> NDArray[np.bool_]:
    """(H, W) where a mask (bands, H, W) has no label: a share may be 0, so that 0 must stand in all of its bands."""
    return np.asarray(same.all(axis=0) if value == 0 else same.any(axis=0))


def _labels(
    values: NDArray[np.generic], rule: TargetRule, codes: Mapping[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """((H, W) class by the rule, (H, W) True where there is one) of a mask's values (bands, H, W)."""
    if len(values) == 1:
        index = np.full(values[0].shape, -1, np.int64)
        for code, k in codes.items():
            index[values[0] == code] = k
        label = index if rule.index is None else (index == rule.index).astype(np.int64)
        return label, index >= 0
    share = values.astype(np.float64)
    total = share.sum(0)
    label = share.argmax(0) if rule.index is None else (share[rule.index] > total / 2).astype(np.int64)
    return label, total > 0
