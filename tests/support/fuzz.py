"""GeoTIFFs of many makes, mutated, and read by us beside rasterio: the oracle for what a file holds.

What comes of each file is a word: `equal` (both read the same pixels), `refused by both`, `refused alone: CODE`
(rasterio reads it without complaint), `refused: CODE` (rasterio complains, but reads), `refused: bands` (not as many as
asked for), `GDAL differs from itself` (a deflated block of more bytes than fit: libdeflate leaves its end as memory
was), and what must never be: `OTHER pixels`, `ALONE` (we read what rasterio does not), `FOREIGN` (an exception that is
not ours), `DEAD` (the process died of it, or took more time or memory than it may).
"""

from __future__ import annotations

import io
import logging
import random
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import tifffile
from rasterio.errors import NotGeoreferencedWarning

from greenprep.engine.guard import guarded
from greenprep.raw.tiff import GDAL_ERRORS, SAFE, BandLayout, gdal, open_tiff
from greenprep.raw.tiff_header import BadFile
from greenschemas.limits import Limits
from support.mutate import mutated_tiff

__all__ = ["SECONDS", "dead", "judge_files", "makes"]

SECONDS = 5.0
"""What one file may take."""
BANDS = 3
TOO_LARGE = "too large to compare"
LIMITS = Limits()


def makes(folder: Path) -> dict[str, bytes]:
    """Files of several types, compressions, layouts and byte orders, by what they are; all hold the same ground."""
    rng = np.random.default_rng(0)
    whole = (rng.integers(0, 4, (BANDS, 48, 50)).cumsum(axis=1) * 37).astype(np.uint16)
    where = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 4e6)}
    kinds: dict[str, tuple[np.ndarray, dict[str, object]]] = {
        "deflate": (whole, {"compress": "deflate"}),
        "deflate, tiles, predictor": (
            whole,
            {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 32, "predictor": 2},
        ),
        "LZW, by pixel": (whole, {"compress": "lzw", "interleave": "pixel"}),
        "plain, BigTIFF": (whole, {"bigtiff": "yes"}),
        "plain, big-endian": (whole, {"endianness": "big"}),
        "ZSTD": (whole, {"compress": "zstd"}),
        "packbits, bytes": ((whole % 251).astype(np.uint8), {"compress": "packbits"}),
        "float, nodata": ((whole / 100).astype(np.float32), {"compress": "deflate", "predictor": 3, "nodata": -1.0}),
        "int32": (whole.astype(np.int32) - 9, {"compress": "deflate"}),
        "bits": ((whole % 2).astype(np.uint8), {"nbits": 1}),
        "sparse": (whole * 0, {"sparse_ok": True, "tiled": True, "blockxsize": 16, "blockysize": 16}),
    }
    made = {}
    for name, (pixels, options) in kinds.items():
        path = folder / "one.tif"
        count, height, width = pixels.shape
        profile = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name, **where}
        with rasterio.open(path, "w", driver="GTiff", **profile, **options) as file:
            file.write(pixels)
            file.update_tags(AREA="a place")
        made[name] = path.read_bytes()
    for name, pixels, options in (
        ("pages", whole, {"photometric": "minisblack", "compression": "zlib"}),
        (
            "bands last",
            np.ascontiguousarray(np.moveaxis(whole, 0, -1)),
            {"photometric": "minisblack", "planarconfig": "separate"},
        ),
    ):
        held = io.BytesIO()
        tifffile.imwrite(held, pixels, **options)
        made[name] = held.getvalue()
    return made


def judge_files(folder: Path, seed: int, items: Sequence[int]) -> list[tuple[str, str]]:
    """(make, what came of it) of files, each spoilt by a seed of its own; an odd one stays in `folder`."""
    sources = makes_of(folder)
    found = []
    for item in items:
        make, data = spoilt(sources, seed, item)
        path = folder / f"{seed}-{item}.tif"
        path.write_bytes(data)
        with guarded(SECONDS):
            outcome = judge_file(path, make)
        if outcome.split()[0] not in ("OTHER", "ALONE", "FOREIGN") and not outcome.startswith("refused alone"):
            path.unlink()
        found.append((make, outcome))
    return found


_MADE: dict[Path, dict[str, bytes]] = {}


def makes_of(folder: Path) -> dict[str, bytes]:
    """`makes`, written once a process."""
    if folder not in _MADE:
        own = folder / f"makes-{random.SystemRandom().getrandbits(64):x}"
        own.mkdir()
        _MADE[folder] = makes(own)
    return _MADE[folder]


def spoilt(sources: dict[str, bytes], seed: int, item: int) -> tuple[str, bytes]:
    """(make, bytes) of one mutated file."""
    chance = random.Random(f"{seed} {item}")
    make = chance.choice(sorted(sources))
    return make, mutated_tiff(sources[make], chance)


def dead(folder: Path, item: int) -> tuple[str, str]:
    """For a file whose process died of it."""
    return "any", f"DEAD of {item}"


def judge_file(path: Path, make: str) -> str:
    """What came of one file; make: what it was before it was spoilt."""
    theirs, complaint = read_by_rasterio(path, pages=make == "pages")
    try:
        ours, layout = _read(path)
    except BadFile as problem:
        if theirs is None:
            return "refused by both"
        return f"refused: {problem.code}" if complaint else f"refused alone: {problem.code}"
    except Exception as problem:
        return f"FOREIGN {type(problem).__name__}: {str(problem)[:100]}"
    if ours is None:
        return "refused: bands"
    if theirs is None:
        return complaint if complaint == TOO_LARGE else f"ALONE: {complaint}"
    if _same(ours, np.moveaxis(theirs, -1, 0) if layout is BandLayout.CHANNELS_LAST else theirs[: len(ours)]):
        return "equal"
    again = [read_by_rasterio(path, pages=make == "pages")[0] for _ in range(5)]
    if not all(other is not None and _same(other, theirs) for other in again):
        return "GDAL differs from itself"
    return f"OTHER pixels ({complaint or 'without complaint'})"


def _read(path: Path) -> tuple[np.ndarray | None, BandLayout]:
    """(bands, height, width) as we read it, None where there are not as many as asked for; and how they lie."""
    with gdal():
        tiff = open_tiff(path, LIMITS, BANDS)
        try:
            return tiff.read(0, tiff.grid.height) if tiff.bands == BANDS else None, tiff.band_layout
        finally:
            tiff.close()


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def read_by_rasterio(path: Path, *, pages: bool) -> tuple[np.ndarray | None, str]:
    """(bands, height, width) as rasterio reads it, None where it does not; and what GDAL complained of.

    pages: whether each band is a page of its own.
    """
    log, heard = logging.getLogger("rasterio"), _Heard()
    log.addHandler(heard)
    before, log.propagate = log.propagate, False
    names = [f"GTIFF_DIR:{page + 1}:{path}" for page in range(BANDS)] if pages else [str(path)]
    held = []
    try:
        with warnings.catch_warnings(), rasterio.Env(**SAFE):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            for name in names:
                with rasterio.open(name, driver="GTiff") as file:
                    if file.count > 64 or file.count * file.height * file.width > 1 << 24:
                        return None, TOO_LARGE
                    held.append(file.read())
        return np.concatenate(held), "; ".join(heard.said)[:100]
    except GDAL_ERRORS as problem:
        return None, str(problem)[:100]
    finally:
        log.removeHandler(heard)
        log.propagate = before
