"""Limits of the checks of `greenprep clean`, and the judgement calls a recipe may change."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from greenschemas.model import Frozen

__all__ = ["Limits", "NanPolicy"]


class NanPolicy(StrEnum):
    """What NaN or infinite pixels of an image mean."""

    REJECT = "reject"
    """Any such pixel rejects the pair (the rule of the data's owner)."""
    MASK = "mask"
    """Such pixels are marked invalid; the pair stays."""


class Limits(Frozen):
    """One field a limit; shares are of all pixels of the file, 0 to 1."""

    nan: NanPolicy = NanPolicy.REJECT
    content_min: float = Field(0.01, ge=0, le=1)
    """Least share of usable pixels that are not zero."""
    mean_min: float = 0.01
    """Least mean over the reflectance bands, in the units of the file: the data's owner calls less blank."""
    size_max: int = Field(100_000, gt=0)
    """Most rows or columns; a header that claims more is refused before anything is allocated."""
    transform_tolerance: float = Field(1e-6, ge=0)
    """Greatest difference of the corners of image and mask, in pixels."""
    sum_tolerance: float = Field(0.02, ge=0)
    """Greatest distance from 1 of the sum of a labelled pixel's fractions."""
