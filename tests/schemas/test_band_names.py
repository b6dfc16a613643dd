"""Names of bands: every name that a sensor's files give them leads to the same band."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.band_names import common_names, match_names, says_nothing, spelling
from greenschemas.bands import HLS_19, SENTINEL2_L1C_19, Band

S2 = SENTINEL2_L1C_19[:13]
NAMES = [band.name for band in S2]
DRESS = [
    str,
    str.lower,
    lambda name: f"B{name[1:].zfill(3 if name.endswith('A') else 2)}",
    lambda name: f"{name}_10m",
    lambda name: f"0_{name}",
    lambda name: f"20200611T154911_20200611T155513_T18SUF_{name}",
    lambda name: f"{name} ",
]


@given(st.permutations(range(13)), st.lists(st.sampled_from(DRESS), min_size=13, max_size=13))
def test_a_permuted_scene_is_put_in_order_whatever_its_dialects(order, dress):
    found = [dress[i](NAMES[at]) for i, at in enumerate(order)]
    assert match_names(found, S2).at == tuple(int(i) for i in np.argsort(order))


def test_b8a_last_is_seen_by_its_name():
    found = [f"B{n:02d}" for n in range(1, 13)] + ["B8A"]
    assert match_names(found, S2).at == (*range(8), 12, 8, 9, 10, 11)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), "blue green red nir08 swir16 swir22"),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"), "blue green red nir08 swir16 swir22"),
        (("coastal", "rededge1", "nir", "nir08", "swir1"), "coastal rededge071 nir nir08 swir16"),
        (("B2", "B3", "B4"), "blue green red"),
        (("B05", "B8A", "B12"), "rededge071 nir08 swir22"),
    ],
)
def test_parts_of_the_spectrum_by_the_tables_of_the_sensors(names, parts):
    assert common_names(names) == tuple(parts.split())


def test_a_number_that_sensors_read_otherwise_means_nothing_for_certain():
    assert common_names(("B5", "B6")) == (None, None)


def test_words_and_numbers_meet_over_the_spectrum():
    assert match_names(("red", "green", "blue", "near infrared"), [Band(name=n) for n in ("B2", "B4", "B8")]).at == (
        2,
        0,
        3,
    )
    hls = match_names(("B02", "B03", "B04", "B8A", "B11", "B12", "B01", "Fmask"), HLS_19[:8])
    assert hls.at == (6, 0, 1, 2, 3, 4, 5, 7)


def test_one_band_is_not_two():
    found = match_names(("SR_B4", "SR_B5"), [Band(name="nir", common="nir"), Band(name="nir08", common="nir08")])
    assert found.at == (None, 1)
    assert match_names(("SR_B4", "SR_B5"), [Band(name="nir", common="nir")]).at == (1,)
    assert match_names(("B2", "B02"), S2).twice == ("B2",)


def test_names_that_say_nothing():
    said = ("Band 1", "band_2", "layer 3", "7", "", None, "gray", "Undefined")
    assert all(says_nothing(name) for name in said)
    assert not any(says_nothing(name) for name in ("B1", "blue", "QA60", "b1"))
    assert not match_names(said, S2).any


def test_spellings():
    assert {spelling(name) for name in ("B2", "b02", "B2_10m", "0_B2", "X.B02")} == {"b2"}
    assert spelling("20200101_SR_B2") == "sr_b2" and spelling("MSK_CLASSI_OPAQUE") == "msk_classi_opaque"
