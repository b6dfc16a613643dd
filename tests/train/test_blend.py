"""Laws of blending: what every window says alike, the scene says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.colours import as_hex, class_colours
from greentrain.maps.blend import Axis, Block, blend, blocks, cut

sizes = st.integers(1, 40)


def predicted(scene: np.ndarray, block: Block, rows: Axis, cols: Axis) -> np.ndarray:
    """What an identity net gives for the windows of a block, blended."""
    padded = np.pad(scene, ((0, 0), (0, max(rows.size - rows.length, 0)), (0, max(cols.size - cols.length, 0))))
    return blend(
        block,
        rows,
        cols,
        (
            (i, j, padded[:, rows.starts[i] : rows.starts[i] + rows.size, cols.starts[j] : cols.starts[j] + cols.size])
            for i in rows.touching(block.row, block.row + block.height)
            for j in cols.touching(block.col, block.col + block.width)
        ),
    )


@given(sizes, sizes, st.integers(1, 20), st.data())
def test_an_identity_net_gives_the_scene_back(height: int, width: int, size: int, data: st.DataObject) -> None:
    step, side = data.draw(st.integers(1, size)), data.draw(st.integers(1, 50))
    scene = np.random.default_rng(0).random((2, height, width), np.float32)
    rows, cols = cut(height, size, step), cut(width, size, step)
    out = np.full_like(scene, np.nan)
    for b in blocks(height, width, side):
        out[:, b.row : b.row + b.height, b.col : b.col + b.width] = predicted(scene, b, rows, cols)
    np.testing.assert_allclose(out, scene, rtol=1e-5)


@given(st.integers(1, 500), st.integers(1, 70), st.data())
def test_weights_sum_to_one_at_every_pixel(length: int, size: int, data: st.DataObject) -> None:
    axis = cut(length, size, data.draw(st.integers(1, size)))
    total = np.zeros(max(length, size))
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        assert start >= 0 and start + size <= max(length, size)
        total[start : start + size] += weight
    np.testing.assert_allclose(total, 1, atol=1e-12)


@given(st.integers(2, 300), st.integers(1, 40), st.data())
def test_touching_finds_every_window_with_a_pixel_inside(length: int, size: int, data: st.DataObject) -> None:
    axis = cut(length, size, data.draw(st.integers(1, size)))
    low = data.draw(st.integers(0, length - 1))
    high = data.draw(st.integers(low + 1, length))
    oracle = [i for i, start in enumerate(axis.starts) if start < high and start + size > low]
    assert list(axis.touching(low, high)) == oracle
    first, last = axis.span(low, high)
    assert first <= low and high <= last <= length


def test_a_pixel_near_a_windows_edge_counts_little() -> None:
    axis = cut(100, 32, 16)
    assert axis.weights[1, 0] < 0.01 < 0.99 < axis.weights[1].max() <= 1


@pytest.mark.parametrize(("length", "size", "step"), [(0, 4, 2), (5, 4, 5), (5, 4, 0)])
def test_a_cut_that_leaves_gaps_is_refused(length: int, size: int, step: int) -> None:
    with pytest.raises(ValueError, match="wanted length >= 1"):
        cut(length, size, step)


def test_a_block_without_predictions_is_refused() -> None:
    with pytest.raises(ValueError, match="no prediction"):
        blend(Block(0, 0, 0, 4, 4), cut(4, 4, 2), cut(4, 4, 2), [])


@given(st.lists(st.sampled_from(["trees", "water", "clutter", "roof", "a", "b", "c", "d", "e"]), unique=True))
def test_every_class_has_a_colour_of_its_own(classes: list[str]) -> None:
    colours = class_colours(classes)
    assert len(set(colours)) == len(classes)
    assert all(len(as_hex(colour)) == 7 for colour in colours)


def test_many_classes_have_different_colours() -> None:
    assert len(set(class_colours([f"class{k}" for k in range(60)]))) == 60
