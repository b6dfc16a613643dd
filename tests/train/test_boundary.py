"""Boundary IoU: values by hand, scipy's erosion as oracle, borders and holes that are no boundary."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from torch import Tensor
from torch.nn.functional import one_hot

from greentrain.scores.boundary import boundary_iou, boundary_sums


def maps(labels: Tensor, classes: int = 2) -> Tensor:
    """(B, H, W) labels as one-hot (B, K, H, W)."""
    return one_hot(labels, classes).movedim(-1, 1).float()


def square(start: int, stop: int) -> Tensor:
    """A square of class 1 in a 16 x 16 tile of class 0."""
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[:, start:stop, start:stop] = 1
    return labels


def test_the_ring_of_a_square_by_hand() -> None:
    truth, whole = maps(square(4, 12)), torch.ones(1, 16, 16)
    sums = boundary_sums(truth, truth, whole, width=1)
    assert sums.tolist() == [[10 * 10 - 8 * 8] * 3, [8 * 8 - 6 * 6] * 3]
    assert boundary_iou(sums, ("ground", "roof")) == {"ground": 1.0, "roof": 1.0, "mean": 1.0}


def test_a_square_one_pixel_smaller_shares_no_thin_boundary() -> None:
    sums = boundary_sums(maps(square(5, 11)), maps(square(4, 12)), torch.ones(1, 16, 16), width=1)
    assert boundary_iou(sums, ("ground", "roof"))["roof"] == 0.0
    wide = boundary_sums(maps(square(5, 11)), maps(square(4, 12)), torch.ones(1, 16, 16), width=2)
    shared, either = 6 * 6 - 4 * 4, 8 * 8 - 2 * 2
    assert boundary_iou(wide, ("ground", "roof"))["roof"] == pytest.approx(shared / either)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**20), width=st.integers(1, 3))
def test_a_boundary_is_what_scipys_erosion_takes_away(seed: int, width: int) -> None:
    labels = torch.randint(2, (1, 12, 9), generator=torch.Generator().manual_seed(seed))
    sums = boundary_sums(maps(labels), maps(labels), torch.ones(1, 12, 9), width)
    mask = labels[0].numpy() == 1
    eroded = binary_erosion(mask, [[1] * 3] * 3, iterations=width, border_value=1)
    assert sums[1].tolist() == [int((mask & ~eroded).sum())] * 3


def test_neither_the_border_nor_a_hole_makes_a_boundary() -> None:
    labels = torch.ones(1, 8, 8, dtype=torch.int64)
    labels[:, 3, 3] = 0
    target = maps(labels)
    target[:, :, 3, 3] = math.nan
    sums = boundary_sums(maps(labels), target, torch.ones(1, 8, 8))
    assert sums.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert boundary_iou(sums, ("a", "b")) == {"a": None, "b": None, "mean": None}


def test_sums_merge_over_batches() -> None:
    generator = torch.Generator().manual_seed(1)
    truth, guess = (maps(torch.randint(3, (4, 9, 9), generator=generator), 3) for _ in range(2))
    counted = torch.rand((4, 9, 9), generator=generator) > 0.1
    parts = [boundary_sums(guess[i : i + 1], truth[i : i + 1], counted[i : i + 1]) for i in range(4)]
    assert torch.equal(torch.stack(parts).sum(0), boundary_sums(guess, truth, counted))
