"""A first look at a pair's files: what their headers say against the recipe, and which types and scales they use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.findings import About, finding
from greenprep.raw.pairs import SPLIT_PART, Candidate
from greenprep.raw.tiff import BandLayout, Tiff, open_tiff
from greenprep.raw.tiff_header import BadFile
from greenschemas.bands import Band
from greenschemas.choices import MaskKind, NanPolicy
from greenschemas.codes import Code
from greenschemas.grid import Grid
from greenschemas.labels import guess_scale, native_scale
from greenschemas.limits import Limits
from greenschemas.manifest import Level, Reason
from greenschemas.recipe import MaskRules

__all__ = ["File", "Findings", "examine_header", "open_file"]

SMALL = 64 << 20
"""Files that decode to no more bytes than this are read whole when they are opened."""


@dataclass
class Findings:
    """Findings about a candidate as they come up."""

    candidate: Candidate
    limits: Limits
    found: list[Reason] = field(default_factory=list)

    def __post_init__(self) -> None:
        problem = self.candidate.problem
        if problem is not None:
            about: About = "image" if self.candidate.mask is None else "pair"
            about = "mask" if self.candidate.image is None else about
            self.add(problem, about, self.candidate.name, limit="one image and one mask of the same stem")
        if SPLIT_PART.fullmatch(PurePosixPath(self.candidate.name).name):
            self.add(Code.SPLIT_EXPORT, "pair", PurePosixPath(self.candidate.name).name, limit="whole exports")
        if self.candidate.sidecars:
            self.add(Code.SIDECAR, "pair", ", ".join(self.candidate.sidecars), limit="not read")

    def add(
        self,
        code: Code,
        about: About,
        found: str,
        *,
        limit: str = "none allowed",
        remedy: str | None = None,
        level: Level | None = None,
    ) -> None:
        """Record a finding at the level that the recipe gives it, else at `level`, else at the catalogue's."""
        reason = finding(code, about, found, limit=limit, limits=self.limits, remedy=remedy, level=level)
        self.found.append(reason)

    def add_bad(self, problem: BadFile, about: About) -> None:
        """Record why a file cannot be used."""
        self.add(problem.code, about, problem.found, limit="a readable TIFF", remedy=problem.remedy)


@dataclass
class File:
    """An open file, read upright, whole in memory where it is small."""

    tiff: Tiff
    grid: Grid
    """Upright: rows from north to south, columns from west to east."""
    target: np.dtype[Any]
    """Type that its pixels are handed on in."""
    order: list[int] | None = None
    """Where the file has each band that is handed on; None: in its own order."""
    offset: float = 0.0
    """What is taken from the `harmonised` bands."""
    harmonised: tuple[int, ...] = ()
    scale: int = 1
    """For masks: what a whole pixel is written as."""
    fine: int = 1
    """Of masks that are aggregated: rows and columns of the file that make one of `grid`."""
    _kept: tuple[int, int, NDArray[Any]] | None = None
    """(row, height, pixels) last read, of full width, in the file's own row order."""

    def window(self, row: int, height: int, col: int, width: int) -> NDArray[Any]:
        """(bands, height, width), upright, in the order and with the offset handed on, else as stored.

        Raises BadFile where it cannot be decoded.
        """
        at, col = self.tiff.grid.turned_at(row, col, height, width)
        if self._kept is None or not (self._kept[0] <= at and at + height <= sum(self._kept[:2])):
            self._kept = at, height, self.tiff.read(at, height)
        first, _, pixels = self._kept
        part = pixels[:, at - first : at - first + height, col : col + width][:, *self.tiff.grid.order]
        return self._mended(part) if self.order is not None or self.offset else part

    def _mended(self, part: NDArray[Any]) -> NDArray[Any]:
        """In the order that is due, the offset taken away: never below 0, and nodata stays what it was."""
        out = part[self.order] if self.order is not None else part.copy()
        kind = out.dtype.type
        for band in self.harmonised:
            nodata, values = self.nodata[band], out[band]
            less = np.maximum(values, kind(self.offset)) - kind(self.offset)
            out[band] = less if nodata is None else np.where(values == nodata, values, less)
        return out

    def harmonise(self, amount: float, bands: Sequence[int]) -> None:
        """From now on hand on these bands less `amount`."""
        self.offset, self.harmonised = amount, tuple(bands)

    def _ordered(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values) if self.order is None else tuple(values[i] for i in self.order)

    @property
    def nodata(self) -> tuple[float | None, ...]:
        """The tag of each band as handed on."""
        return self._ordered(self.tiff.band_nodata)

    @property
    def scales(self) -> tuple[float, ...]:
        """GDAL's tag of each band as handed on: measured value = number * scale + offset."""
        return self._ordered(self.tiff.scales)

    @property
    def offsets(self) -> tuple[float, ...]:
        """As `scales`: what is taken from the numbers is added here, so that the measured values stay."""
        if not self.harmonised:
            return self._ordered(self.tiff.offsets)
        tags = zip(self._ordered(self.tiff.offsets), self.scales, strict=True)
        return tuple(
            offset + scale * self.offset if i in self.harmonised and (scale, offset) != (1.0, 0.0) else offset
            for i, (offset, scale) in enumerate(tags)
        )

    def inside(self, row: int, height: int, col: int, width: int) -> NDArray[np.bool_] | None:
        """(height, width) by the internal mask or alpha band; None where the file has neither."""
        at, col = self.tiff.grid.turned_at(row, col, height, width)
        mask = self.tiff.read_mask(at, height, col, width)
        return None if mask is None else mask[self.tiff.grid.order]

    @property
    def kept(self) -> NDArray[Any] | None:
        """(bands, H, W) as stored, where the whole file is in memory."""
        return self._kept[2] if self._kept is not None and self._kept[1] == self.tiff.grid.height else None

    def load(self) -> None:
        """Read the file whole if it is small; raises BadFile where it cannot be decoded."""
        if self.tiff.nbytes <= SMALL and self._kept is None:
            self._kept = 0, self.tiff.grid.height, self.tiff.read(0, self.tiff.grid.height)

    def pieces(self) -> list[tuple[int, int]]:
        """[(row, height)] that cover the file in pieces of bounded size."""
        height = self.tiff.grid.height
        step = (
            height
            if self.tiff.nbytes <= SMALL
            else max(
                self.tiff.block_rows,
                int(height * SMALL / self.tiff.nbytes) // self.tiff.block_rows * self.tiff.block_rows,
            )
        )
        return [(row, min(step, height - row)) for row in range(0, height, step)]


def open_file(root: Path, relative: str | None, about: About, bands: int, findings: Findings) -> File | None:
    """Open one file of a candidate and, if it is small, decode it whole; None where it cannot be used.

    bands: how many it should have. One that claims many more is not decoded: GDAL would take minutes for thousands.
    """
    if relative is None:
        return None
    try:
        tiff = open_tiff(root.absolute() / relative, findings.limits, bands)
    except BadFile as problem:
        findings.add_bad(problem, about)
        return None
    file = File(tiff, tiff.grid.upright(), tiff.dtype)
    try:
        if tiff.bands <= 8 * bands:
            file.load()
    except BadFile as problem:
        findings.add_bad(problem, about)
        tiff.close()
        return None
    return file


def examine_header(
    image: File | None, mask: File | None, bands: Sequence[Band], rules: MaskRules, findings: Findings
) -> tuple[File | None, File | None]:
    """The files that can be read on, with their types and scales; what is wrong with them goes to `findings`."""
    try:
        image = _image(image, bands, findings) if image is not None else None
    except BadFile as problem:
        findings.add_bad(problem, "image")
        image = None
    try:
        mask = _mask(mask, rules, findings) if mask is not None else None
    except BadFile as problem:
        findings.add_bad(problem, "mask")
        mask = None
    return image, mask


def _image(file: File, bands: Sequence[Band], findings: Findings) -> File | None:
    tiff = file.tiff
    _common(file, "image", findings)
    if not file.grid.crs:
        findings.add(Code.NO_CRS, "image", "no coordinate system")
    if file.grid.rotated:
        findings.add(Code.ROTATED, "image", f"transform {tuple(round(c, 6) for c in file.grid.transform)}")
    if tiff.bands != len(bands):
        findings.add(Code.BAND_COUNT, "image", f"{tiff.bands} bands", limit=f"{len(bands)}")
        # The other checks need the recipe's bands; this one does not, and says more of what is wrong.
        if file.kept is not None and not np.isfinite(file.kept).all():
            findings.add(Code.NAN, "image", f"{1 - np.isfinite(file.kept).mean():.2%} of the values")
        return None
    file.target = _narrowest(file, findings.limits.nan)
    if file.target != tiff.dtype:
        findings.add(Code.INTEGER_VALUES, "image", f"whole numbers as {tiff.dtype}", limit=f"{file.target} holds them")
    return file


def _mask(file: File, rules: MaskRules, findings: Findings) -> File | None:
    tiff, due = file.tiff, rules.bands
    _common(file, "mask", findings)
    if tiff.bands != due:
        fewer = rules.rest is None and tiff.bands == due - 1 and rules.kind is not MaskKind.INDEX
        remedy = "if one class is what the others leave of 1, write `rest: NAME` of it under `mask`" if fewer else None
        limit = f"{due} ({rules.kind.value})"
        findings.add(Code.MASK_BAND_COUNT, "mask", f"{tiff.bands} bands", limit=limit, remedy=remedy)
        return None
    if rules.aggregate > 1:
        file.fine, file.grid = rules.aggregate, file.grid.coarser(rules.aggregate)
    if rules.kind is not MaskKind.INDEX:
        native = native_scale(rules)
        middle = file.pieces()[len(file.pieces()) // 2]
        scale = guess_scale(file.tiff.read(*middle) if file.kept is None else file.kept, rules, tiff.nodata)
        file.scale = scale or native
        if scale is not None and scale != native and not (rules.kind is MaskKind.ONE_HOT and scale == 255):
            findings.add(Code.MASK_SCALE, "mask", f"a whole pixel is written as {scale}", limit=f"{native}")
    return file


def _common(file: File, about: About, findings: Findings) -> None:
    if file.tiff.band_layout is BandLayout.PAGED:
        findings.add(Code.PAGED, about, f"{file.tiff.bands} pages of one band", limit="one image of all bands")
    if file.tiff.band_layout is BandLayout.CHANNELS_LAST:
        height, width, bands = file.tiff.grid.height, file.tiff.grid.width, file.tiff.bands
        findings.add(Code.CHANNEL_LAST, about, f"{height} bands of {width} x {bands} pixels", limit=f"{bands} bands")
    if file.tiff.grid.south_up:
        findings.add(Code.SOUTH_UP, about, "rows from south to north", limit="north to south")
    if file.tiff.grid.west_up:
        findings.add(Code.WEST_UP, about, "columns from east to west", limit="west to east")


def _narrowest(file: File, policy: NanPolicy) -> np.dtype[Any]:
    """The narrowest type that holds a file's values, where all are whole numbers in a wider type than they need.

    Signed sources stay signed if they can; a file with any fractional value keeps its type.
    """
    dtype = file.tiff.dtype
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return dtype
    span = _whole_span(file, policy)
    if span is None:
        return dtype
    low, high = span
    wanted = ("uint16", "int16", "uint32", "int32") if low >= 0 and dtype.kind != "i" else ("int16", "uint16", "int32")
    for name in wanted:
        info = np.iinfo(name)
        if info.min <= low and high <= info.max and info.bits < dtype.itemsize * 8:
            return np.dtype(name)
    return dtype


def _whole_span(file: File, policy: NanPolicy) -> tuple[float, float] | None:
    """(least, greatest) value, the declared nodata among them, if all are whole numbers; None if any is not.

    NaN and infinity count as not whole where the recipe rejects them: then there is nothing to mend.
    """
    nodata = file.tiff.nodata
    low = high = 0.0 if nodata is None or not np.isfinite(nodata) else float(nodata)
    for row, height in file.pieces():
        pixels = file.tiff.read(row, height) if file.kept is None else file.kept
        if pixels.dtype.kind == "f":
            finite = np.isfinite(pixels)
            if not finite.all():
                if policy is NanPolicy.REJECT:
                    return None
                pixels = pixels[finite]
            if not np.array_equal(np.rint(pixels), pixels):
                return None
        low, high = min(low, float(pixels.min(initial=0))), max(high, float(pixels.max(initial=0)))
    return low, high
