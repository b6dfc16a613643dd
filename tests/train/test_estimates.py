"""Accuracy and area from samples: the paper's worked example, laws, and intervals that hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from greentrain.areas.clusters import accuracy_of_groups, quantile
from greentrain.areas.design import STEPS, Draw, allocate, expected_error, needed, share_edges
from greentrain.areas.estimate import Z, accuracy, mean_of_strata, put_right
from greentrain.areas.shares import difference, regression

# Olofsson and others (2014), tables 8 and 9: deforestation, forest gain, stable forest, stable non-forest; 10 million
# pixels of 30 m.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
WEIGHT = np.array([0.020, 0.015, 0.320, 0.645])
HECTARES = 10_000_000 * 0.09
DRAWS = 2000


def within_chance(held: np.ndarray) -> np.ndarray:
    """Whether the intervals that held the truth, of DRAWS in the last axis, are 95 percent: four standard errors."""
    return np.abs(held.mean(-1) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / DRAWS)


def points_of(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(class on the map, class in the reference) of each point of an error matrix."""
    stratum, column = (np.repeat(at, counts.ravel()) for at in np.indices(counts.shape).reshape(2, -1))
    return stratum, column


def test_the_worked_example_of_olofsson_and_others_to_its_printed_digits() -> None:
    found = accuracy(WEIGHT, COUNTS)
    printed = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_array_equal(found.matrix.round(4), printed)
    assert (round(float(found.overall.value), 2), round(Z * float(found.overall.error), 2)) == (0.95, 0.02)
    np.testing.assert_array_equal(found.users.value.round(2), [0.88, 0.73, 0.93, 0.96])
    np.testing.assert_array_equal((Z * found.users.error).round(2), [0.07, 0.10, 0.04, 0.02])
    np.testing.assert_array_equal(found.producers.value.round(2), [0.75, 0.85, 0.93, 0.96])
    assert round(Z * float(found.producers.error[0]), 2) == 0.21
    assert (round(float(found.share.value[0]), 4), round(float(found.share.error[0]), 4)) == (0.0235, 0.0035)
    pixels, area = found.share.times(10_000_000), found.share.times(HECTARES)
    assert (round(float(pixels.value[0])), round(Z * float(pixels.error[0]))) == (235_086, 68_418)
    np.testing.assert_array_equal(area.value.round(), [21_158, 11_686, 285_770, 581_386])
    np.testing.assert_array_equal((Z * area.error).round(), [6_158, 3_756, 15_510, 16_282])


def test_the_sample_size_of_olofsson_and_others() -> None:
    """Section 5.1.1: user's accuracies of 0.70, 0.60, 0.90 and 0.95, a standard error of 0.01: 641 points."""
    users = np.array([0.70, 0.60, 0.90, 0.95])
    spread = np.sqrt(users * (1 - users))
    assert needed(WEIGHT, spread, 0.01) == 641
    proportional = expected_error(WEIGHT, spread, np.round(641 * WEIGHT * spread / (WEIGHT @ spread)).astype(int))
    assert proportional == pytest.approx(0.01, rel=0.01)


def test_producers_accuracy_is_the_linearised_quotient_of_two_areas() -> None:
    """Equation 7 is what equation 10 gives for the residuals of the quotient, class by class."""
    found = accuracy(WEIGHT, COUNTS)
    stratum, column = points_of(COUNTS)
    for j in range(4):
        residual = ((stratum == j) - found.producers.value[j]) * (column == j) / found.share.value[j]
        assert found.producers.error[j] == pytest.approx(mean_of_strata(WEIGHT, stratum, residual).error)


matrices = arrays(np.int64, (3, 3), elements=st.integers(0, 40)).filter(lambda m: (m.sum(1) >= 2).all())


@given(matrices, st.permutations(range(3)))
def test_shares_sum_to_one_and_names_do_not_matter(counts: np.ndarray, order: list[int]) -> None:
    weight = np.array([0.2, 0.3, 0.5])
    found, turned = accuracy(weight, counts), accuracy(weight[order], counts[np.ix_(order, order)])
    assert found.matrix.sum() == pytest.approx(1) and found.share.value.sum() == pytest.approx(1)
    assert turned.overall.error == pytest.approx(found.overall.error)
    for one, other in ((found.share, turned.share), (found.producers, turned.producers), (found.users, turned.users)):
        np.testing.assert_allclose(one.value[order], other.value)
        np.testing.assert_allclose(one.error[order], other.error, atol=1e-12)


@given(matrices)
def test_the_area_of_a_class_is_the_mean_of_being_it_and_what_the_map_says_put_right(counts: np.ndarray) -> None:
    weight = np.array([0.2, 0.3, 0.5])
    found = accuracy(weight, counts)
    stratum, column = points_of(counts)
    mean = mean_of_strata(weight, stratum, np.eye(3)[column])
    wrong = np.eye(3)[column] - np.eye(3)[stratum]
    right = put_right(weight, stratum, wrong, weight * 7, 7).times(1 / 7)
    for one in (mean, right):
        np.testing.assert_allclose(one.value, found.share.value, atol=1e-12)
        np.testing.assert_allclose(one.error, found.share.error, atol=1e-9)


def test_a_class_that_is_not_on_the_map_has_no_users_accuracy_and_an_area() -> None:
    found = accuracy(np.array([0.4, 0.6, 0.0]), np.array([[18, 1, 1], [0, 40, 0], [0, 0, 0]]))
    rows = found.users.rows()
    assert rows[2] == {"value": None, "standard_error": None, "low": None, "high": None}
    assert found.share.value[2] == pytest.approx(0.02) and found.producers.value[2] == 0
    assert found.producers.rows()[2]["standard_error"] is not None


def test_intervals_of_accuracy_and_area_hold_the_truth_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(1)
    rows = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.1, 0.85]])
    weight = np.array([0.25, 0.3, 0.45])
    truth = weight[:, None] * rows
    producers = np.diagonal(truth) / truth.sum(0)
    held = []
    for _ in range(DRAWS):
        found = accuracy(weight, np.stack([rng.multinomial(200, row) for row in rows]))
        pairs = ((found.overall, np.trace(truth)), (found.share, truth.sum(0)), (found.producers, producers))
        held.append(np.concatenate([np.atleast_1d(np.abs(e.value - true) <= Z * e.error) for e, true in pairs]))
    assert within_chance(np.array(held).T).all()


def population(rng: np.random.Generator, pixels: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Shares on a map that sees four fifths of what is there, with noise; both 0 to 1, many 0."""
    true = np.clip(rng.beta(0.5, 1.0, pixels) * 1.2 - 0.1, 0, 1)
    return np.clip(0.8 * true + 0.1 * rng.standard_normal(pixels), 0, 1), true


def test_intervals_of_a_mean_share_hold_the_truth_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(2)
    mapped, true = population(rng)
    key = np.rint(mapped * STEPS).astype(int)
    edges = share_edges(np.bincount(key, minlength=STEPS + 1), 5)
    stratum = np.searchsorted(edges, key, side="right") - 1
    members = [np.flatnonzero(stratum == h) for h in range(len(edges))]
    weight = np.array([len(own) for own in members]) / len(key)
    held, errors = [], []
    for _ in range(DRAWS):
        drawn = np.concatenate([rng.choice(own, 60) for own in members])
        asked = stratum[drawn], true[drawn]
        three = (
            mean_of_strata(weight, *asked),
            *(f(weight, float(mapped.mean()), asked[0], mapped[drawn], asked[1]) for f in (difference, regression)),
        )
        held.append([abs(e.value - true.mean()) <= Z * e.error for e in three])
        errors.append([float(e.error) for e in three])
    assert within_chance(np.array(held).T).all()
    plain, by_difference, by_regression = np.mean(errors, 0)
    assert by_regression < min(by_difference, plain), "a map that is wrong by a factor still helps"


def test_regression_puts_a_map_right_that_is_wrong_by_a_line() -> None:
    rng = np.random.default_rng(3)
    mapped = rng.random(1000)
    true = 0.1 + 0.7 * mapped
    drawn = rng.choice(1000, 20, replace=False)
    found = regression(np.ones(1), float(mapped.mean()), np.zeros(20, np.int64), mapped[drawn], true[drawn])
    assert found.value == pytest.approx(true.mean()) and found.error == pytest.approx(0, abs=1e-12)
    flat = regression(np.ones(1), 0.3, np.zeros(20, np.int64), np.full(20, 0.3), true[drawn])
    assert flat.value == pytest.approx(true[drawn].mean())


def test_intervals_from_groups_hold_the_truth_where_those_from_pixels_do_not() -> None:
    """Groups that differ from each other: labels of one place are wrong together."""
    rng = np.random.default_rng(4)
    weight, groups, pixels = np.array([0.4, 0.6]), 30, 400
    held, pretended = [], []
    for _ in range(DRAWS):
        right = np.stack([rng.beta(8, 2, groups), rng.beta(18, 2, groups)], 1)
        ok = rng.binomial(pixels, right)
        counts = np.stack([np.stack([ok[:, 0], pixels - ok[:, 0]], 1), np.stack([pixels - ok[:, 1], ok[:, 1]], 1)], 1)
        found, naive = accuracy_of_groups(weight, counts), accuracy(weight, counts.sum(0))
        true = 0.4 * 0.8 + 0.6 * 0.1
        held.append(abs(found.share.value[0] - true) <= quantile(groups) * found.share.error[0])
        pretended.append(abs(naive.share.value[0] - true) <= Z * naive.share.error[0])
    assert within_chance(np.array(held))
    assert np.mean(pretended) < 0.5


@given(arrays(np.int64, (6, 3, 3), elements=st.integers(1, 50)))
def test_sums_over_groups_are_the_estimate_of_their_sum(counts: np.ndarray) -> None:
    weight = np.array([0.2, 0.3, 0.5])
    found, whole = accuracy_of_groups(weight, counts), accuracy(weight, counts.sum(0))
    for one, other in ((found.share, whole.share), (found.producers, whole.producers), (found.users, whole.users)):
        np.testing.assert_allclose(one.value, other.value)
    assert found.overall.value == pytest.approx(float(whole.overall.value))
    alike = accuracy_of_groups(weight, np.repeat(counts[:1], 6, 0))
    np.testing.assert_allclose(alike.share.error, 0, atol=1e-12)


def test_a_class_of_the_map_without_a_labelled_pixel_leaves_no_area() -> None:
    counts = np.zeros((4, 2, 2), np.int64)
    counts[:, 0] = [8, 2]
    found = accuracy_of_groups(np.array([0.7, 0.3]), counts)
    assert found.overall.rows()[0]["value"] is None and found.share.rows()[0]["low"] is None
    assert found.users.rows()[0]["value"] == 0.8


strata = st.lists(st.tuples(st.integers(1, 100_000), st.floats(0.01, 0.5)), min_size=1, max_size=8)


@given(strata, st.integers(20, 900), st.integers(2, 12))
def test_points_are_dealt_out_whole_between_the_least_and_all_pixels(
    given_strata: list[tuple[int, float]], n: int, least: int
) -> None:
    pixels, spread = (np.array(column) for column in zip(*given_strata, strict=True))
    if np.minimum(pixels, least).sum() > min(n, pixels.sum()):
        with pytest.raises(ValueError, match="need more"):
            allocate(pixels, spread, n, least)
        return
    points = allocate(pixels, spread, n, least)
    assert points.sum() == min(n, pixels.sum())
    assert (points >= np.minimum(least, pixels)).all() and (points <= pixels).all()
    free = (points > least) & (points < pixels)
    demand = pixels * spread
    for a, b in zip(*np.triu_indices(len(pixels), 1), strict=True):
        if free[a] and free[b]:  # in proportion, up to the rounding of each to a whole point
            assert abs(points[a] / demand[a] - points[b] / demand[b]) <= 1 / demand[a] + 1 / demand[b]


def test_every_pixel_of_a_stratum_is_drawn_alike() -> None:
    stratum = np.array([[0, 1, -1, 0], [1, 1, 0, -1]])
    times = np.zeros((2, 4), int)
    for seed in range(DRAWS):
        draw = Draw([3, 3], [1, 2], seed)
        for row, block in enumerate(stratum):
            for place, index in draw.of_block(block):
                assert block[place] == index
                times[row, place] += 1
    due = np.select([stratum == 0, stratum == 1], [DRAWS / 3, DRAWS * 2 / 3], 0)
    assert (np.abs(times - due) <= 4 * np.sqrt(DRAWS * 2 / 9)).all() and times.sum() == 3 * DRAWS


@given(arrays(np.int64, STEPS + 1, elements=st.integers(0, 1000)).filter(lambda a: a.any()), st.integers(1, 6))
def test_strata_of_shares_are_ranges_that_all_hold_pixels(pixels: np.ndarray, strata: int) -> None:
    edges = share_edges(pixels, strata)
    assert edges[0] == 0 and list(edges) == sorted(set(edges)) and len(edges) <= strata
    assert all(part.any() for part in np.split(pixels, edges[1:]))
