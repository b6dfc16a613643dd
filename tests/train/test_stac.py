"""STAC items of maps: what the schemas of STAC, which pystac brings, and its readers of the extensions make of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio
import shapely
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import RegisteredValidator

from greenschemas.colours import class_colours
from greenschemas.grid import Grid
from greentrain.maps.raster import Layer
from greentrain.maps.stac import item_of, time_in, write_item

CLASSES = ("trees", "open water, lakes")
GRID = Grid(400, 300, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), "EPSG:32618")
LAYERS = {
    Path("city_fractions.tif"): Layer(CLASSES, "float32", float("nan")),
    Path("city.tif"): Layer(("class",), "uint8", 255, class_colours(CLASSES)),
}
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def item(grid: Grid = GRID, scene: str = "scene_20230617.tif") -> dict[str, Any]:
    made = item_of(Path("city.tif"), grid, LAYERS, CLASSES, scene, NOW)
    json.dumps(made, allow_nan=False)
    RegisteredValidator.get_validator().validate_core(made, pystac.STACObjectType.ITEM, "1.1.0")
    return made


def test_pystac_reads_what_the_map_is() -> None:
    read = pystac.Item.from_dict(item())
    assert read.datetime == datetime(2023, 6, 17, tzinfo=UTC) and read.id == "city"
    place = ProjectionExtension.ext(read)
    assert (place.code, place.shape, place.transform[:3]) == ("EPSG:32618", [400, 300], [10.0, 0.0, 4e5])
    assert set(read.assets) == {"map", "fractions"} and read.assets["map"].href == "./city.tif"
    (band,) = read.assets["map"].extra_fields["bands"]
    assert (band["data_type"], band["nodata"], band["raster:spatial_resolution"]) == ("uint8", 255, 10)
    assert [one["name"] for one in band["classification:classes"]] == ["trees", "open_water__lakes"]
    assert band["classification:classes"][0]["color_hint"] == "1E682E"
    shares = read.assets["fractions"].extra_fields["bands"]
    assert [one["name"] for one in shares] == list(CLASSES) and shares[0]["nodata"] == "nan"
    for extension in (ProjectionExtension, ClassificationExtension):
        assert extension.get_schema_uri() in read.stac_extensions


def test_the_footprint_is_the_ground_of_the_grid() -> None:
    made = item()
    west, south, east, north = made["bbox"]
    shape = shapely.from_geojson(json.dumps(made["geometry"]))
    assert shape.bounds == pytest.approx((west, south, east, north)) and shape.is_valid
    assert (west, north) == pytest.approx((-76.1, 36.15), abs=0.02)
    assert (east - west) * 90.2e3 == pytest.approx(3000, rel=0.05) and (north - south) * 111e3 == pytest.approx(
        4000, rel=0.05
    )


def test_a_map_across_the_180th_meridian_is_cut_there() -> None:
    made = item(Grid(400, 300, (1000.0, 0.0, 7e5, 0.0, -1000.0, -2e6 + 1e7), "EPSG:32760"))
    west, _, east, _ = made["bbox"]
    parts = shapely.get_parts(shapely.from_geojson(json.dumps(made["geometry"])))
    assert west > east and len(parts) == 2 and all(part.bounds[2] - part.bounds[0] < 10 for part in parts)


@pytest.mark.parametrize("crs", ["", "+proj=laea +lat_0=50 +lon_0=10 +ellps=GRS80 +units=m"])
def test_without_a_code_the_crs_is_wkt_and_without_a_crs_there_is_no_place(crs: str) -> None:
    grid = Grid(400, 300, GRID.transform, rasterio.CRS.from_proj4(crs).to_wkt() if crs else "")
    made = item(grid)
    assert (made["geometry"] is None) == (not crs) and ("bbox" in made) == bool(crs)
    assert made["properties"].get("proj:wkt2", "") == grid.crs and made["properties"]["proj:code"] is None


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("S2A_20230617T100031_T32TQM.tif", "2023-06-17T00:00:00Z"),
        ("site7_2020-08-01.tif", "2020-08-01T00:00:00Z"),
        ("SYNTH_2020_0_1_GeoTIFF.tif", "2020-01-01T00:00:00Z"),
        ("tile_20230631.tif", None),
        ("scene_1999123456.tif", None),
        ("scene.tif", None),
    ],
)
def test_a_scenes_name_may_tell_its_time(name: str, first: str | None) -> None:
    found = time_in(name)
    assert (found and (found["datetime"] or found["start_datetime"])) == first
    made = item(scene=name)
    assert ("tells no date" in made["properties"]["description"]) == (first is None)
    assert first or made["properties"]["datetime"] == "2026-05-04T03:02:01Z"


def test_pixels_of_degrees_are_told_in_metres() -> None:
    (band,) = item(Grid(100, 100, (0.001, 0.0, 10.0, 0.0, -0.001, 0.05), "EPSG:4326"))["assets"]["map"]["bands"]
    assert band["raster:spatial_resolution"] == pytest.approx(111.2, abs=0.1)
    (band,) = item(Grid(100, 100))["assets"]["map"]["bands"]
    assert "raster:spatial_resolution" not in band


def test_the_item_lies_beside_its_map(tmp_path: Path) -> None:
    layers = {tmp_path / path.name: layer for path, layer in LAYERS.items()}
    write_item(tmp_path / "city.tif", GRID, layers, CLASSES, "scene.tif")
    assert pystac.Item.from_file(str(tmp_path / "city.stac.json")).assets["map"].href == "./city.tif"


def test_a_map_of_change_is_of_all_the_time_between_two_maps() -> None:
    layers = {Path("c.tif"): Layer(("change",), "uint8", 255, ((0, 0, 0), (1, 2, 3)))}
    made = item_of(Path("c.tif"), GRID, layers, ("a", "a to b"), "m_2023-06-01.tif", NOW, "m_2016.tif")
    RegisteredValidator.get_validator().validate_core(made, pystac.STACObjectType.ITEM, "1.1.0")
    time = made["properties"]
    assert (time["start_datetime"], time["end_datetime"]) == ("2016-01-01T00:00:00Z", "2023-06-01T00:00:00Z")
    assert time["title"] == "Change from m_2016.tif to m_2023-06-01.tif"
    undated = item_of(Path("c.tif"), GRID, layers, ("a", "a to b"), "m_2023-06-01.tif", NOW, "old.tif")["properties"]
    assert undated["datetime"] == undated["created"]
