"""Whether a folder that came without a recipe is one that the default recipe is meant for: from names and headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenprep.raw.pairs import Candidate
from greenprep.raw.tiff_header import BadFile, read_pages
from greenschemas.codes import Code
from greenschemas.errors import ConfigError
from greenschemas.recipe import Recipe

__all__ = ["misfit"]


def misfit(raw: Path, candidates: Sequence[Candidate], recipe: Recipe) -> ConfigError | None:
    """Why no file below `raw` fits: no name does, or no image whose name does has the bands; None where one may fit.

    A file that cannot be read may fit: it is judged like any other.
    """
    files = [path for one in candidates for path in (one.image, one.mask) if path is not None]
    if all(one.problem is Code.STRAY for one in candidates):
        found = f"names such as {files[0]}"
    else:
        counts = set()
        for path in (one.image for one in candidates if one.problem is not Code.STRAY):
            if path is None or (count := _bands(raw / path, len(recipe.bands))) is None:
                return None
            counts.add(count)
        found = f"images of {', '.join(map(str, sorted(counts)))} bands"
    return ConfigError(
        raw,
        f"none of the {len(files)} files fit the default recipe (found {found}; expected "
        f"images/CITY/CITY_YEAR_AREA_TIME_GeoTIFF.tif, {len(recipe.bands)} bands)",
        f"`greenprep init {raw}` writes a recipe that does",
    )


def _bands(path: Path, due: int) -> int | None:
    """How many bands a file has; None where it may be the number that is due, in whatever layout."""
    try:
        pages, _ = read_pages(path)
    except BadFile:
        return None
    first = pages[0]
    layouts = {len(pages), first.width, first.samples, first.samples - 1}
    return None if due in layouts else max(len(pages), first.samples)
