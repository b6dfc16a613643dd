"""The compiled loops against NumPy, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greentrain.data import compose

TYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64")


def drawn(dtype: str, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Values all over the range of a type; of floats also NaN and infinity."""
    chance = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return chance.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
    values = chance.normal(0, np.finfo(kind).max / 8, shape)
    values.flat[:5] = np.nan, np.inf, -np.inf, np.finfo(kind).max, 0
    return values.astype(kind)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("clip", [None, 2.5])
@pytest.mark.parametrize("dtype", TYPES)
def test_normalising_is_numpys_float32_arithmetic_to_the_bit(dtype: str, clip: float | None, parallel: bool) -> None:
    image, valid = drawn(dtype, 7, 3, 5, 9), drawn("uint8", 7, 5, 9) % 3
    rows, places = np.array([6, 0, 3]), np.array([1, 3, 0])
    mean, scale = np.array([1000.3, -2.7, 0], np.float32), np.array([1 / 217, 0.3, 0], np.float32)
    out = np.full((4, 3, 5, 9), 77, np.float32)
    compose.gather_normalised(image, valid, rows, places, mean, scale, clip, out, parallel=parallel)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = (image[rows].astype(np.float32) - mean[:, None, None]) * scale[:, None, None]
    if clip is not None:
        expected = expected.clip(-clip, clip)
    expected[~np.broadcast_to(valid[rows][:, None] != 0, expected.shape)] = 0
    assert np.array_equal(out[places], expected, equal_nan=True)
    assert (out[2] == 77).all()  # nobody asked for it


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.booleans())
def test_fractions_decode_as_their_packing_says(codes: list[int], parallel: bool) -> None:
    stored = np.array(codes, np.uint8).reshape(1, 1, 1, -1)
    valid = stored[:, 0] % 2
    share, usable = np.empty(stored.shape, np.float32), np.empty(valid.shape, np.bool_)
    compose.gather_fractions(
        stored, valid, np.zeros(1, np.int64), np.zeros(1, np.int64), share, usable, parallel=parallel
    )
    for code, value in zip(codes, share.ravel(), strict=True):
        assert np.isnan(value) if code == 255 else value == np.float32(code) / np.float32(200)
    assert np.array_equal(usable, valid != 0)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_copies_go_from_rows_to_places(dtype: str, parallel: bool) -> None:
    block, out = drawn(dtype, 5, 2, 3, 3), np.zeros((3, 2, 3, 3), dtype)
    compose.gather_pixels(block, np.array([4, 1]), np.array([2, 0]), out, parallel=parallel)
    assert np.array_equal(out[[2, 0]], block[[4, 1]], equal_nan=out.dtype.kind == "f")
    assert not out[1].any()


def test_code_that_cannot_be_kept_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**how: Any) -> Any:
        if how.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compose, "njit", njit)
    compiled = compose.compiled(lambda: None)
    assert compiled() is None  # type: ignore[func-returns-value]
