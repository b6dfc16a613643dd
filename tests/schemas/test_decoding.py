"""Numbers that are no reflectances: decoded, empty, and in which units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.bands import Band, Role
from greenschemas.decoding import EMPTY, Decoding, decoded, encoded
from greenschemas.unit_checks import Size, apart
from greenschemas.values import find_holes

HOW = (Decoding.SIGNED_SQUARE, None)
RADAR = (Band(name="VV", role=Role.RADAR), Band(name="VH", role=Role.RADAR))


def test_alphaearths_bytes_are_decoded_as_its_readme_has_it_and_encoded_back() -> None:
    numbers = np.arange(-127, 128, dtype=np.int8)
    both = np.stack([numbers, numbers])
    values = decoded(both, HOW)
    oracle = np.sign(numbers) * (np.abs(numbers.astype(float)) / 127.5) ** 2
    np.testing.assert_allclose(values[0], oracle, rtol=3e-7)  # three roundings of float32
    assert (np.diff(values[0]) > 0).all() and (values[1] == numbers).all()
    assert (np.rint(encoded(values, HOW)) == both).all()
    assert decoded(both, (None, None)) is both


def test_a_radar_without_power_and_a_masked_byte_are_empty_without_a_tag() -> None:
    raw = np.array([[[-12.0, -np.inf, np.nan, np.inf, 0.0, 0.0]], [[-18.0, -19, -20, -21, -3, 0]]], np.float32)
    holes = find_holes(raw, RADAR, (None, None))
    assert holes.declared is not None and holes.declared.tolist() == [[False, True, True, False, False, False]]
    assert holes.usable.tolist() == [[True, False, False, False, True, False]]  # 0 dB in both is fill
    coded = tuple(Band(name=name, role=Role.EMBEDDING, decode=Decoding.SIGNED_SQUARE) for name in "ab")
    bytes_ = np.array([[[EMPTY, 0, -127]], [[EMPTY, 5, 3]]], np.int8)
    assert find_holes(bytes_, coded, (None, None)).usable.tolist() == [[False, True, True]]


def test_the_sea_is_no_hole_where_all_bands_are_elevations() -> None:
    bands = (Band(name="dem", role=Role.ELEVATION), Band(name="dsm", role=Role.ELEVATION))
    raw = np.array([[[0, -3, -32768]], [[0, 0, -32768]]], np.int16)
    assert find_holes(raw, bands, (-32768, -32768)).usable.tolist() == [[True, True, False]]


@given(
    st.sampled_from([(Role.RADAR, 8.0), (Role.EMBEDDING, 8.0), (Role.DERIVED, 100.0)]),
    st.lists(st.tuples(st.floats(-20, 20), st.floats(0.1, 5)), min_size=1, max_size=5),
    st.floats(1.05, 1e5),
)
def test_one_factor_is_told_beyond_the_roles_limit_and_never_within(role_limit, sizes, factor) -> None:
    role, limit = role_limit
    bands = [Band(name=str(i), role=role) for i in range(len(sizes))]
    usual = {str(i): Size(*size) for i, size in enumerate(sizes)}
    for k in (factor, 1 / factor):
        here = {name: Size(k * size.mean, k * size.std) for name, size in usual.items()}
        found = apart(bands, here, usual)
        if abs(factor - limit) > 1e-6 * limit:
            assert (found is not None) == (factor > limit)
        assert found is None or found.ratio == pytest.approx(k)
    heights = [Band(name=band.name, role=Role.ELEVATION) for band in bands]
    assert apart(heights, {name: Size(9e5 * s.mean, s.std) for name, s in usual.items()}, usual) is None


@pytest.mark.parametrize(
    ("role", "here", "usual", "cause"),
    [
        (Role.RADAR, Size(0.2, 0.1), Size(-11, 3), "power or amplitude where decibels are usual"),
        (Role.RADAR, Size(-11, 3), Size(0.2, 0.1), "decibels where power or amplitude is usual"),
        (Role.RADAR, Size(900, 300), Size(0.2, 0.1), "multiplied by something"),
        (Role.EMBEDDING, Size(0, 0.12), Size(0, 45), "decoded values where bytes are usual"),
        (Role.EMBEDDING, Size(0, 45), Size(0, 0.12), "bytes where decoded values are usual"),
        (Role.DERIVED, Size(4000, 2000), Size(0.4, 0.2), "multiplied by something"),
    ],
)
def test_the_cause_is_named(role, here, usual, cause) -> None:
    found = apart([Band(name="b", role=role)], {"b": here}, {"b": usual})
    assert found is not None and cause in found.cause
