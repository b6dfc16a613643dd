"""A picture of a map for people: classes in their colours, the scene beside it where it can be shown, a legend.

Pure drawing: arrays in, a Pillow image out. Letters: h rows, w columns of the picture, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from greenschemas.colours import NO_DATA, Colour, class_colours

__all__ = ["Legend", "draw_map", "is_picture", "legend_of", "maker", "paint", "true_colour"]

_MARGIN, _LINE, _BOX, _FONT = 16, 24, 16, 15
_LEAST_SIDE = 420  # smaller maps are enlarged, pixel by pixel, so that they can be seen
_INK: Colour = (30, 30, 30)


@dataclass(frozen=True)
class Legend:
    """One line of the legend."""

    colour: Colour
    text: str


def maker() -> PngInfo:
    """What a PNG of ours says of its maker, for `Image.save(pnginfo=…)`."""
    info = PngInfo()
    info.add_text("Software", "greenspace")
    return info


def is_picture(path: Path) -> bool:
    """Whether a file is a PNG that says that we made it."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get("Software") == "greenspace"
    except (UnidentifiedImageError, OSError, ValueError):
        return False  # another file lies there, or half of one


def legend_of(classes: Sequence[str], share: Sequence[float] | None = None) -> tuple[Legend, ...]:
    """A line a class, with its share of the map where known."""
    names = [name.replace("_", " ") for name in classes]
    texts = names if share is None else [f"{name}  {part:.1%}" for name, part in zip(names, share, strict=True)]
    return tuple(Legend(colour, text) for colour, text in zip(class_colours(classes), texts, strict=True))


def paint(label: NDArray[np.uint8], classes: Sequence[str]) -> NDArray[np.uint8]:
    """(h, w, 3) colours of a class map (h, w); what is no class is white."""
    table = np.full((256, 3), NO_DATA, np.uint8)
    table[: len(classes)] = class_colours(classes)
    return table[label]


def true_colour(bands: NDArray[Any]) -> NDArray[np.uint8]:
    """(h, w, 3) of red, green, blue (3, h, w), each stretched from its 2nd to its 98th percentile; 0 and NaN white."""
    values = bands.astype(np.float32)
    blank = ~np.isfinite(values).all(0) | (values == 0).all(0)
    out = np.full((*blank.shape, 3), 255, np.uint8)
    if blank.all():
        return out
    for band, plane in enumerate(values):
        low, high = np.percentile(plane[~blank], (2, 98))
        stretched = ((plane[~blank] - low) / max(float(high - low), 1e-6)).clip(0, 1)
        out[~blank, band] = (stretched * 255).round().astype(np.uint8)
    return out


def draw_map(title: str, pictures: Sequence[NDArray[np.uint8]], legend: Sequence[Legend]) -> Image.Image:
    """Pictures (h, w, 3) of equal size side by side under a title, the legend below in as many columns as fit."""
    height, width = pictures[0].shape[:2]
    times = max(1, -(-_LEAST_SIDE // max(height, width)))
    height, width = height * times, width * times
    font = ImageFont.load_default(_FONT)
    widest = max(_BOX + 10 + round(font.getlength(line.text)) + 24 for line in legend)
    across = max(len(pictures) * (width + _MARGIN) - _MARGIN, widest, round(font.getlength(title)))
    columns = max(1, min(len(legend), across // widest))
    lines = -(-len(legend) // columns)
    sheet = Image.new("RGB", (across + 2 * _MARGIN, height + lines * _LINE + 3 * _MARGIN + _LINE), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, fill=_INK, font=font)
    top = _MARGIN + _LINE
    for place, picture in enumerate(pictures):
        left = _MARGIN + place * (width + _MARGIN)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (left, top))
        pen.rectangle((left - 1, top - 1, left + width, top + height), outline=(200, 200, 200))
    for index, line in enumerate(legend):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * widest, top + height + _MARGIN + row * _LINE
        pen.rectangle((x, y, x + _BOX, y + _BOX), fill=line.colour, outline=(120, 120, 120))
        pen.text((x + _BOX + 8, y - 1), line.text, fill=_INK, font=font)
    return sheet
