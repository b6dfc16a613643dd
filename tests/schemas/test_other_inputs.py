"""Bands that are no reflectances, from raw files through both packages to a map; and what greentrain does with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from greenschemas.bands import Role
from greenschemas.decoding import Decoding, decoded
from greenschemas.errors import ConfigError, SourceError
from greenschemas.recipe import Recipe
from greenschemas.store import Store, open_store
from greentrain.config import load_config
from greentrain.data.augment import Augment, Samples, augment, generator_for
from greentrain.data.loader import open_loader
from greentrain.data.normalise import build_normaliser, lit_channels
from greentrain.maps.judge import doubts, usual_of
from greentrain.maps.predict import classifier_of, predict_scene
from greentrain.maps.scene import Correction, Layout, open_scene
from greentrain.nets.export import FromRaw
from greentrain.study.contenders import fitting
from greentrain.training.checkpoint import load_trained
from greentrain.training.fit import fit
from support.inputs import ground, recipe_of, scene, write_collection

gp = pytest.importorskip("greenprep")

TINY = [
    "model.preset=tiny",
    "model.dims=[8,16]",
    "model.depths=[1,1]",
    "model.depths_decoder=[1,1]",
    "model.scan=reference",
    "epochs=2",
    "accelerator=cpu",
    "augment.crop=null",
]

QUICK = ["model.preset=unet", "model.width=8", "epochs=5", "learning_rate=0.01", "batch_size=4", *TINY[-2:]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """A split store of each kind that is asked something below."""
    made = {}
    for kind in ("embedding", "radar", "mixed"):
        folder = tmp_path_factory.mktemp(kind)
        write_collection(folder / "raw", kind, 4)
        recipe = Recipe.model_validate(recipe_of(kind))
        gp.clean(folder / "raw", folder / "clean", recipe, workers=1)
        gp.tile(folder / "clean", folder / "s.zarr", workers=0)
        gp.split(folder / "s.zarr", val=0.3)
        made[kind] = open_store(folder / "s.zarr")
    return made


def test_a_net_learns_from_embeddings_and_maps_a_scene_of_bytes_alone(stores, tmp_path) -> None:
    fit(stores["embedding"], tmp_path / "run", load_config(None, QUICK))
    trained = load_trained(tmp_path / "run")
    assert trained.normaliser.how == (Decoding.SIGNED_SQUARE,) * 64
    classifier = classifier_of(trained)
    predict_scene(classifier, scene(tmp_path / "scene.tif", "embedding"), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        label = file.read(1)
    assert (label[:4, :9] == 255).all() and (label == 255).sum() == 36
    truth = ground(99)
    assert (label == truth)[label != 255].mean() > max(np.bincount(truth.ravel())) / truth.size + 0.1

    def values(numbers: np.ndarray) -> np.ndarray:
        return decoded(numbers, [Decoding.SIGNED_SQUARE] * 64)

    with pytest.raises(SourceError, match="decoded values where bytes are usual"):
        predict_scene(classifier, scene(tmp_path / "v.tif", "embedding", change=values), tmp_path / "v_map.tif")


def test_a_scene_in_power_is_refused_where_training_had_decibels(stores, tmp_path) -> None:
    contract = stores["radar"].contract
    usual, layout = usual_of(contract), Layout(contract.bands, contract.features)
    assert usual is not None
    for change, due in (
        (None, []),
        (lambda db: 10 ** (db / 10), ["power or amplitude where decibels are usual"]),
        (lambda db: np.where(np.arange(72) < 9, -9999, db), ["-9999 in 13.0% of the pixels"]),
    ):
        path = scene(tmp_path / "s.tif", "radar", change=change)
        with open_scene(path, layout) as opened:
            found = [doubt.found for doubt in doubts(opened, usual)]
        assert len(found) == len(due) and all(word in one for one, word in zip(found, due, strict=True)), found


def test_batches_hold_decoded_values_and_an_exported_net_sees_the_same(stores) -> None:
    store = stores["embedding"]
    seen = build_normaliser(store.contract)
    batch = next(iter(open_loader(store, "train", 4, cache="none")))
    raw = store.read("image", batch["tile"].numpy()).astype(np.float64)
    valid = batch["valid"].numpy()[:, None]
    value = np.sign(raw) * (np.abs(raw) / 127.5) ** 2
    due = (value - seen.mean[:, None, None]) * seen.scale[:, None, None] * valid
    np.testing.assert_allclose(batch["image"].numpy(), due, atol=1e-5 * np.abs(due).max())
    net = FromRaw(torch.nn.Identity(), *map(torch.from_numpy, (seen.mean, seen.scale)), None, None, [True] * 64)
    gone = torch.from_numpy(np.where(valid, raw, np.nan).astype(np.float32))
    torch.testing.assert_close(net(gone), batch["image"], atol=1e-5, rtol=1e-5)


def test_embeddings_are_brought_to_other_pixels_by_their_values(stores, tmp_path) -> None:
    contract = stores["embedding"].contract
    path = scene(tmp_path / "s.tif", "embedding")
    with rasterio.open(path) as file:
        numbers = file.read()
    with open_scene(path, Layout(contract.bands, contract.features), Correction(metres=20)) as opened:
        got = decoded(opened.read(0, 0, 36, 36).values, [Decoding.SIGNED_SQUARE] * 64)
    values = decoded(numbers, [Decoding.SIGNED_SQUARE] * 64)[:, 4:, 10:]
    means = values[:, :68, :62].reshape(64, 34, 2, 31, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(got[:, 2:, 5:], means, atol=1e-6)


def test_light_and_haze_change_reflectances_alone(stores) -> None:
    contract = stores["mixed"].contract
    lit = lit_channels(contract, build_normaliser(contract))
    assert lit == tuple(band.role is Role.REFLECTANCE for band in contract.bands) == (True, True, False, False)
    plain = Samples(torch.randn(2, 4, 8, 8), torch.ones(2, 1, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool))
    settings = Augment(crop=None, flip=0, shift=0, band_jitter=0.3, haze=0.5)
    after, all_of = (
        augment(plain, settings, generator_for(1, 2, 3), blend_labels=True, lit=which).image for which in (lit, None)
    )
    assert (after[:, 2:] == plain.image[:, 2:]).all() and (after[:, :2] == all_of[:, :2]).all()
    assert (all_of[:, 2:] != plain.image[:, 2:]).any()


def test_a_threshold_on_an_index_needs_two_reflectances(stores, capsys) -> None:
    contract = stores["radar"].contract
    assert fitting(["constant", "index"], contract) == ("constant",)
    assert "`index` needs two reflectance bands, the store has 0: it is left out" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="needs two reflectance bands"):
        fitting(["index"], contract)
    assert fitting(["index"], stores["mixed"].contract) == ("index",)


def test_a_run_without_a_decoding_in_its_checkpoint_still_loads(stores, tmp_path: Path) -> None:
    fit(stores["radar"], tmp_path / "run", load_config(None, [*TINY, "epochs=1"]))
    path = tmp_path / "run/checkpoints/best.pt"
    content = torch.load(path, weights_only=True)
    assert content["normaliser"].pop("decode") == []
    torch.save(content, path)
    assert load_trained(tmp_path / "run").normaliser.how == ()
