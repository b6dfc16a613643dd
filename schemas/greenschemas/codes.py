"""The stable names of every check of `greenprep clean`: manifests, recipes and scripts go by them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["REPAIRS", "Code"]


class Code(StrEnum):
    """One member a check; `greenprep explain CODE` says what each means. Values never change meaning."""

    # The file
    EMPTY_FILE = "empty-file"
    NOT_A_TIFF = "not-a-tiff"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    ABSURD_SIZE = "absurd-size"
    DECODER_CRASH = "decoder-crash"
    INTERNAL_ERROR = "internal-error"
    STRAY = "stray"
    MISSING_MASK = "missing-mask"
    MISSING_IMAGE = "missing-image"
    AMBIGUOUS_PARTNER = "ambiguous-partner"
    SPLIT_EXPORT = "split-export"
    SIDECAR = "sidecar"
    DUPLICATE = "duplicate-content"
    SAME_GROUP_TIME = "same-group-time"
    BY_HAND = "by-hand"
    # The bands
    BAND_COUNT = "band-count"
    BAND_NAMES = "band-names"
    BAND_ORDER = "band-order"
    DTYPE = "dtype"
    PAGED = "paged-bands"
    CHANNEL_LAST = "channel-last"
    INTEGER_VALUES = "integer-values"
    CONSTANT_BAND = "constant-band"
    NEAR_CONSTANT_BAND = "near-constant-band"
    CONSTANT_IMAGE = "constant-image"
    IDENTICAL_BANDS = "identical-bands"
    SATURATED = "saturated"
    WRAPPED = "wrapped-8-bit"
    SCALE = "reflectance-scale"
    MIXED_SCALES = "mixed-scales"
    OFFSET = "radiometric-offset"
    MIXED_OFFSETS = "mixed-offsets"
    LIKELY_OFFSET = "likely-offset"
    VALUE_TAGS = "value-tags"
    UNLIKE_TAGS = "unlike-tags"
    UNDECODABLE = "undecodable"
    OTHER_UNITS = "other-units"
    OUTLIER = "outlier"
    # The pixels
    NAN = "nan"
    NODATA = "nodata-share"
    UNDECLARED_NODATA = "undeclared-nodata"
    ALL_NODATA = "all-nodata"
    BLANK = "blank"
    LOW_CONTENT = "low-content"
    NOISE = "noise"
    SALT_PEPPER = "salt-and-pepper"
    STRIPES = "stripes"
    DROPPED_LINES = "dropped-lines"
    CLOUD = "cloud"
    QUALITY_UNKNOWN = "quality-unknown"
    # The mask
    MASK_BAND_COUNT = "mask-band-count"
    MASK_RANGE = "mask-range"
    MASK_SUM = "mask-sum"
    MASK_SCALE = "mask-scale"
    MASK_NAN = "mask-nan"
    MASK_ZERO = "mask-zero"
    NODATA_CLASS = "nodata-class"
    MASK_EMPTY = "mask-empty"
    SINGLE_CLASS = "single-class"
    UNKNOWN_INDEX = "unknown-index"
    CLASS_CODES = "class-codes"
    SIZE_MISMATCH = "size-mismatch"
    CROPPED = "cropped-edge"
    SHIFTED = "shifted-mask"
    CRS_MISMATCH = "crs-mismatch"
    TRANSFORM_MISMATCH = "transform-mismatch"
    MISALIGNED = "misaligned"
    # The grid
    NO_CRS = "no-crs"
    ROTATED = "rotated"
    SOUTH_UP = "south-up"
    WEST_UP = "west-up"
    GRID_UNLIKE_GROUP = "grid-unlike-group"


REPAIRS = frozenset(
    {
        Code.BAND_ORDER,
        Code.PAGED,
        Code.CHANNEL_LAST,
        Code.OFFSET,
        Code.INTEGER_VALUES,
        Code.MASK_SCALE,
        Code.MASK_NAN,
        Code.CROPPED,
        Code.SHIFTED,
        Code.SOUTH_UP,
        Code.WEST_UP,
    }
)
"""Findings that `greenprep clean` mends because the result is certain; a recipe may reject instead, never look away."""
