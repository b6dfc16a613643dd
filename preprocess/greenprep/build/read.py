"""What a worker does with pairs: read each pixel once; judge, cut, measure and encode it on the way.

A task is some small pairs, or one strip of rows of a large one. Its encoded tiles go into one spill file, what is
known of them into the ledger; only a summary travels back. Nothing depends on how many workers there are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.build.ledger import Ledger
from greenprep.build.tiling import stride_of, tiles_of, tiles_starting_in
from greenprep.checks.measure import PixelStatistics, measure_pixels
from greenprep.checks.survey import judge_open, judge_unreadable, survey
from greenprep.checks.verdict import failed
from greenprep.engine.guard import guarded
from greenprep.raw.pair import BadFile, OpenPair, PairHeader, Pixels, gdal, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.store.arrays import FILLS
from greenprep.store.codec import encode_chunk
from greenprep.store.fingerprint import fingerprint
from greenprep.store.location import Location
from greenprep.store.moments import Moments, merge_all
from greenschemas.bands import Band, decodings
from greenschemas.errors import GreenError, SourceError, StoreError
from greenschemas.frozen import digest
from greenschemas.grid import IDENTITY
from greenschemas.layout import TILED, UNLABELLED
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level, Verdict
from greenschemas.recipe import MaskRules, Recipe, TileRules

__all__ = ["BuildInputs", "ReadTask", "SourcePart", "load_parts", "read_task", "spill_of", "verified_parts"]

_WHOLE_BYTES = 128 << 20
"""Pairs whose image decodes to no more are read in one go."""
_STRIP_BYTES = 256 << 20
"""What a strip of a larger one may decode to, if its blocks ask for that much; else a quarter of it."""
_WINDOW_BYTES = 48 << 20
"""Of a strip, what is taken in hand at a time."""
_MOST_SHIFTED = 64
"""Rows that a mask may lie off its image, beyond what the recipe would allow."""


@dataclass(frozen=True)
class BuildInputs:
    """What is to be read, how, and where scratch goes."""

    root: Path
    bands: tuple[Band, ...]
    rules: MaskRules
    limits: Limits
    tile: TileRules
    recipe: dict[str, object]
    """`Recipe.about_data`: what all results depend on, as the store records it."""
    recipe_digest: str
    """Of `recipe`."""
    build: Location
    """Scratch folder."""
    judge: bool
    """Whether pixels are checked; otherwise the pairs were accepted before."""

    @classmethod
    def of(cls, root: Path, recipe: Recipe, build: Location, *, judge: bool) -> BuildInputs:
        """From a recipe, which goes no further."""
        about = recipe.about_data()
        return cls(
            root.absolute(), recipe.bands, recipe.mask, recipe.limits, recipe.tile, about, digest(about), build, judge
        )


@dataclass(frozen=True)
class ReadTask:
    """What a worker reads at a time: some small pairs, or one strip of a large one."""

    key: str
    """Digest of all that the result depends on."""
    inputs: BuildInputs
    stamped: tuple[tuple[Candidate, str], ...]
    """The pairs, each with the stamp of its files."""
    strip: tuple[int, int] | None = None
    """(first row, rows) of the one pair, or None for whole ones."""


@dataclass(frozen=True, eq=False)
class SourcePart:
    """What a task made of one source. n tiles begin in it."""

    source: str
    """Name of the candidate."""
    row: int
    header: PairHeader
    key: str = ""
    """Of the task: names the spill file."""
    strips: tuple[tuple[int, int], ...] = ()
    """Not empty: the source is too large to be read in one go, nothing was read, and these are its strips."""
    entry: Entry | None = None
    """The verdict, where the source was read whole and judged."""
    statistics: PixelStatistics | None = None
    """What the checks found in this strip, where it was not."""
    tiles: NDArray[np.int64] | None = None
    """(n, 2) row and column."""
    spans: NDArray[np.int64] | None = None
    """(n, 3, 2) offset and length in the spill file of the chunks of `image`, `fraction` and `valid`."""
    share: NDArray[np.float32] | None = None
    """(n,) valid share."""
    prints: NDArray[np.uint64] | None = None
    """(n,) fingerprints."""
    low: float = math.inf
    """Least value of all stored pixels, valid or not."""
    high: float = -math.inf
    codes: NDArray[np.int64] | None = None
    """Histogram bins that occur."""
    moments: tuple[Moments, ...] = ()
    """One for each row of tiles, so that sums do not depend on where strips begin."""


def spill_of(build: Location, key: str) -> Location:
    """The spill file of a task."""
    return build / f"spill/{key}.bin"


def load_parts(ledger: Ledger, key: str) -> list[SourcePart]:
    """What a finished task made of its pairs, moments and all; raises StoreError where that is lost."""
    record = ledger.recall(key)
    if record is None:
        raise StoreError(ledger.folder.url, f"the record {key} is lost or damaged", "run the same command again")
    parts: list[SourcePart] = record[1]
    return parts


def verified_parts(inputs: BuildInputs, key: str) -> list[SourcePart] | None:
    """What a task of a build that was stopped made of its pairs; None unless its spill is the one that it wrote."""
    record = Ledger(inputs.build / "ledger").recall(key)
    if record is None:
        return None
    try:
        spilled = spill_of(inputs.build, key).read()
    except FileNotFoundError:
        return None
    return record[1] if hashlib.sha256(spilled).hexdigest() == record[0] else None


def read_task(task: ReadTask) -> list[SourcePart]:
    """Read the pairs of a task, spill their tiles, record it in the ledger; returns its parts without their moments."""
    spill: list[bytes] = []
    with gdal():
        parts = [_read(task, candidate, stamp, spill) for candidate, stamp in task.stamped]
    spill_of(task.inputs.build, task.key).write(spill)
    written = hashlib.sha256()
    for chunk in spill:
        written.update(chunk)
    Ledger(task.inputs.build / "ledger").record(task.key, (written.hexdigest(), parts))
    return [replace(part, moments=()) for part in parts]


def _read(task: ReadTask, candidate: Candidate, stamp: str, spill: list[bytes]) -> SourcePart:
    """As `_read_pair`; where the program itself fails on a pair, that is the verdict on it, and the others go on."""
    before = len(spill)
    try:
        with guarded(task.inputs.limits.seconds_max):
            return _read_pair(task, candidate, stamp, spill)
    except GreenError:
        raise
    except Exception as problem:
        del spill[before:]
        entry = failed(candidate, problem, task.inputs.limits)
        if not task.inputs.judge:
            raise _changed(candidate, entry.reasons[0].found) from problem
        header = PairHeader(candidate, None, None, "", IDENTITY, entry.reasons)
        return SourcePart(candidate.name, task.strip[0] if task.strip else 0, header, task.key, entry=entry)


def _read_pair(task: ReadTask, candidate: Candidate, stamp: str, spill: list[bytes]) -> SourcePart:
    inputs = task.inputs
    with open_pair(inputs.root, candidate, inputs.bands, inputs.rules, inputs.limits) as pair:
        part = SourcePart(candidate.name, task.strip[0] if task.strip else 0, pair.header, task.key)
        if not inputs.judge and pair.header.rejected:
            raise _changed(candidate, next(r.found for r in pair.header.findings if r.level is Level.REJECT))
        if pair.header.shape is None:
            return replace(part, entry=judge_open(pair, None, stamp))
        strips = pair.strips(stride_of(inputs.tile), whole=_WHOLE_BYTES, block=_STRIP_BYTES)
        if task.strip is not None:
            strips = [task.strip]
        if len(strips) > 1:
            return replace(part, strips=tuple(strips))
        if inputs.judge and task.strip is None:
            return _judge_whole(pair, part, strips, stamp, _Cut(inputs, spill))
        try:
            return _read_strip(pair, part, *strips[0], _Cut(inputs, spill), measured=inputs.judge)
        except BadFile as problem:
            if inputs.judge:
                return replace(part, entry=judge_unreadable(pair, problem, stamp))
            raise _changed(candidate, problem.found) from None


def _changed(candidate: Candidate, found: str) -> SourceError:
    return SourceError(
        candidate.name, f"it was accepted, but now: {found}", "run `greenprep clean` again: the file was changed"
    )


def _judge_whole(
    pair: OpenPair, part: SourcePart, strips: Sequence[tuple[int, int]], stamp: str, cut: _Cut
) -> SourcePart:
    """A pair that is read in one go, its tiles cut only if it is good."""
    read: list[Pixels] = []
    entry = survey(pair, strips, stamp, read.append)
    if entry.verdict is Verdict.REJECTED:
        return replace(part, entry=entry)
    for pixels in read:
        cut.cut(tiles_of(pixels.valid.shape[0], pixels.valid.shape[1], cut.rules), pixels)
    return replace(part, entry=entry, **cut.columns())


def _read_strip(pair: OpenPair, part: SourcePart, row: int, rows: int, cut: _Cut, *, measured: bool) -> SourcePart:
    """One strip of a large pair, measured if its verdict is still to fall; or the whole of one that was accepted."""
    assert pair.header.shape is not None
    _, height, width = pair.header.shape
    size = cut.rules.size
    statistics: PixelStatistics | None = None
    tiles = tiles_starting_in(tiles_of(height, width, cut.rules), row, rows)
    for at, count, mine in _windows(pair, tiles, row, rows, size):
        end = min(height, max(at + count, int(mine[:, 0].max(initial=0)) + size))
        pixels = pair.read(at, 0, end - at, width)
        if measured:
            strip = pixels if end == at + count else pair.read(at, 0, count, width)
            more = measure_pixels(strip, pair.bands, pair.limits.reflectance_scale)
            statistics = more if statistics is None else statistics + more
        cut.cut(mine, pixels)
    return replace(part, statistics=statistics, **cut.columns())


def _windows(
    pair: OpenPair, tiles: NDArray[np.int64], row: int, rows: int, size: int
) -> list[tuple[int, int, NDArray[np.int64]]]:
    """[(first row, rows, the tiles that begin in them)]: a whole pair at once, a strip some rows of tiles at a time.

    The files keep the strip decoded meanwhile, so that no block is decoded twice, and what is made of the pixels takes
    little memory beside it.
    """
    assert pair.header.shape is not None
    channels, height, width = pair.header.shape
    file = pair.image_file
    if file is None or (row, rows) == (0, height):
        return [(row, rows, tiles)]
    end = max(row + rows, int(tiles[:, 0].max(initial=0)) + size) + _MOST_SHIFTED
    for each in (file, pair.mask_file):
        if each is not None:
            side = each.fine
            each.window(row * side, (min(each.grid.height, end) - row) * side, 0, each.grid.width * side)
    most = _WINDOW_BYTES // (channels * width * file.tiff.dtype.itemsize)
    begins = [int(at) for at in np.unique(tiles[:, 0])] or [row]
    cuts = [row]
    for at in begins[1:]:
        if at - cuts[-1] >= most:
            cuts.append(at)
    return [
        (at, until - at, tiles_starting_in(tiles, at, until - at))
        for at, until in zip(cuts, [*cuts[1:], row + rows], strict=True)
    ]


class _Cut:
    """Cuts tiles out of pixels, and gathers what is known of them."""

    def __init__(self, inputs: BuildInputs, spill: list[bytes]) -> None:
        rules, self.how = inputs.tile, decodings(inputs.bands)
        self.rules, self.size, self.spill = rules, rules.size, spill
        self.at = sum(len(chunk) for chunk in spill)
        self.tiles: list[tuple[int, int]] = []
        self.spans: list[list[tuple[int, int]]] = []
        self.share: list[float] = []
        self.prints: list[int] = []
        self.moments: list[Moments] = []
        self.low, self.high = math.inf, -math.inf

    def cut(self, tiles: NDArray[np.int64], pixels: Pixels) -> None:
        """(n, 2) tiles at (row, column) of the source, row by row."""
        for _, of_row in groupby(tiles.tolist(), key=lambda tile: tile[0]):
            measured = [self._tile(row, col, pixels) for row, col in of_row]
            self.moments.append(merge_all(measured, len(pixels.image), len(pixels.fraction)))

    def _tile(self, row: int, col: int, pixels: Pixels) -> Moments:
        at, left = row - pixels.row, col - pixels.col
        inside = np.s_[..., at : at + self.size, left : left + self.size]
        # One copy, for what goes over it next: extremes, moments, fingerprint, encoding.
        image = np.ascontiguousarray(pixels.image[inside])
        fraction, valid = pixels.fraction[inside], pixels.valid[inside]
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            # NaN times a weight of 0 is still NaN: what may not be used must at least be a number.
            valid = valid & np.isfinite(image).all(axis=0)
            image = np.where(np.isfinite(image), image, 0)
        values = {
            "image": _filled(image, self.size, FILLS["image"]),
            "fraction": _filled(fraction, self.size, UNLABELLED),
            "valid": _filled(valid.astype(np.uint8), self.size, FILLS["valid"]),
        }
        self.tiles.append((row, col))
        self.spans.append([self._spill(encode_chunk(values[name], FILLS[name])) for name in TILED])
        self.share.append(float(np.count_nonzero(valid)) / self.size**2)
        self.prints.append(fingerprint(values["image"]))
        self.low, self.high = min(self.low, float(image.min())), max(self.high, float(image.max()))
        return Moments.of(image, valid, fraction, self.how)

    def _spill(self, chunk: bytes) -> tuple[int, int]:
        self.spill.append(chunk)
        self.at += len(chunk)
        return self.at - len(chunk), len(chunk)

    def columns(self) -> dict[str, Any]:
        """Fields of the part."""
        n = len(self.tiles)
        codes = [moments.histogram.code for moments in self.moments]
        return {
            "tiles": np.array(self.tiles, np.int64).reshape(n, 2),
            "moments": tuple(self.moments),
            "spans": np.array(self.spans, np.int64).reshape(n, len(TILED), 2),
            "low": self.low,
            "high": self.high,
            "share": np.array(self.share, np.float32),
            "prints": np.array(self.prints, np.uint64),
            "codes": np.unique(np.concatenate(codes)) if codes else np.zeros(0, np.int64),
        }


def _filled(values: NDArray[Any], size: int, fill: int) -> NDArray[Any]:
    """`values` with rows and columns of `fill` added at the end up to `size`."""
    if values.shape[-2:] == (size, size):
        return values
    whole = np.full((*values.shape[:-2], size, size), fill, values.dtype)
    whole[..., : values.shape[-2], : values.shape[-1]] = values
    return whole
