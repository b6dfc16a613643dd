"""What a number means and which pixels count: the rule, said once, against itself written out in full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from greenschemas.bands import HLS_19, SENTINEL2_L1C_19, Band, Role
from greenschemas.contract import Contract
from greenschemas.errors import StoreError
from greenschemas.values import QUALITY, BandValues, Values, find_clouds, find_holes, quality_of
from support.stores import tiny_contract

BANDS = (Band(name="a"), Band(name="b"), Band(name="i", role=Role.DERIVED), Band(name="q", role=Role.MASK))


def slowly(raw: np.ndarray, nodata: list[float | None], inside: np.ndarray | None) -> np.ndarray:
    """The rule of `find_holes`, pixel by pixel."""
    usable = np.ones(raw.shape[1:], bool)
    for at in np.ndindex(usable.shape):
        pixel = raw[:, *at]
        hole = inside is not None and not inside[at]
        hole |= not all(np.isfinite(float(value)) for value in pixel)
        hole |= all(value == 0 for value in pixel[:2])
        for value, tag in zip(pixel[:3], nodata[:3], strict=True):
            if tag is not None and tag != 0 and raw.dtype.itemsize > 1:
                hole |= bool(value == tag)
        if raw.dtype.itemsize == 1 and all(tag is not None for tag in nodata[:2]):
            hole |= all(value == tag for value, tag in zip(pixel[:2], nodata[:2], strict=True))
        usable[at] = not hole
    return usable


@st.composite
def windows(draw):
    kind = draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    numbers = [0, 1, 7, 255] if kind == "uint8" else [0, 1, 7, 255, 65535 if kind == "uint16" else -9999]
    numbers += [float("nan"), float("inf")] if kind == "float32" else []
    raw = draw(npst.arrays(kind, (4, 3, 4), elements=st.sampled_from(numbers)))
    tags = st.sampled_from([None, 0.0, 255.0, 65535.0, -9999.0, float("nan")])
    nodata = draw(st.one_of(st.lists(tags, min_size=4, max_size=4), tags.map(lambda tag: [tag] * 4)))
    inside = draw(st.none() | npst.arrays(bool, (3, 4)))
    return raw, nodata, inside


@given(windows())
def test_usable_pixels_are_those_of_the_rule(window):
    raw, nodata, inside = window
    np.testing.assert_array_equal(find_holes(raw, BANDS, nodata, inside).usable, slowly(raw, nodata, inside))


def test_dark_water_is_no_hole_and_a_zero_wedge_is_with_a_tag_or_without():
    raw = np.full((4, 1, 3), 500, np.uint16)
    raw[1, 0, 0] = 0
    raw[:, 0, 1] = 0
    for tag in (0.0, None):
        assert find_holes(raw, BANDS, [tag] * 4).usable.tolist() == [[True, False, True]]
    assert find_holes(raw, BANDS, [0.0] * 4).declared is not None
    assert find_holes(raw, BANDS, [None] * 4).black is not None


def test_of_one_band_alone_zero_is_data_unless_a_tag_says_otherwise():
    raw = np.zeros((1, 1, 2), np.uint16)
    assert find_holes(raw, BANDS[:1], [None]).usable.all() and not find_holes(raw, BANDS[:1], [0.0]).usable.any()


@pytest.mark.parametrize(
    ("name", "numbers", "cloudy"),
    [
        ("QA60", [0, 1024, 2048, 3072], [False, True, True, True]),
        ("fmask", [0, 2, 64, 66], [False, True, False, True]),
        ("SCL", [4, 8, 9, 11], [False, True, True, False]),
        ("MSK_CLASSI_OPAQUE", [0, 1, 0, 1], [False, True, False, True]),
        ("QA_PIXEL", [21824, 22280, 21826, 21828], [False, True, True, True]),
    ],
)
def test_clouds_by_the_bits_of_each_product(name, numbers, cloudy):
    rules = quality_of([Band(name=name, role=Role.MASK)])
    found = find_clouds(rules, {name: np.array([numbers], np.uint16)})
    assert found is not None and found.tolist() == [cloudy]


@pytest.mark.parametrize(("name", "number"), [("QA60", 1), ("QA60", 1025), ("fmask", 256), ("SCL", 12)])
def test_numbers_that_are_not_the_bands_say_nothing(name, number):
    rules = quality_of([Band(name=name, role=Role.MASK)])
    assert find_clouds(rules, {name: np.array([[number, 1]], np.uint16)}) is None


def test_quality_bands_of_the_layouts_are_known():
    assert set(quality_of(SENTINEL2_L1C_19)) == {"QA60", "MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS"}
    assert quality_of(HLS_19) == {"fmask": QUALITY["fmask"]}


def test_a_contract_without_values_keeps_the_digest_that_its_runs_know():
    contract = tiny_contract()
    old = contract.model_dump(mode="json")
    assert old.pop("values") is None
    again = Contract.parse("x", old)
    assert again == contract and again.identity() == contract.identity()
    values = Values(bands=(BandValues(low=0, high=1),) * 3, quality=quality_of(contract.bands))
    told = contract.model_copy(update={"values": values})
    assert told.identity() != contract.identity()
    assert Contract.parse("x", told.model_dump(mode="json")) == told


def test_values_of_another_number_of_bands_are_refused():
    data = tiny_contract().model_dump(mode="json")
    one = {"low": 0, "high": 1}
    with pytest.raises(StoreError, match="values of 2 bands for 3"):
        Contract.parse("x", {**data, "values": {"bands": [one] * 2}}, StoreError)
    level = {"dark": 1, "median": 2, "bright": 3, "between": 0}
    with pytest.raises(StoreError, match="levels of 1 bands for 3"):
        Contract.parse("x", {**data, "values": {"bands": [one] * 3, "levels": [level]}}, StoreError)


def test_a_dead_band_has_the_role_that_the_recipe_gave_it():
    contract = tiny_contract()
    dead = contract.bands[0].model_copy(update={"role": Role.DEAD})
    changed = contract.model_copy(update={"bands": (dead, *contract.bands[1:])})
    assert changed.declared_bands[0].role is Role.REFLECTANCE
    assert contract.clouds_masked and contract.reflectance_scale == 10_000
