"""Patches as polygons: those of one pass over the whole map, smoothed without gaps, with hectares of their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rasterio.features import shapes

from greenschemas.errors import ConfigError, SourceError
from greenschemas.grid import Grid
from greentrain.ground.patches import find_joints, find_patches, smoothed, weighed
from greentrain.ground.polygons import write_polygons
from greentrain.maps.raster import Layer, write_map

EMPTY = 255
CLASSES = ("trees", "water", "low_vegetation")
labels = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, EMPTY]))


def patches(label: np.ndarray, rows: int = 512) -> tuple[np.ndarray, np.ndarray]:
    kinds, found = zip(*find_patches(label, EMPTY, rows), strict=True)
    return np.concatenate(kinds), np.concatenate(found)


def said(kind: float, shape: shapely.Geometry) -> tuple[int, str]:
    return int(kind), shapely.normalize(shapely.simplify(shape, 0)).wkt


@settings(max_examples=60, deadline=None)
@given(labels, st.integers(1, 6))
def test_strips_of_any_height_give_the_patches_of_one_pass_over_the_whole(label: np.ndarray, rows: int) -> None:
    due = shapes(label, label != EMPTY, connectivity=4)  # GDAL's own, of the whole map
    assert sorted(map(said, *patches(label, rows))) == sorted(
        said(kind, shapely.from_geojson(json.dumps(shape))) for shape, kind in due
    )
    np.testing.assert_array_equal(find_joints(label, rows), find_joints(label))


@settings(max_examples=60, deadline=None)
@given(labels)
def test_smoothed_neighbours_leave_no_gap_and_no_overlap(label: np.ndarray) -> None:
    _, found = patches(np.where(label == EMPTY, 7, label).astype(np.uint8))
    done = smoothed(found, find_joints(np.where(label == EMPTY, 7, label).astype(np.uint8)))
    assert shapely.is_valid(done).all()
    assert shapely.area(done).sum() == pytest.approx(label.size)
    assert shapely.union_all(done).area == pytest.approx(label.size)
    moved = [shapely.hausdorff_distance(a.boundary, b.boundary) for a, b in zip(found, done, strict=True)]
    assert max(moved) <= np.sqrt(2) / 4 + 1e-9, "less than half a pixel"


def test_stairs_become_a_straight_line() -> None:
    label = np.tri(9, dtype=np.uint8)
    kinds, found = patches(label)
    lower = smoothed(found, find_joints(label))[list(kinds).index(1)]
    # One straight line from the map's edge to the map's edge, but for the pixel at either end, which stays there.
    assert shapely.get_num_coordinates(lower) <= 8
    assert lower.buffer(1e-9).covers(shapely.LineString([(1, 0.5), (8.5, 8)]))


@settings(max_examples=40, deadline=None)
@given(labels)
def test_the_weight_of_a_patch_is_that_of_its_pixels(label: np.ndarray) -> None:
    rows = np.linspace(0.5, 2, len(label))
    kinds, found = patches(label)
    weights = weighed(found, rows)
    for kind in (0, 1, 2):
        assert weights[kinds == kind].sum() == pytest.approx(((label == kind) * rows[:, None]).sum())
    np.testing.assert_allclose(weighed(found, np.ones(len(label))), shapely.area(found))


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    """100 x 60 pixels of 10 m: trees with a pond of 40 pixels, one of 3, and ground without data."""
    label = np.zeros((1, 60, 100), np.uint8)
    label[0, 10:14, 10:20], label[0, 30, 30:33], label[0, 40:, 80:], label[0, 50, 90] = 1, 1, EMPTY, 2
    grid = Grid(60, 100, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), "EPSG:32618")
    tags = {"GREENSPACE_CLASS_NAMES": json.dumps(CLASSES)}
    write_map(tmp_path / "m.tif", grid, Layer(("class",), "uint8", EMPTY), [(0, 0, label)], tags)
    return tmp_path / "m.tif"


def test_a_map_becomes_a_geopackage_of_classes_and_hectares(map_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "city.gpkg"
    assert write_polygons(map_file, out, 0.0) == 4
    assert write_polygons(map_file, out, 0.05) == 2, "five pixels are the least: the small pond is trees"
    meta, _, shapes_, (kinds, hectares) = pyogrio.raw.read(out)
    assert meta["crs"] == "EPSG:32618" and list(meta["fields"]) == ["class", "hectares"]
    assert dict(zip(kinds, hectares, strict=True)) == pytest.approx({"trees": (6000 - 400 - 40) / 100, "water": 0.4})
    pond = shapely.from_wkb(shapes_)[list(kinds).index("water")]
    assert shapely.hausdorff_distance(pond, shapely.box(400100, 3999860, 400200, 3999900)) <= 5
    assert 'label="water"' in out.with_suffix(".qml").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["city.gpkg", "city.qml", "m.tif"]


def test_what_cannot_become_polygons_is_refused(map_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--min-area.* -1 hectares"):
        write_polygons(map_file, tmp_path / "o.gpkg", -1)
    (tmp_path / "theirs.gpkg").write_text("notes")
    with pytest.raises(ConfigError, match="no GeoPackage of ours"):
        write_polygons(map_file, tmp_path / "theirs.gpkg")
    share, grid = np.zeros((1, 5, 5), np.float32), Grid(5, 5, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), "EPSG:32618")
    write_map(tmp_path / "f.tif", grid, Layer(("class",), "float32", float("nan")), [(0, 0, share)], {})
    with pytest.raises(SourceError, match="1 bands of float32"):
        write_polygons(tmp_path / "f.tif", tmp_path / "o.gpkg")
    write_map(tmp_path / "n.tif", Grid(5, 5), Layer(("class",), "uint8", EMPTY), [(0, 0, share.astype(np.uint8))], {})
    with pytest.raises(SourceError, match="no CRS"):
        write_polygons(tmp_path / "n.tif", tmp_path / "o.gpkg")
