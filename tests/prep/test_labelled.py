"""Stores as labelled arrays: sources come back from their tiles, on the ground; nothing is read at once."""

import subprocess
import sys

import numpy as np
import pytest
import rioxarray
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio import Affine

import greenprep as gp
from greenschemas import open_store
from greenschemas.errors import ConfigError, StoreError
from support.stores import reseal, write_tiny_store

# rioxarray multiplies transforms by an operator that affine 3 is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture
def built(collection):
    gp.run(collection.recipe(tile={"size": 32, "min_cover": 0}), workers=0)
    return collection


def test_a_dataset_has_names_and_decoded_fractions_and_reads_nothing_yet(built, monkeypatch):
    store = open_store(str(built.folder / "store.zarr"))

    def read(*args, **kwargs):
        raise AssertionError("pixels were read")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__getitem__", read)
        data = store.to_xarray()
    assert isinstance(data, xr.Dataset)
    assert data.image.chunks[0][0] == min(store.contract.shard_tiles, store.contract.tiles)
    assert data.band.values.tolist() == [band.name for band in store.contract.bands]
    assert data["class"].values.tolist() == list(store.contract.classes)
    assert data.common.values.tolist() == ["blue", "green", "red", "nir", ""]
    red = data.image.sel(band="red")
    assert np.array_equal(red, store.read("image")[:, 2]) and red.dtype == store.contract.dtype
    stored = store.read("fraction")
    water = data.fraction.sel({"class": "water"})
    np.testing.assert_allclose(water, np.where(stored[:, 2] == 255, np.nan, stored[:, 2] / 200), atol=1e-7)


def test_a_source_is_what_rioxarray_reads_from_its_file(built):
    store = open_store(built.folder / "store.zarr")
    for path in built.pixels:
        scene = store.source(path, masked=False)
        file = rioxarray.open_rasterio(built.raw / path)
        assert np.array_equal(scene, file) and scene.dtype == file.dtype
        np.testing.assert_allclose(scene.x, file.x)
        np.testing.assert_allclose(scene.y, file.y)
        assert scene.rio.crs == file.rio.crs and scene.rio.transform() == file.rio.transform()
        assert scene.band.values.tolist() == ["blue", "green", "red", "nir", "qa"]
        assert scene.attrs["path"] == path


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(20, 70),
    width=st.integers(20, 70),
    stride=st.integers(9, 32),
    edge=st.sampled_from(["pad", "shift"]),
)
def test_a_source_comes_back_from_its_tiles_however_it_was_cut(empty_collection, height, width, stride, edge):
    made = empty_collection
    made.folder = made.folder / f"{height}_{width}_{stride}_{edge}"
    made.raw = made.folder / "raw"
    made.pixels = {}
    made.add(1, 1, height=height, width=width)
    made.add(2, 1, height=40, width=33)
    tile = {"size": 32, "stride": stride, "edge": edge, "min_cover": 0}
    if not (made.folder / "store.zarr").exists():
        gp.run(made.recipe(tile=tile), workers=0)
    store = open_store(made.folder / "store.zarr")
    for path, (image, fraction) in made.pixels.items():
        assert np.array_equal(store.source(path), image.astype(np.float32))
        np.testing.assert_allclose(store.source(path, "fraction"), fraction, atol=1e-6)


def test_what_no_tile_covers_or_may_not_be_used_is_nan(empty_collection):
    made = empty_collection
    made.add(1, 1, height=40, width=45)
    made.add(2, 1, height=40, width=45)
    gp.run(made.recipe(tile={"size": 32, "edge": "drop"}), workers=0)
    store = open_store(made.folder / "store.zarr")
    image, fraction = made.pixels["images/T/T_2020_1_1_GeoTIFF.tif"]
    scene, share = store.source("T_2020_1_1"), store.source("T_2020_1_1", "fraction")
    assert scene.shape == (5, 40, 45) and share.shape == (3, 40, 45)
    assert np.array_equal(scene[:, :32, :32], image[:, :32, :32])
    np.testing.assert_allclose(share[:, :32, :32], fraction[:, :32, :32], atol=1e-6)
    for part in (scene, share):
        assert np.isnan(part[:, 32:]).all() and np.isnan(part[:, :, 32:]).all()
    assert (store.source("T_2020_1_1", masked=False)[:, 32:] == 0).all()


def test_a_scene_on_the_ground_survives_reprojection_and_a_file(built, tmp_path):
    scene = open_store(built.folder / "store.zarr").source(next(iter(built.pixels)))
    assert scene.rio.reproject("EPSG:3857").rio.crs == "EPSG:3857"
    scene.rio.to_raster(tmp_path / "s.tif")
    assert np.array_equal(rioxarray.open_rasterio(tmp_path / "s.tif"), scene, equal_nan=True)


def test_the_first_row_without_valid_pixels_is_nan_and_a_rotated_source_has_a_transform_alone(tmp_path):
    write_tiny_store(tmp_path / "s.zarr")
    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="r+")
    turned = [8.0, 6.0, 4e5, 6.0, -8.0, 4e6]
    group["transform"][0] = turned
    group["crs"][0] = ""
    reseal(tmp_path / "s.zarr")
    store = open_store(tmp_path / "s.zarr")
    scene = store.source("T_2020_0_1")
    assert np.isnan(scene[:, 0]).all() and not np.isnan(scene[:, 1:]).any()
    assert "x" not in scene.coords and scene.rio.crs is None
    assert scene.rio.transform() == Affine(*turned)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("T_2020_1", "2 sources called `T_2020_1`: images/T/T_2020_1_1_GeoTIFF.tif, images.*give one path in full"),
        ("T_2020_1_11", "no source `T_2020_1_11` among .*did you mean `T_2020_1_1_GeoTIFF`"),
    ],
)
def test_a_name_must_be_that_of_one_source(empty_collection, name, message):
    empty_collection.add(1, 1)
    empty_collection.add(1, 2)
    empty_collection.add(2, 1)
    gp.run(empty_collection.recipe(), workers=0)
    store = open_store(empty_collection.folder / "store.zarr")
    with pytest.raises(StoreError, match=rf"(?i){message}"):
        store.source(name)
    with pytest.raises(ConfigError, match=r"(?i)`images`\. did you mean `image`"):
        store.source("T_2020_2", "images")


WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from greenschemas import open_store
try:
    open_store({store!r}).{call}
except Exception as problem:
    print(type(problem).__name__, problem)
"""


@pytest.mark.parametrize(
    ("missing", "call"),
    [("xarray", "to_xarray()"), ("dask", "to_xarray()"), ("xarray", "source('x')"), ("rioxarray", "source('x')")],
)
def test_what_is_not_installed_is_asked_for_by_its_name(tmp_path, missing, call):
    write_tiny_store(tmp_path / "s.zarr")
    code = WITHOUT.format(missing=missing, store=str(tmp_path / "s.zarr"), call=call)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"ConfigError xarray: no module `{missing}`")
    assert 'pip install "greenspace[prep]"' in done.stdout
