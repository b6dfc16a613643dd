"""What a file's header and a sample of its pixels say of its numbers: order of the bands, scale and offset, nodata.

Letters: C bands, N pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenprep.raw.files import File, Findings
from greenschemas.band_names import match_names, says_nothing
from greenschemas.bands import Band, Role
from greenschemas.choices import OffsetPolicy
from greenschemas.codes import Code
from greenschemas.manifest import Level
from greenschemas.value_checks import Offset, levels_of, offset_in_cirrus, own_offset
from greenschemas.values import find_holes

__all__ = ["look_at_bands", "look_at_offset", "look_at_tags"]

_SAMPLE = 4096
"""Pixels, about, that are looked at for an offset."""
_UNITS = 0.05
"""Share by which a scale tag may differ from the recipe's scale of reflectance."""
_PLACES = (0.25, 0.5, 0.75)
"""Where, down a file that is not in memory, its rows are sampled."""


def look_at_bands(file: File, bands: Sequence[Band], findings: Findings) -> None:
    """Put the bands in the recipe's order where the file names all of them; names that contradict it are findings."""
    names, at = _named(file.tiff.names, tuple(bands))
    named = sum(name is not None for name in names)
    here = range(len(bands))
    if all(at[i] == i or (at[i] is None and names[i] is None) for i in here):
        return
    if None not in at:
        file.order = [i for i in at if i is not None]
        wrong = next(i for i in here if at[i] != i)
        findings.add(
            Code.BAND_ORDER, "image", f"`{names[wrong]}` where the recipe has `{bands[wrong].name}`", limit="its order"
        )
        return
    # Names of which less than half are the recipe's speak of something else.
    if sum(i is not None for i in at) * 2 >= named:
        wrong = next(i for i in here if names[i] is not None and at[i] != i)
        findings.add(
            Code.BAND_NAMES,
            "image",
            f"`{names[wrong]}` where the recipe has `{bands[wrong].name}`",
            limit="the recipe's order",
        )


@lru_cache(maxsize=256)
def _named(
    found: tuple[str | None, ...], bands: tuple[Band, ...]
) -> tuple[tuple[str | None, ...], tuple[int | None, ...]]:
    """(names that say something, where each of `bands` stands): of one collection, most files bear the same names."""
    names = tuple(None if says_nothing(name) else name for name in found)
    return names, match_names(names, bands).at


def look_at_tags(file: File, bands: Sequence[Band], findings: Findings) -> None:
    """GDAL's scale and offset tags that can mean nothing, or other units than the recipe says, are findings."""
    kind, whole = file.tiff.dtype, findings.limits.reflectance_scale
    greatest = float(np.iinfo(kind).max) if kind.kind in "iu" else np.inf
    for band, scale, offset in zip(bands, file.scales, file.offsets, strict=True):
        said = f"{band.name}: x * {scale:g} {offset:+g}"
        if not np.isfinite(scale) or scale == 0 or not np.isfinite(offset) or abs(offset) > abs(scale) * greatest:
            findings.add(Code.VALUE_TAGS, "image", said, limit="a scale and an offset")
            return
        if whole is not None and band.role is Role.REFLECTANCE and scale != 1 and abs(scale * whole - 1) > _UNITS:
            findings.add(
                Code.VALUE_TAGS,
                "image",
                f"{said}, so that {1 / scale:.6g} would be a reflectance of 1",
                limit=f"reflectance_scale: {whole:g}",
                remedy="set `limits.reflectance_scale` to it, or to `null` where the offset is large, as Landsat's is",
            )
            return


def look_at_offset(file: File, bands: Sequence[Band], findings: Findings) -> None:
    """Find the offset of Sentinel-2's baseline 04.00 in a sample, and do with it what the recipe says.

    Raises BadFile where the sample cannot be decoded.
    """
    offset = _offset(file, bands, findings.limits.reflectance_scale)
    if offset is None:
        return
    policy = findings.limits.offset if offset.certain else OffsetPolicy.KEEP
    level = {OffsetPolicy.REJECT: Level.REJECT, OffsetPolicy.KEEP: Level.WARN}.get(policy)
    done = f"; {offset.amount:g} is taken from every reflectance" if policy is OffsetPolicy.REPAIR else ""
    done = done if offset.certain else ", but the ground is too bright to tell; left as it is"
    found = f"+{offset.amount:g}: {offset.evidence}{done}"
    findings.add(Code.OFFSET, "image", found, limit=f"offset: {findings.limits.offset}", level=level)
    if policy is OffsetPolicy.REPAIR:
        file.harmonise(offset.amount, [i for i, band in enumerate(bands) if band.role is Role.REFLECTANCE])


def _offset(file: File, bands: Sequence[Band], whole: float | None) -> Offset | None:
    reflectance = [i for i, band in enumerate(bands) if band.role is Role.REFLECTANCE]
    cirrus = next((i for i, at in enumerate(reflectance) if bands[at].common == "cirrus"), None)
    tags = list(zip(file.scales, file.offsets, strict=True))
    scaling = [tags[i] for i in reflectance]
    said = any("BASELINE" in name.upper() or "ADD_OFFSET" in name.upper() for name in file.tiff.tags)
    if whole is None or not reflectance or (cirrus is None and not said and set(scaling) == {(1.0, 0.0)}):
        return None
    raw, usable = _sample(file, bands)
    if cirrus is not None:
        band = levels_of(raw[reflectance[cirrus]][None, usable])
        if np.isfinite(band.dark[0]) and not offset_in_cirrus(float(band.dark[0]), float(band.median[0]), whole):
            return None  # As `own_offset` would say, when it had looked at all the other bands.
    levels = levels_of(raw[reflectance][:, usable])
    return own_offset(levels, whole, cirrus, file.tiff.tags, scaling)


def _sample(file: File, bands: Sequence[Band]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """((C, h, w) about _SAMPLE pixels as handed on, which of them are not empty, whatever alpha or a mask says)."""
    height, width = file.grid.height, file.grid.width
    if file.kept is not None:
        step = max(1, int((height * width / _SAMPLE) ** 0.5))
        raw = file.window(0, height, 0, width)[:, ::step, ::step]
    else:
        rows = min(file.tiff.block_rows, 64, height)
        parts = [file.window(int((height - rows) * share), rows, 0, width) for share in _PLACES]
        raw = np.concatenate(parts, axis=1)
        raw = raw[:, :, :: max(1, raw[0].size // _SAMPLE)]
    return raw, find_holes(raw, bands, file.nodata).usable
