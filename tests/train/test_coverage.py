"""The share of a pixel that a polygon covers: exact against shapely's clipping and against areas known by formula."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from greentrain.ground.coverage import cover, trace

coordinates = st.one_of(st.floats(-4, 14).map(lambda at: round(at, 4)), st.integers(-4, 14).map(float))
corners = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9)


def polygon(points: list[tuple[float, float]]) -> shapely.Geometry:
    """What a ring through the points encloses, whatever it crosses: several parts and holes are likely."""
    mended = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapely.Polygon(points))))
    return shapely.union_all(mended[shapely.get_type_id(mended) == shapely.GeometryType.POLYGON])


def covered(shape: shapely.Geometry, *window: int) -> np.ndarray:
    return cover(trace(shape), *window)


@settings(max_examples=60, deadline=None)
@given(corners)
def test_a_share_is_the_area_of_the_polygon_clipped_by_shapely(points: list[tuple[float, float]]) -> None:
    shape, (row, col, height, width) = polygon(points), (1, 2, 9, 7)
    y, x = np.mgrid[row : row + height, col : col + width]
    due = shapely.area(shapely.intersection(shape, shapely.box(x, y, x + 1, y + 1)))
    np.testing.assert_allclose(covered(shape, row, col, height, width), due, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=12, unique=True))
def test_the_shares_of_a_partition_of_the_plane_add_up_to_the_pixel(points: list[tuple[float, float]]) -> None:
    frame = shapely.box(-20, -20, 30, 30)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points), extend_to=frame))
    total = sum(covered(cell, 0, 0, 10, 10) for cell in cells)
    np.testing.assert_allclose(total, 1, atol=1e-6)  # as well as the corners of neighbours are the same numbers


@settings(max_examples=30, deadline=None)
@given(corners, st.integers(0, 6), st.integers(0, 6))
def test_any_cut_into_windows_gives_the_shares_of_the_whole(
    points: list[tuple[float, float]], row: int, col: int
) -> None:
    outline = trace(polygon(points))
    whole = cover(outline, 0, 0, 12, 12)
    np.testing.assert_allclose(cover(outline, row, col, 5, 6), whole[row : row + 5, col : col + 6], atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (shapely.box(1.25, 2.5, 7.75, 3.25), 6.5 * 0.75),
        (shapely.Polygon([(0, 0), (9, 0), (0, 9)]), 40.5),
        (shapely.Polygon([(0.3, 0.2), (8.9, 0.4), (0.6, 7.7)]), abs(8.6 * 7.5 - 0.3 * 0.2) / 2),
        (affinity.rotate(shapely.box(3, 4, 8, 7), 33.0), 15.0),
        (shapely.box(1, 1, 9, 9).difference(shapely.box(2.5, 2.5, 4, 4.5)), 64 - 3.0),
        (shapely.multipolygons([shapely.box(0, 0, 1.5, 1), shapely.box(5.5, 5, 6, 8)]), 3.0),
        (shapely.box(2, 2, 2, 8), 0.0),
    ],
)
def test_shares_add_up_to_the_area_by_formula(shape: shapely.Geometry, area: float) -> None:
    found = covered(shape, 0, 0, 12, 12)
    assert found.sum() == pytest.approx(area, abs=1e-12) and found.min() >= 0 and found.max() <= 1
