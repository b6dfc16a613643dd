"""The PNG preview of a map: the scene in true colour where its bands allow it, the classes, the legend with shares."""

from __future__ import annotations

from pathlib import Path

from greenschemas.contract import Contract
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import whole
from greentrain.maps.area import measure
from greentrain.maps.raster import open_raster
from greentrain.maps.scene import Layout, open_scene
from greentrain.pages.pictures import draw_map, is_picture, legend_of, maker, paint, true_colour

__all__ = ["write_picture"]

_LONGEST = 1400  # pixels of the longer side


def write_picture(
    png: Path, out: Path, scene: Path, contract: Contract, classes: tuple[str, ...], *, overwrite: bool = False
) -> None:
    """Draw the class map `out`, made of `scene`; large maps are drawn from their overviews.

    Raises ConfigError where a file lies at `png` that is no picture of ours, unless it may be overwritten.
    """
    if png.exists() and not overwrite and not is_picture(png):
        raise ConfigError(png, "a file that is no picture of ours", "give another name, or `--overwrite` to replace it")
    with open_raster(out) as raster:
        label = raster.shrunk(_LONGEST)[0]
        (map_area,) = measure(raster, classes)
    total = float(map_area.pixels.sum())
    pictures = [paint(label, classes)]
    common = {band.common: band.name for band in contract.bands}
    if {"red", "green", "blue"} <= common.keys():
        try:
            layout = Layout(contract.declared_bands, tuple(common[colour] for colour in ("red", "green", "blue")))
            with open_scene(scene, layout) as file:
                pictures.insert(0, true_colour(file.raster.shrunk(_LONGEST, bands=file.bands, average=True)))
                if file.south_up:
                    pictures = [picture[::-1] for picture in pictures]
        except SourceError:
            pass  # a scene need only have the bands that the net reads; without these there is no picture of it
    sheet = draw_map(scene.name, pictures, legend_of(classes, list(map_area.pixels / total) if total else None))
    with whole(png) as draft:
        sheet.save(draft, "PNG", pnginfo=maker())
