"""Predictions of a net on overlapping windows, blended: pixels in, shares out; no file is opened here.

Letters: B windows in a batch, C bands that the net sees, K classes, H rows, W columns, S pixels a side of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greentrain.maps.blend import Axis, Block, blend
from greentrain.nets.mirror import mean_over_mirrors

if TYPE_CHECKING:
    from greentrain.training.checkpoint import Trained

__all__ = ["Beside", "Probabilities", "Seen", "beside_of", "mean_and_spread", "predict_block"]

Floats = NDArray[np.float32]
Probabilities = Callable[[Tensor, Tensor], Tensor]
"""Raw values (B, C, H, W) float32 and usable pixels (B, H, W) bool to class probabilities (B, K, H, W) on the CPU."""


@dataclass(frozen=True)
class Beside:
    """A model whose answer is averaged with a net's, and that has no window: it is asked once a pixel."""

    probabilities: Probabilities
    reach: int = 0
    """Pixels in each direction on which its answer at a pixel depends."""


@dataclass(frozen=True)
class Seen:
    """The pixels that the windows of a block see, and what stands beside the net, as far as there are any."""

    values: Floats
    """(C, H, W), 0 where unusable, never NaN."""
    usable: NDArray[np.bool_]
    """(H, W) True where the pixel may be classified."""
    origin: tuple[int, int]
    """Row and column of its first pixel in the scene."""


def beside_of(trained: Trained) -> Beside | None:
    """The trees of a run, if it has any."""
    return None if trained.trees is None else Beside(trained.of_trees, trained.trees.reach)


def predict_block(
    probabilities: Probabilities,
    classes: int,
    seen: Seen,
    block: Block,
    axes: tuple[Axis, Axis],
    *,
    batch_size: int,
    flips: bool,
    beside: Beside | None = None,
) -> Floats:
    """(K, H, W) probabilities of a block, NaN where it has no usable pixel.

    seen: what the windows along `axes` (rows, columns) that touch the block see; flips: mean over mirror images.
    beside: what else is asked; the two are averaged.
    """
    size, (top, left) = axes[0].size, seen.origin
    height, width = seen.usable.shape
    own = np.s_[block.row - top : block.row - top + block.height, block.col - left : block.col - left + block.width]
    here = seen.usable[own]
    nothing = np.full((classes, *here.shape), np.nan, np.float32)
    if not here.any():
        return nothing
    # Only a scene smaller than a window needs filling up; mirrored, it looks like more of the same place.
    missing = ((0, max(size - height, 0)), (0, max(size - width, 0)))
    filled = Seen(
        np.pad(seen.values, ((0, 0), *missing), "symmetric"), np.pad(seen.usable, missing, "symmetric"), seen.origin
    )
    found = _windows(probabilities, filled, block, axes, batch_size=batch_size, flips=flips)
    share = blend(block, *axes, found)
    if beside is not None:
        share = np.divide(share + _answer(beside, seen, own), 2, dtype=np.float32)
    return np.where(here, share, nothing)


def _answer(beside: Beside, seen: Seen, own: tuple[slice, slice]) -> Floats:
    """Its probabilities (K, H, W) of a part of what is seen, which sees as far around that part as it needs to."""
    around = np.s_[*(slice(max(side.start - beside.reach, 0), side.stop + beside.reach) for side in own)]
    values, usable = torch.from_numpy(seen.values[:, *around]), torch.from_numpy(seen.usable[around])
    share: Floats = beside.probabilities(values[None], usable[None])[0].numpy()
    first = (side.start - wide.start for side, wide in zip(own, around, strict=True))
    return share[:, *(slice(at, at + side.stop - side.start) for at, side in zip(first, own, strict=True))]


def mean_and_spread(shares: Sequence[Floats]) -> tuple[Floats, Floats]:
    """(mean (K, H, W), spread (H, W)) of the fractions (K, H, W) that several nets give.

    The spread is the share of a pixel in which a net differs from the mean, on average: half the sum of the differences
    over the classes. 0 where all agree, and never above 1 - 1/N of N nets, which name as many classes.
    """
    mean: Floats = np.mean(shares, 0, dtype=np.float32)
    spread: Floats = np.mean([np.abs(share - mean).sum(0) / 2 for share in shares], 0, dtype=np.float32)
    return mean, spread


def _windows(
    probabilities: Probabilities, seen: Seen, block: Block, axes: tuple[Axis, Axis], *, batch_size: int, flips: bool
) -> Iterator[tuple[int, int, Floats]]:
    """The prediction of every window that touches the block and has anything to see."""
    (rows, cols), (top, left) = axes, seen.origin
    size = rows.size
    boxes = {
        (i, j): (
            slice(rows.starts[i] - top, rows.starts[i] - top + size),
            slice(cols.starts[j] - left, cols.starts[j] - left + size),
        )
        for i in rows.touching(block.row, block.row + block.height)
        for j in cols.touching(block.col, block.col + block.width)
    }
    # A window without a usable pixel predicts for none: leaving it out changes no pixel that will be kept.
    todo = [place for place, box in boxes.items() if seen.usable[box].any()]
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        image = torch.from_numpy(np.stack([seen.values[:, *boxes[place]] for place in batch]))
        valid = torch.from_numpy(np.stack([seen.usable[boxes[place]] for place in batch]))
        for place, found in zip(batch, _flipped(probabilities, image, valid, flips).numpy(), strict=True):
            yield *place, found


@torch.inference_mode()
def _flipped(probabilities: Probabilities, image: Tensor, valid: Tensor, flips: bool) -> Tensor:
    """Probabilities (B, K, H, W); with `flips` their mean over the mirror images, each turned back."""
    return (mean_over_mirrors(probabilities, image, valid) if flips else probabilities(image, valid)).float()
