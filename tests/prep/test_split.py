"""`greenprep.split.deal` and `units`: laws of dealing out, and how near it comes to the best that is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from greenprep.split.deal import deal, deal_more, imbalance
from greenprep.split.grow import NEW, place_new
from greenprep.split.keep_together import block_keys, joined, name_keys
from greenschemas.errors import ConfigError
from greenschemas.layout import NO_SPLIT
from greenschemas.recipe import Pairing

SHARES = np.array([0.7, 0.2, 0.1])


def collection(units, seed=0):
    """Class sums of areas of 5,000 to 50,000 pixels, with rare classes."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet([3, 2.6, 3.5, 0.6, 0.1], units) * rng.uniform(5000, 50000, (units, 1))


def worst_difference(sums, choice):
    """Greatest difference of a class's share between a split and the whole."""
    whole = sums.sum(axis=0) / sums.sum()
    return max(np.abs(sums[choice == s].sum(axis=0) / sums[choice == s].sum() - whole).max() for s in np.unique(choice))


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 60), st.integers(0, 1000), st.integers(0, 5))
def test_every_split_gets_a_unit_and_the_same_seed_the_same_split(units, of, seed):
    sums = collection(units, of)
    choice = deal(sums, SHARES, seed)
    assert set(choice.tolist()) == {0, 1, 2}
    assert np.array_equal(choice, deal(sums, SHARES, seed))


def test_other_seeds_give_other_splits():
    sums = collection(80)
    assert len({deal(sums, SHARES, seed).tobytes() for seed in range(5)}) > 1


def test_a_split_of_no_share_gets_nothing():
    assert set(deal(collection(10), np.array([0.8, 0.2, 0.0]), 0).tolist()) == {0, 1}
    assert set(deal(collection(3), np.array([1.0, 0.0, 0.0]), 0).tolist()) == {0}


def test_too_few_units_say_so():
    with pytest.raises(ConfigError, match="2 units of ground for 3 splits"):
        deal(collection(2), SHARES, 0)


def test_units_without_any_label_are_dealt_out_by_number():
    choice = deal(np.zeros((10, 3)), np.array([0.8, 0.2, 0.0]), 0)
    assert np.bincount(choice).tolist() == [8, 2]


@pytest.mark.parametrize("units", [12, 60, 200])
def test_it_is_better_than_the_best_of_ten_thousand_random_splits(units):
    sums, rng = collection(units), np.random.default_rng(1)
    found = imbalance(sums, SHARES, deal(sums, SHARES, 0))
    counts = np.maximum(1, np.round(SHARES[1:] * units).astype(int))
    plain = np.repeat([0, 1, 2], [units - counts.sum(), *counts])
    best = min(imbalance(sums, SHARES, rng.permutation(plain)) for _ in range(10_000 if units < 100 else 2_000))
    assert found <= best


@pytest.mark.parametrize("units", [30, 100])
def test_folds_agree_better_than_those_of_scikit_learn(units):
    sums = collection(units)
    ours = deal(sums, np.full(5, 0.2), 0)
    # Scikit-learn deals out samples: one for each hundred pixels of a class.
    many = np.round(sums / 100).astype(int)
    groups = np.repeat(np.arange(units), many.sum(axis=1))
    labels = np.concatenate([np.repeat(np.arange(5), row) for row in many])
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    theirs = np.zeros(units, int)
    for fold, (_, held) in enumerate(folds):
        theirs[np.unique(groups[held])] = fold
    assert imbalance(sums, np.full(5, 0.2), ours) < imbalance(sums, np.full(5, 0.2), theirs)
    assert worst_difference(sums, ours) < worst_difference(sums, theirs)


PATHS = ["images/A/A_2016_1_1_GeoTIFF.tif", "images/A/A_2017_1_1_GeoTIFF.tif", "images/B/B_2016_2_1_GeoTIFF.tif"]
GROUPS = ["A_2016_1", "A_2017_1", "B_2016_2"]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("group", GROUPS),
        ("city", ["A", "A", "B"]),
        ("year", ["2016", "2017", "2016"]),
        (r"images/(\w)/", ["A", "A", "B"]),
        (r"_20\d\d_", ["_2016_", "_2017_", "_2016_"]),
    ],
)
def test_sources_are_kept_together_by_a_part_of_their_name(by, keys):
    assert name_keys(PATHS, GROUPS, by, Pairing()) == keys


@pytest.mark.parametrize(
    ("by", "message"), [("town", "it finds nothing in images/A"), ("(", "not a regular expression")]
)
def test_a_part_that_no_name_has_is_refused(by, message):
    with pytest.raises(ConfigError, match=message):
        name_keys(PATHS, GROUPS, by, Pairing())


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcdef")), min_size=1, max_size=30))
def test_units_are_never_finer_than_groups_nor_than_keys(sources):
    index = np.array([group for group, _ in sources])
    unit = joined(index, [key for _, key in sources], 10)
    of_key = {}
    for group, key in sources:
        assert of_key.setdefault(key, unit[group]) == unit[group]


def test_blocks_are_squares_of_the_ground():
    keys = block_keys(np.array([[10.0, 10.0], [990.0, 10.0], [1010.0, 10.0], [-1.0, 10.0]]), 1000)
    assert keys[0] == keys[1] and len(set(keys)) == 3


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_what_comes_later_goes_where_it_is_lacked(first, later, of):
    """Units one by one: each goes where it makes the distance from the wanted shares least."""
    sums = collection(first + later, of)
    choice = deal(sums[:first], SHARES, 0) if first >= 3 else np.zeros(first, int)
    held = np.zeros((3, sums.shape[1]))
    np.add.at(held, choice, sums[:first])
    for unit in sums[first:]:
        (to,) = deal_more(held, unit[None], SHARES, 0)
        put = [imbalance(np.concatenate([held, unit[None]]), SHARES, np.array([0, 1, 2, s])) for s in range(3)]
        empty = ~held.any(axis=1)
        assert empty[to] if empty.any() else put[to] <= min(put) * (1 + 1e-9)
        held[to] += unit


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from([NEW, 0, 1, 2, NO_SPLIT]), st.integers(-1, 6)), min_size=1, max_size=30),
    st.integers(0, 9),
)
def test_what_was_dealt_stays_and_new_ground_follows_the_ground_that_it_belongs_to(groups, seed):
    before, units = np.array(groups, int).T
    sums = collection(len(groups))
    place = place_new(before, units, sums, SHARES, seed)
    assert np.array_equal(place[before != NEW], before[before != NEW])
    assert (place[(before == NEW) & (units < 0)] == NO_SPLIT).all()
    for unit in set(units.tolist()) - {-1}:
        old = set(before[(units == unit) & (before != NEW)].tolist())
        new = set(place[(units == unit) & (before == NEW)].tolist())
        assert len(new) <= 1
        if new and old:
            assert new == (old - {NO_SPLIT} if len(old - {NO_SPLIT}) == 1 else {NO_SPLIT})
        elif new:
            assert new <= {0, 1, 2}
    assert np.array_equal(place, place_new(before, units, sums, SHARES, seed))
