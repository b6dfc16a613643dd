"""Scores of a finished class map against a mask of the same scene, block by block.

Letters: K classes of the store, H rows, W columns, all of one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.choices import MaskKind
from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greenschemas.labels import aggregated, decode_labels, guess_scale, native_scale
from greenschemas.layout import FRACTION_SCALE, UNLABELLED
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules
from greentrain.data.targets import TargetRule
from greentrain.maps.blend import blocks
from greentrain.maps.outputs import NO_CLASS
from greentrain.maps.raster import Raster, open_raster
from greentrain.scores.metrics import scores

__all__ = ["score_map"]

Box = tuple[int, int, int, int]
_BLOCK = 1024
"""Rows and columns that are compared at a time."""


def score_map(out: Path, labels: Path, rule: TargetRule, written: MaskRules, limits: Limits) -> dict[str, object]:
    """Scores of a class map against a mask of the same ground, read as a store reads its masks.

    rule: what the map's classes are; written: how the run's masks are written. A mask of one band of codes, or of one
    band a class, is read as such whatever the run's own masks are; one of finer pixels as `aggregate` says. Where a
    pixel has shares, the largest counts, the first of equal ones. Pixels without data or label are not counted.
    Raises SourceError where grids or bands do not fit.
    """
    k = len(rule.classes)
    counts = np.zeros(k * k, np.int64)
    with open_raster(out) as found, open_raster(labels, written.bands) as truth:
        bands, alpha, read = _layout(truth, written)
        side = _side(found.grid.upright(), truth, read.aggregate)
        height, width = found.grid.height, found.grid.width
        middle = _stored(truth, (height // 2, 0, min(_BLOCK, height - height // 2), width), bands, side)
        nodata, index = truth.nodata[0], read.kind is MaskKind.INDEX
        scale = 1 if index else guess_scale(middle, read, nodata) or native_scale(read)
        for block in blocks(height, width, max(1, _BLOCK // side)):
            box = block.row, block.col, block.height, block.width
            share, _ = decode_labels(_stored(truth, box, bands, side), read, limits, nodata=nodata, scale=scale)
            inside = _inside(truth, box, side) if alpha is None else _stored(truth, box, [alpha], side)[0] > 0
            if inside is not None:
                share[:, ~inside] = UNLABELLED
            label, known = _labels(aggregated(share, side, read.labelled_min), rule)
            predicted = _stored(found, box, [0])[0]
            counted = known & (predicted != NO_CLASS)
            counts += np.bincount(label[counted] * k + predicted[counted], minlength=k * k)
    found_scores: dict[str, object] = scores(counts.reshape(k, k), rule.classes)
    return found_scores


def _window(raster: Raster, box: Box, side: int) -> Box:
    """Where the file has a window of the upright map, with side x side of its pixels to one of the map's."""
    row, col, height, width = (side * at for at in box)
    return *raster.grid.turned_at(row, col, height, width), height, width


def _stored(raster: Raster, box: Box, bands: Sequence[int], side: int = 1) -> NDArray[Any]:
    """(bands, H * side, W * side) of such a window, upright."""
    return raster.stored(*_window(raster, box, side), bands)[:, *raster.grid.order]


def _inside(raster: Raster, box: Box, side: int) -> NDArray[np.bool_] | None:
    inside = raster.inside(*_window(raster, box, side))
    return None if inside is None else inside[raster.grid.order]


def _layout(truth: Raster, written: MaskRules) -> tuple[list[int], int | None, MaskRules]:
    """(its bands of labels, its alpha band, how it is written) of a mask."""
    as_written = {
        1: written.model_copy(update={"kind": MaskKind.INDEX, "rest": None}),
        len(written.names): _one_band_a_class(written),
        written.bands: written,
    }
    if truth.count in as_written:  # Four bands of bytes are what they are, although GDAL calls the last one alpha.
        return list(range(truth.count)), None, as_written[truth.count]
    if truth.alpha is not None and truth.count - 1 in as_written:
        return [i for i in range(truth.count) if i != truth.alpha], truth.alpha, as_written[truth.count - 1]
    raise SourceError(
        truth.path,
        f"{truth.count} bands for {len(written.names)} classes",
        f"give a mask of {' or '.join(map(str, sorted(as_written)))} bands: codes, or shares of the classes",
    )


def _one_band_a_class(written: MaskRules) -> MaskRules:
    kind = MaskKind.FRACTION if written.kind is MaskKind.INDEX else written.kind
    return written.model_copy(update={"kind": kind, "rest": None, "classes": written.names})


def _side(found: Grid, truth: Raster, aggregate: int) -> int:
    """Rows and columns of the mask that make one pixel of the map: 1, or `aggregate`."""
    for side in {aggregate: None, 1: None}:
        grid = truth.grid.upright().coarser(side)
        wrong = found.differs(grid if grid.crs else Grid(grid.height, grid.width, found.transform))
        if wrong is None:
            return side
    raise SourceError(truth.path, f"not on the grid of the map: {wrong}", "give the mask of this very scene")


def _labels(share: NDArray[np.uint8], rule: TargetRule) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """((H, W) class by the rule, (H, W) True where there is one) of coded fractions (K, H, W)."""
    label = share.argmax(0) if rule.index is None else (share[rule.index] > FRACTION_SCALE / 2).astype(np.int64)
    return label, share[0] != UNLABELLED
