"""The catalogue of checks: for each code its level, what it measures, its limit in the recipe, and the remedy.

`greenprep explain`, the manifest and the table of docs/checks.md all come from the one table here: hence its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from greenschemas.bands import Band, Role
from greenschemas.codes import Code
from greenschemas.limits import Limits
from greenschemas.manifest import Level, Reason

__all__ = ["CATALOGUE", "Check", "as_markdown", "explain", "finding", "notes_on"]

REJECT, REPAIR, WARN = Level.REJECT, Level.REPAIR, Level.WARN
About = Literal["image", "mask", "pair"]


@dataclass(frozen=True)
class Check:
    """One entry of the catalogue."""

    code: Code
    level: Level
    """What a finding leads to unless the recipe's `limits.levels` says otherwise."""
    what: str
    """What is measured, and against what."""
    remedy: str
    """What a user does about it."""
    limit: str | None = None
    """Field of the recipe's `limits` that sets the limit; None where there is nothing to set."""


CATALOGUE: dict[Code, Check] = {
    check.code: check
    for check in (
        # The file
        Check(Code.EMPTY_FILE, REJECT, "The file has no bytes.", "fetch it again"),
        Check(
            Code.NOT_A_TIFF,
            REJECT,
            "The first bytes are not a TIFF's; what they are instead is named.",
            "fetch the real file again (`git lfs pull` for a pointer), or remove it",
        ),
        Check(
            Code.TRUNCATED,
            REJECT,
            "The header points beyond the end of the file.",
            "fetch it again: the transfer was cut off",
        ),
        Check(
            Code.UNREADABLE,
            REJECT,
            "The header or a block cannot be decoded; every block is tried.",
            "fetch it again, or rewrite it with gdal_translate",
        ),
        Check(
            Code.ABSURD_SIZE,
            REJECT,
            "The header claims more rows, columns, blocks or bytes than the limit; nothing is allocated for it.",
            "see whether the file is real; cut it up, or raise the limit",
            "size_max",
        ),
        Check(
            Code.DECODER_CRASH,
            REJECT,
            "The decoder died of this file, in a process of its own.",
            "fetch it again; report the file to GDAL if it is whole",
        ),
        Check(
            Code.INTERNAL_ERROR,
            REJECT,
            "The program itself failed on this pair, which says nothing about the files; it is tried again next time.",
            "report the message, with the file if you can, to whoever maintains greenspace; the other pairs are judged",
        ),
        Check(
            Code.STRAY,
            REJECT,
            "A TIFF whose name fits neither the images' nor the masks' pattern.",
            "rename it, or mend `pairing` in the recipe",
        ),
        Check(
            Code.MISSING_MASK, REJECT, "An image without a mask of the same stem.", "add the mask, or remove the image"
        ),
        Check(
            Code.MISSING_IMAGE, REJECT, "A mask without an image of the same stem.", "add the image, or remove the mask"
        ),
        Check(Code.AMBIGUOUS_PARTNER, REJECT, "Several masks have the image's stem.", "keep the right one"),
        Check(
            Code.SPLIT_EXPORT,
            WARN,
            "The file is a part of an export that Earth Engine split: its name ends with the row and column of its "
            "first pixel.",
            "put parts together first (`greenprep join RAW WHOLE`), of images and masks: else neighbours become groups",
        ),
        Check(
            Code.SIDECAR,
            WARN,
            "A sidecar (.aux.xml, .ovr, .msk, world file) lies beside the file; it is not read.",
            "put what it says into the TIFF, or remove it",
        ),
        Check(
            Code.DUPLICATE,
            REJECT,
            "The decoded pixels of the image equal another's, whatever the compression.",
            "keep one: the same ground under two names leaks between splits",
        ),
        Check(Code.SAME_GROUP_TIME, REJECT, "Another pair has the same group and time.", "rename or remove one"),
        Check(
            Code.BY_HAND,
            WARN,
            "Somebody decided by hand, against the checks: who, when and why is said; it holds for these files alone.",
            "nothing",
        ),
        # The bands
        Check(
            Code.BAND_COUNT,
            REJECT,
            "The number of bands is not the recipe's.",
            "export all bands, or write a recipe with the bands that are there",
        ),
        Check(
            Code.BAND_NAMES,
            REJECT,
            "The file names its bands otherwise than the recipe, or in another order.",
            "mend the order of `bands` in the recipe",
        ),
        Check(
            Code.BAND_ORDER,
            REPAIR,
            "The file has the recipe's bands, by any of their names (B2, B02, blue, SR_B2), in another order; "
            "put in the recipe's order.",
            "nothing",
        ),
        Check(Code.DTYPE, REJECT, "Pixels are of a type that no image has (complex, or mixed).", "export as uint16"),
        Check(
            Code.PAGED,
            REPAIR,
            "Each band is a page of its own, as tifffile writes (bands, rows, columns); rewritten as one image.",
            "nothing: the georeference was lost by the program that wrote the pages",
        ),
        Check(
            Code.CHANNEL_LAST,
            REPAIR,
            "The axes are turned: rows were written as bands; turned back.",
            "write (bands, rows, columns) to rasterio",
        ),
        Check(
            Code.INTEGER_VALUES,
            REPAIR,
            "Whole numbers in a wider type than they need; rewritten in the narrowest.",
            "nothing: values are the same",
        ),
        Check(
            Code.CONSTANT_BAND,
            REJECT,
            "A reflectance, radar or embedding band has one value in all usable pixels (for cirrus: a warning).",
            "export the band again",
        ),
        Check(
            Code.NEAR_CONSTANT_BAND,
            WARN,
            "The deviation of a reflectance, radar or embedding band is a tiny share of its mean.",
            "look at the band",
            "constant_std",
        ),
        Check(Code.CONSTANT_IMAGE, REJECT, "Every band that is measured has one value only.", "export the image again"),
        Check(
            Code.IDENTICAL_BANDS,
            REJECT,
            "Two reflectance, radar or embedding bands are equal in every pixel.",
            "export again: one band was written twice",
        ),
        Check(
            Code.SATURATED,
            REJECT,
            "A reflectance band is at its greatest possible value in too many pixels.",
            "export again without a cast to a narrower type",
            "saturated_max",
        ),
        Check(
            Code.WRAPPED,
            REJECT,
            "8-bit values fill 0..255 evenly and jump between neighbours: 16-bit data cut to 8 bits modulo 256.",
            "go back to the 16-bit files: the data in this one are lost",
            "uniform_min",
        ),
        Check(
            Code.SCALE,
            REJECT,
            "The values are not on the recipe's scale of reflectance; where all files are too dim for land, a warning.",
            "set `limits.reflectance_scale`, or export unscaled values",
            "reflectance_scale",
        ),
        Check(
            Code.MIXED_SCALES,
            REJECT,
            "All bands lie by one factor above or below those of most files, farther than season and light reach: "
            "reflectance x 1000 among x 10,000, or a stretch. With five bands or fewer, where cloud and snow look "
            "alike, a warning.",
            "export all files alike; where these are right, the others are not",
            "reflectance_scale",
        ),
        Check(
            Code.OFFSET,
            REPAIR,
            "The file carries the offset of Sentinel-2's processing baseline 04.00, +1000 in every band since January "
            "2022: the cirrus band says so, or the file's tags where no pixel contradicts them; taken away.",
            "nothing; `offset: keep` leaves it, `offset: reject` refuses the file",
            "offset",
        ),
        Check(
            Code.MIXED_OFFSETS,
            REJECT,
            "The file carries that offset and others of the collection do not: kept by the recipe (then a warning), or "
            "likely by its darkest pixels, against those of the most similar file without it.",
            "export all dates harmonised (COPERNICUS/S2_HARMONIZED), or take the offset away",
            "offset",
        ),
        Check(
            Code.LIKELY_OFFSET,
            WARN,
            "No band of the file has a dark pixel, and many would have without that offset; there is no file of such "
            "ground to compare it with: the file, or all of the collection, may carry it.",
            "export the file harmonised if it is later than January 2022; where all files carry it, scenes must, too",
            "offset",
        ),
        Check(
            Code.VALUE_TAGS,
            WARN,
            "GDAL's scale and offset tags of a band mean nothing (scale 0, not finite, an offset beyond every value), "
            "or another scale of reflectance than the recipe's.",
            "set the tags to what the numbers mean (gdal_edit -a_scale, -a_offset), or remove them",
        ),
        Check(
            Code.UNLIKE_TAGS,
            WARN,
            "The file's scale and offset tags are not those of most files; the store keeps the numbers as they are.",
            "see whether the numbers mean the same: export all files alike",
        ),
        Check(
            Code.UNDECODABLE,
            REJECT,
            "Bands that the recipe decodes hold values that are decoded already, or are no bytes with a sign.",
            "leave `decode` out of the recipe for decoded values",
        ),
        Check(
            Code.OTHER_UNITS,
            REJECT,
            "Radar, embedding or derived bands are in other units than in most files: power among decibels, decoded "
            "values among bytes, indices times 10,000.",
            "export all files alike",
        ),
        Check(
            Code.OUTLIER,
            WARN,
            "The mean or deviation of a reflectance or radar band lies far from the collection's (robust z-score by "
            "median and MAD).",
            "look at the picture in the report",
            "outlier_z",
        ),
        # The pixels
        Check(
            Code.NAN,
            REJECT,
            "The image holds NaN or infinity; with `nan: mask` such pixels are marked invalid instead. NaN and minus "
            "infinity in a radar band are no data.",
            "fill or cut them, or set `limits.nan: mask`",
            "nan",
        ),
        Check(
            Code.NODATA,
            WARN,
            "Share of pixels that are zero in all bands, or that tags, internal mask or alpha call empty.",
            "look at the footprint",
            "nodata_max",
        ),
        Check(
            Code.UNDECLARED_NODATA,
            WARN,
            "A usual no-data value (-9999, -32768, …) stands in many pixels and no tag declares it.",
            "set the file's nodata tag",
            "undeclared_max",
        ),
        Check(Code.ALL_NODATA, REJECT, "No pixel is usable.", "remove it"),
        Check(
            Code.BLANK,
            REJECT,
            "The mean over the reflectance bands, on a scale of 10,000, is below the limit.",
            "remove it",
            "mean_min",
        ),
        Check(
            Code.LOW_CONTENT,
            REJECT,
            "Too few pixels are usable and not zero.",
            "remove it, or lower the limit",
            "content_min",
        ),
        Check(
            Code.NOISE,
            REJECT,
            "Neighbouring pixels do not agree in any band: lag-1 correlation, and the noise estimate "
            "of Immerkaer (1996) against the deviation.",
            "export again: this is no picture",
            "noise_correlation",
        ),
        Check(
            Code.SALT_PEPPER,
            WARN,
            "Share of pixels far from all their neighbours in several bands.",
            "look at the picture",
            "impulse_max",
        ),
        Check(
            Code.STRIPES,
            WARN,
            "Means of neighbouring lines jump more than pixels do.",
            "look at the picture",
            "stripe_max",
        ),
        Check(
            Code.DROPPED_LINES,
            WARN,
            "Lines inside the picture that are constant or repeat the line before.",
            "export again",
            "dropped_lines_max",
        ),
        Check(
            Code.CLOUD,
            WARN,
            "Share of cloud by the quality bands, or by brightness and cirrus where those say nothing.",
            "choose a clearer date, or reject by `levels: {cloud: reject}`",
            "cloud_max",
        ),
        Check(
            Code.QUALITY_UNKNOWN,
            WARN,
            "A band that the recipe calls a mask masks nothing: its bits are unknown, or its numbers not its own.",
            "name it as its maker does (`QA60`, `SCL`, `Fmask`, `QA_PIXEL`), or put what it says into the nodata mask",
        ),
        # The mask
        Check(
            Code.MASK_BAND_COUNT,
            REJECT,
            "The number of bands is not one a class (or one, for indices).",
            "mend `mask` in the recipe, or the file",
        ),
        Check(
            Code.MASK_RANGE,
            REJECT,
            "Fractions lie below 0 or above 1 (times the scale), or indices are not whole.",
            "make the mask again",
            "bad_labels_max",
        ),
        Check(Code.MASK_SUM, REJECT, "Fractions of a pixel do not sum to 1.", "make the mask again", "sum_tolerance"),
        Check(
            Code.MASK_SCALE,
            REPAIR,
            "Fractions are written as percent, bytes or another known scale; rescaled.",
            "nothing",
        ),
        Check(Code.MASK_NAN, REPAIR, "NaN in a mask that declares no such value; marked as unlabelled.", "nothing"),
        Check(
            Code.MASK_ZERO,
            WARN,
            "Pixels whose fractions are all zero; they count as unlabelled.",
            "write NaN or a declared nodata value where there is no label",
        ),
        Check(
            Code.NODATA_CLASS,
            WARN,
            "The mask's nodata tag is also a class of the recipe, as 0 is water in Dynamic World; the class is kept.",
            "if it means no label, say so: `unlabelled` under `mask`; else take the tag away",
        ),
        Check(Code.MASK_EMPTY, REJECT, "No pixel has a label.", "make the mask again"),
        Check(Code.SINGLE_CLASS, WARN, "All labelled pixels are of one class.", "see whether that is so"),
        Check(
            Code.UNKNOWN_INDEX,
            REJECT,
            "A class index that the recipe does not know.",
            "add the class, or set `mask.unlabelled`",
        ),
        Check(
            Code.CLASS_CODES,
            REJECT,
            "The collection's masks count classes from 1 where the recipe counts from 0: every class would be one off.",
            "write `classes: {1: …, 2: …}` under `mask`",
        ),
        Check(
            Code.SIZE_MISMATCH, REJECT, "Image and mask differ by more than one pixel in size.", "make the mask again"
        ),
        Check(
            Code.CROPPED,
            REPAIR,
            "Image and mask differ by one pixel in size at the same origin; cropped to both.",
            "nothing",
        ),
        Check(
            Code.SHIFTED,
            REPAIR,
            "The mask's georeference lies whole pixels off the image's; cropped to the common ground.",
            "nothing",
            "shift_max",
        ),
        Check(Code.CRS_MISMATCH, REJECT, "Image and mask are in different coordinate systems.", "reproject the mask"),
        Check(
            Code.TRANSFORM_MISMATCH,
            REJECT,
            "The mask's corners lie elsewhere than the image's.",
            "warp the mask to the image's grid",
            "transform_tolerance",
        ),
        Check(
            Code.MISALIGNED,
            WARN,
            "Label edges fit the image's edges better a few pixels off than where they are.",
            "lay the mask over the image and look",
            "edge_correlation",
        ),
        # The grid
        Check(
            Code.NO_CRS,
            WARN,
            "The image has no coordinate system: maps made from it have none either.",
            "assign it with gdal_edit, if known",
        ),
        Check(
            Code.ROTATED, WARN, "The grid is rotated or sheared against its coordinate system.", "warp it to north-up"
        ),
        Check(Code.SOUTH_UP, REPAIR, "Rows run from south to north; flipped.", "nothing"),
        Check(Code.WEST_UP, REPAIR, "Columns run from east to west; flipped.", "nothing"),
        Check(
            Code.GRID_UNLIKE_GROUP,
            WARN,
            "Coordinate system, pixel size or place differ from the rest of the group, or pixels by 1.5 from most.",
            "see whether the name is right; resample the file (gdalwarp -tr)",
        ),
    )
}
"""Every check by its code, in the order in which they are explained."""


def finding(
    code: Code,
    about: About,
    found: str,
    *,
    limit: str = "none allowed",
    limits: Limits | None = None,
    level: Level | None = None,
    remedy: str | None = None,
) -> Reason:
    """A finding of the check `code`, at the level that the recipe, the caller or the catalogue gives, in this order."""
    check = CATALOGUE[code]
    due = level or check.level
    if limits is not None and code in limits.levels:
        due = Level(limits.levels[code])
    return Reason(code=code.value, level=due, file=about, found=found, limit=limit, remedy=remedy or check.remedy)


NEED_REFLECTANCE = (
    Code.BLANK,
    Code.SATURATED,
    Code.WRAPPED,
    Code.SCALE,
    Code.MIXED_SCALES,
    Code.OFFSET,
    Code.MIXED_OFFSETS,
    Code.LIKELY_OFFSET,
    Code.NOISE,
    Code.SALT_PEPPER,
)
"""Checks that measure reflectances: of a collection without one they are not made."""


def notes_on(bands: Sequence[Band]) -> dict[str, str]:
    """What there is to say of a whole collection, by name: which checks its bands leave without an object."""
    if any(band.role is Role.REFLECTANCE for band in bands):
        return {}
    names = ", ".join(code.value for code in NEED_REFLECTANCE)
    return {"no-reflectance": f"no band is a reflectance, so that these checks were not made: {names}"}


def explain(code: Code) -> str:
    """What `greenprep explain CODE` prints."""
    check = CATALOGUE[code]
    limit = f"limits.{check.limit} = {_default(check.limit)}" if check.limit else "none to set"
    return f"{code.value} ({check.level.value})\n  {check.what}\n  Limit:  {limit}\n  Remedy: {check.remedy}."


def as_markdown() -> str:
    """The catalogue as the table of docs/checks.md."""
    rows = [
        f"| `{check.code.value}` | {check.level.value} | {check.what} | "
        f"{f'`{check.limit}` = {_default(check.limit)}' if check.limit else ''} |"
        for check in CATALOGUE.values()
    ]
    return "\n".join(["| code | level | what | limit (default) |", "|---|---|---|---|", *rows])


def _default(field: str) -> str:
    value = Limits.model_fields[field].default
    return f"{value:g}" if isinstance(value, float) else str(value)
