"""Laws and oracles of `greenprep.store.moments`, `histogram` and `weights`."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenprep.store.histogram import RELATIVE_ERROR, SMALLEST, Histogram, codes_of, middle_of
from greenprep.store.moments import Moments, class_sums, merge, merge_all
from greenschemas.class_weights import class_weights

DTYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")


def pixels(seed, dtype, bands=3, height=9, width=11, offset=0.0, scale=300.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(offset, scale, (bands, height, width))
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    image = values.astype(dtype)
    coded = np.stack([rng.multinomial(200, (0.5, 0.3, 0.2)) for _ in range(height * width)])
    fraction = coded.T.reshape(3, height, width).astype(np.uint8)
    fraction[:, rng.random((height, width)) < 0.2] = 255
    return image, rng.random((height, width)) < rng.uniform(0.05, 1), fraction


def two_pass(image, valid):
    x = image[:, valid].astype(np.float64)
    mean = x.mean(axis=1)
    away = x - mean[:, None]
    return mean, away @ away.T


def close(found, due, scale):
    np.testing.assert_allclose(found, due, rtol=1e-9, atol=1e-9 * scale)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.sampled_from([0.0, 1e4, 6e4]))
def test_moments_are_those_of_a_two_pass_float64(seed, dtype, offset):
    image, valid, fraction = pixels(seed, dtype, offset=offset)
    found = Moments.of(image, valid, fraction)
    if not valid.any():
        assert not found.count.any()
        return
    mean, comoment = two_pass(image, valid)
    close(found.mean, mean, np.abs(mean).max())
    close(found.comoment, comoment, comoment.max())
    assert np.array_equal(found.minimum, image[:, valid].min(axis=1))
    assert np.array_equal(found.maximum, image[:, valid].max(axis=1))
    assert np.array_equal(found.histogram.count.sum(axis=1), found.count)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.lists(st.integers(0, 9), max_size=4))
def test_merging_any_cut_gives_the_moments_of_the_whole(seed, dtype, cuts):
    image, valid, fraction = pixels(seed, dtype, offset=2e4)
    edges = sorted({0, 9, *cuts})
    parts = [Moments.of(image[:, a:b], valid[a:b], fraction[:, a:b]) for a, b in pairwise(edges)]
    found, whole = merge_all(parts, 3, 3), Moments.of(image, valid, fraction)
    assert np.array_equal(found.count, whole.count)
    close(found.mean, whole.mean, 2e4)
    close(found.comoment, whole.comoment, whole.comoment.max(initial=1))
    np.testing.assert_allclose(found.class_sum, whole.class_sum, rtol=1e-12)
    for name in ("minimum", "maximum", "class_count"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))
    assert np.array_equal(found.histogram.code, whole.histogram.code)
    assert np.array_equal(found.histogram.count, whole.histogram.count)


def test_more_pixels_than_a_block_are_measured_as_one():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (2, 300, 500)).astype(np.uint16)
    valid = np.ones((300, 500), bool)
    found = Moments.of(image, valid, np.zeros((2, 300, 500), np.uint8))
    mean, comoment = two_pass(image, valid)
    close(found.mean, mean, 1e4)
    close(found.comoment, comoment, comoment.max())


def test_a_constant_band_has_no_deviation_at_all():
    image = np.full((1, 40, 40), 0.1, np.float32)
    found = Moments.of(image, np.ones((40, 40), bool), np.zeros((2, 40, 40), np.uint8))
    assert found.comoment[0, 0] == 0 and found.minimum[0] == found.maximum[0] == found.mean[0]


def test_nothing_added_changes_nothing():
    image, valid, fraction = pixels(1, "uint16")
    whole = Moments.of(image, valid, fraction)
    nothing = Moments.of(image, np.zeros_like(valid), fraction)
    for none in (nothing, Moments.empty(3, 3)):
        assert merge(whole, none) is whole and merge(none, whole) is whole
    for name, dtype in (("count", np.int64), ("class_sum", np.float64), ("class_count", np.int64), ("mean", float)):
        held = getattr(nothing, name)
        assert held.dtype == dtype and held.tolist() == [0, 0, 0] and getattr(whole, name).dtype == dtype
    assert nothing.comoment.tolist() == [[0.0] * 3] * 3 and nothing.variance.tolist() == [0.0] * 3
    assert nothing.minimum.tolist() == [np.inf] * 3 and nothing.maximum.tolist() == [-np.inf] * 3
    assert nothing.histogram.count.shape == (3, 0)


def test_classes_count_where_pixels_are_valid_and_labelled():
    fraction = np.array([[[100, 200, 255, 50]], [[100, 0, 255, 150]]], np.uint8)
    sums, counts = class_sums(fraction, np.array([[True, True, True, False]]))
    assert sums.tolist() == [1.5, 0.5]
    assert counts.tolist() == [2, 0]  # a tie goes to the first


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_class_sums_are_those_of_numpys_argmax(seed, classes):
    rng = np.random.default_rng(seed)
    fraction = rng.integers(0, 6, (classes, 8, 9)).astype(np.uint8)  # few values: many ties
    fraction[:, rng.random((8, 9)) < 0.3] = 255
    valid = rng.random((8, 9)) < 0.7
    use = valid & (fraction[0] != 255)
    sums, counts = class_sums(fraction, valid)
    np.testing.assert_array_equal(sums, fraction[:, use].sum(axis=1, dtype=int) / 200)
    assert counts.dtype == np.int64
    assert counts.tolist() == [np.count_nonzero(fraction.argmax(axis=0)[use] == k) for k in range(classes)]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.floats(0.001, 0.999))
def test_percentiles_are_within_the_stated_error(seed, dtype, share):
    image, _, _ = pixels(seed, dtype, scale=2000.0)
    values = image.reshape(3, -1)
    found = Histogram.of(values).percentiles(share, integer=values.dtype.kind in "iu")
    due = np.percentile(values.astype(np.float64), share * 100, axis=1, method="inverted_cdf")
    assert (np.abs(found - due) <= np.maximum(RELATIVE_ERROR * np.abs(due) * (1 + 1e-6), SMALLEST)).all()


def test_codes_are_in_the_order_of_values_and_small_whole_numbers_are_exact():
    values = np.concatenate([-np.geomspace(1e-2, 1e9, 500)[::-1], [0.0], np.geomspace(1e-2, 1e9, 500)])
    assert (np.diff(codes_of(values)) >= 0).all()
    assert [middle_of(int(code), True) for code in codes_of(np.arange(32, dtype=np.uint16))] == list(range(32))


def test_a_band_without_pixels_has_no_percentile():
    assert np.isnan(Histogram.empty(2).percentiles(0.5, integer=True)).all()


def test_inverse_frequency_weights_are_those_of_the_field():
    counts = np.array([[17208184, 14356287, 19162672, 3220142, 542660]], float)
    due = [0.02490574, 0.02985331, 0.02236549, 0.13309433, 0.78978115]
    weights = class_weights(counts)
    assert [round(weight, 8) for weight in weights["inverse"]] == due
    roots = 1 / np.sqrt(counts[0])
    np.testing.assert_allclose(weights["sqrt"], roots / roots.sum(), rtol=1e-6)
    b = 1 - 1 / counts.sum()
    effective = (1 - b) / (1 - b ** counts[0])
    np.testing.assert_allclose(weights["effective"], effective / effective.sum(), rtol=1e-6)


def test_median_frequency_counts_only_groups_that_have_the_class():
    weights = class_weights(np.array([[90.0, 10.0], [100.0, 0.0]]))["median"]
    frequency = np.array([190 / 200, 10 / 100])
    np.testing.assert_allclose(weights, 1 / frequency / (1 / frequency).sum(), rtol=1e-6)


@pytest.mark.parametrize("scheme", ["inverse", "sqrt", "effective", "median"])
def test_weights_sum_to_one_and_an_absent_class_weighs_nothing(scheme):
    weights = class_weights(np.array([[5.0, 0.0, 3.0], [1.0, 0.0, 0.0]]))[scheme]
    assert weights[1] == 0
    assert sum(weights) == pytest.approx(1)


def test_no_label_at_all_weighs_nothing():
    assert class_weights(np.zeros((2, 3)))["inverse"] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("kind", "below"), [("uint8", 256), ("uint16", 2), ("uint16", 3000), ("uint16", 65536)])
def test_a_histogram_of_small_whole_numbers_is_that_of_the_same_numbers_in_a_wide_type(kind, below):
    values = np.random.default_rng(0).integers(0, below, (3, 5000)).astype(kind)
    narrow, wide = Histogram.of(values), Histogram.of(values.astype(np.int64))
    assert np.array_equal(narrow.code, wide.code) and np.array_equal(narrow.count, wide.count)
