"""Several dates as one input: `greenprep tile --times stack`, and as many scenes for `greentrain predict`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

import greenprep as gp
from greenprep.build.dates import _check, in_order_of_time
from greenprep.cli import app
from greenschemas.bands import Band, Role, dated
from greenschemas.errors import ConfigError, SourceError
from greenschemas.manifest import Entry, Verdict, read_manifest
from greenschemas.store import open_store
from greenschemas.values import find_holes, quality_of
from greentrain.maps.outputs import pair_up
from greentrain.maps.predict import Classifier, Options, predict_scene
from greentrain.maps.scene import Layout, open_scene
from support.raw import tree
from support.safe import write_band

BANDS = (Band(name="B4", common="red"), Band(name="B8", common="nir"), Band(name="QA60", role=Role.MASK))
RECIPE = {
    "pairing": {"images": "images/{site}_{day}.tif", "masks": "masks/{site}_{day}.tif", "group": "{site}"},
    "bands": [band.model_dump(mode="json") for band in BANDS],
    "mask": {"classes": {0: "a", 1: "b"}},
    "tile": {"size": 32},
}
DAYS = ("2", "10")
"""In order of time, not of letters."""


def picture(seed: int, *, cloud: slice = slice(0), black: slice = slice(0)) -> np.ndarray:
    """(3, 64, 64) of a smooth ground with texture; columns under cloud, rows without data."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(64), np.arange(64)) * 12
    image = np.stack([600 + ramp + rng.normal(0, 9, (64, 64)), 2500 - ramp + rng.normal(0, 9, (64, 64)), 0 * ramp])
    image[2, :, cloud] = 1024
    image[:, black] = 0
    return image.astype(np.uint16)


def write(raw: Path, site: str, day: str, image: np.ndarray, label: np.ndarray) -> None:
    write_band(raw / f"images/{site}_{day}.tif", image, 10)
    write_band(raw / f"masks/{site}_{day}.tif", label.astype(np.uint8), 10)


@pytest.fixture
def cleaned(tmp_path: Path) -> Path:
    """Three groups of two dates; a cloud at the first, rows without data at the second, labels that differ."""
    for site in range(3):
        label = np.indices((64, 64)).sum(axis=0) > 50 + 10 * site
        write(tmp_path / "raw", f"s{site}", "2", picture(site, cloud=slice(0, 5)), label)
        write(tmp_path / "raw", f"s{site}", "10", picture(10 + site, black=slice(60, 64)), ~label)
    return clean(tmp_path)


def clean(folder: Path) -> Path:
    (folder / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    _, summary = gp.clean(folder / "raw", folder / "clean", folder / "r.yaml", workers=1)
    assert summary.rejected == 0
    return folder / "clean"


def test_the_dates_of_a_group_become_one_source_and_the_contract_says_which_band_is_of_when(cleaned, tmp_path) -> None:
    done = CliRunner().invoke(
        app, ["tile", str(cleaned), str(tmp_path / "both.zarr"), "--times", "stack", "--workers", "0"]
    )
    assert done.exit_code == 0, done.output
    gp.tile(cleaned, tmp_path / "apart.zarr", workers=0)
    both, apart = open_store(tmp_path / "both.zarr"), open_store(tmp_path / "apart.zarr")
    contract = both.contract
    assert [(band.name, band.time) for band in contract.declared_bands] == [
        (f"{name}_t{date}", date) for date in (1, 2) for name in ("B4", "B8", "QA60")
    ]
    assert contract.sources == contract.groups == 3 and set(both.texts("time")) == {"2+10"}
    paths = apart.texts("path")[apart.read("source_index")]
    for site in range(3):
        first, last = (np.flatnonzero(paths == f"images/s{site}_{day}.tif") for day in DAYS)
        mine = np.flatnonzero(both.texts("path")[both.read("source_index")] == f"images/s{site}_10.tif")
        due = np.concatenate([apart.read("image", first), apart.read("image", last)], axis=1)
        assert (both.read("image", mine) == due).all()
        assert (both.read("valid", mine) == apart.read("valid", first) & apart.read("valid", last)).all()
        assert (both.read("fraction", mine) == apart.read("fraction", last)).all()
    assert 0 < both.read("valid").mean() < apart.read("valid").mean() < 1
    gp.tile(cleaned, tmp_path / "again.zarr", times="stack", workers=0)
    assert tree(tmp_path / "again.zarr") == tree(tmp_path / "both.zarr")
    assert not list(tmp_path.glob(".*"))


def test_a_group_that_lacks_a_date_has_no_valid_pixel(cleaned, tmp_path, capsys) -> None:
    write(tmp_path / "raw", "s3", "2", picture(5), np.indices((64, 64)).sum(axis=0) > 60)
    clean(tmp_path)
    gp.tile(cleaned, tmp_path / "s.zarr", times="stack", workers=0)
    assert "1 of 4 groups have fewer than 2 dates: they have no valid pixel" in capsys.readouterr().err
    store = open_store(tmp_path / "s.zarr")
    lone = store.texts("group_name")[store.tile_group()] == "s3"
    assert lone.any() and not store.read("valid")[lone].any() and store.read("valid")[~lone].any()


def test_what_cannot_be_stacked_is_said(cleaned, tmp_path) -> None:
    with pytest.raises(ConfigError, match="with --times stack"):
        gp.tile(cleaned, tmp_path / "s.zarr", times="stack", append=True)
    with pytest.raises(ConfigError, match="a store on a server"):
        gp.tile(cleaned, "s3://bucket/s.zarr", times="stack")
    label = np.indices((64, 64)).sum(axis=0) > 60
    write(tmp_path / "raw", "s2", "10", picture(12)[:, :40], label[:40])
    clean(tmp_path)
    with pytest.raises(SourceError, match=r"another grid than images/s2_2\.tif, a date of the same group"):
        gp.tile(cleaned, tmp_path / "s.zarr", times="stack", workers=0)
    for path in (tmp_path / "raw").rglob("*_10.tif"):
        path.unlink()
    clean(tmp_path)
    with pytest.raises(ConfigError, match="no group has two dates"):
        gp.tile(cleaned, tmp_path / "s.zarr", times="stack", workers=0)


def test_a_date_with_no_place_is_no_date_of_one_that_has_one(cleaned) -> None:
    first = next(iter(read_manifest(cleaned)))
    pair = SimpleNamespace(header=SimpleNamespace(shape=first.shape, rejected=False))
    unplaced = first.model_copy(update={"transform": None})
    _check([first, first], [pair, pair])
    _check([unplaced, unplaced], [pair, pair])
    for entries in ([first, unplaced], [unplaced, first]):
        with pytest.raises(SourceError, match="another grid than"):
            _check(entries, [pair, pair])


def test_times_are_ordered_as_numbers() -> None:
    times = ["10", "2", "2020-11", "2020-9b", "2020-9a", ""]
    entries = [Entry(image="i", mask="m", group="g", time=time, verdict=Verdict.ACCEPTED) for time in times]
    assert [entry.time for entry in in_order_of_time(entries)] == ["", "2", "10", "2020-9a", "2020-9b", "2020-11"]


def test_a_hole_or_a_cloud_at_any_date_is_one() -> None:
    bands = dated(BANDS, 2)
    assert quality_of(bands).keys() == {"QA60_t1", "QA60_t2"} and bands[4].plain == BANDS[1]
    raw = np.concatenate([picture(0, black=slice(0, 3)), picture(1, black=slice(9, 11))])
    usable = find_holes(raw, bands, (None,) * 6).usable
    assert (usable == ~np.isin(np.arange(64), (0, 1, 2, 9, 10))[:, None]).all()


LAYOUT = Layout(dated(BANDS, 2), ("B8_t2", "B4_t1"), quality_of(dated(BANDS, 2)))


def grows(image: Tensor, valid: Tensor) -> Tensor:
    """Class 1 where the near infrared of the second date is above the red of the first."""
    return torch.nn.functional.one_hot((image[:, 0] > image[:, 1]).long(), 2).movedim(-1, 1).float()


def test_a_map_is_made_of_as_many_scenes_in_order(tmp_path) -> None:
    first, last = picture(0, cloud=slice(0, 5)), picture(1, black=slice(60, 64))
    write_band(tmp_path / "a.tif", first, 10)
    write_band(tmp_path / "b.tif", last[[1, 0, 2]], 10)
    with rasterio.open(tmp_path / "b.tif", "r+") as file:
        file.descriptions = ["B08", "B04", "QA60"]
    a, b, out = (tmp_path / f"{name}.tif" for name in ("a", "b", "map"))
    classifier = Classifier("net", ("no", "yes"), LAYOUT, 16, grows)
    predict_scene(classifier, a, out, Options(later=(b,)))
    with rasterio.open(out) as file:
        label = file.read(1)
    due = (last[1] > first[0]).astype(np.uint8)
    due[:, :5] = due[60:] = 255
    assert (label == due).all()
    assert pair_up([a, b, out], None) == [(a, out)]
    with pytest.raises(ConfigError, match="the map would replace the scene"):
        pair_up([a, out, out], None)
    predict_scene(classifier, b, tmp_path / "other.tif", Options(later=(a,)))
    with rasterio.open(tmp_path / "other.tif") as file:
        assert (file.read(1) != due).any()
    for later in ((), (b, b)):
        with pytest.raises(SourceError, match="ive as many scenes"):
            predict_scene(classifier, a, tmp_path / "c.tif", Options(later=later))
    for path in (a, b):  # fewer bands than a date has, and no names
        write_band(path, first[:1], 10)
    with pytest.raises(SourceError, match="no band of the run by name"):
        predict_scene(classifier, a, tmp_path / "c.tif", Options(later=(b,)))
    with pytest.raises(SourceError, match="one scene for a run on 2 dates"):
        open_scene(a, LAYOUT)
    with pytest.raises(SourceError, match="2 scenes for a run on 1"):
        open_scene(a, Layout(BANDS, ("B4",)), later=(b,))


def test_a_later_scene_of_larger_pixels_is_brought_to_the_firsts(tmp_path) -> None:
    first, last = picture(0), picture(1)[:, ::2, ::2]
    write_band(tmp_path / "a.tif", first, 10)
    write_band(tmp_path / "scene/x_B08.tif", last[1], 20, nodata=0)
    write_band(tmp_path / "scene/x_B04.tif", last[0], 20, nodata=0)
    write_band(tmp_path / "scene/x_QA60.tif", last[2], 20)
    with open_scene(tmp_path / "a.tif", LAYOUT, later=(tmp_path / "scene",)) as scene:
        part = scene.read(0, 0, 64, 64)
        assert scene.grid.height == 64 and scene.raster.names[4] == "B8_t2"
    assert (part.values[1] == first[0]).all() and part.usable.all()
    assert np.abs(part.values[0].reshape(32, 2, 32, 2).mean(axis=(1, 3)) - last[1])[1:-1, 1:-1].max() < 30
