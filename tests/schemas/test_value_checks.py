"""Units of scenes: every way in which numbers go wrong in silence is named, and no season is."""

from functools import cache

import numpy as np
import pytest

from greenprep.synth.city import acquire, ground
from greenschemas.value_checks import (
    Levels,
    find_factor,
    find_offset,
    levels_of,
    looks_wrapped,
    offset_in_cirrus,
    robust_z,
)

CIRRUS = 10
L1C, L2A = list(range(13)), [i for i in range(13) if i != CIRRUS]


@cache
def scene(seed: int, *, winter: bool = False) -> np.ndarray:
    """(13, N) reflectances of a scene, Level-1C."""
    rng = np.random.default_rng(seed)
    return acquire(rng, ground(rng, 64), winter=winter)[:13].reshape(13, -1)


@cache
def usual() -> Levels:
    return levels_of(np.concatenate([scene(seed, winter=seed % 3 == 0) for seed in range(6)], axis=1))


def shifted(values: np.ndarray) -> np.ndarray:
    return (values.astype(int) + 1000).clip(0, 65_535).astype(np.uint16)


@pytest.mark.parametrize("winter", [False, True])
@pytest.mark.parametrize("seed", range(20, 32))
@pytest.mark.parametrize("bands", [L1C, L2A], ids=["with cirrus", "without"])
def test_an_offset_is_found_in_shifted_scenes_and_in_no_other(seed, winter, bands):
    cirrus = CIRRUS if CIRRUS in bands else None
    values = scene(seed, winter=winter)
    assert find_offset(levels_of(values).of(bands), usual().of(bands), 10_000, cirrus) is None
    found = find_offset(levels_of(shifted(values)).of(bands), usual().of(bands), 10_000, cirrus)
    assert found is not None and found.amount == 1000 and found.certain == (cirrus is not None)


@pytest.mark.parametrize("bands", [L1C, L2A], ids=["with cirrus", "without"])
def test_a_scene_without_the_offset_is_found_where_training_had_it(bands):
    cirrus = CIRRUS if CIRRUS in bands else None
    moved = Levels(usual().dark + 1000, usual().median + 1000, usual().bright + 1000, usual().between)
    found = find_offset(levels_of(scene(40)).of(bands), moved.of(bands), 10_000, cirrus)
    assert found is not None and found.amount == -1000
    assert find_offset(levels_of(shifted(scene(40))).of(bands), moved.of(bands), 10_000, cirrus) is None


def test_clouds_are_no_offset():
    """Values of a real date under thin cloud, Level-1C without and with its cirrus band."""
    dark = np.array([2223, 1903, 1708, 1572, 1785, 2716, 3146, 2954, 3360, 925, 16, 2172, 1576.0])
    middle = np.array([3160, 3042, 2809, 2814, 2947, 3705, 4128, 3953, 4335, 1364, 22, 3237, 2630.0])
    clear = np.array([999, 689, 546, 310, 545, 1511, 1905, 1753, 2117, 609, 7, 779, 323.0])
    usually = np.array([1016, 729, 628, 364, 704, 2207, 2816, 2710, 3105, 845, 10, 1318, 560.0])
    none = np.full(13, np.nan)
    cloudy, learnt = Levels(dark, middle, none, none), Levels(clear, usually, none, none)
    assert find_offset(cloudy, learnt, 10_000, CIRRUS) is None
    assert find_offset(cloudy.of(L2A), learnt.of(L2A), 10_000) is None


def test_a_thick_cirrus_deck_is_no_offset_but_thin_cirrus_over_one_is():
    assert not offset_in_cirrus(300, 1500, 10_000) and not offset_in_cirrus(1500, 2500, 10_000)
    assert offset_in_cirrus(1004, 1012, 10_000) and offset_in_cirrus(1005, 1150, 10_000)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda v: v / 10_000, "0..1"),
        (lambda v: v / 10, "x 1000"),
        (lambda v: v / 100, "percent"),
        (lambda v: (v / 3000 * 255).clip(0, 255), "8 bits"),
        (lambda v: (v / 4000 * 255).clip(0, 255), "8 bits"),
        (lambda v: (v / 5000 * 255).clip(0, 255), "8 bits"),
        (lambda v: (v * 6.5535).clip(0, 65_535), "16 bits"),
        (lambda v: np.zeros_like(v), "stretch"),
    ],
)
def test_a_factor_is_found_and_its_cause_named(spoil, cause):
    values = scene(50).astype(float)
    assert find_factor(levels_of(values).of(L2A), usual().of(L2A), 10_000) is None
    found = find_factor(levels_of(spoil(values)).of(L2A), usual().of(L2A), 10_000)
    assert found is not None and cause in found.cause


@pytest.mark.parametrize("winter", [False, True])
@pytest.mark.parametrize("light", [0.3, 0.6, 1.5, 3.0])
def test_season_and_light_are_no_factor(light, winter):
    assert find_factor(levels_of(scene(60, winter=winter) * light).of(L2A), usual().of(L2A), 10_000) is None


def test_nothing_is_said_of_nothing():
    empty = levels_of(np.zeros((13, 0)))
    assert find_factor(empty, usual()) is None and find_offset(empty, usual(), 10_000) is None
    assert find_offset(empty, usual(), 10_000, CIRRUS) is None


def test_robust_z_has_a_floor_of_two_percent():
    score = robust_z(np.array([100.0, 100.0]), np.array([90.0, 90.0]), np.array([0.0, 5.0]))
    np.testing.assert_allclose(score, [10 / 1.8, 2.0])


def test_wrapped_values_are_told_by_their_moments():
    values = scene(70)
    cut = values.astype(int) % 256
    said = [looks_wrapped(v.mean(1), v.std(1), v.min(1), v.max(1)) for v in (values[:9], cut[:9])]
    assert said == [False, True]
