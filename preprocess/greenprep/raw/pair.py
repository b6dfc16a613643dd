"""An image and its mask, opened together and read as one: the same pixels however the files lay them out.

Letters: C bands, K classes, H rows, W columns of the pair as handed on; h, w of a window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.raw.clouds import flagged_clouds
from greenprep.raw.files import File, Findings, examine_header, open_file
from greenprep.raw.first_look import look_at_bands, look_at_offset, look_at_tags
from greenprep.raw.match import Match, match
from greenprep.raw.pairs import Candidate
from greenprep.raw.tiff import gdal, pixel_metres, same_crs
from greenprep.raw.tiff_header import BadFile
from greenschemas.bands import Band
from greenschemas.choices import CloudPolicy, NanPolicy
from greenschemas.grid import Grid
from greenschemas.labels import LabelCounts, aggregated, decode_labels
from greenschemas.layout import UNLABELLED
from greenschemas.limits import Limits
from greenschemas.manifest import Level, Reason
from greenschemas.recipe import MaskRules
from greenschemas.values import find_holes

__all__ = ["BadFile", "OpenPair", "PairHeader", "Pixels", "gdal", "open_pair"]

STRIP_BYTES = 64 << 20
"""Files that decode to no more than this are read in one go; larger ones in strips of about this size."""
FINE_PIXELS = 4 << 20
"""Pixels of a finer mask that are counted at a time."""


@dataclass(frozen=True)
class PairHeader:
    """What is known of a pair before its pixels are judged."""

    candidate: Candidate
    shape: tuple[int, int, int] | None
    """(C, H, W) as handed on; None where the image cannot be read or has other bands than the recipe."""
    dtype: str | None
    """NumPy type of the image as handed on."""
    crs: str
    """As an authority code or WKT; empty where the image has none."""
    transform: tuple[float, float, float, float, float, float]
    findings: tuple[Reason, ...]
    """From names and headers, and from a first look at types and scales."""
    scaling: tuple[tuple[float, float], ...] = ()
    """(scale, offset) of each band by GDAL's tags: measured value = number as handed on * scale + offset."""
    pixel_metres: float | None = None
    """Side of a pixel on the ground; None where the image does not say where it lies."""

    @property
    def rejected(self) -> bool:
        """Whether the pair is already out; its image may still be readable, to say what else is wrong."""
        return any(reason.level is Level.REJECT for reason in self.findings)


@dataclass(frozen=True)
class Pixels:
    """One window of a pair."""

    row: int
    """First row of the window in the pair as handed on."""
    col: int
    whole: bool
    """Whether the window is the whole of a small pair, which always comes in one piece."""
    image: NDArray[Any]
    """(C, h, w), of the type handed on; 0 where it was NaN or infinite and the recipe masks such pixels."""
    valid: NDArray[np.bool_]
    """(h, w), true where the image may be used: not empty (see `find_holes`), not cloud (by the quality bands)."""
    present: NDArray[np.bool_]
    """(h, w), as `valid`, with the clouds and with what is 0 in every reflectance band and no tag calls empty."""
    fraction: NDArray[np.uint8]
    """(K, h, w), round(fraction * 200); 255 where there is no label."""
    labels: LabelCounts
    """What was found in the mask; all 0 where the mask cannot be read."""
    nonfinite: int
    """Pixels with NaN or infinity in a band, that no tag declares."""
    empty: NDArray[np.bool_] | None
    """(h, w), true where tags, internal mask or alpha say that there is nothing; None: nowhere."""
    cloud: NDArray[np.bool_] | None
    """(h, w), true where a quality band says cloud; None where no such band says anything here."""


class OpenPair:
    """A pair whose files are open; from `open_pair`."""

    def __init__(
        self,
        bands: Sequence[Band],
        rules: MaskRules,
        limits: Limits,
        image: File | None,
        mask: File | None,
        grids: Match | None,
        header: PairHeader,
    ) -> None:
        self.bands, self.rules, self.limits, self.header = bands, rules, limits, header
        self._image, self._mask, self._grids = image, mask, grids
        nbytes = math.prod(header.shape or (0,)) * np.dtype(header.dtype).itemsize
        self._small = header.shape is not None and nbytes <= STRIP_BYTES

    @property
    def image_file(self) -> File | None:
        """The open image, for writing a repaired copy; None where it cannot be read."""
        return self._image

    @property
    def mask_file(self) -> File | None:
        """The open mask; None where it cannot be read, or does not fit the image."""
        return self._mask

    def grid_of(self, file: File) -> Grid:
        """The grid of the pair as one of its two files places it; its own georeference, or none."""
        if self._grids is None:
            return file.grid
        at = self._grids.image_at if file is self._image else self._grids.mask_at
        return file.grid.cropped(*at, self._grids.grid.height, self._grids.grid.width)

    def mask_values(self, row: int, col: int, height: int, width: int) -> NDArray[Any]:
        """(M, height, width) of the mask as stored, for the window that starts at (row, col) of the pair.

        With `aggregate`, all of these count the mask's own, finer pixels.
        """
        if self._mask is None or self._grids is None:
            raise BadFile(self.header.candidate.name, "the pair has no readable mask", "see `header.findings`")
        top, left = (self._mask.fine * at for at in self._grids.mask_at)
        return self._mask.window(row + top, height, col + left, width)

    @property
    def width(self) -> int:
        """W; 0 where the shape is not known."""
        return self.header.shape[2] if self.header.shape else 0

    def strips(self, align: int = 1, *, whole: int = 0, block: int | None = None) -> list[tuple[int, int]]:
        """[(row, height)]: windows of full width that cover each row once, from the top.

        They start at multiples of `align` and, unless a strip then decodes to more than `block` bytes, of the file's
        blocks; they decode to about 64 MB. A small pair, or one of no more than `whole` bytes, is one strip.
        """
        if self.header.shape is None or self._image is None:
            return []
        channels, height, width = self.header.shape
        row_bytes = channels * width * self._image.tiff.dtype.itemsize
        if self._small or height * row_bytes <= whole:
            return [(0, height)]
        step = math.lcm(align, self._image.tiff.block_rows)
        if step * row_bytes > (STRIP_BYTES if block is None else block):
            step = align
        step *= max(1, STRIP_BYTES // (step * row_bytes))
        return [(row, min(step, height - row)) for row in range(0, height, step)]

    def read(self, row: int, col: int, height: int, width: int) -> Pixels:
        """The window that starts at (row, col); raises BadFile where a block cannot be decoded.

        A small pair is in memory from the start; of a large one the last strip is kept, so that tiles cut from one
        strip after the other decode nothing twice.
        """
        if self._image is None or self._grids is None:
            raise BadFile(self.header.candidate.name, "the pair was rejected by its header", "see `header.findings`")
        top, left = self._grids.image_at
        source = self._image
        raw = source.window(row + top, height, col + left, width)
        inside = source.inside(row + top, height, col + left, width)
        image, holes = self._hand_on(raw), find_holes(raw, self.bands, source.nodata, inside)
        cloud, valid = flagged_clouds(image, self.bands), holes.usable
        present = valid if holes.black is None else valid | (holes.black & replace(holes, black=None).usable)
        if cloud is not None:
            cloud &= present
            if self.limits.cloud is CloudPolicy.MASK:
                valid = valid & ~cloud
        empty, bare = holes.declared, holes.broken
        if bare is not None and empty is not None:
            bare = bare & ~empty
        fraction, labels = self._labels(row, col, height, width)
        whole = self._small and self.header.shape is not None and (height, width) == self.header.shape[1:]
        return Pixels(
            row,
            col,
            whole,
            image,
            valid,
            present,
            fraction,
            labels,
            0 if bare is None else int(np.count_nonzero(bare)),
            empty,
            cloud,
        )

    def _hand_on(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The image of the type handed on; 0 for NaN and infinity where the recipe masks such pixels."""
        if raw.dtype.kind == "f" and self.limits.nan is NanPolicy.MASK:
            finite = np.isfinite(raw)
            raw = raw if finite.all() else np.where(finite, raw, 0)
        return raw.astype(self.header.dtype, copy=False)

    def stored_labels(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[np.uint8], LabelCounts]:
        """((K, height, width) coded fractions, what was found), the window as for `mask_values`."""
        if self._mask is None or self._grids is None:
            return np.full((len(self.rules.names), height, width), UNLABELLED, np.uint8), LabelCounts()
        source = self._mask
        top, left = (source.fine * at for at in self._grids.mask_at)
        raw = self.mask_values(row, col, height, width)
        inside = source.inside(row + top, height, col + left, width)
        fraction, labels = decode_labels(raw, self.rules, self.limits, nodata=source.tiff.nodata, scale=source.scale)
        if inside is not None and not inside.all():
            fraction[:, ~inside] = UNLABELLED
            labels = replace(labels, labelled=int(np.count_nonzero(fraction[0] != UNLABELLED)))
        return fraction, labels

    def _labels(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[np.uint8], LabelCounts]:
        """As `stored_labels`, in pixels of the pair, which are also those that are counted as labelled."""
        side = self._mask.fine if self._mask is not None else 1
        if side == 1:
            return self.stored_labels(row, col, height, width)
        step = max(1, FINE_PIXELS // (side * side * max(width, 1)))
        parts: list[NDArray[np.uint8]] = []
        found = LabelCounts()
        for at in range(row, row + height, step):
            rows = min(step, row + height - at)
            fine, labels = self.stored_labels(at * side, col * side, rows * side, width * side)
            parts.append(aggregated(fine, side, self.rules.labelled_min))
            found += labels
        fraction = np.concatenate(parts, axis=1)
        return fraction, replace(found, labelled=int(np.count_nonzero(fraction[0] != UNLABELLED)))


@contextmanager
def open_pair(
    root: Path, candidate: Candidate, bands: Sequence[Band], rules: MaskRules, limits: Limits
) -> Iterator[OpenPair]:
    """Open a candidate's files below `root`, look at their headers, and close them afterwards.

    Never raises for what is wrong with a file: that stands in `header.findings`.
    """
    with gdal():
        findings = Findings(candidate, limits)
        image = open_file(root, candidate.image, "image", len(bands), findings)
        mask = open_file(root, candidate.mask, "mask", rules.bands, findings)
        opened = [file for file in (image, mask) if file is not None]
        try:
            image, mask = examine_header(image, mask, bands, rules, findings)
            image = _look(image, bands, findings)
            grids = Match(image.grid) if image is not None else None
            if image is not None and mask is not None:
                grids = match(image.grid, mask.grid, limits, same_crs=same_crs(image.grid.crs, mask.grid.crs))
                findings.found.extend(grids.findings)
                if any(reason.level is Level.REJECT for reason in grids.findings):
                    mask, grids = None, Match(image.grid)
            header = _header(candidate, image, grids.grid if grids else Grid(0, 0), findings)
            yield OpenPair(bands, rules, limits, image, mask, grids, header)
        finally:
            for file in opened:
                file.tiff.close()


def _look(image: File | None, bands: Sequence[Band], findings: Findings) -> File | None:
    """The image with its bands in order and its offset known; None where a sample of it cannot be decoded."""
    if image is None:
        return None
    try:
        look_at_bands(image, bands, findings)
        look_at_tags(image, bands, findings)
        look_at_offset(image, bands, findings)
    except BadFile as problem:
        findings.add_bad(problem, "image")
        return None
    return image


def _header(candidate: Candidate, image: File | None, grid: Grid, findings: Findings) -> PairHeader:
    shape = (image.tiff.bands, grid.height, grid.width) if image is not None else None
    dtype = str(image.target) if image is not None else None
    scaling = () if image is None else tuple(zip(image.scales, image.offsets, strict=True))
    metres = None if image is None else pixel_metres(image.grid)
    return PairHeader(
        candidate, shape, dtype, grid.crs, grid.transform, tuple(findings.found), scaling=scaling, pixel_metres=metres
    )
