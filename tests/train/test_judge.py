"""Scenes unlike those of training: each is refused with its cause and the switch that mends it, or mended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor

from greenschemas.bands import SENTINEL2_L1C_19
from greenschemas.errors import SourceError
from greenschemas.value_checks import Levels, levels_of
from greenschemas.values import quality_of
from greentrain.maps.judge import Usual
from greentrain.maps.predict import Classifier, Options, predict_scene
from greentrain.maps.scene import Layout
from support.tiffs import write_tiff

BANDS = SENTINEL2_L1C_19[:13] + SENTINEL2_L1C_19[15:16]
NAMES = tuple(band.name for band in BANDS)
GRASS = np.array([1250, 1050, 1050, 850, 1250, 2400, 2900, 2900, 3100, 900, 10, 2000, 1200.0])
WATER = np.array([1200, 900, 700, 450, 420, 350, 330, 300, 280, 100, 8, 120, 80.0])
PLAIN = Options()
NORTH_UP = rasterio.Affine(10, 0, 4e5, 0, -10, 4e6)


def picture(seed: int, height: int = 48, width: int = 40) -> np.ndarray:
    """(14, H, W): grass beside water, and an empty QA60."""
    rng = np.random.default_rng(seed)
    share = np.clip(np.add.outer(np.arange(height), np.arange(width)) / 30 - 1, 0, 1)
    values = WATER[:, None, None] * (1 - share) + GRASS[:, None, None] * share
    values = values * rng.normal(1, 0.05, values.shape)
    return np.concatenate([values, np.zeros((1, height, width))]).round().clip(1e-9).astype(np.uint16)


def net_sees_grass(image: Tensor, valid: Tensor) -> Tensor:
    return torch.nn.functional.one_hot((image[:, 7] > 1500).long(), 2).movedim(-1, 1).float()


def classifier(**changed: object) -> Classifier:
    learnt = levels_of(np.concatenate([picture(seed)[:13].reshape(13, -1) for seed in range(4)], axis=1))
    usual = Usual(NAMES[:13], learnt, 4000, "uint16", 10_000, "B10", 10.0)
    layout = Layout(BANDS, NAMES[:10] + NAMES[11:13], quality_of(BANDS))
    known: dict[str, object] = {
        "identity": "net",
        "classes": ("water", "grass"),
        "layout": layout,
        "size": 16,
        "probabilities": net_sees_grass,
        "usual": usual,
    }
    return Classifier(**(known | changed))  # type: ignore[arg-type]


def with_tags(path: Path, scale: float, offset: float) -> Path:
    """The file with these of GDAL's tags on its reflectances."""
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [scale] * 13 + [1.0], [offset] * 13 + [0.0]
    return path


def learnt_with(*tag: float) -> Classifier:
    usual = classifier().usual
    assert usual is not None
    return classifier(usual=replace(usual, tags=((tag[0], tag[1]),) * 13))


def write(
    path: Path,
    values: np.ndarray,
    *,
    transform: rasterio.Affine = NORTH_UP,
    crs: str | None = "EPSG:32618",
    names: tuple[str, ...] = NAMES,
    nodata: float | None = None,
) -> Path:
    return write_tiff(path, values, names=names, crs=crs, transform=transform, nodata=nodata)


def mapped(scene: Path, options: Options = PLAIN, **changed: object) -> np.ndarray:
    out = scene.with_name(f"{scene.stem}_map.tif")
    predict_scene(classifier(**changed), scene, out, options)
    with rasterio.open(out) as file:
        found: np.ndarray = file.read(1)
    return found


def changed(values: np.ndarray, change: object) -> np.ndarray:
    out = values.astype(np.float64)
    out[:13] = change(out[:13])  # type: ignore[operator]
    return out


@pytest.mark.parametrize(
    ("change", "dtype", "cause"),
    [
        (lambda v: v + 1000, "uint16", "it carries the offset of 1000.*`--harmonise` takes it"),
        (lambda v: (v / 3000 * 255).clip(0, 255), "uint8", "8 bits"),
        (lambda v: (v / 4000 * 255).clip(0, 255), "uint8", "8 bits"),
        (lambda v: (v / 5000 * 255).clip(0, 255), "uint8", "8 bits"),
        (lambda v: v / 10, "uint16", "x 1000.*`--scale 10`"),
        (lambda v: (v * 6.5535).clip(0, 65535), "uint16", "16 bits.*`--scale 0.15259`"),
        (lambda v: v / 10_000, "float32", r"0\.\.1.*`--scale 10000`"),
        (lambda v: v * 0.13, "uint16", "reflectance x 1000 where x 10,000 is usual"),
        (lambda v: v * 8.7, "uint16", "16 bits.*`--scale 0.15259`"),
        (lambda v: (v * 0.1).clip(0, 255), "uint8", "a stretch of 0..3000 to 8 bits"),
        (lambda v: v % 256, "uint8", "modulo 256"),
        (lambda v: v.clip(0, 255), "uint8", "8-bit values"),
    ],
)
def test_numbers_in_other_units_are_refused_with_their_cause(
    tmp_path: Path, change: object, dtype: str, cause: str
) -> None:
    scene = write(tmp_path / "s.tif", changed(picture(9), change).astype(dtype))
    with pytest.raises(SourceError, match=cause):
        mapped(scene)
    assert mapped(scene, Options(force=True)).shape == (48, 40)


def test_an_honest_scene_is_mapped_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = picture(9)
    found = mapped(write(tmp_path / "s.tif", values))
    np.testing.assert_array_equal(found, values[7] > 1500)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "dtype", "options"),
    [
        (lambda v: v + 1000, "uint16", Options(harmonise=True)),
        (lambda v: v, "uint16", Options(harmonise=True)),
        (lambda v: v / 10, "float32", Options(scale=10)),
    ],
)
def test_a_mended_scene_has_the_map_of_the_whole_one(
    tmp_path: Path, change: object, dtype: str, options: Options
) -> None:
    values = picture(9)
    scene = write(tmp_path / "s.tif", changed(values, change).astype(dtype))
    np.testing.assert_array_equal(mapped(scene, options), values[7] > 1500)


def test_what_was_taken_away_stands_in_the_tags(tmp_path: Path) -> None:
    scene = write(tmp_path / "s.tif", changed(picture(9), lambda v: v + 1000).astype(np.uint16))
    mapped(scene, Options(harmonise=True))
    with rasterio.open(tmp_path / "s_map.tif") as file:
        assert file.tags()["GREENSPACE_OFFSET"] == "1000"


@pytest.mark.parametrize("nodata", [None, 0])
def test_dark_water_in_one_band_is_mapped_and_a_zero_wedge_is_not(tmp_path: Path, nodata: float | None) -> None:
    values = picture(9)
    values[12, :10, :10] = 0
    values[:, -1] = 0
    found = mapped(write(tmp_path / "s.tif", values, nodata=nodata))
    assert (found[:-1] != 255).all() and (found[-1] == 255).all()


@pytest.mark.parametrize(("south", "west"), [(True, False), (False, True), (True, True)])
def test_a_turned_scene_is_read_upright_and_written_as_it_was(tmp_path: Path, south: bool, west: bool) -> None:
    values, order = picture(9), np.s_[:: -1 if south else 1, :: -1 if west else 1]
    place = rasterio.Affine(-10 if west else 10, 0, 4e5 + 400 * west, 0, 10 if south else -10, 4e6 - 480 * south)
    upright = mapped(write(tmp_path / "up.tif", values), Options(block=16))
    turned = mapped(write(tmp_path / "turned.tif", values[:, *order], transform=place), Options(block=16))
    np.testing.assert_array_equal(turned, upright[order])
    with rasterio.open(tmp_path / "turned_map.tif") as file:
        assert file.transform == place

    def corner(image: Tensor, valid: Tensor) -> Tensor:
        """A net that knows up from down and left from right: class 1 in the upper left quarter of its window."""
        height, width = image.shape[2:]
        upper, left = torch.arange(height) < height // 2, torch.arange(width) < width // 2
        there = upper[:, None] & left
        return torch.stack([~there, there]).float()[None].expand(len(image), 2, height, width)

    options = Options(window=48, overlap=0, overwrite=True)
    upright = mapped(tmp_path / "up.tif", options, probabilities=corner, identity="up")
    turned = mapped(tmp_path / "turned.tif", options, probabilities=corner, identity="up")
    np.testing.assert_array_equal(turned, upright[order])


def test_pixels_of_another_size_are_refused_and_resampled(tmp_path: Path) -> None:
    fine = picture(9).repeat(2, 1).repeat(2, 2)
    scene = write(tmp_path / "s.tif", fine, transform=rasterio.Affine(5, 0, 4e5, 0, -5, 4e6))
    with pytest.raises(SourceError, match=r"pixels of 5 m, in training 10 m.*`--resample 10`"):
        mapped(scene)
    for block in (16, 512):
        found = mapped(scene, Options(resample=10, block=block))
        np.testing.assert_array_equal(found, picture(9)[7] > 1500)
    with rasterio.open(tmp_path / "s_map.tif") as file:
        assert tuple(file.transform)[:6] == tuple(NORTH_UP)[:6]


def test_a_coarse_scene_is_brought_to_finer_pixels(tmp_path: Path) -> None:
    scene = write(tmp_path / "s.tif", picture(9), transform=rasterio.Affine(20, 0, 4e5, 0, -20, 4e6))
    assert mapped(scene, Options(resample=10)).shape == (96, 80)


def test_degrees_are_told_and_refused_where_pixels_are_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for latitude, refused in ((20, False), (60, True)):
        degrees = rasterio.Affine(9e-5, 0, 10, 0, -9e-5, latitude)
        scene = write(tmp_path / f"{latitude}.tif", picture(9), crs="EPSG:4326", transform=degrees)
        if refused:
            with pytest.raises(SourceError, match=r"its CRS is in degrees: pixels of 10 x 5 m"):
                mapped(scene)
            assert mapped(scene, Options(resample=10)).shape == (48, 20)
        else:
            mapped(scene)
            assert "in degrees" in capsys.readouterr().err


def test_clouds_have_no_class_but_a_share_in_the_tags(tmp_path: Path) -> None:
    values = picture(9)
    values[13, :, :10] = 1024
    scene = write(tmp_path / "s.tif", values)
    found = mapped(scene, Options(block=16))
    assert (found[:, :10] == 255).all() and (found[:, 10:] != 255).all()
    with rasterio.open(tmp_path / "s_map.tif") as file:
        assert float(file.tags()["GREENSPACE_CLOUD_SHARE"]) == 0.25
    assert (mapped(scene, Options(keep_clouds=True)) != 255).all()


def test_a_permuted_scene_with_names_is_put_in_order(tmp_path: Path) -> None:
    values = picture(9)
    order = [*range(8), *range(9, 13), 8, 13]
    names = tuple(f"B{int(NAMES[i][1:]):02d}" if NAMES[i][1:].isdigit() else NAMES[i] for i in order)
    found = mapped(write(tmp_path / "s.tif", values[order], names=names))
    np.testing.assert_array_equal(found, values[7] > 1500)


@pytest.mark.parametrize(("value", "dtype"), [(65_535, "uint16"), (-9999, "int16"), (-9999, "float32")])
def test_no_data_without_a_tag_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: int, dtype: str
) -> None:
    values = picture(9).astype(dtype)
    values[:, :4] = value
    mapped(write(tmp_path / "s.tif", values))
    assert f"{value} in 8.3% of the pixels, which often stands for no data" in capsys.readouterr().err
    assert (mapped(write(tmp_path / "tagged.tif", values, nodata=value))[:4] == 255).all()
    assert "no tag" not in capsys.readouterr().err


def test_snow_is_told_and_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = picture(9)
    values[:5] *= 4
    net = classifier()
    assert net.usual is not None
    learnt = net.usual.levels
    usual = Levels(learnt.dark, learnt.median, learnt.bright, 0.05 * learnt.median)
    mapped(write(tmp_path / "s.tif", values), usual=Usual(NAMES[:13], usual, 9000, "uint16", 10_000, "B10", 10.0))
    assert "robust deviations" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tag", "learnt", "change"),
    [
        ((1e-4, -0.1), (1.0, 0.0), lambda v: v + 1000),
        ((1e-4, -0.1), (1e-4, 0.0), lambda v: v + 1000),
        ((2.75e-5, -0.2), (1e-4, 0.0), lambda v: (v * 1e-4 + 0.2) / 2.75e-5),
        ((0.5e-4, 0.0), (1.0, 0.0), lambda v: v * 2),
    ],
)
def test_other_tags_than_in_training_are_refused_and_harmonised(
    tmp_path: Path, tag: tuple[float, float], learnt: tuple[float, float], change: object
) -> None:
    """Numbers that mean by their tags what training's mean by theirs have the map of training's own."""
    net, whole = learnt_with(*learnt), write(tmp_path / "plain.tif", picture(9))
    other = with_tags(write(tmp_path / "s.tif", changed(picture(9), change).round().astype(np.uint16)), *tag)
    predict_scene(net, whole, tmp_path / "plain_map.tif")
    with pytest.raises(SourceError, match=r"its tags say that B1 is x.*in training.*`--harmonise` brings"):
        predict_scene(net, other, tmp_path / "m.tif")
    predict_scene(net, other, tmp_path / "m.tif", Options(harmonise=True))
    with rasterio.open(tmp_path / "plain_map.tif") as due, rasterio.open(tmp_path / "m.tif") as found:
        np.testing.assert_array_equal(found.read(), due.read())
        assert "GREENSPACE_TAGS" in found.tags()


def test_of_tags_band_by_band_the_one_that_changes_most_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = with_tags(write(tmp_path / "s.tif", picture(9)), 1e-4, 0.0)
    with rasterio.open(scene, "r+") as file:
        file.scales = [1e-4] * 12 + [1.5e-4, 1.0]
    with pytest.raises(SourceError, match=r"its tags say that B12 is x \* 0.00015"):
        predict_scene(learnt_with(1.0, 0.0), scene, tmp_path / "m.tif")
    predict_scene(learnt_with(1.0, 0.0), scene, tmp_path / "m.tif", Options(harmonise=True))
    assert "band by band, B12 becomes x * 1.5 +0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tag", "learnt", "told"),
    [
        ((1e-4, 0.0), (1.0, 0.0), ""),
        ((1.0, 0.0), (1e-4, 0.0), ""),
        ((1e-4, 0.0), (1e-4, 0.0), ""),
        ((0.0, 0.0), (1e-4, 0.0), ""),
        ((1e-4, -0.1), (1e-4, 0.0), "its numbers contradict that"),
        ((1e-2, 0.0), (1e-4, 0.0), "its numbers contradict that"),
    ],
)
def test_tags_that_mean_the_same_or_nothing_are_silent_and_contradicted_ones_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: tuple[float, float], learnt: tuple[float, float], told: str
) -> None:
    scene = with_tags(write(tmp_path / "s.tif", picture(9)), *tag)
    predict_scene(learnt_with(*learnt), scene, tmp_path / "m.tif")
    said = capsys.readouterr().err
    assert (told in said) if told else not said
