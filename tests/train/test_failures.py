"""The failures that cost the data's owner six weeks, made again on purpose: each is impossible, or caught in words."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
import zarr
from torch import Tensor

from greenschemas.bands import Band
from greenschemas.contract import BandStats, Contract
from greenschemas.errors import SourceError
from greenschemas.layout import FRACTION_SCALE, UNLABELLED
from greenschemas.store import open_store, write_contract
from greenschemas.value_checks import Levels, find_factor, levels_of, looks_wrapped
from greentrain.config import load_config
from greentrain.data.loader import open_loader
from greentrain.data.normalise import build_normaliser
from greentrain.data.targets import target_rule
from greentrain.data.value_range import wrapped_store
from greentrain.maps.judge import Usual, usual_of
from greentrain.maps.predict import Classifier, Options, predict_scene
from greentrain.maps.scene import Layout
from greentrain.scores.metrics import confusion, scores
from greentrain.study.mistakes import find_mistakes
from greentrain.training.fit import fit
from greentrain.training.losses import build_loss
from greentrain.training.watchdogs import find_collapse
from support.stores import tiny_contract, write_tiny_store

LEARNT = [1246.5, 1049.9, 1010.1, 878.9, 1125.1]  # band means of the owner's scenes
UNKNOWN = np.full(5, np.nan)
USUAL = Usual(tuple("ABCDE"), Levels(UNKNOWN, np.array(LEARNT), UNKNOWN, UNKNOWN), 10_000, "uint16", 10_000)


def scene_values(rng: np.random.Generator, pixels: int = 20_000) -> np.ndarray:
    """(5, N) reflectances x 10000 with the means and deviations of the owner's scenes."""
    deviation = np.array([497.0, 554.0, 572.0, 677.0, 624.0])[:, None]
    return rng.normal(np.array(LEARNT)[:, None], deviation, (5, pixels)).clip(1, 10000)


def with_statistics(contract: Contract, stats: list[BandStats]) -> Contract:
    assert contract.statistics is not None
    return contract.model_copy(update={"statistics": contract.statistics.model_copy(update={"bands": tuple(stats)})})


# wrong normalisation -------------------------------------------------------------------------------------------------


def test_a_dead_band_gives_zero_and_never_nan() -> None:
    contract = with_statistics(
        tiny_contract(),
        [BandStats(mean=1000, std=200, minimum=0, maximum=3000), BandStats(mean=7, std=0, minimum=7, maximum=7)] * 1
        + [BandStats(mean=0, std=0, minimum=0, maximum=0)],
    )
    found = build_normaliser(contract)(np.full((1, 2, 4, 4), 7, np.uint16), np.ones((1, 4, 4), bool))
    assert np.isfinite(found).all() and (found[:, 1] == 0).all()


def test_a_bright_tile_stays_brighter_than_a_dark_one(tmp_path: Path) -> None:
    """Squeezing each tile into 0..255 by its own range made all tiles alike, and the net learnt nothing."""
    write_tiny_store(tmp_path / "s.zarr", sources=2)
    image = zarr.open_group(str(tmp_path / "s.zarr"))["image"]
    image[1] = np.asarray(image[0]) * 2
    dark, bright = open_loader(tmp_path / "s.zarr", "all", 4).load(np.array([0, 1]))["image"]
    assert (bright[:, 1:] - dark[:, 1:]).min() > 1


@pytest.mark.parametrize(
    "spoil",
    [lambda v: v / 255, lambda v: v / 10000, lambda v: v / 10000 * 255, lambda v: v * 100],
    ids=["by 255", "0 to 1", "8 bits", "percent of percent"],
)
def test_a_scene_in_other_units_is_refused(spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    values = scene_values(np.random.default_rng(0))
    assert find_factor(levels_of(values), USUAL.levels, 10_000) is None
    assert find_factor(levels_of(spoil(values)), USUAL.levels, 10_000) is not None


def test_another_season_or_cloud_is_not_refused() -> None:
    values = scene_values(np.random.default_rng(0))
    for factor in (0.2, 0.5, 2.0, 4.0):
        assert find_factor(levels_of(values * factor), USUAL.levels) is None
    haze = values * np.array([1.2, 8, 8, 9, 2])[:, None]
    assert find_factor(levels_of(haze), USUAL.levels) is None


# swapped masks -------------------------------------------------------------------------------------------------------


def test_masks_of_other_images_come_out_first_among_the_errors(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=6)
    array = zarr.open_group(str(tmp_path / "s.zarr"))["fraction"]
    a, b = np.asarray(array[2]), np.asarray(array[7])
    array[2], array[7] = b, a
    store = open_store(tmp_path / "s.zarr")

    def probabilities(raw: Tensor, valid: Tensor) -> Tensor:
        nearest = ((raw[:, :1].float() - 1000) / 150 + 1).round().clamp(0, 2)
        return torch.where(nearest == torch.arange(3).view(1, 3, 1, 1), 0.98, 0.01)

    run = SimpleNamespace(
        contract=store.contract,
        rule=target_rule("fractions", store.contract.classes),
        normaliser=SimpleNamespace(bands=store.contract.features),
        probabilities=probabilities,
    )
    tiles = find_mistakes(run, store)  # type: ignore[arg-type]
    assert {tile.tile for tile in tiles[:2]} == {2, 7} and min(tile.suspect for tile in tiles[:2]) > 0.3


# constant prediction -------------------------------------------------------------------------------------------------


def constant_scores() -> dict[str, object]:
    """Trees everywhere, over ground that is three quarters trees: "mIoU 0.76, F1 0.87" of the owner's notes."""
    truth = torch.zeros(1, 2, 8, 8)
    truth[:, 1], truth[:, 0, :2] = 1.0, 1.0
    truth[:, 1, :2] = 0.0
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 1] = 9.0
    return scores(confusion(logits, truth, torch.ones(1, 8, 8)), ("other", "trees"))


def test_a_constant_scores_no_better_than_the_constant_beside_it() -> None:
    found = constant_scores()
    assert found["mean"] == found["constant"]["mean"] and found["constant"]["class"] == "trees"  # type: ignore[index]
    assert found["classes"]["trees"]["specificity"] == 0  # type: ignore[index]


def test_a_net_that_says_one_class_is_called_a_collapse_with_its_causes() -> None:
    finding = find_collapse([constant_scores()] * 3)
    assert finding is not None
    assert "`trees`" in str(finding) and "1. labels: do masks belong to their images" in str(finding)


def test_training_without_anything_to_learn_ends_with_the_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=4)
    group = zarr.open_group(str(tmp_path / "s.zarr"))
    group["image"][:] = np.random.default_rng(0).integers(0, 3000, group["image"].shape).astype(np.uint16)
    lawn = np.asarray(group["fraction"][:])
    lawn[lawn != UNLABELLED] = 0
    lawn[:, 1, 2:-1] = lawn[:, 0, :2] = FRACTION_SCALE
    group["fraction"][:] = lawn
    config = load_config(
        None,
        [
            "model.preset=tiny",
            "model.dims=[8]",
            "model.depths=[1]",
            "model.depths_decoder=[1]",
            "epochs=3",
            "batch_size=4",
            "collapse_checks=3",
            "class_weights=none",
            "loss=ce",
        ],
    )
    fit(open_store(tmp_path / "s.zarr"), tmp_path / "run", config)
    assert "collapse" in capsys.readouterr().err


# tie labels ----------------------------------------------------------------------------------------------------------


def test_a_tie_has_one_label_and_not_five() -> None:
    fraction = torch.full((1, 5, 2, 2), 0.2)
    target = target_rule("hard", tuple("abcde"))(fraction, torch.ones(1, 2, 2, dtype=torch.bool))
    assert (target.fraction.sum(1) == 1).all() and (target.fraction.argmax(1) == 0).all()


# scrambled scores, Dice on raw logits --------------------------------------------------------------------------------


def test_a_perfect_net_scores_one_and_random_logits_do_not() -> None:
    """Reshaped to (-1, 5), a perfect net had a mean IoU of 0.09 and random logits a specificity of 0.80."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.one_hot(torch.randint(5, (4, 16, 16), generator=rng), 5).movedim(-1, 1).float()
    counted = torch.ones(4, 16, 16)
    assert scores(confusion(truth, truth, counted), tuple("abcde"))["mean"]["iou"] == 1
    noise = torch.randn(4, 5, 16, 16, generator=rng)
    assert scores(confusion(noise, truth, counted), tuple("abcde"))["mean"]["iou"] < 0.2


def test_dice_of_any_logits_lies_between_zero_and_one() -> None:
    loss = build_loss("dice")
    rng = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.one_hot(torch.randint(3, (2, 8, 8), generator=rng), 3).movedim(-1, 1).float()
    for scale in (0.1, 10.0, 1000.0):
        value = loss(scale * torch.randn(2, 3, 8, 8, generator=rng), truth, torch.ones(2, 8, 8))
        assert 0 <= float(value) <= 1


# wrapped data --------------------------------------------------------------------------------------------------------


def wrapped_stats() -> list[BandStats]:
    """What the owner's later statistics were: mean about 125, deviation about 75, zeros in the last band."""
    return [BandStats(mean=125, std=75, minimum=0, maximum=255)] * 5 + [BandStats(mean=0, std=0, minimum=0, maximum=0)]


def test_a_store_of_wrapped_values_is_recognised_and_honest_ones_are_not() -> None:
    contract = tiny_contract(channels=6)
    assert wrapped_store(contract) is None
    assert wrapped_store(contract.model_copy(update={"statistics": None})) is None
    found = wrapped_store(with_statistics(contract, wrapped_stats()))
    assert found is not None and "modulo 256" in found
    photo = [BandStats(mean=mean, std=45, minimum=0, maximum=255) for mean in (90, 100, 95, 110, 80)]
    assert wrapped_store(with_statistics(contract, [*photo, photo[0]])) is None


def test_training_on_wrapped_values_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = write_tiny_store(tmp_path / "s.zarr", channels=6)
    write_contract(zarr.open_group(str(tmp_path / "s.zarr")), with_statistics(contract, wrapped_stats()))
    config = load_config(None, ["model.preset=tiny", "epochs=1", "batch_size=4"])
    fit(open_store(tmp_path / "s.zarr"), tmp_path / "run", config)
    assert "modulo 256" in capsys.readouterr().err


def test_a_wrapped_scene_is_refused_and_the_whole_one_is_not() -> None:
    def wraps(values: np.ndarray) -> bool:
        return looks_wrapped(*(list(f(values, axis=1)) for f in (np.mean, np.std, np.min, np.max)))

    values = scene_values(np.random.default_rng(0))
    assert not wraps(values) and wraps(values.astype(np.uint16) % 256)
    assert not looks_wrapped([127.5] * 2, [73.9] * 2, [0] * 2, [255] * 2)  # two bands prove nothing


def test_predict_refuses_before_it_draws(tmp_path: Path) -> None:
    values = scene_values(np.random.default_rng(0), 1600).reshape(5, 40, 40)
    with rasterio.open(
        tmp_path / "s.tif",
        "w",
        driver="GTiff",
        count=5,
        height=40,
        width=40,
        dtype="float32",
        crs="EPSG:32618",
        transform=rasterio.Affine(10, 0, 4e5, 0, -10, 4e6),
    ) as file:
        file.write((values / 10000).astype(np.float32))
    layout = Layout(tuple(Band(name=name) for name in "ABCDE"), tuple("ABCDE"))
    net = Classifier("net", ("a", "b"), layout, 16, lambda image, valid: image[:, :2], USUAL)
    with pytest.raises(SourceError, match=r"as 0\.\.1.*--scale 10000"):
        predict_scene(net, tmp_path / "s.tif", tmp_path / "m.tif")
    assert not (tmp_path / "m.tif").exists()
    predict_scene(net, tmp_path / "s.tif", tmp_path / "m.tif", Options(scale=1e4))
    assert (tmp_path / "m.tif").exists()


def test_bands_that_are_no_reflectance_have_no_level() -> None:
    usual = usual_of(tiny_contract())
    assert usual is not None and usual.names == ("B1", "B2")
    assert usual.at(("B1", "B3")).median.tolist()[:1] == [1000] and np.isnan(usual.at(("B3",)).median).all()
    assert usual_of(tiny_contract().model_copy(update={"statistics": None})) is None
