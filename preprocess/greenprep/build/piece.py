"""What a worker does with sources: read each pixel once; judge, cut, measure and encode it on the way.

A piece is some small pairs, or one strip of rows of a large one. Its encoded tiles go into one spill file, what is
known of them into the ledger; only a summary travels back. Nothing depends on how many workers there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.build.ledger import Ledger
from greenprep.build.pack import pack, unpack
from greenprep.build.tiling import stride_of, tiles_of, tiles_starting_in
from greenprep.checks.evidence import PixelStatistics, RowStatistics, measure_pixels
from greenprep.checks.judge import bad_file, judge
from greenprep.checks.texture import Fit, Texture
from greenprep.raw.labels import LabelCounts
from greenprep.raw.pair import BadFile, OpenPair, PairHeader, Pixels, gdal, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.raw.stamps import stamp_of
from greenprep.store.arrays import FILLS
from greenprep.store.codec import encode_chunk
from greenprep.store.fingerprint import fingerprint
from greenprep.store.histogram import Histogram
from greenprep.store.moments import Moments, merge_all
from greenprep.store.place import Location
from greenschemas.codes import Code
from greenschemas.errors import SourceError
from greenschemas.layout import TILED, UNLABELLED
from greenschemas.manifest import Entry, Level, Reason, Verdict
from greenschemas.recipe import Recipe

__all__ = ["ReadTask", "SourcePart", "load_parts", "read_piece", "spill_of"]

_WHOLE_BYTES = 128 << 20
"""Pairs whose image decodes to no more are read in one go."""
_STRIP_BYTES = 256 << 20
"""What a strip of a larger one may decode to, if its blocks ask for that much; else a quarter of it."""
_WINDOW_BYTES = 48 << 20
"""Of a strip, what is taken in hand at a time."""
_MOST_SHIFTED = 64
"""Rows that a mask may lie off its image, beyond what the recipe would allow."""


@dataclass(frozen=True)
class ReadTask:
    """A job: small pairs, or one strip of a large pair."""

    key: str
    """Digest of all that the result depends on."""
    root: str
    candidates: tuple[Candidate, ...]
    recipe: Recipe
    build: Location
    """Scratch folder: `spill/` and `ledger/` are in it."""
    judge: bool
    """Whether pixels are checked; otherwise the pairs were accepted before."""
    strip: tuple[int, int] | None = None
    """(first row, rows) of the one candidate, or None for whole ones."""


@dataclass(frozen=True, eq=False)
class SourcePart:
    """What a piece made of one source. n tiles begin in it."""

    source: str
    """Name of the candidate."""
    row: int
    facts: PairHeader
    key: str = ""
    """Of the piece: names the spill file."""
    strips: tuple[tuple[int, int], ...] = ()
    """Not empty: the source is too large to be read in one go, nothing was read, and these are its strips."""
    entry: Entry | None = None
    """The verdict, where the source was read whole and judged."""
    evidence: PixelStatistics | None = None
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


_KINDS = (
    SourcePart,
    PairHeader,
    Candidate,
    Entry,
    PixelStatistics,
    RowStatistics,
    Texture,
    Fit,
    Reason,
    Moments,
    Histogram,
    LabelCounts,
    Code,
)


def spill_of(build: Location, key: str) -> Location:
    """The spill file of a piece."""
    return build / f"spill/{key}.bin"


def load_parts(ledger: Ledger, key: str) -> list[SourcePart]:
    """What a finished piece made of its sources, moments and all."""
    parts: list[SourcePart] = unpack(ledger.recall(key), _KINDS)
    return parts


def read_piece(piece: ReadTask) -> list[SourcePart]:
    """Read a piece, spill its tiles, record it in the ledger; returns its parts without their moments."""
    spill: list[bytes] = []
    with gdal():
        parts = [_read_source(piece, candidate, spill) for candidate in piece.candidates]
    spill_of(piece.build, piece.key).write(spill)
    Ledger(piece.build / "ledger").record(piece.key, pack(parts))
    return [replace(part, moments=()) for part in parts]


def _read_source(piece: ReadTask, candidate: Candidate, spill: list[bytes]) -> SourcePart:
    with open_pair(Path(piece.root), candidate, piece.recipe) as pair:
        part = SourcePart(candidate.name, piece.strip[0] if piece.strip else 0, pair.facts, piece.key)
        if not piece.judge and pair.facts.rejected:
            raise _changed(candidate, next(r.found for r in pair.facts.findings if r.level is Level.REJECT))
        if piece.strip is None and (strips := _strips(pair, piece.recipe)):
            return replace(part, strips=strips)
        try:
            return _read_rows(piece, pair, part, spill)
        except BadFile as problem:
            if piece.judge:
                return replace(part, entry=_spoilt(piece, pair, problem))
            raise _changed(candidate, problem.found) from None


def _changed(candidate: Candidate, found: str) -> SourceError:
    return SourceError(
        candidate.name, f"it was accepted, but now: {found}", "run `greenprep clean` again: the file was changed"
    )


def _spoilt(piece: ReadTask, pair: OpenPair, problem: BadFile) -> Entry:
    """The verdict on a pair one of whose files cannot be decoded to its end."""
    mask = pair.mask_file is not None and str(pair.mask_file.tiff.path) == problem.where
    reason = bad_file(problem, "mask" if mask else "image", piece.recipe)
    return judge(pair.facts, None, piece.recipe, more=[reason], stamp=_stamp(piece, pair.facts))


def _stamp(piece: ReadTask, facts: PairHeader) -> str:
    return stamp_of(Path(piece.root), facts.candidate.image, facts.candidate.mask)


def _strips(pair: OpenPair, recipe: Recipe) -> tuple[tuple[int, int], ...]:
    """Strips of whole rows of tiles, and of whole blocks of the file where memory allows; none for a small pair."""
    if pair.facts.shape is None or pair.image_file is None:
        return ()
    channels, height, width = pair.facts.shape
    row_bytes = channels * width * pair.image_file.tiff.dtype.itemsize
    if height * row_bytes <= _WHOLE_BYTES:
        return ()
    step = math.lcm(stride_of(recipe.tile), pair.image_file.tiff.block_rows)
    if step * row_bytes > _STRIP_BYTES:
        step = stride_of(recipe.tile)
    step *= max(1, _STRIP_BYTES // 4 // (step * row_bytes))
    return tuple((row, min(step, height - row)) for row in range(0, height, step))


def _read_rows(piece: ReadTask, pair: OpenPair, part: SourcePart, spill: list[bytes]) -> SourcePart:
    """The strip of the piece, or the whole source."""
    if pair.facts.shape is None or pair.image_file is None:
        return replace(part, entry=judge(pair.facts, None, piece.recipe, stamp=_stamp(piece, pair.facts)))
    _, height, width = pair.facts.shape
    row, rows = piece.strip or (0, height)
    tiles = tiles_starting_in(tiles_of(height, width, piece.recipe.tile), row, rows)
    cut = _Cut(piece.recipe.tile.size, spill)
    evidence: PixelStatistics | None = None
    for at, count, mine in _windows(pair, tiles, row, rows, piece.recipe.tile.size):
        end = min(height, max(at + count, int(mine[:, 0].max(initial=0)) + piece.recipe.tile.size))
        pixels = pair.read(at, 0, end - at, width)
        if piece.judge:
            more = measure_pixels(pixels if end == at + count else pair.read(at, 0, count, width), piece.recipe)
            evidence = more if evidence is None else evidence + more
            if piece.strip is None:
                entry = judge(pair.facts, evidence, piece.recipe, stamp=_stamp(piece, pair.facts))
                part = replace(part, entry=entry)
                if entry.verdict is Verdict.REJECTED:
                    return part
        for tile_row, group in groupby(mine.tolist(), key=lambda tile: tile[0]):
            cut.row([(tile_row, col) for _, col in group], pixels)
    return replace(part, evidence=None if piece.strip is None else evidence, **cut.columns())


def _windows(
    pair: OpenPair, tiles: NDArray[np.int64], row: int, rows: int, size: int
) -> list[tuple[int, int, NDArray[np.int64]]]:
    """[(first row, rows, the tiles that begin in them)]: a whole pair at once, a strip some rows of tiles at a time.

    The files keep the strip decoded meanwhile, so that no block is decoded twice, and what is made of the pixels takes
    little memory beside it.
    """
    assert pair.facts.shape is not None
    channels, height, width = pair.facts.shape
    file = pair.image_file
    if file is None or (row, rows) == (0, height):
        return [(row, rows, tiles)]
    end = max(row + rows, int(tiles[:, 0].max(initial=0)) + size) + _MOST_SHIFTED
    for each in (file, pair.mask_file):
        if each is not None:
            each.window(row, min(each.grid.height, end) - row, 0, each.grid.width)
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

    def __init__(self, size: int, spill: list[bytes]) -> None:
        self.size, self.spill = size, spill
        self.at = sum(len(chunk) for chunk in spill)
        self.tiles: list[tuple[int, int]] = []
        self.spans: list[list[tuple[int, int]]] = []
        self.share: list[float] = []
        self.prints: list[int] = []
        self.moments: list[Moments] = []
        self.low, self.high = math.inf, -math.inf

    def row(self, places: list[tuple[int, int]], pixels: Pixels) -> None:
        """One row of tiles at (row, col) of the source."""
        measured = [self._tile(row, col, pixels) for row, col in places]
        self.moments.append(merge_all(measured, len(pixels.image), len(pixels.fraction)))

    def _tile(self, row: int, col: int, pixels: Pixels) -> Moments:
        at, left = row - pixels.row, col - pixels.col
        inside = np.s_[..., at : at + self.size, left : left + self.size]
        image, fraction, valid = pixels.image[inside], pixels.fraction[inside], pixels.valid[inside]
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
        return Moments.of(image, valid, fraction)

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
