"""Boundary IoU (Cheng et al. 2021): whether the edges are right, which the IoU of large areas hardly notices.

Letters: B batch, K classes, H rows, W columns. The inner boundary of a class is those of its pixels that
lie within `width` pixels, row- or column-wise or diagonal (Chebyshev's distance), of a pixel of another
class; the score is the IoU of the inner boundaries of truth and prediction. Two differences from the paper,
whose width is 2 percent of an image's diagonal (4 pixels for a tile of 128) and whose images have no holes:
the width is in pixels, 2 by default, which is 20 m on 10 m data; and neither the border of the tile nor a
pixel that does not count makes a boundary, since the class may well go on there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, one_hot

__all__ = ["boundary_iou", "boundary_sums"]


def boundary_sums(logits: Tensor, target: Tensor, counted: Tensor, width: int = 2) -> Tensor:
    """Pixels (K, 3), int64, of each class's boundaries: in truth and prediction, in either, in the truth.

    logits, target: (B, K, H, W), their largest is the label; NaN in the target is unlabelled. counted: (B,
    H, W).
    """
    counts = (counted.bool() & ~target.isnan().any(1)).unsqueeze(1)
    classes = logits.shape[1]
    truth, predicted = (_inner(labels.max(1).indices, classes, counts, width) for labels in (target, logits))
    return torch.stack([part.sum((0, 2, 3)) for part in (truth & predicted, truth | predicted, truth)], 1)


def boundary_iou(sums: Tensor, classes: Sequence[str]) -> dict[str, float | None]:
    """Boundary IoU of each class and their `mean`, ready for JSON.

    None for a class that has no boundary in the truth, which enters no mean.
    """
    found = {
        name: both / either if true else None for name, (both, either, true) in zip(classes, sums.tolist(), strict=True)
    }
    known = [value for value in found.values() if value is not None]
    return {**found, "mean": sum(known) / len(known) if known else None}


def _inner(labels: Tensor, classes: int, counts: Tensor, width: int) -> Tensor:
    """(B, K, H, W) bool: pixels of each class near a counted pixel of another."""
    member = one_hot(labels, classes).movedim(-1, 1).bool()
    other = (~member & counts).float()
    # pads with -inf, so that the border is no boundary; rows, then columns: as one square, for less work
    rows = max_pool2d(other, (2 * width + 1, 1), stride=1, padding=(width, 0))
    near = max_pool2d(rows, (1, 2 * width + 1), stride=1, padding=(0, width)) > 0
    return member & counts & near
