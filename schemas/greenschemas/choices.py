"""The words between which a recipe chooses: command lines show them, and need nothing else of a recipe for that."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CloudPolicy", "Edge", "MaskKind", "NanPolicy", "OffsetPolicy", "Times"]


class MaskKind(StrEnum):
    """How a mask file writes down what covers a pixel."""

    FRACTION = "fraction"
    """One band a class, 0 to 1, summing to 1."""
    PERCENT = "percent"
    """One band a class, 0 to 100."""
    ONE_HOT = "one_hot"
    """One band a class, 0 or 1 (or 0 and 255)."""
    INDEX = "index"
    """One band of class indices."""


class Edge(StrEnum):
    """What happens to a tile that the source does not fill."""

    PAD = "pad"
    """Filled up with zeros, marked invalid."""
    DROP = "drop"
    """Left out."""
    SHIFT = "shift"
    """Moved back until it lies inside; overlaps its neighbour. A source smaller than a tile is padded."""


class Times(StrEnum):
    """What becomes of the dates of a group."""

    APART = "apart"
    """Each is a source of its own."""
    STACK = "stack"
    """One source, whose bands are those of every date."""


class NanPolicy(StrEnum):
    """What NaN or infinite pixels of an image mean."""

    REJECT = "reject"
    """Any such pixel rejects the pair (the rule of the data's owner)."""
    MASK = "mask"
    """Such pixels are marked invalid; the pair stays."""


class CloudPolicy(StrEnum):
    """What pixels that a quality band calls cloud mean."""

    MASK = "mask"
    """They are marked invalid."""
    KEEP = "keep"
    """They stay usable; the share is still reported."""


class OffsetPolicy(StrEnum):
    """What happens to a file with the offset of Sentinel-2's processing baseline 04.00, +1000 in every band."""

    REPAIR = "repair"
    """It is taken away: where the file shows it for certain, reflectances less 1000, not below 0, nodata as it was."""
    REJECT = "reject"
    KEEP = "keep"
    """It stays; a collection in which only some files carry it is still named."""
