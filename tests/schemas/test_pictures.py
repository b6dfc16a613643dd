"""Pictures: the right bands, the right colours, and the pixels that they were made of."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from greenschemas.bands import HLS_19, SENTINEL2_L1C_19, Band, Role
from greenschemas.colours import MARK, class_colours
from greenschemas.pictures import (
    as_png,
    class_picture,
    data_uri,
    enlarged,
    labels_of,
    outlined,
    thumbnail,
    true_colour,
    visible_bands,
)


@pytest.mark.parametrize(
    ("bands", "shown"),
    [
        (SENTINEL2_L1C_19, ("B4", "B3", "B2")),
        (HLS_19, ("red", "green", "blue")),
        ([Band(name=name) for name in ("coastal", "Blue", "Green", "Red")], ("Red", "Green", "Blue")),
        (
            [Band(name="qa", role=Role.MASK), *(Band(name=name) for name in ("vv", "vh", "ratio", "angle"))],
            ("vv", "vh", "ratio"),
        ),
        ([Band(name="ndvi", role=Role.DERIVED)], ("ndvi", "ndvi", "ndvi")),
        ([Band(name="qa", role=Role.MASK)], ("qa", "qa", "qa")),
    ],
    ids=["sentinel", "hls", "named", "radar", "one", "none"],
)
def test_red_green_and_blue_are_found_by_either_name_or_the_first_features_stand_for_them(
    bands: list[Band], shown: tuple[str, str, str]
) -> None:
    assert visible_bands(bands) == shown


def test_a_common_name_outweighs_a_name() -> None:
    bands = [Band(name="red", common="nir"), *(Band(name=f"b{i}", common=c) for i, c in enumerate(("green", "blue")))]
    assert visible_bands([*bands, Band(name="b2", common="red")]) == ("b2", "b0", "b1")


@given(st.floats(0.1, 1000), st.floats(-100, 100))
def test_a_picture_does_not_depend_on_the_unit_of_its_bands(scale: float, shift: float) -> None:
    planes = np.random.default_rng(0).uniform(1, 2, (3, 9, 7))
    usable = np.ones((9, 7), bool)
    away = np.abs(true_colour(planes, usable).astype(int) - true_colour(planes * scale + shift, usable))
    assert away.max() <= 1  # float32 may round a value to either side


def test_what_is_not_usable_is_white_and_sways_no_other_pixel() -> None:
    planes = np.random.default_rng(0).uniform(1, 2, (3, 8, 8))
    usable = np.ones((8, 8), bool)
    usable[0] = False
    wild = planes.copy()
    wild[:, 0] = 1e6
    np.testing.assert_array_equal(true_colour(planes, usable), true_colour(wild, usable))
    wild[:, 0, :4], wild[:, 0, 4:] = 0, np.nan
    np.testing.assert_array_equal(true_colour(planes, usable), true_colour(wild))
    assert (true_colour(wild)[0] == 255).all()
    assert (true_colour(np.zeros((3, 2, 2))) == 255).all()


def test_classes_have_their_colours_and_the_unlabelled_none() -> None:
    fraction = np.zeros((5, 1, 3), np.uint8)
    fraction[0, 0, 0], fraction[3, 0, 1], fraction[:, 0, 2] = 200, 120, 255
    label = labels_of(fraction)
    assert label.tolist() == [[0, 3, 255]]
    classes = ("trees", "water", "roof", "sand", "ice")
    colours = class_colours(classes)
    assert class_picture(label, classes)[0].tolist() == [list(colours[0]), list(colours[3]), [255, 255, 255]]


def test_a_region_is_outlined_at_the_border_too_and_a_map_where_its_classes_change() -> None:
    region = np.ones((4, 4), bool)
    region[:, 2:] = False
    line = (outlined(np.zeros((4, 4, 3), np.uint8), region) == MARK).all(-1)
    assert line[0, :160].all() and line[-1, :160].all() and line[:, [0, 159, 160]].all()
    assert not line[1:-1, 1:159].any() and not line[:, 161:].any()
    assert not outlined(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool)).any()
    line = (outlined(np.zeros((4, 4, 3), np.uint8), region.astype(np.uint8)) == MARK).all(-1)
    assert np.flatnonzero(line.all(0)).tolist() == [159, 160] and not line[:, :159].any()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
def test_sizes_are_kept_within_their_bounds(height: int, width: int, side: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    assert max(enlarged(picture, side).shape[:2]) >= side
    assert max(thumbnail(picture, side).shape[:2]) <= side


def test_png_holds_the_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (3, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(as_png(picture)))), picture)
    kind, data = data_uri(picture[:, ::2]).split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(data)))), picture[:, ::2])
