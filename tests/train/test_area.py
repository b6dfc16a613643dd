"""Hectares: right on flat maps, on the ellipsoid, by zone and by fraction of a pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from greenschemas.errors import SourceError
from greenschemas.grid import Grid
from greentrain.ground.area import Ground, class_names, measure, pixel_hectares, summary
from greentrain.ground.zones import Zone
from greentrain.maps.blend import Block
from greentrain.maps.raster import Layer, open_raster, write_map
from support.tiffs import write_tiff

UTM = Grid(40, 50, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), rasterio.CRS.from_epsg(32618).to_wkt())
CLASSES = ("trees", "water")
TAGS = {"GREENSPACE_CLASSES": "trees,water"}


def class_map(path: Path, grid: Grid = UTM) -> Path:
    """Trees in the upper half, water below, the first column without data."""
    label = np.zeros((1, grid.height, grid.width), np.uint8)
    label[:, grid.height // 2 :] = 1
    label[:, :, 0] = 255
    write_map(path, grid, Layer(("class",), "uint8", 255, ((0, 0, 0), (1, 1, 1))), [(0, 0, label)], TAGS)
    return path


def area_of(path: Path, zones: tuple[Zone, ...] = ()) -> dict:
    with open_raster(path) as raster:
        fractions = len(raster.names) > 1
        classes = class_names(raster.tags, raster.names, fractions)
        return summary(measure(raster, classes, zones), classes, raster.crs_kind, fractions=fractions)


def test_ten_metre_pixels_are_a_hundredth_of_a_hectare(tmp_path: Path) -> None:
    found = area_of(class_map(tmp_path / "m.tif"))
    assert found["hectares"] == pytest.approx(40 * 49 / 100)
    assert found["classes"]["trees"] == pytest.approx({"hectares": 9.8, "pixels": 980, "share": 0.5})
    assert found["pixels_without_data"] == 40 and found["zones"] == []


def test_half_a_pixel_counts_as_half(tmp_path: Path) -> None:
    share = np.full((2, 40, 50), 0.25, np.float32)
    share[1], share[:, 0, 0] = 0.75, np.nan
    write_map(tmp_path / "f.tif", UTM, Layer(CLASSES, "float32", float("nan")), [(0, 0, share)], TAGS)
    found = area_of(tmp_path / "f.tif")
    assert found["counted"] == "fractions of pixels" and found["pixels_without_data"] == 1
    assert found["classes"]["trees"]["hectares"] == pytest.approx(1999 * 0.25 / 100)
    assert found["classes"]["water"]["share"] == pytest.approx(0.75)


def test_zones_add_up_to_the_whole(tmp_path: Path) -> None:
    def rectangle(name: str, west: float, east: float) -> Zone:
        shape = shapely.box(west, 0, east, 40)
        return Zone(name, shape, shape, "EPSG:32618")

    zones = (rectangle("left", 0, 20.25), rectangle("right", 20.25, 60), rectangle("far", 100, 110))
    found = area_of(class_map(tmp_path / "m.tif"), zones)
    left, right, far = found["zones"]
    assert left["pixels"] == 19.25 * 40 and left["pixels_without_data"] == 40 and left["pixels_outside"] == 0
    assert left["hectares"] + right["hectares"] == pytest.approx(found["hectares"])
    assert right["pixels_outside"] == 400 and far["pixels_outside"] == 400
    assert far["pixels"] == 0 and far["classes"]["trees"]["share"] is None


def test_without_a_crs_there_are_pixels_and_no_hectares(tmp_path: Path) -> None:
    found = area_of(class_map(tmp_path / "m.tif", Grid(40, 50)))
    assert found["hectares"] is None and found["classes"]["trees"]["hectares"] is None
    assert found["classes"]["trees"]["pixels"] == 980 and "no hectares" in found["crs"]


def test_the_whole_earth_in_degrees_has_the_surface_of_the_ellipsoid() -> None:
    grid = Grid(1800, 3600, (0.1, 0, -180, 0, -0.1, 90), "EPSG:4326")
    column = pixel_hectares(Ground(grid, "geographic", 1.0), Block(0, 0, 0, 1800, 1)).sum()
    assert column * 3600 * 1e4 == pytest.approx(510_065_621_724_089, rel=1e-6)  # m2, WGS 84


def test_web_mercator_and_degrees_agree_on_the_same_ground() -> None:
    south, north = 36.0, 36.001
    y = [6378137 * np.log(np.tan(np.pi / 4 + np.radians(lat) / 2)) for lat in (south, north)]
    width = 6378137 * np.radians(0.001)
    flat = Ground(Grid(1, 1, (width, 0, 0, 0, y[0] - y[1], y[1]), ""), "web_mercator", 1.0)
    degrees = Ground(Grid(1, 1, (0.001, 0, 0, 0, -0.001, north), ""), "geographic", 1.0)
    one = Block(0, 0, 0, 1, 1)
    assert pixel_hectares(flat, one)[0, 0] == pytest.approx(pixel_hectares(degrees, one)[0, 0], rel=1e-6)
    assert pixel_hectares(degrees, one)[0, 0] == pytest.approx(110.95e3 * 90.16e3 * 1e-6 / 1e4, rel=1e-3)


def test_feet_are_feet() -> None:
    ground = Ground(Grid(1, 1, (100, 0, 0, 0, -100, 0), ""), "projected", 0.3048)
    assert pixel_hectares(ground, Block(0, 0, 0, 1, 1))[0, 0] == pytest.approx(0.0929, rel=1e-3)


def test_a_map_of_another_program_has_numbers_for_classes() -> None:
    assert class_names({}, (None,), False)[:2] == ("class 0", "class 1")
    assert class_names({}, ("lawn", None), True) == ("lawn", "class 1")


def test_class_names_may_hold_commas(tmp_path: Path) -> None:
    names = ("Developed, High Intensity", "Open Water")
    tags = {"GREENSPACE_CLASSES": ",".join(names)}
    assert class_names(tags | {"GREENSPACE_CLASS_NAMES": json.dumps(names)}, ("class",), False) == names
    assert class_names(tags, names, True) == names, "an old map of fractions is told by its bands"
    assert class_names(TAGS, ("class",), False) == CLASSES, "an old class map"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((4, 40, 50), 1200, np.uint16), "4 bands that are no shares"),
        (np.full((3, 40, 50), 0.2, np.float32), "3 bands that are no shares"),
        (np.full((1, 40, 50), 1200, np.uint16), "holds 1200, which is no class number"),
        (np.full((1, 40, 50), 0.3, np.float32), "holds 0.3, which is no class number"),
    ],
)
def test_an_image_is_no_map(tmp_path: Path, values: np.ndarray, says: str) -> None:
    write_tiff(tmp_path / "raw.tif", values, transform=rasterio.Affine(*UTM.transform))
    with pytest.raises(SourceError, match=says):
        area_of(tmp_path / "raw.tif")
