"""Limits of the checks of `greenprep clean`, and the judgement calls a recipe may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from greenschemas.choices import CloudPolicy, NanPolicy, OffsetPolicy
from greenschemas.codes import REPAIRS, Code
from greenschemas.errors import nearest
from greenschemas.frozen import Frozen

__all__ = ["Limits"]


class Limits(Frozen):
    """One field a limit; shares are of all pixels of the file, 0 to 1."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # `greenprep recipe` prints the text under each field

    nan: NanPolicy = NanPolicy.REJECT
    """What NaN or infinite pixels of an image mean: reject (the pair), or mask (they are marked invalid)."""
    content_min: float = Field(0.01, ge=0, le=1)
    """Least share of usable pixels that are not zero."""
    mean_min: float = 0.01
    """Least mean over the reflectance bands where a reflectance of 1 is written as 10,000; it follows the files' scale,
    so that the same darkness is blank in 0..1. The data's owner calls less blank."""
    size_max: int = Field(100_000, gt=0)
    """Most rows or columns; a header that claims more is refused before anything is allocated."""
    bytes_max: int = Field(1 << 40, gt=0)
    """Most bytes that a file may decode to."""
    block_bytes_max: int = Field(1 << 29, gt=0)
    """Most bytes that one strip or tile of a file may decode to: it must fit in memory whole."""
    seconds_max: float = Field(600, gt=0)
    """Most seconds that reading one pair, or one strip of a large one, may take: a decoder that hangs is ended."""
    transform_tolerance: float = Field(0.01, ge=0)
    """Greatest difference of the corners of image and mask, in pixels: nearer than this is the same place."""
    shift_max: int = Field(8, ge=0)
    """Most whole pixels that a mask's georeference may lie off its image's and still be cropped to fit."""
    nodata_max: float = Field(0.5, ge=0, le=1)
    """Share of pixels without data above which a pair is flagged."""
    undeclared_max: float = Field(0.001, ge=0, le=1)
    """Share of pixels with a usual no-data value (-9999 and the like) that no tag declares."""
    reflectance_scale: float | None = Field(10_000, gt=0)
    """Number that stands for a reflectance of 1; None: unknown, scales are not checked."""
    saturated_max: float = Field(0.2, ge=0, le=1)
    """Share of a reflectance band's values at its greatest possible value above which a pair is rejected."""
    constant_std: float = Field(1e-4, ge=0)
    """A reflectance band whose deviation is below this share of its mean is nearly constant."""
    uniform_min: float = Field(0.75, ge=0, le=1)
    """An 8-bit band whose grey values fill 0..255 this evenly (1: perfectly) may be 16-bit data cut to 8 bits."""
    noise_correlation: float = Field(0.25, ge=-1, le=1)
    """Least correlation of neighbouring pixels, in the best of the bands looked at."""
    noise_share: float = Field(0.5, ge=0, le=1)
    """Greatest share of a band's deviation that may be white noise (Immerkaer 1996), in the best band looked at."""
    impulse_max: float = Field(0.01, ge=0, le=1)
    """Share of isolated extreme pixels above which a pair is flagged as salt and pepper."""
    stripe_max: float = Field(0.8, gt=0)
    """Greatest jump of the means of neighbouring lines, as a share of the jump of neighbouring pixels."""
    dropped_lines_max: float = Field(0.01, ge=0, le=1)
    """Share of interior lines that are constant where their neighbours are not."""
    offset: OffsetPolicy = OffsetPolicy.REPAIR
    """What happens to a file with the offset of Sentinel-2's processing baseline 04.00: repair, keep or reject."""
    cloud: CloudPolicy = CloudPolicy.MASK
    """What pixels that a quality band calls cloud mean: mask (they are marked invalid), or keep."""
    cloud_max: float = Field(0.5, ge=0, le=1)
    """Share of cloud above which a pair is flagged."""
    sum_tolerance: float = Field(0.02, ge=0)
    """Greatest distance from 1 of the sum of a labelled pixel's fractions."""
    bad_labels_max: float = Field(0.001, ge=0, le=1)
    """Share of pixels whose fractions are out of range or do not sum to 1 above which a mask is rejected."""
    edge_correlation: float = Field(0.05, ge=-1, le=1)
    """Least correlation of the edges of labels and image: masks of other places have about 0."""
    outlier_z: float = Field(8.0, gt=0)
    """Robust z-score, over the collection, above which a file's band mean or deviation is flagged."""
    levels: dict[Code, Literal["reject", "warn"]] = Field(default_factory=dict)
    """Checks by name whose findings shall count more or less than by default."""

    @field_validator("levels", mode="before")
    @classmethod
    def _known_checks(cls, levels: object) -> object:
        if isinstance(levels, Mapping):
            for name in levels:
                if name not in list(Code):
                    raise ValueError(f"checks that exist (`{name}` is none; {nearest(str(name), Code)})")
        return levels

    @model_validator(mode="after")
    def _repairs_cannot_be_overlooked(self) -> Self:
        for code, level in self.levels.items():
            if code in REPAIRS and level != "reject":
                raise ValueError(f"`{code}` is mended or rejected, and cannot be `{level}`")
        return self
