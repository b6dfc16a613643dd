"""Maps on the ground: what is written is what rasterio and a validator of others read."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate
from shapely import Point, box, to_wkb

from greenschemas.bands import Band, Role
from greenschemas.colours import class_colours
from greenschemas.errors import ConfigError, SourceError
from greenschemas.grid import Grid
from greentrain.ground.zones import Zone, read_zones
from greentrain.maps.raster import Layer, open_raster, write_map
from greentrain.maps.scene import Layout, open_scene
from support.tiffs import write_tiff

UTM = Grid(700, 600, (10.0, 0.0, 400000.0, 0.0, -10.0, 4080000.0), rasterio.CRS.from_epsg(32618).to_wkt())
BANDS = (Band(name="B1"), Band(name="B2"), Band(name="QA", role=Role.MASK))
LAYOUT = Layout(BANDS, ("B1", "B2"))
ALL = Layout(BANDS, ("B1", "B2", "QA"))


def write_scene(
    path: Path,
    values: np.ndarray,
    *,
    names: tuple[str, ...] = (),
    nodata: float | None = None,
    crs: str | None = "EPSG:32618",
) -> Path:
    """A GeoTIFF of (C, H, W) as anybody writes one."""
    where = {"transform": rasterio.Affine(*UTM.transform), "crs": crs} if crs else {}
    return write_tiff(path, values, names=names, nodata=nodata, **where)


def test_a_class_map_is_cloud_optimised_coloured_and_on_the_grid(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (1, 700, 600)).astype(np.uint8)
    values[0, :9] = 255
    write_map(
        tmp_path / "m.tif",
        UTM,
        Layer(("class",), "uint8", 255, class_colours(["trees", "water", "roof"])),
        [(0, 0, values[:, :512]), (512, 0, values[:, 512:])],
        {"GREENSPACE_RUN": "abc"},
    )
    assert cog_validate(tmp_path / "m.tif", strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "m.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert (file.nodata, file.descriptions, file.crs.to_epsg()) == (255, ("class",), 32618)
        assert tuple(file.transform)[:6] == UTM.transform
        assert file.overviews(1) == [2]
        assert file.colormap(1)[0] == (30, 104, 46, 255)
        assert file.tags()["GREENSPACE_RUN"] == "abc"
    assert [path.name for path in tmp_path.iterdir()] == ["m.tif"]


def test_fractions_keep_their_names_and_their_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((2, 700, 600), np.float32)
    write_map(tmp_path / "f.tif", UTM, Layer(("a", "b"), "float32", float("nan")), [(0, 0, values)], {})
    assert cog_validate(tmp_path / "f.tif", strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "f.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.descriptions == ("a", "b") and np.isnan(file.nodata)


def test_a_map_without_georeference_is_written_without_one(tmp_path: Path) -> None:
    grid = Grid(20, 30)
    write_map(
        tmp_path / "m.tif",
        grid,
        Layer(("class",), "uint8", 255, class_colours(["a", "b"])),
        [(0, 0, np.zeros((1, 20, 30), np.uint8))],
        {},
    )
    with open_raster(tmp_path / "m.tif") as file:
        assert file.grid == grid and file.crs_kind == "none"


def test_a_map_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def pieces():  # type: ignore[no-untyped-def]
        yield 0, 0, np.zeros((1, 512, 600), np.uint8)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_map(tmp_path / "m.tif", UTM, Layer(("class",), "uint8", 255), pieces(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_window_reads_what_rasterio_reads_in_the_order_wanted(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 9000, (3, 40, 50)).astype(np.uint16)
    path = write_scene(tmp_path / "s.tif", values, names=("QA", "b2", "B1"))
    with open_scene(path, LAYOUT) as scene:
        part = scene.read(3, 5, 20, 30)
    np.testing.assert_array_equal(part.values, values[[2, 1], 3:23, 5:35])
    assert part.usable.all()


def test_nodata_nan_and_black_borders_are_unusable_and_hold_zero(tmp_path: Path) -> None:
    values = np.ones((3, 10, 10), np.float32)
    values[0, 0, 0], values[1, 0, 1], values[:, 0, 2], values[0, 0, 3] = -9999, np.nan, 0, 0
    path = write_scene(tmp_path / "s.tif", values, nodata=-9999)
    with open_scene(path, ALL) as scene:
        part = scene.read(0, 0, 10, 10)
    assert part.usable[0].tolist() == [False] * 3 + [True] * 7 and part.usable[1:].all()
    assert (part.values[:, 0, :3] == 0).all()


def matched(tmp_path: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    path = write_scene(tmp_path / "n.tif", np.ones((len(names), 4, 4), np.uint16), names=names)
    with open_scene(path, LAYOUT) as scene:
        return scene.bands


def test_bands_go_by_order_only_when_no_band_has_a_name(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((3, 4, 4), np.uint16))
    with open_scene(path, LAYOUT) as scene:
        assert scene.bands == (0, 1) and "the order of the run (B1, B2, QA)" in str(scene.matched.doubt)
    assert matched(tmp_path, ("Band 1", "Band 2", "Band 3")) == (0, 1)
    assert matched(tmp_path, ("QA", " b1", "B2")) == (1, 2)
    assert matched(tmp_path, ("B02_10m", "", "0_B1", "more")) == (2, 0)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("", ""), "2 bands without names, the run knows 3 by name and order"),
        (("B1", "B3", "QA"), "no band B2; it has B1, B3, QA"),
        (("B1", "B1", "B2"), "more than one band called B1"),
        (("B1", "", ""), "no band B2; it has B1, (no name), (no name)"),
        (("x", "y", "z", "zz"), "no band B1, B2; it has x, y, z, zz"),
    ],
)
def test_bands_that_do_not_fit_are_refused_by_name(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    with pytest.raises(SourceError) as error:
        matched(tmp_path, names)
    assert found in str(error.value)


def test_what_is_no_geotiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.tif").write_text("<html>")
    (tmp_path / "vrt.tif").write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    for name in ("page.tif", "vrt.tif"):
        with pytest.raises(SourceError, match="not a GeoTIFF"):
            open_raster(tmp_path / name)
    with pytest.raises(SourceError, match="no such file"):
        open_raster(tmp_path / "none.tif")


def test_pages_and_turned_axes_are_read_as_the_bands_that_they_are(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(1, 9000, (3, 20, 30)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "pages.tif", values, photometric="minisblack")
    write_scene(tmp_path / "turned.tif", np.moveaxis(values, 0, -1))
    for name in ("pages.tif", "turned.tif"):
        with open_scene(tmp_path / name, LAYOUT) as scene:
            part = scene.read(2, 3, 10, 20)
            assert (scene.grid.height, scene.grid.width) == (20, 30)
            np.testing.assert_array_equal(part.values, values[:2, 2:12, 3:23])
            assert scene.raster.shrunk(15, bands=scene.bands).shape == (2, 10, 15)


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((3, 5, 5), np.complex64))
    with pytest.raises(SourceError, match="pixels of type complex64"):
        open_scene(path, LAYOUT)


def test_a_file_that_breaks_off_says_where(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", np.ones((3, 500, 500), np.uint16))
    path.write_bytes(path.read_bytes()[:400_000])
    with open_scene(path, LAYOUT) as scene, pytest.raises(SourceError, match="row 0, column 0"):
        scene.read(0, 0, 500, 500)


def test_grids_differ_in_words() -> None:
    moved = Grid(700, 600, (10.0, 0.0, 400001.0, 0.0, -10.0, 4080000.0), UTM.crs)
    assert UTM.differs(UTM) is None
    assert UTM.differs(Grid(699, 600, UTM.transform, UTM.crs)) == "600 x 699 pixels instead of 600 x 700"
    assert UTM.differs(moved) == "corner (0, 0) lies at pixel (0.100, 0.000)"


def zone_file(path: Path, *, crs: str | None = "EPSG:32618") -> Path:
    """A square of 100 x 50 pixels, 20 pixels from the map's corner."""
    west, north = 400200.0, 4079800.0
    ring = [[west, north], [west + 1000, north], [west + 1000, north - 500], [west, north - 500], [west, north]]
    data: dict[str, object] = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"Name": "park"}, "geometry": {"type": "Polygon", "coordinates": [ring]}},
            {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [0, 0]}},
        ],
    }
    if crs:
        data["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(data))
    return path


def laid(zone: Zone, grid: Grid = UTM) -> np.ndarray:
    """(H, W) the share of every pixel of the grid that the zone covers."""
    found = np.zeros((grid.height, grid.width))
    for block, share in zone.blocks(grid):
        found[block.row : block.row + block.height, block.col : block.col + block.width] = share
    return found


def test_a_zone_covers_the_pixels_it_holds(tmp_path: Path) -> None:
    (zone,) = read_zones(zone_file(tmp_path / "z.geojson"), UTM)
    found = laid(zone)
    assert zone.name == "park" and found[20:70, 20:120].min() == pytest.approx(1)
    assert found.sum() == pytest.approx(5000) and zone.outside(UTM) == 0


def test_a_zone_beside_the_map_has_no_pixels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = Grid(10, 10, UTM.transform, UTM.crs)
    (zone,) = read_zones(zone_file(tmp_path / "z.geojson"), small)
    assert not list(zone.blocks(small)) and zone.outside(small) == pytest.approx(5000)
    assert "park: outside the map" in capfd.readouterr().err


@pytest.mark.parametrize("kept", [15, 40])
def test_zones_of_degrees_share_their_edges_on_the_map(tmp_path: Path, kept: int) -> None:
    """Two zones whose common edge of 7 km is straight in degrees, and one of them with a corner more on it."""
    west, east, north, south, middle = -76.2, -76.0, 36.87, 36.78, 36.82
    on = west + (east - west) * kept / 100
    lower = [[west, south], [east, south], [east, middle], [west, middle], [west, south]]
    upper = [[west, middle], [on, middle], [east, middle], [east, north], [west, north], [west, middle]]
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in (lower, upper)
    ]
    (tmp_path / "z.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    one, other = read_zones(tmp_path / "z.geojson", UTM)
    bend = np.abs(laid(one) + laid(other) - 1).max()
    assert 0 < bend < 0.005, "edges that are cut every kilometre bend by centimetres, of pixels of ten metres"


def test_zones_are_named_by_a_field_and_what_is_odd_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bow = shapely.Polygon([(400000, 4079000), (401000, 4079500), (401000, 4079000), (400000, 4079500)])
    shapes = [bow, shapely.box(400500, 4079000, 402000, 4080000), shapely.Polygon(), shapely.Point(0, 0)]
    columns = [np.array(["bow", "box", "none", "dot"], object), np.array([7, 8, 9, 10])]
    wkb = np.array([to_wkb(one) for one in shapes], object)
    pyogrio.raw.write(tmp_path / "z.gpkg", wkb, columns, ["Quarter", "id"], geometry_type="Unknown", crs="EPSG:32618")
    zones = read_zones(tmp_path / "z.gpkg", UTM, "quarter")
    assert [zone.name for zone in zones] == ["bow", "box"] and zones[0].shape.is_valid
    assert laid(zones[0]).sum() == pytest.approx(2500)  # two triangles of 500 x 500 m
    said = " ".join(capfd.readouterr().err.split())
    assert "2 of 4 features are no polygons" in said and "bow: the outline crosses itself" in said
    assert "1 pair, most of all bow and box, by 1250 pixels" in said
    assert [zone.name for zone in read_zones(tmp_path / "z.gpkg", UTM)] == ["7", "8"]
    with pytest.raises(ConfigError, match=r"no field city .*Its fields are: Quarter, id"):
        read_zones(tmp_path / "z.gpkg", UTM, "city")


def test_zones_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    zones = zone_file(tmp_path / "z.geojson")
    with pytest.raises(SourceError, match="no CRS"):
        read_zones(zones, Grid(10, 10, UTM.transform))
    (tmp_path / "bad.geojson").write_text("{}")
    with pytest.raises(SourceError, match="no GeoJSON"):
        read_zones(tmp_path / "bad.geojson", UTM)
    (tmp_path / "empty.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(SourceError, match="no polygon among 0"):
        read_zones(tmp_path / "empty.geojson", UTM)
    far = {"type": "Polygon", "coordinates": [[[0, 900], [1, 900], [1, 901], [0, 900]]]}
    (tmp_path / "far.geojson").write_text(json.dumps(far))
    with pytest.raises(SourceError, match="no GeoJSON that can be used"):
        read_zones(tmp_path / "far.geojson", UTM)


def ogr_zones(path: Path, crs: str | None = "EPSG:32618", **options: object) -> Path:
    """The square of `zone_file` and a point, as GDAL's own drivers write them."""
    west, north = 400200.0, 4079800.0
    shapes = [box(west, north - 500, west + 1000, north)] + ([Point(west, north)] if path.suffix == ".gpkg" else [])
    kind = {"geometry_type": "Unknown" if path.suffix == ".gpkg" else "Polygon", "crs": crs} | options
    names = np.array(["park", "tree"][: len(shapes)], object)
    pyogrio.raw.write(path, np.array([to_wkb(one) for one in shapes], object), [names], ["NAME"], **kind)
    return path


@pytest.mark.parametrize("name", ["z.gpkg", "z.shp"])
def test_zones_of_other_formats_are_those_of_geojson(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (due,) = read_zones(zone_file(tmp_path / "z.geojson"), UTM)
    capfd.readouterr()
    (zone,) = read_zones(ogr_zones(tmp_path / name), UTM)
    assert zone.name == due.name
    np.testing.assert_allclose(laid(zone), laid(due), atol=1e-9)
    assert ("1 of 2 features are no polygons" in capfd.readouterr().err) == (name == "z.gpkg")


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_zones_that_ogr_cannot_use_are_refused_by_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "text.gpkg").write_text("<OGRVRTDataSource/>")
    (tmp_path / "cut.shp").write_bytes(ogr_zones(tmp_path / "z.shp").read_bytes()[:110])
    two = ogr_zones(tmp_path / "two.gpkg", layer="one")
    ogr_zones(two, layer="two", append=True)
    for path, says in (
        (tmp_path / "text.gpkg", "something else"),
        (tmp_path / "cut.shp", "no GeoPackage or Shapefile"),
        (tmp_path / "none.shp", "No such file"),
        (two, r"2 layers of shapes \(one, two\)"),
        (ogr_zones(tmp_path / "nowhere.shp", None), "no coordinate system"),
    ):
        with pytest.raises(SourceError, match=says):
            read_zones(path, UTM)


def test_without_gdal_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.delitem(sys.modules, "greentrain.maps.raster")
    with pytest.raises(ConfigError, match=r"pip install 'greenspace\[prep\]'"):
        importlib.import_module("greentrain.maps.raster")
