"""Collections without a reflectance, or with more than reflectances: cleaned, cut, split, measured, told of."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from typer.testing import CliRunner

import greenprep as gp
from greenprep.cli import app
from greenprep.init.write import guess_folder
from greenprep.inspect.verify import verify
from greenschemas.bands import Role
from greenschemas.decoding import Decoding, decoded
from greenschemas.store import open_store
from support.inputs import BANDS, KINDS, recipe_of, write_collection

FEW = 4


def told(folder: Path) -> dict[str, set[str]]:
    """Codes by image."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return {Path(line["image"]).stem: {reason["code"] for reason in line["reasons"]} for line in lines}


def recipe_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(recipe_of(kind)))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_of_any_kind_becomes_a_store_with_its_statistics(kind, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_collection(Path("raw"), kind, FEW)
    done = CliRunner().invoke(app, ["clean", "raw", "clean", "--recipe", str(recipe_file(tmp_path, kind))])
    assert done.exit_code == 0 and f"{FEW} accepted" in done.output, done.output
    assert not any(told(Path("clean")).values())
    page = Path("clean/report.html").read_text(encoding="utf-8")
    for text in (done.output, page):
        assert ("these checks were not made" in text and "blank" in text) == (kind != "mixed")

    gp.tile("clean", "s.zarr", workers=0)
    gp.split("s.zarr", val=0.3)
    assert not verify("s.zarr", deep=True)
    store = open_store("s.zarr")
    contract = store.contract
    assert contract.bands == BANDS[kind] and contract.features == tuple(band.name for band in BANDS[kind])
    tiles = store.usable_tiles("train")
    valid = store.read("valid", tiles).astype(bool)
    pixels = np.moveaxis(store.read("image", tiles), 1, 0)[:, valid]
    values = decoded(pixels, [band.decode for band in contract.bands]).astype(np.float64)
    assert contract.statistics is not None and contract.values is not None
    for row, told_of, level in zip(values, contract.statistics.bands, contract.values.levels, strict=True):
        size = np.sqrt(np.mean(row * row))
        assert told_of.mean == pytest.approx(row.mean(), abs=1e-6 * size)
        assert told_of.std == pytest.approx(row.std(), rel=1e-5)
        middle = np.quantile(row, 0.5, method="inverted_cdf")
        assert level.median == pytest.approx(middle, rel=1 / 32, abs=2**-10)


def test_what_has_no_value_is_not_valid(tmp_path) -> None:
    for kind, empty in (("embedding", 4 * 9), ("radar", 3 * 72 + 2 * 5), ("elevation", 0)):
        write_collection(tmp_path / kind, kind, FEW)
        gp.clean(tmp_path / kind, tmp_path / f"{kind}.clean", recipe_file(tmp_path, kind), workers=1)
        gp.tile(tmp_path / f"{kind}.clean", tmp_path / f"{kind}.zarr", size=24, workers=0)
        store = open_store(tmp_path / f"{kind}.zarr")
        assert int(store.read("valid").sum()) == FEW * (72 * 72 - empty)


def _change(path: Path, change) -> None:
    with rasterio.open(path, "r+") as file:
        file.write(change(file.read()).astype(file.dtypes[0]))


def test_other_units_copies_and_constants_are_refused_and_fill_is_told(tmp_path) -> None:
    raw = write_collection(tmp_path / "raw", "radar", 7)
    image = [raw / f"images/site{at:02}.tif" for at in range(7)]
    _change(image[0], lambda db: 10 ** (db / 10))
    _change(image[1], lambda db: np.stack([db[0], db[0]]))
    _change(image[2], lambda db: np.stack([db[0], np.full_like(db[0], -15)]))
    _change(image[3], lambda db: np.where(np.arange(72) < 3, -9999, db))
    gp.clean(raw, tmp_path / "clean", recipe_file(tmp_path, "radar"), workers=1)
    assert told(tmp_path / "clean") == {
        "site00": {"other-units"},
        "site01": {"identical-bands"},
        "site02": {"constant-band"},
        "site03": {"undeclared-nodata", "misaligned"},
        **{f"site{at:02}": set() for at in (4, 5, 6)},
    }


def test_decoded_values_do_not_go_with_a_decoding(tmp_path) -> None:
    raw = write_collection(tmp_path / "raw", "embedding", 2)
    for path in (raw / "images").iterdir():
        with rasterio.open(path) as file:
            numbers, profile = file.read(), file.profile
        values = decoded(numbers, [Decoding.SIGNED_SQUARE] * 64)
        with rasterio.open(path, "w", **profile | {"dtype": "float32", "nodata": None}) as file:
            file.write(values)
    _, summary = gp.clean(raw, tmp_path / "clean", recipe_file(tmp_path, "embedding"), workers=1)
    assert summary.rejected == 2 and summary.reasons["undecodable"] == 2


@pytest.mark.parametrize(("kind", "named"), [*((kind, True) for kind in KINDS), ("embedding", False), ("radar", False)])
def test_init_tells_the_kinds_apart(kind, named, tmp_path) -> None:
    recipe = guess_folder(write_collection(tmp_path / "raw", kind, 3, named=named)).recipe
    assert [(band.role, band.decode) for band in recipe.bands] == [(band.role, band.decode) for band in BANDS[kind]]
    scale = {"mixed": 10_000}.get(kind)
    assert recipe.limits.reflectance_scale == scale


def test_roles_that_are_no_reflectance_are_features() -> None:
    counted = Counter(band.role for bands in BANDS.values() for band in bands)
    assert set(counted) == set(Role) - {Role.MASK, Role.DEAD}
