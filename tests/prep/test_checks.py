"""Evidence adds up whatever the cutting, and each check fires on what it is made for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from greenprep.checks.collection import judge_collection
from greenprep.checks.judge import judge
from greenprep.checks.measure import PixelStatistics, _dark, checksum, measure_pixels
from greenprep.raw.pair import PairHeader, Pixels
from greenprep.raw.pairs import Candidate
from greenprep.synth.city import acquire, ground
from greenschemas.grid import IDENTITY
from greenschemas.labels import decode_labels
from greenschemas.manifest import Entry, Verdict
from greenschemas.recipe import Recipe

RECIPE = Recipe()
SIDE = 72
FRACTIONS = ground(np.random.default_rng(3), SIDE)
IMAGE = acquire(np.random.default_rng(4), FRACTIONS, winter=False)


def pixels(
    image: NDArray[Any], fractions: NDArray[Any], first: int = 0, last: int = SIDE, *, whole: bool = True
) -> Pixels:
    coded, labels = decode_labels(fractions[:, first:last], RECIPE.mask, RECIPE.limits, nodata=None, scale=1)
    valid = np.ones((last - first, image.shape[2]), bool)
    return Pixels(first, 0, whole, image[:, first:last], valid, valid, coded, labels, 0, None, None)


def codes(image: NDArray[Any], fractions: NDArray[Any] = FRACTIONS, recipe: Recipe = RECIPE) -> set[str]:
    header = PairHeader(Candidate("i", "m", "g", "1"), image.shape, str(image.dtype), "EPSG:32618", IDENTITY, ())
    return {reason.code for reason in judged(header, image, fractions, recipe).reasons}


def judged(header: PairHeader, image: NDArray[Any], fractions: NDArray[Any], recipe: Recipe) -> Entry:
    statistics = measure_pixels(pixels(image, fractions), recipe.bands, recipe.limits.reflectance_scale)
    return judge(header, statistics, recipe.bands, recipe.mask, recipe.limits)


def collected(entries: list[Entry] | tuple[Entry, ...]) -> tuple[Entry, ...]:
    return judge_collection(entries, RECIPE.bands, RECIPE.mask, RECIPE.limits)


def measured(image: NDArray[Any], first: int = 0, last: int = SIDE, *, whole: bool = True) -> PixelStatistics:
    part = pixels(image, FRACTIONS, first, last, whole=whole)
    return measure_pixels(part, RECIPE.bands, RECIPE.limits.reflectance_scale)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, SIDE - 1), min_size=1, max_size=4, unique=True), st.randoms())
def test_evidence_of_any_cutting_in_any_order_says_the_same_of_the_whole(cuts: list[int], order: Any) -> None:
    edges = [0, *sorted(cuts), SIDE]
    parts = [measured(IMAGE, a, b, whole=False) for a, b in pairwise(edges)]
    order.shuffle(parts)
    joined: PixelStatistics = sum(parts[1:], parts[0])
    whole = measured(IMAGE, whole=False)
    assert checksum(joined, "uint16") == checksum(whole, "uint16")
    np.testing.assert_array_equal(joined.low, whole.low)
    np.testing.assert_array_equal(joined.high, whole.high)
    np.testing.assert_allclose(joined.total, whole.total, rtol=1e-12)
    np.testing.assert_allclose(joined.square, whole.square, rtol=1e-5)
    np.testing.assert_allclose(joined.class_sum, whole.class_sum, rtol=1e-12)
    assert (joined.content, joined.valid, joined.labels) == (whole.content, whole.valid, whole.labels)
    np.testing.assert_allclose(joined.texture.correlation, whole.texture.correlation, atol=0.03)


def test_sums_agree_with_numpy_on_the_same_pixels() -> None:
    statistics = measured(IMAGE)
    np.testing.assert_allclose(statistics.total / statistics.present, IMAGE.mean(axis=(1, 2)), rtol=1e-12)
    deviation = np.sqrt(statistics.texture.variance)
    np.testing.assert_allclose(deviation, IMAGE[[1, 3, 7]].std(axis=(1, 2)), rtol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 255.0, 10_000.0, 33.7])
def test_dark_pixels_of_whole_numbers_are_counted_as_those_of_the_same_floats(scale: float) -> None:
    image = np.random.default_rng(0).integers(0, 65_536, (3, 40, 60), dtype=np.uint16) // np.uint16(
        65_536 / (2 * scale)
    )
    image[:, 10:20] = 0
    present = np.ones(image.shape[1:], bool)
    for seen in (present, np.random.default_rng(1).random(present.shape) < 0.7):
        counts = _dark(image, seen, scale)
        np.testing.assert_array_equal(counts, _dark(image.astype(np.float32), seen, scale))
        assert counts.sum(axis=1).tolist() == [np.count_nonzero((image.any(axis=0) & seen)[:, ::3])] * 3


def test_a_good_pair_has_no_finding() -> None:
    assert codes(IMAGE) == set()


def constant(value: int) -> NDArray[Any]:
    image = IMAGE.copy()
    image[:13] = value
    return image


def with_band(band: int, values: Any) -> NDArray[Any]:
    image = IMAGE.copy()
    image[band] = values
    return image


def peppered() -> NDArray[Any]:
    image = IMAGE.copy()
    image[:13, np.random.default_rng(0).random((SIDE, SIDE)) < 0.03] = 9000
    return image


def striped() -> NDArray[Any]:
    image = IMAGE.copy()
    image[:13, ::3] += 800
    return image


def dropped() -> NDArray[Any]:
    image = IMAGE.copy()
    image[:13, 20:24] = 0
    image[:13, 40] = image[:13, 39]
    return image


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (constant(0), "blank"),
        (constant(500), "constant-image"),
        (with_band(4, 900), "constant-band"),
        (with_band(4, IMAGE[5]), "identical-bands"),
        (with_band(2, 65_535), "saturated"),
        ((IMAGE % 256).astype(np.uint8), "wrapped-8-bit"),
        ((IMAGE / 10_000).astype(np.float32), "reflectance-scale"),
        ((IMAGE // 40).astype(np.uint16), "reflectance-scale"),
        (peppered(), "salt-and-pepper"),
        (striped(), "stripes"),
        (dropped(), "dropped-lines"),
        (np.random.default_rng(1).integers(1, 9000, IMAGE.shape).astype(np.uint16), "noise"),
        (np.where(np.arange(SIDE) < 3, -9999, IMAGE.astype(np.int32)), "undeclared-nodata"),
        (np.where(np.arange(SIDE) < 3, 65_535, IMAGE.astype(np.int32)).astype(np.uint16), "undeclared-nodata"),
        (np.minimum(IMAGE.astype(np.int32) + 2600, 65_535).astype(np.uint16), "cloud"),
    ],
)
def test_each_check_of_the_image_fires(image: NDArray[Any], code: str) -> None:
    assert code in codes(image)


@pytest.mark.parametrize(
    ("fractions", "code"),
    [
        (FRACTIONS * 0, "mask-empty"),
        (FRACTIONS * 2, "mask-sum"),
        (FRACTIONS * 2, "mask-range"),
        (np.where(np.arange(5)[:, None, None] == 2, 1, 0) * np.ones_like(FRACTIONS), "single-class"),
        (np.where(np.arange(SIDE) < 9, np.nan, FRACTIONS), "mask-nan"),
        (np.roll(FRACTIONS, 8, 2), "misaligned"),
        (np.where(np.arange(SIDE) < 9, 0, FRACTIONS), "mask-zero"),
    ],
)
def test_each_check_of_the_mask_fires(fractions: NDArray[Any], code: str) -> None:
    assert code in codes(IMAGE, fractions.astype(np.float32))


def test_labels_of_an_image_that_holds_next_to_nothing_are_not_called_misaligned() -> None:
    rows = np.arange(SIDE)[:, None]
    nearly_empty, mostly_there = IMAGE * (rows == 30), IMAGE * (rows > 20)
    assert "low-content" in codes(nearly_empty * (np.arange(SIDE) < 40))
    moved = np.roll(FRACTIONS, 8, 2)
    assert "misaligned" not in codes(nearly_empty, moved)
    assert "misaligned" in codes(mostly_there, moved)


def test_still_water_with_the_sensors_own_noise_is_no_noise() -> None:
    water = np.zeros_like(IMAGE)
    water[:13] = np.random.default_rng(2).normal(700, 15, (13, SIDE, SIDE)).astype(np.uint16)
    assert "noise" not in codes(water)


def test_levels_of_the_recipe_decide_what_a_finding_leads_to() -> None:
    recipe = Recipe.model_validate({"limits": {"levels": {"noise": "warn", "cloud": "reject"}}})
    noisy = np.random.default_rng(1).integers(1, 2500, IMAGE.shape).astype(np.uint16)
    header = PairHeader(Candidate("i", "m", "g", "1"), IMAGE.shape, "uint16", "EPSG:32618", IDENTITY, ())
    entry = judged(header, noisy, FRACTIONS, recipe)
    assert {r.code: r.level.value for r in entry.reasons}["noise"] == "warn"


def entry(number: int, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "image": f"images/C_{number:02}.tif",
        "mask": None,
        "group": f"g{number}",
        "time": "1",
        "verdict": Verdict.ACCEPTED,
        "shape": (19, 9, 9),
        "crs": "EPSG:32618",
        "image_checksum": f"{number}",
        "transform": (10.0, 0.0, 100.0, 0.0, -10.0, 50.0),
        "measures": {"mean.B2": 1000.0 + number},
    }
    return Entry(**(values | changes))


def test_of_equal_images_the_first_by_path_stays_whatever_the_order() -> None:
    judged = judge_collection(
        [entry(2, image_checksum="x"), entry(1, image_checksum="x"), entry(3)], RECIPE.bands, RECIPE.mask, RECIPE.limits
    )
    assert [(e.verdict, [r.code for r in e.reasons]) for e in judged] == [
        (Verdict.ACCEPTED, []),
        (Verdict.REJECTED, ["duplicate-content"]),
        (Verdict.ACCEPTED, []),
    ]
    assert collected(judged) == judged


def test_the_same_group_and_time_twice_keeps_the_first() -> None:
    judged = collected([entry(1, group="g"), entry(2, group="g")])
    assert [r.code for r in judged[1].reasons] == ["same-group-time"]


def test_a_grid_unlike_its_group_and_a_value_unlike_the_collection_are_flagged() -> None:
    group = [entry(i, group="g", time=str(i)) for i in range(3)]
    group.append(entry(3, group="g", time="9", crs="EPSG:32617"))
    others = [entry(i) for i in range(10, 20)]
    others.append(entry(20, measures={"mean.B2": 9000.0}))
    found = {e.image: [r.code for r in e.reasons] for e in collected(group + others)}
    assert found.pop("images/C_03.tif") == ["grid-unlike-group"]
    assert found.pop("images/C_20.tif") == ["outlier"]
    assert not any(found.values())


@pytest.mark.parametrize(("side", "named"), [(10.0, False), (14.0, False), (16.0, True), (20.0, True), (6.0, True)])
def test_pixels_of_another_size_than_most_files_have_are_flagged(side: float, named: bool) -> None:
    sides = [10.0, 10.0, side, 10.0]
    entries = [
        Entry(
            image=f"{i}.tif", mask=None, group=f"g{i}", time="1", verdict=Verdict.ACCEPTED, measures={"pixel_metres": s}
        )
        for i, s in enumerate(sides)
    ]
    flagged = [[(reason.code, reason.found) for reason in entry.reasons] for entry in collected(entries)]
    assert flagged == [[], [], [("grid-unlike-group", f"pixels of {side:g} m")] if named else [], []]
