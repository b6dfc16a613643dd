"""What lies around each pixel, in numbers that a tree can cut: bands, and their means and deviations under Gaussians.

Letters: C bands, S scales, F = C (1 + 2 S) features, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["SCALES", "feature_count", "reach", "surroundings"]

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Deviations of the Gaussians in pixels: from the next pixel to a block of houses on an aerial photograph."""
_CUT = 4.0
"""Deviations at which a Gaussian ends."""

Floats = NDArray[np.float32]


def feature_count(channels: int, scales: Sequence[float]) -> int:
    """F."""
    return channels * (1 + 2 * len(scales))


def reach(scales: Sequence[float]) -> int:
    """Pixels in each direction on which a pixel's features depend."""
    return int(_CUT * max(scales, default=0.0) + 0.5)


def surroundings(image: Floats, scales: Sequence[float]) -> Floats:
    """(F, H, W) of an image (C, H, W) without NaN: the bands, then the means and the deviations of each scale.

    Beyond its edge an image goes on as in a mirror.
    """
    parts = [image]
    for scale in scales:
        mean, square = (
            gaussian_filter(x, (0, scale, scale), truncate=_CUT) for x in (image, np.square(image, dtype=np.float64))
        )
        parts += [mean, np.sqrt(np.maximum(square - np.square(mean, dtype=np.float64), 0)).astype(image.dtype)]
    return np.concatenate(parts) if scales else image
