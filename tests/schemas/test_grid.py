"""Grids turn, crop and find each other's pixels as `affine` does."""

import math

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.grid import Grid

sizes = st.integers(1, 1000)
transforms = st.tuples(
    st.floats(0.5, 50),
    st.floats(-0.4, 0.4),
    st.floats(-1e6, 1e6),
    st.floats(-0.4, 0.4),
    st.floats(-50, -0.5),
    st.floats(-1e6, 1e6),
)
grids = st.builds(Grid, sizes, sizes, transforms, st.just("EPSG:32618"))


@given(grids, grids, st.integers(0, 1000), st.integers(0, 1000))
def test_a_pixel_lies_where_affine_says(one: Grid, other: Grid, row: int, col: int) -> None:
    col_due, row_due = ~Affine(*other.transform) @ (Affine(*one.transform) @ (col, row))
    assert one.pixel_in(other, row, col) == pytest.approx((row_due, col_due), rel=1e-6, abs=1e-3)


@given(grids)
def test_a_pixel_of_a_grid_lies_at_itself_and_a_flipped_one_in_the_other_row(grid: Grid) -> None:
    assert grid.pixel_in(grid, 3, 5) == pytest.approx((3, 5), abs=1e-3)
    assert grid.flipped().pixel_in(grid, 0, 5) == pytest.approx((grid.height, 5), abs=1e-3)
    assert grid.differs(grid) is None


@given(grids, st.integers(0, 50), st.integers(0, 50))
def test_a_window_starts_where_it_was_cut(grid: Grid, row: int, col: int) -> None:
    assert grid.cropped(row, col, 4, 6).pixel_in(grid, 0, 0) == pytest.approx((row, col), abs=1e-3)


def test_a_grid_without_area_has_no_pixels() -> None:
    assert all(map(math.isnan, Grid(2, 2).pixel_in(Grid(2, 2, (0.0,) * 6), 0, 0)))
