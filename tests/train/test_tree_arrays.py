"""`greentrain.nets.tree_arrays` beside scikit-learn, and runs whose net predicts together with trees."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import greentrain as gt
from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from greentrain.maps.predict import Options, classifier_of, predict_scene
from greentrain.nets.surroundings import feature_count, reach, surroundings
from greentrain.nets.tree_arrays import TreeArrays
from greentrain.study.evaluate import evaluate
from greentrain.study.trees import TreesBaseline
from greentrain.training.checkpoint import TREES_NAME, load_trained
from greentrain.training.record import read_record
from support.nets import QUICK
from support.stores import write_tiny_store

# Fabric asks for a package that we do not use; rioxarray multiplies transforms by `*`.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]


def grown(
    seed: int, classes: int, seen: int, iterations: int = 8, scales: tuple[float, ...] = ()
) -> tuple[TreesBaseline, np.ndarray]:
    """Trees that learnt the first `seen` of some classes, and images (3, 4, 24, 24) to ask them about."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(3, 4, 24, 24)).astype(np.float32)
    image[0] = np.round(image[0], 1)  # many equal values
    label = (3 * np.abs(image[:, :2].sum(1))).astype(int) % seen
    fraction = np.eye(classes, dtype=np.float32)[label].transpose(0, 3, 1, 2)
    return TreesBaseline(iterations=[iterations], seed=seed, scales=scales).fit(image, fraction), image


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(2, 5), st.data())
def test_arrays_answer_as_scikit_learn_does(seed: int, classes: int, data: st.DataObject) -> None:
    trees, image = grown(seed, classes, data.draw(st.integers(1, classes)))
    arrays = trees.as_arrays(4)
    # Pixels on the very thresholds, as far as float32 has them, and beside them.
    edges = arrays.threshold[np.isfinite(arrays.threshold)][:576]
    if len(edges):
        image[1, 0] = np.resize(edges, (24, 24))
        image[1, 1] = np.nextafter(np.resize(edges, (24, 24)), np.float32(np.inf))
    found = arrays(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, trees.predict(image), rtol=0, atol=2e-7)


@settings(max_examples=8)
@given(st.integers(0, 99), st.sampled_from([(0.6,), (1.0, 2.0)]), st.integers(1, 3000))
def test_trees_that_see_surroundings_answer_as_scikit_learn_does(
    seed: int, scales: tuple[float, ...], values: int
) -> None:
    """Whatever the strips that an image is gone through in."""
    trees, image = grown(seed, 3, 3, scales=scales)
    arrays = trees.as_arrays(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("greentrain.nets.tree_arrays._VALUES", values)
        found = arrays(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, trees.predict(image), rtol=0, atol=2e-7)


def test_surroundings_are_weighted_means_and_deviations() -> None:
    """The oracle: the weights of a Gaussian written out, at a pixel that no edge is near."""
    image = np.random.default_rng(0).normal(size=(2, 21, 21)).astype(np.float32)
    found = surroundings(image, (1.5,))
    assert found.shape == (feature_count(2, (1.5,)), 21, 21) and reach((1.5,)) == 6
    away = np.arange(-6, 7)
    weight = np.exp(-(away**2) / (2 * 1.5**2))
    weight = np.outer(weight, weight) / weight.sum() ** 2
    part = image[:, 4:17, 4:17].astype(float)
    mean = (part * weight).sum((1, 2))
    deviation = np.sqrt((part**2 * weight).sum((1, 2)) - mean**2)
    np.testing.assert_array_equal(found[:2], image)
    np.testing.assert_allclose(found[2:, 10, 10], [*mean, *deviation], rtol=1e-4)
    flat = surroundings(np.full((1, 9, 9), 3, np.float32), (2.0,))
    np.testing.assert_allclose(flat[:, 4, 4], [3, 3, 0], atol=1e-3)


def test_a_file_of_trees_is_read_back_and_a_spoilt_one_is_named(tmp_path: Path) -> None:
    trees = grown(1, 3, 3, scales=(1.0, 3.0))[0].as_arrays(4)
    path = tmp_path / "trees.npz"
    trees.save(path)
    assert TreeArrays.load(path).identity == trees.identity and TreeArrays.load(path).reach == 12
    whole = path.read_bytes()
    for spoilt in (b"", whole[:-40], whole[:200] + bytes([whole[200] ^ 8]) + whole[201:]):
        path.write_bytes(spoilt)
        with pytest.raises(ConfigError, match="a broken file of trees"):
            TreeArrays.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"child": lambda child: child[::-1].copy()},
        {"feature": lambda feature: feature + 9},
        {"root": lambda root: root + 10_000},
        {"class_of": lambda class_of: class_of + 9},
        {"value": lambda value: value[1:]},
        {"start": lambda start: np.full_like(start, -np.inf)},
        {"scales": lambda _: (1e9,)},
        {"scales": lambda _: (float("nan"),)},
    ],
)
def test_arrays_that_are_no_trees_are_refused(change: dict) -> None:
    trees = grown(1, 3, 3)[0].as_arrays(4)
    arrays = {**vars(trees), **{name: edit(vars(trees)[name]) for name, edit in change.items()}}
    with pytest.raises(ValueError, match="no trees"):
        TreeArrays(**arrays)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose net is as good as untrained, so that trees help; its store beside it."""
    folder = tmp_path_factory.mktemp("mixed")
    write_tiny_store(folder / "s.zarr", seed=3)
    gt.fit(folder / "s.zarr", folder / "run", changes=[*QUICK, "trees=true", "learning_rate=1e-6"], epochs=1)
    return folder / "run"


def test_trees_that_help_are_kept_and_then_predict_with_the_net(run: Path) -> None:
    record = read_record(run)
    assert record.averaged and (run / "checkpoints" / TREES_NAME).exists()
    # The oracle: scikit-learn's answers to the images that the net sees, averaged by hand.
    trained = load_trained(run)
    raw = torch.rand(2, trained.normaliser.channels, 8, 8)
    valid = torch.ones(2, 8, 8, dtype=torch.bool)
    assert trained.trees is not None
    image = torch.from_numpy(trained.normaliser(raw.numpy(), valid.numpy()))
    expected = (trained.of_net(raw, valid) + trained.trees(image)) / 2
    torch.testing.assert_close(trained.probabilities(raw, valid), expected)


def test_a_map_an_array_and_the_scores_are_of_the_mean(run: Path, tmp_path: Path) -> None:
    """The oracle is the run without its trees, and the trees by themselves."""
    trained = load_trained(run)
    assert trained.trees is not None
    store = open_store(run.parent / "s.zarr")
    scene = store.source(store.texts("path")[0])
    scene.rio.write_nodata(np.nan).rio.to_raster(tmp_path / "s.tif")
    written = predict_scene(
        classifier_of(trained), tmp_path / "s.tif", tmp_path / "m.tif", Options(fractions=True, force=True)
    )
    with rasterio.open(next(path for path in written if "fractions" in path.name)) as file:
        mapped = file.read()
    both = gt.load_run(run, device="cpu").predict(scene).values
    np.testing.assert_allclose(mapped, both, atol=1e-6)
    scores = evaluate(run, split="val")
    kept = run / "checkpoints" / TREES_NAME
    aside = kept.rename(tmp_path / TREES_NAME)
    alone = gt.load_run(run, device="cpu").predict(scene).values
    assert load_trained(run).identity != trained.identity
    assert evaluate(run, split="val")["confusion"] != scores["confusion"]
    aside.rename(kept)
    names = [str(band) for band in scene.band.values]
    raw = torch.from_numpy(scene.values[[names.index(name) for name in trained.normaliser.bands]].astype(np.float32))
    usable = torch.isfinite(torch.from_numpy(alone)).all(0)
    of_trees = trained.of_trees(torch.nan_to_num(raw)[None], usable[None])[0].numpy()
    seen = usable.numpy()
    np.testing.assert_allclose(both[:, seen], (alone[:, seen] + of_trees[:, seen]) / 2, atol=1e-6)


def test_trees_of_another_net_are_refused(run: Path, tmp_path: Path) -> None:
    kept = run / "checkpoints" / TREES_NAME
    before = kept.read_bytes()
    try:
        grown(1, 7, 7)[0].as_arrays(4).save(kept)
        with pytest.raises(ConfigError, match="the net has others"):
            load_trained(run)
    finally:
        kept.write_bytes(before)


def test_without_the_setting_no_trees_are_kept(run: Path, tmp_path: Path) -> None:
    gt.fit(run.parent / "s.zarr", tmp_path / "run", changes=[*QUICK, "learning_rate=1e-6"], epochs=1)
    assert not (tmp_path / "run" / "checkpoints" / TREES_NAME).exists()
