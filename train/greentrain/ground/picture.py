"""The PNG preview of a map: the scene where it can be shown, the classes, the legend with shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from greenschemas.colours import Colour, class_colours
from greenschemas.contract import Contract
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import whole
from greenschemas.pictures import Picture, class_picture, enlarged, true_colour, visible_bands
from greenschemas.products import scene_name
from greentrain.ground.area import measure
from greentrain.maps.raster import open_raster
from greentrain.maps.scene import Layout, open_scene

__all__ = ["draw_map", "write_picture"]

_LONGEST = 1400  # pixels of the longer side
_MARGIN, _LINE, _BOX, _FONT = 16, 24, 16, 15
_LEAST_SIDE = 420  # smaller maps are enlarged, pixel by pixel, so that they can be seen
_INK: Colour = (30, 30, 30)


def write_picture(
    png: Path,
    out: Path,
    scene: Path,
    contract: Contract,
    classes: tuple[str, ...],
    *,
    overwrite: bool = False,
    later: Sequence[Path] = (),
    remote: bool = False,
) -> None:
    """Draw the class map `out`, made of `scene`; large maps are drawn from their overviews.

    Raises ConfigError where a file lies at `png` that is no picture of ours, unless it may be overwritten.
    """
    if png.exists() and not overwrite and not _is_picture(png):
        raise ConfigError(png, "a file that is no picture of ours", "give another name, or `--overwrite` to replace it")
    with open_raster(out) as raster:
        label = raster.shrunk(_LONGEST)[0]
        (map_area,) = measure(raster, classes)
    total = float(map_area.pixels.sum())
    title, pictures, bands = scene_name(scene), [class_picture(label, classes)], visible_bands(contract.bands)
    try:
        with open_scene(scene, Layout(contract.declared_bands, bands), later=later, remote=remote) as file:
            planes = file.raster.shrunk(_LONGEST, bands=file.bands, average=True)
            usable = (planes != 0).any(0)
            for plane, at in zip(planes, file.bands, strict=True):
                usable &= plane != file.raster.nodata[at]
            pictures.insert(0, true_colour(planes, usable))
            pictures = [picture[file.raster.grid.order] for picture in pictures]
        title += f"   ({', '.join(bands)} as red, green, blue)"
    except SourceError:
        pass  # a scene need only have the bands that the net reads; without these there is no picture of it
    names = [name.replace("_", " ") for name in classes]
    if total:
        names = [f"{name}  {part / total:.1%}" for name, part in zip(names, map_area.pixels, strict=True)]
    sheet = draw_map(title, pictures, list(zip(class_colours(classes), names, strict=True)))
    with whole(png) as draft:
        sheet.save(draft, "PNG", pnginfo=_maker())


def _maker() -> PngInfo:
    """What a PNG of ours says of its maker, for `Image.save(pnginfo=…)`."""
    info = PngInfo()
    info.add_text("Software", "greenspace")
    return info


def _is_picture(path: Path) -> bool:
    """Whether a file is a PNG that says that we made it."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get("Software") == "greenspace"
    except (UnidentifiedImageError, OSError, ValueError):
        return False  # another file lies there, or half of one


def draw_map(title: str, pictures: Sequence[Picture], legend: Sequence[tuple[Colour, str]]) -> Image.Image:
    """Pictures of equal size side by side under a title, the legend below in as many columns as fit."""
    pictures = [enlarged(picture, _LEAST_SIDE) for picture in pictures]
    height, width = pictures[0].shape[:2]
    font = ImageFont.load_default(_FONT)
    widest = max(_BOX + 10 + round(font.getlength(text)) + 24 for _, text in legend)
    across = max(len(pictures) * (width + _MARGIN) - _MARGIN, widest, round(font.getlength(title)))
    columns = max(1, min(len(legend), across // widest))
    lines = -(-len(legend) // columns)
    sheet = Image.new("RGB", (across + 2 * _MARGIN, height + lines * _LINE + 3 * _MARGIN + _LINE), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, fill=_INK, font=font)
    top = _MARGIN + _LINE
    for place, picture in enumerate(pictures):
        left = _MARGIN + place * (width + _MARGIN)
        sheet.paste(Image.fromarray(picture), (left, top))
        pen.rectangle((left - 1, top - 1, left + width, top + height), outline=(200, 200, 200))
    for index, (colour, text) in enumerate(legend):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * widest, top + height + _MARGIN + row * _LINE
        pen.rectangle((x, y, x + _BOX, y + _BOX), fill=colour, outline=(120, 120, 120))
        pen.text((x + _BOX + 8, y - 1), text, fill=_INK, font=font)
    return sheet
