"""Pictures of a raw pair: true colour, the greatest class of each pixel, and the edges of the labels on the image."""

from __future__ import annotations

from pathlib import Path

from greenprep.raw.pair import gdal, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.raw.tiff_header import BadFile
from greenschemas.layout import UNLABELLED
from greenschemas.pictures import Picture, class_picture, labels_of, outlined, thumbnail, true_colour, visible_bands
from greenschemas.recipe import Recipe

__all__ = ["pair_pictures"]

PIXELS_MAX = 4_000_000
"""Larger pairs are shown without a picture: a page is no reason to read gigabytes again."""


def pair_pictures(root: Path, candidate: Candidate, recipe: Recipe, side: int) -> dict[str, Picture]:
    """`image`, and where there are labels `mask` and `overlay`, no side longer than `side` but the overlay's.

    Nothing where the pair cannot be read, or is large.
    """
    with gdal(), open_pair(root, candidate, recipe.bands, recipe.mask, recipe.limits) as pair:
        shape = pair.header.shape
        if shape is None or shape[1] * shape[2] > PIXELS_MAX or not min(shape):
            return {}
        try:
            pixels = pair.read(0, 0, shape[1], shape[2])
        except BadFile:
            return {}
    names = [band.name for band in recipe.bands]
    planes = pixels.image[[names.index(name) for name in visible_bands(recipe.bands)]]
    image = true_colour(planes, pixels.valid if pixels.cloud is None else pixels.valid | pixels.cloud)
    label = labels_of(pixels.fraction)
    if not (label != UNLABELLED).any():
        return {"image": thumbnail(image, side)}
    return {
        "image": thumbnail(image, side),
        "mask": thumbnail(class_picture(label, recipe.mask.names), side),
        "overlay": outlined(image, label),
    }
