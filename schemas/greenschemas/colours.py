"""Colours of the classes: the same in every map, picture and page.

The land-cover classes of the default recipe have colours that a reader of maps expects; any other class gets one that
differs from all of these and from the others.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

__all__ = ["MARK", "NO_DATA", "Colour", "as_hex", "class_colours"]

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

NO_DATA: Colour = (255, 255, 255)
"""Where a map says nothing."""

MARK: Colour = (214, 0, 170)
"""What a picture points at, such as an error: like no class."""

_KNOWN: dict[str, Colour] = {
    "impervious": (178, 106, 101),
    "low_vegetation": (163, 209, 112),
    "trees": (30, 104, 46),
    "water": (49, 116, 196),
    "clutter": (210, 180, 140),
}
_GOLDEN = 0.6180339887498949  # hues that follow each other by the golden section stay apart, however many there are


def class_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """One colour a class, all different, the same for the same list of names."""
    found: list[Colour] = []
    others = 0
    for name in classes:
        colour = _KNOWN.get(name)
        while colour is None or colour in found or (name not in _KNOWN and colour in _KNOWN.values()):
            colour = _distinct(others)
            others += 1
        found.append(colour)
    return tuple(found)


def as_hex(colour: Colour) -> str:
    """`#rrggbb`, for pages."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _distinct(index: int) -> Colour:
    hue = (0.08 + index * _GOLDEN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.5)[index // 8 % 2], (0.85, 0.6)[index // 4 % 2])
    return round(red * 255), round(green * 255), round(blue * 255)
