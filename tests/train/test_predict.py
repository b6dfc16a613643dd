"""Prediction with nets whose answer is known: any size, any block, stopped and gone on with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from greenschemas.bands import Band, Role
from greenschemas.errors import ConfigError, SourceError
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules
from greentrain.data.targets import target_rule
from greentrain.maps.predict import Classifier, Options, predict_scene
from greentrain.maps.scene import Layout
from greentrain.maps.scores import score_map
from greentrain.maps.windows import Beside, mean_and_spread
from support.tiffs import write_tiff

NAMES = ("B1", "B2", "QA")
LAYOUT = Layout((Band(name="B1"), Band(name="B2"), Band(name="QA", role=Role.MASK)), ("B1", "B2"))
RULE = target_rule("fractions", ("a", "b", "c"))
PLACE = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 4e6)}


def first_band_decides(image: Tensor, valid: Tensor) -> Tensor:
    """The net of these tests: class 1 where the first band is above 1000."""
    return torch.nn.functional.one_hot((image[:, 0] > 1000).long(), 3).movedim(-1, 1).float()


def classifier(**changed: object) -> Classifier:
    known: dict[str, object] = {
        "identity": "net",
        "classes": ("a", "b", "c"),
        "layout": LAYOUT,
        "size": 16,
        "probabilities": first_band_decides,
    }
    return Classifier(**(known | changed))  # type: ignore[arg-type]


def scene(path: Path, height: int, width: int, *, names: tuple[str, ...] = NAMES) -> np.ndarray:
    values = np.random.default_rng(height).integers(500, 1500, (3, height, width)).astype(np.uint16)
    write_tiff(path, values, names=names, nodata=0, **PLACE)
    return values


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0.0, 0.25, 0.5, 0.9]),
    st.booleans(),
    st.sampled_from([7, 16, 1024]),
)
def test_a_pixelwise_net_gives_its_answer_at_every_pixel(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, overlap: float, flips: bool, block: int
) -> None:
    folder = tmp_path_factory.mktemp("p")
    values = scene(folder / "s.tif", height, width)
    predict_scene(classifier(), folder / "s.tif", folder / "m.tif", Options(overlap=overlap, flips=flips, block=block))
    np.testing.assert_array_equal(read(folder / "m.tif")[0], values[0] > 1000)


@pytest.mark.parametrize("block", [16, 40])
def test_what_stands_beside_a_net_sees_around_a_block_whatever_the_blocks(tmp_path: Path, block: int) -> None:
    """Windows that do not overlap see nothing beyond a block; trees that look 12 pixels far must all the same."""
    scene(tmp_path / "s.tif", 50, 70)

    def smooth(image: Tensor, valid: Tensor) -> Tensor:
        mean = torch.from_numpy(gaussian_filter(image[:, 0].double().numpy(), (0, 3, 3), truncate=4.0))
        return torch.stack([mean / 2000, 1 - mean / 2000, 0 * mean], 1).float()

    how = {"fractions": True, "overlap": 0.0}
    both = classifier(beside=Beside(smooth, 12))
    [whole, _] = predict_scene(both, tmp_path / "s.tif", tmp_path / "whole.tif", Options(**how, block=1024))
    [cut, _] = predict_scene(both, tmp_path / "s.tif", tmp_path / "cut.tif", Options(**how, block=block))
    np.testing.assert_array_equal(read(whole), read(cut))
    with rasterio.open(tmp_path / "s.tif") as file:
        image = torch.from_numpy(file.read().astype(np.float32))[None]
    expected = (smooth(image, image[:, 0] > 0) + first_band_decides(image, image[:, 0] > 0))[0] / 2
    np.testing.assert_allclose(read(whole), expected, atol=1e-6)


def test_the_map_lies_where_the_scene_lies_and_says_who_made_it(tmp_path: Path) -> None:
    scene(tmp_path / "s.tif", 60, 50)
    assert predict_scene(classifier(), tmp_path / "s.tif", tmp_path / "m.tif") == (tmp_path / "m.tif",)
    with rasterio.open(tmp_path / "m.tif") as file, rasterio.open(tmp_path / "s.tif") as source:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape)
        assert (file.count, file.dtypes[0], file.nodata) == (1, "uint8", 255)
        assert file.tags()["GREENSPACE_RUN"] == "net" and file.tags()["GREENSPACE_CLASSES"] == "a,b,c"
    assert {path.name for path in tmp_path.iterdir()} == {"s.tif", "m.tif", "m.qml", "m.stac.json"}


def test_fractions_sum_to_one_and_agree_with_the_class_map(tmp_path: Path) -> None:
    scene(tmp_path / "s.tif", 60, 50)

    def soft(image: Tensor, valid: Tensor) -> Tensor:
        return torch.softmax(torch.stack([image[:, 0] / 100, image[:, 1] / 100, image[:, 0] * 0 + 10], 1), 1)

    written = predict_scene(
        classifier(probabilities=soft), tmp_path / "s.tif", tmp_path / "m.tif", Options(fractions=True, confidence=True)
    )
    assert [path.name for path in written] == ["m_fractions.tif", "m_confidence.tif", "m.tif"]
    share, (confidence, entropy), (label,) = (read(path) for path in written)
    np.testing.assert_allclose(share.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(share.argmax(0), label)
    np.testing.assert_allclose(share.max(0), confidence)
    assert entropy.min() >= 0 and entropy.max() <= 1


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=4), st.integers(2, 5))
def test_the_spread_of_nets_is_no_larger_than_it_can_be_and_none_where_they_agree(
    seeds: list[int], classes: int
) -> None:
    shares = [np.random.default_rng(seed).dirichlet(np.ones(classes), (3, 4)).astype(np.float32) for seed in seeds]
    shares = [share.transpose(2, 0, 1) for share in shares]
    mean, spread = mean_and_spread(shares)
    np.testing.assert_allclose(mean.sum(0), 1, atol=1e-5)
    assert (spread >= 0).all() and (spread <= 1 - 1 / len(shares) + 1e-6).all()
    same, none = mean_and_spread([shares[0]] * 3)
    np.testing.assert_allclose(same, shares[0], rtol=1e-6)
    np.testing.assert_allclose(none, 0, atol=1e-6)


def test_several_nets_give_their_mean_and_how_far_they_differ(tmp_path: Path) -> None:
    values = scene(tmp_path / "s.tif", 60, 50)

    def second_band_decides(image: Tensor, valid: Tensor) -> Tensor:
        return first_band_decides(image[:, 1:], valid)

    both, asked = classifier(others=((second_band_decides, None),)), Options(fractions=True, confidence=True, block=32)
    written = predict_scene(both, tmp_path / "s.tif", tmp_path / "m.tif", asked)
    share, (confidence, _, spread), _ = (read(path) for path in written)
    first, second = (values[:2] > 1000).astype(np.float32)
    np.testing.assert_allclose(share[1], (first + second) / 2, atol=1e-6)
    np.testing.assert_allclose(spread, np.abs(first - second) / 2, atol=1e-6)
    np.testing.assert_allclose(confidence, 1 - spread, atol=1e-6)


def test_pixels_without_data_have_no_class_and_do_not_reach_the_net(tmp_path: Path) -> None:
    values = scene(tmp_path / "s.tif", 40, 40)
    values[:, 5, 6] = values[:, :, 20:] = 0
    with rasterio.open(tmp_path / "s.tif", "r+") as file:
        file.write(values)

    def strict(image: Tensor, valid: Tensor) -> Tensor:
        assert (image[:, 0][~valid] == 0).all() and (image[:, 0][valid] > 0).all() and valid.any()
        return first_band_decides(image, valid)

    predict_scene(
        classifier(probabilities=strict), tmp_path / "s.tif", tmp_path / "m.tif", Options(fractions=True, block=16)
    )
    (label,), share = read(tmp_path / "m.tif"), read(tmp_path / "m_fractions.tif")
    assert (label == 255).sum() == 801 and (np.isnan(share).all(0) == (label == 255)).all()


def test_a_stopped_prediction_goes_on_where_it_stopped(tmp_path: Path) -> None:
    scene(tmp_path / "s.tif", 64, 64)
    seen = []

    def counting(image: Tensor, valid: Tensor) -> Tensor:
        seen.append(len(image))
        if len(seen) == 5:
            raise KeyboardInterrupt
        return first_band_decides(image, valid)

    options = Options(overlap=0, block=16, batch_size=1)
    net = classifier(probabilities=counting)
    with pytest.raises(KeyboardInterrupt):
        predict_scene(net, tmp_path / "s.tif", tmp_path / "m.tif", options)
    assert not (tmp_path / "m.tif").exists() and (tmp_path / "m.tif.parts").is_dir()
    predict_scene(net, tmp_path / "s.tif", tmp_path / "m.tif", options)
    assert len(seen) == 17  # 16 blocks, one of them twice
    predict_scene(net, tmp_path / "s.tif", tmp_path / "m.tif", options)
    assert len(seen) == 17  # the map is there
    other = classifier(probabilities=counting, identity="better")
    with pytest.raises(ConfigError, match="a map of another run or scene"):
        predict_scene(other, tmp_path / "s.tif", tmp_path / "m.tif", options)
    predict_scene(other, tmp_path / "s.tif", tmp_path / "m.tif", replace(options, overwrite=True))
    assert len(seen) == 33


def test_blocks_of_another_net_are_not_mixed_in(tmp_path: Path) -> None:
    values = scene(tmp_path / "s.tif", 32, 32)
    parts = tmp_path / "m.tif.parts"
    parts.mkdir()
    (parts / "key").write_text("another")
    np.savez(parts / "00000000.npz", label=np.full((32, 32), 2, np.uint8))
    predict_scene(classifier(), tmp_path / "s.tif", tmp_path / "m.tif")
    np.testing.assert_array_equal(read(tmp_path / "m.tif")[0], values[0] > 1000)


def test_flipping_is_invisible_to_a_net_that_sees_single_pixels_and_mirrors_the_rest() -> None:
    from greentrain.maps.windows import _flipped

    def ramp(image: Tensor, valid: Tensor) -> Tensor:
        return torch.arange(4.0).expand(1, 1, 3, 4)

    image, valid = torch.zeros(1, 2, 3, 4), torch.ones(1, 3, 4, dtype=torch.bool)
    assert torch.equal(_flipped(ramp, image, valid, True), torch.full((1, 1, 3, 4), 1.5))


def test_a_scene_without_a_band_of_the_run_is_refused(tmp_path: Path) -> None:
    scene(tmp_path / "s.tif", 20, 20, names=("B1", "B3", "QA"))
    with pytest.raises(SourceError, match="no band B2"):
        predict_scene(classifier(), tmp_path / "s.tif", tmp_path / "m.tif")


@pytest.mark.parametrize(
    ("options", "where"),
    [(Options(window=0), "--window"), (Options(overlap=1), "--overlap"), (Options(batch_size=0), "--batch-size")],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: Options, where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        predict_scene(classifier(), tmp_path / "s.tif", tmp_path / "m.tif", options)


@pytest.mark.parametrize("kind", ["index", "codes", "fraction"])
def test_scores_against_a_mask_are_those_of_the_pixels(tmp_path: Path, kind: str) -> None:
    values = scene(tmp_path / "s.tif", 30, 40)
    predict_scene(classifier(), tmp_path / "s.tif", tmp_path / "m.tif")
    label = (values[0] > 1000).astype(np.uint8)
    label[:3] = 2
    share = (np.arange(3)[:, None, None] == label).astype(np.float32)
    share[0, -1] = np.nan
    label[-1] = 255
    code = np.where(label == 255, 255, 20 + 10 * label).astype(np.uint8)
    mask = {"index": label[None], "codes": code[None], "fraction": share}[kind]
    coded = MaskRules.model_validate({"classes": {20: "a", 30: "b", 40: "c"}})
    written = coded if kind == "codes" else MaskRules(classes=RULE.classes)
    write_tiff(tmp_path / "l.tif", mask, **PLACE)
    found = score_map(tmp_path / "m.tif", tmp_path / "l.tif", RULE, written, Limits())
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 29 * 40 and confusion[2].sum() == 120 and confusion[:2, :2].trace() == 26 * 40


@pytest.mark.parametrize("kind", ["index", "fraction"])
def test_one_class_against_all_is_scored_as_two(tmp_path: Path, kind: str) -> None:
    values = scene(tmp_path / "s.tif", 30, 40)

    def b_or_not(image: Tensor, valid: Tensor) -> Tensor:
        return first_band_decides(image, valid)[:, :2]

    rule = target_rule("b", ("a", "b", "c"))
    predict_scene(classifier(classes=rule.classes, probabilities=b_or_not), tmp_path / "s.tif", tmp_path / "m.tif")
    label = np.where(values[0] > 1000, 1, 2).astype(np.uint8)
    mask = label[None] if kind == "index" else (np.arange(3)[:, None, None] == label).astype(np.float32)
    write_tiff(tmp_path / "l.tif", mask, **PLACE)
    found = score_map(tmp_path / "m.tif", tmp_path / "l.tif", rule, MaskRules(classes=("a", "b", "c")), Limits())
    assert found["mean"]["iou"] == 1 and list(found["classes"]) == ["other", "b"]


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    scene(tmp_path / "s.tif", 30, 40)
    scene(tmp_path / "l.tif", 30, 41)
    predict_scene(classifier(), tmp_path / "s.tif", tmp_path / "m.tif")
    with pytest.raises(SourceError, match="41 x 30 pixels instead of 40 x 30"):
        score_map(tmp_path / "m.tif", tmp_path / "l.tif", RULE, MaskRules(classes=RULE.classes), Limits())
    with pytest.raises(SourceError, match="3 bands for 2 classes"):
        score_map(tmp_path / "m.tif", tmp_path / "s.tif", RULE, MaskRules(classes=("a", "b")), Limits())
