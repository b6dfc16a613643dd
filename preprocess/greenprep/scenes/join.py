"""`greenprep join`: Earth Engine's split exports, `NAME-0000000000-0000010752.tif`, as one file each.

An export that is too large for one file comes in parts whose names end with the row and the column of their first
pixel. Parts are copied block by block: memory is bounded, whatever the size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from greenprep.raw.pairs import SPLIT_PART
from greenprep.raw.tiff import gdal
from greenschemas.console import Ticker
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import whole
from greenschemas.grid import Grid

__all__ = ["find_parts", "join"]

_SIDE = 2048
"""Rows and columns that are in memory at a time."""


@dataclass(frozen=True)
class _Part:
    """An open part and where it begins in the whole."""

    file: Any
    row: int
    col: int

    @property
    def bottom(self) -> int:
        return self.row + int(self.file.height)

    @property
    def right(self) -> int:
        return self.col + int(self.file.width)


def find_parts(folder: Path) -> dict[Path, list[Path]]:
    """Parts below `folder` by the path, relative to it, that the whole file has."""
    found: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if (part := SPLIT_PART.fullmatch(path.name)) is not None and path.is_file():
            found[path.relative_to(folder).with_name(f"{part['name']}.tif")].append(path)
    return dict(found)


def join(folder: Path, out: Path, *, overwrite: bool = False, tick: Ticker | None = None) -> list[Path]:
    """Put the parts of every split export below `folder` together below `out`; returns the files written.

    Raises ConfigError where there is no part, or a file lies in the way; SourceError where the parts of an export do
    not belong together or leave a hole.
    """
    exports = find_parts(folder)
    if not exports:
        raise ConfigError(folder, "no part of a split export", "names end with -0000000000-0000010752.tif or the like")
    targets: Mapping[Path, Sequence[Path]] = {out / name: parts for name, parts in exports.items()}
    for path in targets:
        if path.exists() and not overwrite:
            raise ConfigError(path, "is there already", "give another folder, or `--overwrite` to replace it")
    if tick is not None:
        tick.total(sum(map(len, targets.values())))
    for path, parts in targets.items():
        with gdal(), ExitStack() as opened:
            _join(path, [_opened(part, opened) for part in parts], tick)
    return list(targets)


def _opened(path: Path, opened: ExitStack) -> _Part:
    at = SPLIT_PART.fullmatch(path.name)
    assert at is not None
    try:
        file = opened.enter_context(rasterio.open(path.absolute(), driver="GTiff"))
    except RasterioError as problem:
        raise SourceError(path, f"cannot be opened ({problem})", "export it again") from None
    return _Part(file, int(at["row"]), int(at["col"]))


def _join(path: Path, parts: Sequence[_Part], tick: Ticker | None) -> None:
    grid = _whole(path, parts)
    first = parts[0].file
    profile = {
        **{key: first.profile[key] for key in ("driver", "count", "dtype", "nodata", "crs")},
        "height": grid.height,
        "width": grid.width,
        "transform": Affine(*grid.transform),
        **{"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "BIGTIFF": "IF_SAFER"},
    }
    try:
        with whole(path) as draft, rasterio.open(draft, "w", **profile) as sink:
            sink.descriptions, sink.scales, sink.offsets = first.descriptions, first.scales, first.offsets
            sink.update_tags(**first.tags())
            for part in parts:
                _copy(part, sink)
                if tick is not None:
                    tick.advance(note=path.name)
    except RasterioError as problem:
        raise SourceError(path, f"a part cannot be decoded ({problem})", "export it again") from None
    except OSError as problem:
        raise SourceError.unwritable(path, problem) from None


def _copy(part: _Part, sink: Any) -> None:
    for row in range(0, part.file.height, _SIDE):
        for col in range(0, part.file.width, _SIDE):
            size = min(_SIDE, part.file.width - col), min(_SIDE, part.file.height - row)
            values = part.file.read(window=Window(col, row, *size))
            sink.write(values, window=Window(part.col + col, part.row + row, *size))


def _whole(path: Path, parts: Sequence[_Part]) -> Grid:
    """The grid of the whole; raises SourceError where parts are unlike each other, overlap, or leave a hole."""
    first = min(parts, key=lambda part: (part.row, part.col))
    height, width = max(part.bottom for part in parts), max(part.right for part in parts)
    a, b, c, d, e, f = tuple(first.file.transform)[:6]
    corner = (c - a * first.col - b * first.row, f - d * first.col - e * first.row)
    grid = Grid(height, width, (a, b, corner[0], d, e, corner[1]), first.file.crs.to_wkt() if first.file.crs else "")
    for part in parts:
        own = part.file
        alike = (own.count, own.dtypes, own.crs, own.descriptions)
        if alike != (first.file.count, first.file.dtypes, first.file.crs, first.file.descriptions):
            raise SourceError(own.name, "other bands, types or CRS than the first part", "export it again, as a whole")
        there = Grid(own.height, own.width, tuple(own.transform)[:6], grid.crs)
        if (apart := grid.cropped(part.row, part.col, own.height, own.width).differs(there)) is not None:
            raise SourceError(own.name, f"it lies elsewhere than its name says: {apart}", "do not rename parts")
    area = sum(part.file.height * part.file.width for part in parts)
    clash = any(_overlap(one, other) for i, one in enumerate(parts) for other in parts[:i])
    if area != height * width or clash:
        what = "overlap" if clash else f"leave {1 - area / (height * width):.1%} of {width} x {height} pixels out"
        raise SourceError(path.name, f"its {len(parts)} parts {what}", "fetch all parts of the export")
    return grid


def _overlap(one: _Part, other: _Part) -> bool:
    return one.row < other.bottom and other.row < one.bottom and one.col < other.right and other.col < one.right
