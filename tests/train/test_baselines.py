"""Baselines without a net: shares of the labelled pixels, and what a pixel's own bands say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from greentrain.study.baselines import Baseline, ConstantBaseline, IndexBaseline, LinearBaseline
from greentrain.study.trees import TreesBaseline


def _task(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (4, 3, 16, 16) and hard fractions (4, 2, 16, 16): the class is the sign of the first band."""
    image = np.random.default_rng(seed).normal(size=(4, 3, 16, 16)).astype(np.float32)
    first = image[:, 0] > 0
    return image, np.stack([~first, first], axis=1).astype(np.float32)


def test_constant_is_the_mean_of_the_labelled_valid_fractions() -> None:
    image, fraction = _task()
    fraction[:, 0, :8], fraction[:, 1, :8] = 0.25, 0.75
    fraction[0] = np.nan
    valid = np.ones((4, 16, 16), dtype=bool)
    valid[:, 8:] = False
    got = ConstantBaseline().fit(image, fraction, valid).predict(image[:1, :, :5, :7])
    assert got.shape == (1, 2, 5, 7)
    np.testing.assert_allclose(got[0, :, 2, 3], [0.25, 0.75])


def test_trees_learns_a_rule_on_a_band() -> None:
    got = TreesBaseline(iterations=[20]).fit(*_task()).predict(_task(1)[0]).argmax(axis=1)
    assert (got == _task(1)[1].argmax(axis=1)).mean() > 0.95


def test_trees_probabilities_estimate_fractions() -> None:
    image = np.repeat(np.repeat([[[[-1.0]], [[1.0]]]], 64, axis=2), 64, axis=3).reshape(2, 1, 64, 64)
    fraction = np.where(image > 0, 0.8, 0.3)
    fraction = np.concatenate([fraction, 1 - fraction], axis=1)
    got = TreesBaseline(iterations=[30]).fit(image, fraction).predict(image)
    np.testing.assert_allclose(got, fraction, atol=0.03)


def test_trees_runs_of_one_seed_agree_and_sums_are_one() -> None:
    image, fraction = _task()
    runs = [TreesBaseline(max_pixels=300, iterations=[5], seed=4).fit(image, fraction).predict(image) for _ in "ab"]
    np.testing.assert_array_equal(*runs)
    np.testing.assert_allclose(runs[0].sum(axis=1), 1, rtol=1e-5)


def test_trees_keeps_a_place_for_classes_it_never_saw() -> None:
    image, fraction = _task()
    wide = np.insert(fraction, 1, 0.0, axis=1)
    got = TreesBaseline(iterations=[5]).fit(image, wide).predict(image)
    assert got.shape == (4, 3, 16, 16)
    assert (got[:, 1] == 0).all()
    only = np.zeros_like(wide)
    only[:, 2] = 1
    assert (TreesBaseline().fit(image, only).predict(image)[:, 2] == 1).all()


def test_trees_with_scales_see_what_single_pixels_do_not() -> None:
    rng = np.random.default_rng(0)
    rough = np.repeat([False, True], 2)
    image = (rng.normal(size=(4, 1, 48, 48)) * np.where(rough, 2, 1)[:, None, None, None]).astype(np.float32)
    fraction = np.broadcast_to(np.stack([~rough, rough], 1)[..., None, None], (4, 2, 48, 48)).astype(np.float32)
    right = []
    for scales in ((), (4.0,)):
        found = TreesBaseline(scales=scales, iterations=[20]).fit(image[::2], fraction[::2]).predict(image[1::2])
        right.append((found.argmax(1) == fraction[1::2].argmax(1)).mean())
    assert right[0] < 0.75 and right[1] > 0.95


def test_trees_take_the_iterations_that_suit_groups_held_out() -> None:
    """Labels of which three in ten are wrong: many trees learn them by heart, and that holds nowhere else."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(6, 8, 12, 12)).astype(np.float32)
    truth = (image[:, 0] > 0) ^ (rng.random((6, 12, 12)) < 0.3)
    fraction = np.stack([~truth, truth], 1).astype(np.float32)
    model = TreesBaseline(iterations=[3, 100])
    assert model.fit(image, fraction).chosen == 100
    assert model.fit(image, fraction, group=np.arange(6)).chosen == 3


def test_trees_bound_pixels_times_features() -> None:
    image, fraction = _task()
    few = TreesBaseline(max_values=300, iterations=[5], seed=1).fit(image, fraction).predict(image)
    same = TreesBaseline(max_pixels=100, iterations=[5], seed=1).fit(image, fraction).predict(image)
    np.testing.assert_array_equal(few, same)


def test_index_finds_the_pair_of_bands_and_its_thresholds() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(100, 4000, size=(2, 4, 32, 32)).astype(np.float32)
    ndvi = (image[:, 3] - image[:, 1]) / (image[:, 3] + image[:, 1])
    truth = np.digitize(ndvi, [-0.2, 0.3])
    fraction = (truth[:, None] == np.arange(3)[None, :, None, None]).astype(np.float32)
    model = IndexBaseline().fit(image, fraction)
    assert model.pair == (1, 3)
    found = model.predict(image)
    assert (found.argmax(1) == truth).mean() > 0.97
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_index_of_one_band_or_no_light_says_the_shares() -> None:
    _, fraction = _task()
    found = IndexBaseline().fit(np.zeros((4, 1, 16, 16), np.float32), fraction).predict(np.zeros((1, 1, 2, 2)))
    np.testing.assert_allclose(found[0, :, 0, 0], fraction.mean((0, 2, 3)), atol=1e-6)


@given(st.integers(0, 2**20), st.floats(0, 1e4))
def test_linear_is_least_squares_on_valid_labelled_pixels(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    image = level + rng.normal(size=(3, 4, 6, 6)) * np.array([1.0, 50.0, 0.01, 3.0])[:, None, None]
    image[:, 3] = 7.0  # says nothing
    fraction = rng.dirichlet([1, 1, 1], size=(3, 6, 6)).transpose(0, 3, 1, 2)
    fraction[0, :, :2], valid = np.nan, rng.random((3, 6, 6)) < 0.8
    got = LinearBaseline().fit(image, fraction, valid).predict(image)
    known = valid & ~np.isnan(fraction).any(1)
    pixels = image.transpose(0, 2, 3, 1)
    peer = LinearRegression().fit(pixels[known][:, :3], fraction.transpose(0, 2, 3, 1)[known])
    share = np.clip(peer.predict(pixels.reshape(-1, 4)[:, :3]), 0, 1)
    share /= share.sum(1, keepdims=True)
    np.testing.assert_allclose(got.transpose(0, 2, 3, 1).reshape(-1, 3), share, atol=1e-4)


@pytest.mark.parametrize("model", [ConstantBaseline(), IndexBaseline(), LinearBaseline(), TreesBaseline()])
def test_nothing_labelled_is_an_error(model: Baseline) -> None:
    image, fraction = _task()
    with pytest.raises(ValueError, match="no pixel of 1024"):
        model.fit(image, np.full_like(fraction, np.nan))


@pytest.mark.parametrize("model", [ConstantBaseline(), IndexBaseline(), LinearBaseline(), TreesBaseline()])
def test_predicting_before_fitting_is_an_error(model: Baseline) -> None:
    with pytest.raises(ValueError, match="before `fit`"):
        model.predict(np.zeros((1, 1, 2, 2)))
