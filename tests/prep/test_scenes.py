"""`greenprep stack` and `join`: from the files that archives hand out to one file of the recipe's bands."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from PIL import Image
from typer.testing import CliRunner

import greenprep as gp
from greenprep.cli import app
from greenprep.scenes.join import join
from greenprep.scenes.stack import stack
from greenprep.synth.city import acquire, ground
from greenschemas.bands import SENTINEL2_L1C_19, Band, Role
from greenschemas.errors import ConfigError, SourceError
from greenschemas.grid import Grid
from greenschemas.pictures import as_png, enlarged, true_colour
from greenschemas.products import find_products, resampling_of, target_grid
from greenschemas.recipe import Recipe
from support.safe import SIDES, number, write_band, write_safe

L2A = (
    Band(name="B4", common="red"),
    Band(name="B2", common="blue"),
    Band(name="B5"),
    Band(name="B1", common="coastal"),
    Band(name="SCL", role=Role.MASK),
)
INNER = np.s_[6:42, 6:54]
"""Pixels of 10 m that lie, with their neighbours of 60 m, inside what is not 0."""


@pytest.mark.parametrize(("offset", "meant"), [(-1000, -0.1), (None, 0.0)])
def test_a_safe_folder_becomes_one_file_in_the_recipes_order(offset, meant, tmp_path) -> None:
    safe = write_safe(tmp_path, "2A", offset)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump({"bands": [band.model_dump(mode="json") for band in L2A]}))
    done = CliRunner().invoke(app, ["stack", str(safe), str(tmp_path / "s.tif"), "--recipe", str(recipe)])
    assert done.exit_code == 0 and "5 bands of 60 x 60 pixels" in done.output, done.output
    with rasterio.open(tmp_path / "s.tif") as file:
        values, tags = file.read(), file.tags()
        assert file.descriptions == ("B4", "B2", "B5", "B1", "SCL") and file.dtypes == ("uint16",) * 5
        assert (file.nodata, file.crs.to_epsg(), file.transform.a) == (0, 32632, 10)
        assert file.scales == (1e-4,) * 4 + (1.0,) and file.offsets == (meant,) * 4 + (0.0,)
    assert tags["PROCESSING_BASELINE"] == ("04.00" if offset else "02.14") and tags["PRODUCT"] == safe.name
    how = json.loads(tags["GREENSPACE_RESAMPLING"])
    assert how == {
        "B4": "as it is",
        "B2": "as it is",
        "B5": "bilinear from 20 to 10",
        "B1": "bilinear from 60 to 10",
        "SCL": "nearest from 20 to 10",
    }
    assert (values[0] == number("B04", 10)).all() and (values[1] == number("B02", 10)).all()
    # Bilinear keeps a plane: its value between the centres of larger pixels, rounded to whole numbers twice.
    for at, band, ratio in ((2, "B05", 2), (3, "B01", 6)):
        coarse = number(band, 10 * ratio)[0, 0]
        centre = (np.arange(60) + 0.5) / ratio - 0.5
        plane = coarse + ratio * np.add.outer(3 * centre, 2 * centre)
        np.testing.assert_allclose(values[at][INNER], plane[INNER], atol=1.01)
        assert (values[at][-12:] == 0).all()
    assert (values[4] == np.where(np.arange(60) < 10, 9, 4)).all()


def test_level_1c_brings_its_flags_and_larger_pixels_are_means(tmp_path) -> None:
    safe = write_safe(tmp_path, "1C", -1000)
    bands = [band for band in SENTINEL2_L1C_19 if not band.name.startswith("QA")]
    stack(safe, tmp_path / "s.tif", bands, metres=60)
    with rasterio.open(tmp_path / "s.tif") as file:
        values, how = file.read(), json.loads(file.tags()["GREENSPACE_RESAMPLING"])
        assert file.shape == (10, 10) and file.offsets[:13] == (-0.1,) * 13
    assert how["B2"] == "average from 10 to 60" and how["B10"] == "as it is"
    means = number("B02", 10).reshape(10, 6, 10, 6).mean(axis=(1, 3))
    np.testing.assert_allclose(values[1][:8], means[:8], atol=0.51)
    flags = {band.name: values[at] for at, band in enumerate(bands) if band.role is Role.MASK}
    assert (flags["MSK_CLASSI_OPAQUE"] == (np.arange(10) < 2)[:, None]).all()
    assert (flags["MSK_CLASSI_CIRRUS"] == (np.arange(10) < 3)).all()


def test_clean_takes_the_offset_of_a_stacked_file_away(tmp_path) -> None:
    safe = write_safe(tmp_path, "2A", -1000)
    bands = L2A[:4]
    stack(safe, tmp_path / "raw/images/a.tif", bands)
    write_band(tmp_path / "raw/masks/a.tif", (np.indices((60, 60)).sum(axis=0) // 20 % 2).astype(np.uint8), 10)
    recipe = {
        "pairing": {"images": "images/{site}.tif", "masks": "masks/{site}.tif", "group": "{site}"},
        "bands": [band.model_dump(mode="json") for band in bands],
        "mask": {"classes": {0: "a", 1: "b"}},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    entries, _ = gp.clean(tmp_path / "raw", tmp_path / "clean", tmp_path / "r.yaml", workers=1)
    assert "radiometric-offset" in {reason.code for reason in entries[0].reasons}, entries


def test_assets_of_a_stac_item_are_found_by_name_and_by_part_of_the_spectrum(tmp_path) -> None:
    for name, metres in (("red", 10), ("B05", 20), ("scl", 20)):
        write_band(tmp_path / f"assets/{name}.tif", number("B04", metres), metres, nodata=0)
    boa = {"scale": 0.0001, "offset": -0.1, "nodata": 0}
    item = {
        "id": "S2A_32TPS",
        "properties": {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True},
        "assets": {
            "red": {"href": "assets/red.tif", "eo:bands": [{"common_name": "red"}], "raster:bands": [boa]},
            "red-jp2": {"href": "s3://bucket/B04.jp2", "eo:bands": [{"common_name": "red"}]},
            "rededge1": {"href": "assets/B05.tif", "bands": [{"name": "B05", "raster:scale": 0.0001}]},
            "scl": {"href": "assets/scl.tif"},
            "visual": {"href": "assets/tci.tif", "roles": ["visual"], "eo:bands": [{"common_name": "red"}]},
            "metadata": {"href": "assets/mtd.xml"},
        },
    }
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    bands = (Band(name="B4", common="red"), Band(name="B5"), Band(name="SCL", role=Role.MASK))
    stack(path, tmp_path / "s.tif", bands)
    with rasterio.open(tmp_path / "s.tif") as file:
        assert (file.read(1) == number("B04", 10)).all() and file.offsets == (0, 0, 0)  # the offset is gone already
        assert file.tags()["PROCESSING_BASELINE"] == "05.11"
    found = find_products(path, (*bands, Band(name="B8", common="nir")))
    assert found.missing == ("B8",)
    with pytest.raises(SourceError, match="no file for B8; found B4, B5, SCL"):
        stack(path, tmp_path / "t.tif", (*bands, Band(name="B8", common="nir")))
    item["assets"]["red"]["href"] = "https://example.com/red.tif"
    path.write_text(json.dumps(item))
    with pytest.raises(SourceError, match="lies on a server"):
        stack(path, tmp_path / "t.tif", bands)
    path.write_text("{}")
    with pytest.raises(SourceError, match="no STAC item"):
        stack(path, tmp_path / "t.tif", bands)


def test_single_tiffs_of_landsat_and_a_radar_and_what_is_wrong_with_them(tmp_path) -> None:
    folder = tmp_path / "scene"
    write_band(folder / "LC08_L2SP_193028_20210601_02_T1_SR_B4.TIF", number("B04", 20), 20, nodata=0)
    write_band(folder / "LC08_L2SP_193028_20210601_02_T1_QA_PIXEL.TIF", number("B04", 20), 20)
    write_band(folder / "S1_20210601_VV.tif", np.full((60, 60), -11.5, np.float32), 10)
    bands = (Band(name="SR_B4", common="red"), Band(name="VV", role=Role.RADAR), Band(name="QA_PIXEL", role=Role.MASK))
    stack(folder, tmp_path / "s.tif", bands)
    with rasterio.open(tmp_path / "s.tif") as file:
        values = file.read()
        assert file.dtypes == ("float32",) * 3 and np.isnan(file.nodata)
    assert np.isnan(values[0, -12:]).all() and np.isfinite(values[0, :48]).all() and (values[1] == -11.5).all()

    # By number alone, Landsat's near infrared would be Sentinel-2's red edge.
    write_band(folder / "LC08_L1TP_193028_20210601_02_T1_B5.TIF", number("B05", 20), 20)
    nir, edge = Band(name="B8A", common="nir08"), Band(name="B5", common="rededge071")
    found = find_products(folder, (nir, edge, Band(name="B5x")))
    assert [file.band for file in found.files] == ["B8A"] and found.missing == ("B5", "B5x")

    # It has no other, so that it stands for `nir`, as in one file; but not for two bands at once.
    wide = Band(name="near", common="nir")
    assert [Path(file.href).stem[-2:] for file in find_products(folder, (wide,)).files] == ["B5"]
    assert find_products(folder, (wide, nir)).missing == ("near",)

    write_band(folder / "another_VV.tif", np.zeros((60, 60), np.float32), 10)
    with pytest.raises(SourceError, match=r"several files could be VV: S1_20210601_VV.tif, another_VV.tif"):
        stack(folder, tmp_path / "t.tif", bands)
    (folder / "another_VV.tif").unlink()
    (folder / "S1_20210601_VV.tif").write_bytes(b"II*\0 no picture")
    with pytest.raises(SourceError, match="cannot be opened"):
        stack(folder, tmp_path / "t.tif", bands)
    assert not (tmp_path / "t.tif").exists() and not list(tmp_path.glob(".*"))


def test_rules_of_resampling_and_the_common_grid() -> None:
    rule = {(band.name, ratio): resampling_of(band, ratio) for band in (L2A[0], L2A[4]) for ratio in (0.5, 3)}
    assert rule == {("B4", 0.5): "bilinear", ("B4", 3): "average", ("SCL", 0.5): "nearest", ("SCL", 3): "nearest"}
    grids = [Grid(side, side, (m, 0, 6e5, 0, -m, 5.2e6), "EPSG:32632") for m, side in SIDES.items()]
    assert target_grid(grids, None) == grids[0] and target_grid(grids, 60) == grids[2]


def split(folder: Path, name: str, whole: np.ndarray, rows: tuple[int, ...], cols: tuple[int, ...]) -> list[Path]:
    """Parts of (C, H, W) that begin at these rows and columns, as Earth Engine names them."""
    paths = []
    for top, bottom in zip(rows, (*rows[1:], whole.shape[1]), strict=True):
        for left, right in zip(cols, (*cols[1:], whole.shape[2]), strict=True):
            path = folder / f"{name}-{top:010}-{left:010}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path, "w", driver="GTiff", count=len(whole), height=bottom - top, width=right - left,
                dtype=whole.dtype, nodata=7, crs="EPSG:32632", compress="deflate",
                transform=rasterio.Affine(10, 0, 6e5 + 10 * left, 0, -10, 5.2e6 - 10 * top),
            ) as file:  # fmt: skip
                file.write(whole[:, top:bottom, left:right])
                file.descriptions = [f"B{i + 1}" for i in range(len(whole))]
            paths.append(path)
    return paths


def test_parts_of_an_export_are_put_together_and_a_hole_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("greenprep.scenes.join._SIDE", 40)
    whole = np.random.default_rng(0).integers(0, 9000, (2, 90, 120)).astype(np.uint16)
    parts = split(tmp_path / "in/city", "a_GeoTIFF", whole, (0, 64), (0, 64, 100))
    done = CliRunner().invoke(app, ["join", str(tmp_path / "in"), str(tmp_path / "out")])
    assert done.exit_code == 0 and done.output.strip() == str(tmp_path / "out/city/a_GeoTIFF.tif"), done.output
    with rasterio.open(tmp_path / "out/city/a_GeoTIFF.tif") as file:
        assert (file.read() == whole).all() and file.nodata == 7 and file.descriptions == ("B1", "B2")
        assert tuple(file.transform)[:6] == (10, 0, 6e5, 0, -10, 5.2e6)
    with pytest.raises(ConfigError, match="is there already"):
        join(tmp_path / "in", tmp_path / "out")
    parts[-1].rename(tmp_path / "spare")
    with pytest.raises(SourceError, match=r"its 5 parts leave 4\.8% of 120 x 90 pixels out"):
        join(tmp_path / "in", tmp_path / "out", overwrite=True)
    parts[1].rename(parts[1].with_name("a_GeoTIFF-0000000000-0000000063.tif"))
    with pytest.raises(SourceError, match="elsewhere than its name says"):
        join(tmp_path / "in", tmp_path / "out", overwrite=True)
    with pytest.raises(ConfigError, match="no part of a split export"):
        join(tmp_path / "out", tmp_path / "in")


def test_clean_recognises_parts(tmp_path) -> None:
    whole = np.full((1, 40, 80), 900, np.uint16)
    split(tmp_path / "raw/images", "T_2020_1_1_GeoTIFF", whole, (0,), (0, 40))
    entries, _ = gp.clean(tmp_path / "raw", tmp_path / "clean", Recipe(), workers=1)
    assert {entry.reasons[0].code for entry in entries} == {"stray"}
    assert all("split-export" in {reason.code for reason in entry.reasons} for entry in entries)


def test_joining_holds_no_more_than_a_block_in_memory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("greenprep.scenes.join._SIDE", 256)
    split(tmp_path / "in", "w", np.zeros((4, 2048, 2048), np.uint16), (0,), (0, 1024))
    tracemalloc.start()
    join(tmp_path / "in", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * 256 * 256 * 2 + (1 << 20)  # two blocks under way, and Python's own things


def test_the_picture_of_a_stacked_scene_is_what_stack_makes(tmp_path) -> None:
    """Left and middle, bands as they are archived; right, three bands of 20, 10 and 60 m on the pixels of 10 m."""
    side, chance = 120, np.random.default_rng(11)
    city = acquire(chance, ground(chance, side), winter=False)
    for at, band, ratio in ((12, "B12", 2), (7, "B08", 1), (0, "B01", 6)):
        means = city[at].reshape(side // ratio, ratio, side // ratio, ratio).mean(axis=(1, 3))
        write_band(tmp_path / f"scene/T32TPS_{band}_{10 * ratio}m.tif", means.round().astype(np.uint16), 10 * ratio)
    bands = (Band(name="B12", common="swir22"), Band(name="B8", common="nir"), Band(name="B1", common="coastal"))
    stack(tmp_path / "scene", tmp_path / "s.tif", bands)
    panels = []
    for path, shown in (("scene/T32TPS_B12_20m.tif", [1] * 3), ("scene/T32TPS_B01_60m.tif", [1] * 3), ("s.tif", None)):
        with rasterio.open(tmp_path / path) as file:
            panels.append(enlarged(true_colour(file.read(shown)), 3 * side))
    gap = np.full((3 * side, 12, 3), 255, np.uint8)
    made = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    (tmp_path / "stack.png").write_bytes(as_png(made))
    committed = Path(__file__).parents[2] / "docs/pictures/stack.png"
    with Image.open(tmp_path / "stack.png") as now, Image.open(committed) as there:
        apart = np.abs(np.asarray(now, np.int16) - np.asarray(there, np.int16))
    assert apart.mean() < 1, f"put {tmp_path / 'stack.png'} in its place"  # GDAL's releases round unlike each other
