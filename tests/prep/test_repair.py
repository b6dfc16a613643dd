"""Repaired files: written beside the raw ones, with their pixels, georeference, names and nodata."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from greenprep.clean.worker import clean_one, link
from greenprep.raw.pair import open_pair
from greenprep.raw.pairs import Candidate
from greenprep.synth.city import acquire, ground
from greenschemas.choices import MaskKind, NanPolicy
from greenschemas.limits import Limits
from greenschemas.manifest import Verdict
from greenschemas.recipe import MaskRules, Recipe

PAIR = Candidate("images/i.tif", "masks/m.tif", "g", "1")
SIDE = 48
FRACTIONS = ground(np.random.default_rng(5), SIDE)
IMAGE = acquire(np.random.default_rng(6), FRACTIONS, winter=False)
NORTH_UP = Affine(10, 0, 400_000, 0, -10, 4_080_000)


def write(
    path: Path, data: NDArray[Any], transform: Affine = NORTH_UP, names: tuple[str, ...] = (), **options: Any
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "dtype": data.dtype.name,
        "crs": "EPSG:32618",
        "transform": transform,
    } | options
    with rasterio.open(path, "w", **profile) as sink:
        sink.write(data)
        if names:
            sink.descriptions = names


def repaired(tmp_path: Path, recipe: Recipe) -> tuple[Path, set[str]]:
    """(folder of the repaired pair, codes); asserts that reading it again says the same with nothing left to mend."""
    entry = clean_one(tmp_path, tmp_path / "out", recipe.bands, recipe.mask, recipe.limits, PAIR)
    assert entry.verdict is Verdict.REPAIRED, entry.reasons
    again = clean_one(tmp_path / "out", None, recipe.bands, recipe.mask, recipe.limits, PAIR)
    assert again.verdict is Verdict.ACCEPTED, again.reasons
    assert again.checksum == entry.checksum
    assert again.shape == entry.shape and again.transform == entry.transform and again.crs == entry.crs
    return tmp_path / "out", {reason.code for reason in entry.reasons}


def test_float_integers_keep_names_nodata_and_place(tmp_path: Path) -> None:
    names = tuple(f"band {i}" for i in range(19))
    image = IMAGE.astype(np.float64)
    image[:, 0] = 0
    write(tmp_path / "images/i.tif", image, names=names, nodata=0)
    write(tmp_path / "masks/m.tif", FRACTIONS)
    out, codes = repaired(tmp_path, Recipe())
    assert codes == {"integer-values"}
    with rasterio.open(out / "images/i.tif") as source:
        assert (source.dtypes[0], source.nodata, source.descriptions) == ("uint16", 0, names)
        assert source.crs.to_epsg() == 32618 and source.transform == NORTH_UP
        np.testing.assert_array_equal(source.read(), image)
    assert (out / "masks/m.tif").samefile(tmp_path / "masks/m.tif")


@pytest.mark.parametrize(
    ("code", "where", "order"),
    [
        ("south-up", Affine(10, 0, 400_000, 0, 10, 4_080_000 - 10 * SIDE), np.s_[:, ::-1]),
        ("west-up", Affine(-10, 0, 400_000 + 10 * SIDE, 0, -10, 4_080_000), np.s_[:, :, ::-1]),
    ],
)
def test_turned_images_are_flipped_to_the_same_ground(tmp_path: Path, code: str, where: Affine, order: object) -> None:
    write(tmp_path / "images/i.tif", IMAGE[order], where)  # type: ignore[index]
    write(tmp_path / "masks/m.tif", FRACTIONS)
    out, codes = repaired(tmp_path, Recipe())
    assert codes == {code}
    with rasterio.open(out / "images/i.tif") as source:
        np.testing.assert_array_equal(source.read(), IMAGE)
        assert source.transform == NORTH_UP


def test_a_shifted_mask_and_its_image_are_cropped_to_common_ground(tmp_path: Path) -> None:
    write(tmp_path / "images/i.tif", IMAGE)
    write(tmp_path / "masks/m.tif", FRACTIONS[:, 3:, 2:], Affine(10, 0, 400_020, 0, -10, 4_079_970))
    recipe = Recipe.model_validate({"limits": {"shift_max": 4}})
    entry = clean_one(tmp_path, None, recipe.bands, recipe.mask, recipe.limits, PAIR)
    # Three rows less is more than one pixel apart: made again, not cropped.
    assert entry.verdict is Verdict.REJECTED
    write(
        tmp_path / "masks/m.tif",
        np.pad(FRACTIONS, ((0, 0), (0, 3), (0, 2)), mode="edge")[:, 3:, 2:],
        Affine(10, 0, 400_020, 0, -10, 4_079_970),
    )
    out, codes = repaired(tmp_path, recipe)
    assert "shifted-mask" in codes
    with rasterio.open(out / "images/i.tif") as image, rasterio.open(out / "masks/m.tif") as mask:
        np.testing.assert_array_equal(image.read(), IMAGE[:, 3:, 2:])
        np.testing.assert_array_equal(mask.read(), FRACTIONS[:, 3:, 2:])
        assert image.transform == mask.transform == Affine(10, 0, 400_020, 0, -10, 4_079_970)


@pytest.mark.parametrize("scale", [100, 200, 255, 1000])
def test_masks_on_other_scales_become_fractions(tmp_path: Path, scale: int) -> None:
    write(tmp_path / "images/i.tif", IMAGE)
    write(tmp_path / "masks/m.tif", np.rint(FRACTIONS * scale).astype(np.uint16))
    out, codes = repaired(tmp_path, Recipe())
    assert codes == {"mask-scale"}
    with rasterio.open(out / "masks/m.tif") as source:
        assert source.dtypes[0] == "float32" and np.isnan(source.nodata)
        np.testing.assert_allclose(source.read(), FRACTIONS, atol=0.51 / scale)


def test_nan_in_a_mask_becomes_declared(tmp_path: Path) -> None:
    fractions = FRACTIONS.copy()
    fractions[2, 5, 5] = np.nan
    write(tmp_path / "images/i.tif", IMAGE)
    write(tmp_path / "masks/m.tif", fractions)
    out, codes = repaired(tmp_path, Recipe())
    assert codes == {"mask-nan"}
    with rasterio.open(out / "masks/m.tif") as source:
        assert np.isnan(source.nodata)
        assert np.isnan(source.read()[:, 5, 5]).all()


def test_masked_nan_of_whole_numbers_are_kept_by_an_internal_mask(tmp_path: Path) -> None:
    image = IMAGE.astype(np.float32)
    image[4, 7, 9] = np.nan
    write(tmp_path / "images/i.tif", image)
    write(tmp_path / "masks/m.tif", FRACTIONS)
    recipe = Recipe(limits=Limits(nan=NanPolicy.MASK))
    out, codes = repaired(tmp_path, recipe)
    assert codes == {"integer-values", "nan"}
    with open_pair(out, PAIR, recipe.bands, recipe.mask, recipe.limits) as pair:
        valid = pair.read(0, 0, SIDE, SIDE).valid
    assert not valid[7, 9] and int(valid.sum()) == SIDE * SIDE - 1
    assert not (out / "images/i.tif.msk").exists()


def test_an_index_mask_one_row_larger_is_cropped_and_stays_an_index(tmp_path: Path) -> None:
    index = FRACTIONS.argmax(axis=0).astype(np.uint8)
    write(tmp_path / "images/i.tif", IMAGE)
    write(tmp_path / "masks/m.tif", np.pad(index, ((0, 1), (0, 0)), mode="edge")[None], nodata=255)
    out, codes = repaired(tmp_path, Recipe(mask=MaskRules(kind=MaskKind.INDEX, unlabelled=255)))
    assert codes == {"cropped-edge"}
    with rasterio.open(out / "masks/m.tif") as source:
        assert source.dtypes[0] == "uint8" and source.nodata == 255
        np.testing.assert_array_equal(source.read(1), index)


def test_paged_files_become_one_image_without_an_invented_place(tmp_path: Path) -> None:
    for name, data in (("images/i.tif", IMAGE), ("masks/m.tif", FRACTIONS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for page, band in enumerate(data):
                with rasterio.open(
                    tmp_path / name,
                    "w",
                    driver="GTiff",
                    height=SIDE,
                    width=SIDE,
                    count=1,
                    dtype=data.dtype,
                    APPEND_SUBDATASET="YES" if page else "NO",
                ) as sink:
                    sink.write(band, 1)
    out, codes = repaired(tmp_path, Recipe())
    assert codes == {"paged-bands", "no-crs"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(out / "images/i.tif") as source:
            assert source.crs is None and source.descriptions[:2] == ("B1", "B2")
            np.testing.assert_array_equal(source.read(), IMAGE)


def test_linking_replaces_what_stood_there_and_shares_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_text("old")
    for _ in range(2):
        link(tmp_path / "a", tmp_path / "deep" / "b")
        assert (tmp_path / "deep" / "b").samefile(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["b"]
