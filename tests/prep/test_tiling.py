"""Laws of `greenprep.build.tiling`: which tiles a source gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenprep.build.tiling import starts, tiles_of, tiles_starting_in
from greenschemas.choices import Edge
from greenschemas.recipe import TileRules

lengths = st.integers(1, 400)
sizes = st.integers(1, 80)
edges = st.sampled_from(Edge)


@given(lengths, sizes, st.integers(1, 80))
def test_padded_tiles_cover_every_pixel_when_the_stride_is_no_longer_than_the_tile(length, size, stride):
    stride = min(stride, size)
    seen = np.zeros(length, bool)
    for start in starts(length, size, stride, Edge.PAD):
        seen[start : start + size] = True
    assert seen.all()


@given(lengths, sizes, st.integers(1, 80))
def test_shifted_tiles_lie_inside_and_cover_every_pixel(length, size, stride):
    stride = min(stride, size)
    offsets = starts(length, size, stride, Edge.SHIFT)
    seen = np.zeros(length, bool)
    for start in offsets:
        assert start + size <= max(length, size)
        seen[start : start + size] = True
    assert seen.all()
    assert len(set(offsets.tolist())) == len(offsets)


@given(lengths, sizes, st.integers(1, 80))
def test_dropped_edges_leave_only_whole_tiles(length, size, stride):
    offsets = starts(length, size, stride, Edge.DROP)
    assert all(start + size <= length for start in offsets)
    assert len(offsets) == max(0, (length - size) // stride + 1)


@given(lengths, sizes, st.integers(1, 80), edges)
def test_no_tile_but_the_first_stands_whole_in_the_one_before(length, size, stride, edge):
    offsets = starts(length, size, stride, edge)
    assert all(before + size < length for before in offsets[:-1])


@given(st.integers(1, 200), st.integers(1, 200), sizes, edges, st.floats(0, 1))
def test_every_tile_has_the_cover_that_was_asked_for(height, width, size, edge, cover):
    for row, col in tiles_of(height, width, TileRules(size=size, edge=edge, min_cover=cover)):
        real = min(size, height - row) * min(size, width - col)
        assert real > 0 and real >= cover * size**2


@given(st.integers(1, 300), st.integers(1, 100), sizes, edges, st.integers(1, 90))
def test_strips_share_the_tiles_out(height, width, size, edge, step):
    tiles = tiles_of(height, width, TileRules(size=size, edge=edge, min_cover=0))
    parts = [tiles_starting_in(tiles, row, step) for row in range(0, height, step)]
    assert np.array_equal(np.concatenate(parts), tiles)


@pytest.mark.parametrize(
    ("side", "cover", "tiles"),
    [(133, 0.25, 1), (133, 0.0, 4), (128, 0.25, 1), (160, 0.25, 3), (160, 0.0625, 4), (20, 0.25, 0)],
)
def test_tiles_of_the_sizes_in_the_field(side, cover, tiles):
    assert len(tiles_of(side, side, TileRules(size=128, min_cover=cover))) == tiles


def test_ids_follow_rows_then_columns():
    tiles = tiles_of(256, 256, TileRules(size=128))
    assert tiles.tolist() == [[0, 0], [0, 128], [128, 0], [128, 128]]
