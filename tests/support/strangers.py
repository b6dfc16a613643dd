"""Folders as strangers have them: unlike each other, and unlike what the default recipe is meant for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from scipy.ndimage import gaussian_filter

from support.tiffs import write_tiff

__all__ = [
    "a_file_a_class",
    "beside_each_other",
    "dated_folders",
    "embeddings",
    "names_with_spaces",
    "palette_chips",
    "told_by_folders",
    "worldcover",
]

SIDE = 72


def _ground(seed: int, classes: int) -> np.ndarray:
    """(H, W) classes from 0 in smooth patches, all of them in every scene."""
    fields = np.random.default_rng(seed).standard_normal((classes, SIDE, SIDE))
    return np.asarray(np.stack([gaussian_filter(field, 5) for field in fields]).argmax(axis=0))


def _reflectances(seed: int, ground: np.ndarray, bands: int) -> np.ndarray:
    """(bands, H, W) in 0..1: a signature for each class, with texture."""
    signature = np.random.default_rng(7).uniform(0.03, 0.5, (ground.max() + 1, bands))
    image = np.moveaxis(signature[ground], -1, 0)
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(image.shape), (0, 1.5, 1.5))
    return np.clip(image * (1 + 0.3 * noise), 0.005, 0.95)


def _write(path: Path, data: np.ndarray, at: int, names: tuple[str, ...] = (), **options: object) -> None:
    place = Affine(10, 0, 500_000 + 2_000 * at, 0, -10, 5_000_000)
    profile = {"crs": "EPSG:32632", "transform": place, "compress": "deflate"}
    write_tiff(path, data, names=names, **profile | options)


def beside_each_other(raw: Path) -> Path:
    """`site12_2020-06-01.tif` and `…_label.tif` in one folder: 7 bands, classes 1 to 5, 0 where nobody labelled."""
    for site in range(8):
        ground = _ground(site, 5)
        for month in (6, 8):
            stem = f"site{site + 5}_2020-{month:02}-01"
            image = _reflectances(10 * site + month, ground, 7)
            label = (ground + 1).astype(np.uint8)
            label[: 3 + site] = 0
            _write(raw / f"{stem}.tif", np.rint(image * 10_000).astype(np.uint16), site)
            _write(raw / f"{stem}_label.tif", label[None], site)
    return raw


def palette_chips(raw: Path) -> Path:
    """Aerial chips `train/chip_0007.tif` of bytes with labels/chip_0007.tif, a palette of three classes from 0."""
    for chip in range(12):
        ground = _ground(100 + chip, 3)
        image = _reflectances(chip, ground, 4)
        _write(raw / f"train/chip_{chip:04}.tif", np.rint(image * 255).astype(np.uint8), chip)
        path = raw / f"labels/chip_{chip:04}.tif"
        _write(path, ground.astype(np.uint8)[None], chip, photometric="palette")
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {0: (90, 90, 90), 1: (0, 160, 0), 2: (0, 0, 200)})
    return raw


def worldcover(raw: Path) -> Path:
    """Sentinel-2 L2A of twelve named bands in folders of regions, masks in ESA WorldCover's codes."""
    names = (*(f"B{i:02}" for i in range(1, 9)), "B8A", "B09", "B11", "B12")
    codes = np.array([10, 30, 50, 80], np.uint8)
    for at in range(9):
        region, tile = ("south_tyrol", "lombardy", "ticino")[at % 3], f"T32T{'PQR'[at // 3]}S"
        ground = _ground(200 + at, 4)
        image = np.rint(_reflectances(300 + at, ground, 12) * 10_000).astype(np.uint16)
        _write(raw / f"scenes/{region}/S2_{region}_{tile}_L2A.tif", image, at, names)
        _write(raw / f"worldcover/{region}/{region}_{tile}_wc.tif", codes[ground][None], at)
    return raw


def embeddings(raw: Path) -> Path:
    """AlphaEarth's 64 numbers from -1 to 1 below train/ and val/, masks of 0 and 255 beside them in gt/."""
    for at in range(10):
        ground = _ground(400 + at, 2)
        image = (2 * _reflectances(500 + at, ground, 64) - 1).astype(np.float32)
        folder = raw / ("train" if at < 7 else "val")
        _write(folder / f"embeddings/{at:03}.tif", image, at)
        _write(folder / f"gt/{at:03}.tif", (255 * ground).astype(np.uint8)[None], at)
    return raw


def told_by_folders(raw: Path) -> Path:
    """`2021/T32TPS/20210503/stack.TIF` beside truth.TIF: file names say nothing, pixels are in degrees, codes are
    CORINE's with -1 where nobody labelled, one mask is missing, and other programs left their files between."""
    names = ("blue", "green", "red", "nir", "swir 1", "swir 2", "scl")
    codes = np.array([111, 112, 20, 200], np.int16)
    for at, tile in enumerate(("T29SQB", "T30SVJ", "T31UDQ", "T32TPS", "T33UXP")):
        where = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 10 + at / 2, 0, -1e-4, 46)}
        for day in ("20210503", "20210812", "20220601"):
            folder, ground = raw / day[:4] / tile / day, _ground(600 + at, 4)
            image = np.rint(_reflectances(int(day) + at, ground, 6) * 10_000).astype(np.int16)
            image = np.concatenate([image, np.full((1, SIDE, SIDE), 4, np.int16)])
            image[:, :5] = -32768
            _write(folder / "stack.TIF", image, at, names, nodata=-32768, **where)
            (folder / "notes.txt").write_text("cloudless")
            label = codes[ground]
            label[:, -6:] = -1
            if (tile, day) != ("T30SVJ", "20210503"):
                _write(folder / "truth.TIF", label[None], at, nodata=-1, **where)
    return raw


def dated_folders(raw: Path) -> Path:
    """`ortho/2019-07-14/tile_0412.tif` of red, green, blue and near infrared as JPEG in tiles; masks of these names in
    annotation/, with a palette of four classes from 0, grey the first."""
    for at in range(6):
        for date in ("2019-07-14", "2021-08-02"):
            ground, name = _ground(800 + at, 4), f"{date}/tile_{400 + at:04}.tif"
            image = np.rint(_reflectances(int(date[:4]) + 10 * at, ground, 4) * 255).astype(np.uint8)
            jpeg = {"compress": "jpeg", "photometric": "minisblack", "jpeg_quality": 90}
            _write(raw / "ortho" / name, image, at, **jpeg, tiled=True, blockxsize=64, blockysize=64)
            _write(raw / "annotation" / name, ground.astype(np.uint8)[None], at, photometric="palette")
            with rasterio.open(raw / "annotation" / name, "r+") as file:
                file.write_colormap(1, {0: (128, 128, 128), 1: (20, 160, 20), 2: (150, 220, 90), 3: (30, 60, 200)})
    return raw


def names_with_spaces(raw: Path) -> Path:
    """`Landsat scenes/path 193 row 27 2020-07-04.tif`: reflectances as floats, NaN where there is nothing, and
    `Landsat labels/… labels.tif` whose nodata tag, 255, stands where nobody labelled."""
    names = ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")
    for at in range(7):
        for month in ("04", "07"):
            stem, ground = f"path 193 row {20 + at} 2020-{month}-04", _ground(900 + at, 3)
            image = _reflectances(10 * at + int(month), ground, 6).astype(np.float32)
            image[:, :4] = np.nan
            label = ground.astype(np.uint8)
            label[:, -5:] = 255
            _write(raw / f"Landsat scenes/{stem}.tif", image, at, names, nodata=np.nan)
            _write(raw / f"Landsat labels/{stem} labels.tif", label[None], at, nodata=255)
    return raw


def a_file_a_class(raw: Path) -> Path:
    """`img/a07.tif`, and for each class a mask of 0 and 1: `masks/trees/a07.tif`."""
    for at in range(8):
        ground = _ground(1000 + at, 3)
        image = np.rint(_reflectances(at, ground, 4) * 10_000).astype(np.uint16)
        _write(raw / f"img/a{at:02}.tif", image, at, ("blue", "green", "red", "nir"))
        for code, name in enumerate(("buildings", "trees", "water")):
            _write(raw / f"masks/{name}/a{at:02}.tif", (ground == code).astype(np.uint8)[None], at)
    return raw
