"""The PNG preview of a map: the scene in true colour where its bands allow it, the classes, the legend with shares."""

from __future__ import annotations

from pathlib import Path

from greenschemas.contract import Contract
from greenschemas.errors import SourceError
from greenschemas.files import whole
from greentrain.maps.area import measure
from greentrain.maps.raster import open_raster, open_scene
from greentrain.pages.pictures import draw_map, legend_of, paint, true_colour

__all__ = ["write_picture"]

_LONGEST = 1400  # pixels of the longer side


def write_picture(png: Path, out: Path, scene: Path, contract: Contract, classes: tuple[str, ...]) -> None:
    """Draw the class map `out`, made of `scene`; large maps are drawn from their overviews."""
    with open_raster(out) as raster:
        label = raster.shrunk(_LONGEST)[0]
        (map_area,) = measure(raster, classes)
    total = float(map_area.pixels.sum())
    pictures = [paint(label, classes)]
    common = {band.common: band.name for band in contract.bands}
    if {"red", "green", "blue"} <= common.keys():
        try:
            layout = [band.name for band in contract.bands]
            with open_scene(scene, [common[colour] for colour in ("red", "green", "blue")], layout) as file:
                pictures.insert(0, true_colour(file.shrunk(_LONGEST, bands=file.bands, average=True)))
        except SourceError:
            pass  # a scene need only have the bands that the net reads; without these there is no picture of it
    sheet = draw_map(scene.name, pictures, legend_of(classes, list(map_area.pixels / total) if total else None))
    with whole(png) as draft:
        sheet.save(draft, "PNG")
