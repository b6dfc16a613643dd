"""How the grids of an image and its mask lie to each other: flips, crops and shifts, from headers alone. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from greenprep.findings import finding
from greenschemas.codes import Code
from greenschemas.grid import Grid
from greenschemas.limits import Limits
from greenschemas.manifest import Reason

__all__ = ["Match", "match"]


@dataclass(frozen=True)
class Match:
    """Which windows of image and mask show the same pixels, and what was odd."""

    grid: Grid
    """Of both, as handed on."""
    image_at: tuple[int, int] = (0, 0)
    """(row, column) in the (upright) image where the common window starts."""
    mask_at: tuple[int, int] = (0, 0)
    findings: tuple[Reason, ...] = ()


def match(image: Grid, mask: Grid, limits: Limits, *, same_crs: bool = True) -> Match:
    """The common window of two grids that run in the same direction.

    same_crs: whether both coordinate systems are the same, or one is missing.
    """
    findings: list[Reason] = []
    if not same_crs:
        findings.append(
            finding(
                Code.CRS_MISMATCH,
                "pair",
                f"image {_short(image.crs)}, mask {_short(mask.crs)}",
                limit="the same",
                limits=limits,
            )
        )
    found = f"image {image.height} x {image.width}, mask {mask.height} x {mask.width} pixels"
    if abs(image.height - mask.height) > 1 or abs(image.width - mask.width) > 1:
        findings.append(finding(Code.SIZE_MISMATCH, "pair", found, limit="at most one pixel apart", limits=limits))
        return Match(image, findings=tuple(findings))
    rows, cols, error = _shift(image, mask)
    if not math.isfinite(error) or error > limits.transform_tolerance or max(abs(rows), abs(cols)) > limits.shift_max:
        findings.append(
            finding(
                Code.TRANSFORM_MISMATCH,
                "pair",
                _placed(rows, cols, error),
                limits=limits,
                limit=f"{limits.transform_tolerance:g} pixels, or up to {limits.shift_max} whole ones",
            )
        )
        return Match(image, findings=tuple(findings))
    window, at_image, at_mask = _overlap(image, mask, rows, cols)
    if (rows, cols) != (0, 0):
        findings.append(
            finding(
                Code.SHIFTED,
                "mask",
                f"{rows} rows and {cols} columns off",
                limits=limits,
                limit=f"up to {limits.shift_max} whole pixels",
            )
        )
    if (image.height, image.width) != (mask.height, mask.width):
        findings.append(finding(Code.CROPPED, "pair", found, limit="at most one pixel apart", limits=limits))
    return Match(window, at_image, at_mask, tuple(findings))


def _shift(image: Grid, mask: Grid) -> tuple[int, int, float]:
    """(rows, columns) that the mask's first pixel lies off the image's, and the largest error of that, in pixels."""
    if not (image.placed and mask.placed):
        return 0, 0, 0.0
    corners = [mask.pixel_in(image, row, col) for row, col in _corners(mask)]
    if not all(math.isfinite(value) for corner in corners for value in corner):
        return 0, 0, math.inf
    rows, cols = round(corners[0][0]), round(corners[0][1])
    error = max(
        max(abs(row - rows - at_row), abs(col - cols - at_col))
        for (row, col), (at_row, at_col) in zip(corners, _corners(mask), strict=True)
    )
    return rows, cols, error


def _corners(grid: Grid) -> tuple[tuple[int, int], ...]:
    return (0, 0), (0, grid.width), (grid.height, 0), (grid.height, grid.width)


def _overlap(image: Grid, mask: Grid, rows: int, cols: int) -> tuple[Grid, tuple[int, int], tuple[int, int]]:
    at_image = max(rows, 0), max(cols, 0)
    at_mask = max(-rows, 0), max(-cols, 0)
    height = min(image.height - at_image[0], mask.height - at_mask[0])
    width = min(image.width - at_image[1], mask.width - at_mask[1])
    if height <= 0 or width <= 0:
        height, width = 0, 0
    return image.cropped(*at_image, height, width), at_image, at_mask


def _placed(rows: int, cols: int, error: float) -> str:
    if math.isfinite(error) and error < 0.5:
        return f"the mask's corners lie {rows} rows and {cols} columns off the image's, give or take {error:.2g} pixels"
    return f"the mask's corners lie up to {error:.3g} pixels off the image's"


def _short(crs: str) -> str:
    return crs if len(crs) <= 40 else crs[:37] + "…"
