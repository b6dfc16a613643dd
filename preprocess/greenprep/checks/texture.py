"""Does a picture look like one? Noise, stripes, impulses, wrapped values, and whether labels fit it. Pure.

Measured over a few bands (N of them), which is enough: what spoils pictures spoils the wide bands too. All sums add
up over disjoint strips; differences across the seam of two strips are left out.
Sources: J. Immerkaer, Fast noise variance estimation (1996), for the noise; the rest is first differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.bands import FEATURE_ROLES, Band, Role
from greenschemas.layout import FRACTION_SCALE, UNLABELLED

__all__ = ["SHIFTS", "Fit", "Texture", "fit_of", "looked_at", "texture_of"]

Array = NDArray[Any]
LOOKED_AT = ("blue", "red", "nir")
GREY_VALUES = 256
JUMP = 128
"""Half of an 8-bit range: neighbours seldom differ by more in a picture, and often do in values modulo 256."""
SHIFTS = (
    (0, 0),
    *((y * step, x * step) for step in (2, 4, 8) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)),
)
"""(rows, columns) by which labels are moved against the image; the first is where they are."""


@dataclass(frozen=True)
class Texture:
    """Sums over the pixels of N bands; arrays are (N,) unless said otherwise."""

    pixels: int
    total: Array
    square: Array
    """Of values less `centre`, so that float64 keeps its digits."""
    across: Array
    """Squared differences of neighbours in a row."""
    down: Array
    """Squared differences of neighbours in a column."""
    pairs: tuple[int, int]
    """How many differences in a row and in a column."""
    immerkaer: Array
    """Sum of the absolute response to Immerkaer's mask."""
    inner: int
    """Pixels that the mask was laid on."""
    impulses: Array
    """Pixels that stand out from all four neighbours by more than the threshold."""
    jumps: Array
    """Differences in a row of more than JUMP."""
    greys: Array | None
    """(N, 256) histogram, for bands whose values lie in 0..255."""

    def __add__(self, other: Texture) -> Texture:
        both = {field.name: _sum(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        return Texture(**both)

    @property
    def variance(self) -> Array:
        """Of the pixels, by band."""
        pixels = max(self.pixels, 1)
        return np.maximum(self.square / pixels - (self.total / pixels) ** 2, 0)

    @property
    def correlation(self) -> Array:
        """Of neighbouring pixels: 1 less half the mean squared difference over the variance; 1 for a flat band."""
        differences = max(sum(self.pairs), 1)
        gamma = (self.across + self.down) / differences / 2
        return np.where(self.variance > 0, 1 - gamma / np.where(self.variance > 0, self.variance, 1), 1.0)

    @property
    def noise(self) -> Array:
        """Standard deviation of white noise, by Immerkaer's estimate."""
        noise: Array = np.sqrt(np.pi / 2) / 6 * self.immerkaer / max(self.inner, 1)
        return noise


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, tuple):
        return tuple(a + b for a, b in zip(one, other, strict=True))
    return None if one is None or other is None else one + other


def looked_at(bands: Sequence[Band]) -> list[int]:
    """Indices of the bands that textures are measured in: blue, red and near infrared, or the first three."""
    reflectance = [i for i, band in enumerate(bands) if band.role is Role.REFLECTANCE]
    common = [i for i in reflectance if bands[i].common in LOOKED_AT]
    features = [i for i, band in enumerate(bands) if band.role in FEATURE_ROLES]
    return common or reflectance[:3] or features[:3] or list(range(min(3, len(bands))))


def texture_of(image: Array, centre: float, threshold: float) -> Texture:
    """Sums over one strip of N bands.

    image: (N, h, w) float32, finite; centre: a value near the data, the same for all strips; threshold: least height
    of an impulse.
    """
    x = image - np.float32(centre)
    height, width = x.shape[1:]
    across, down = np.diff(x, axis=2), np.diff(x, axis=1)
    second = np.diff(across, axis=2)
    cross = second[:, :-2] - 2 * second[:, 1:-1] + second[:, 2:] if height > 2 else second[:, :0]
    return Texture(
        pixels=height * width,
        total=x.sum(axis=(1, 2), dtype=np.float64),
        square=_dot(x),
        across=_dot(across),
        down=_dot(down),
        pairs=(height * max(width - 1, 0), max(height - 1, 0) * width),
        immerkaer=np.abs(cross).sum(axis=(1, 2), dtype=np.float64),
        inner=max(height - 2, 0) * max(width - 2, 0),
        impulses=_impulses(x, second, threshold),
        jumps=np.count_nonzero(np.abs(across) > JUMP, axis=(1, 2)),
        greys=_greys(image),
    )


def _dot(x: Array) -> Array:
    flat = x.reshape(len(x), -1)
    squares: Array = np.einsum("ij,ij->i", flat, flat).astype(np.float64)
    return squares


def _impulses(x: Array, second: Array, threshold: float) -> Array:
    """(N,) pixels higher, or lower, than each of their four neighbours by `threshold`."""
    if min(x.shape[1:]) < 3 or not (np.abs(second[:, 1:-1]) > 2 * threshold).any():
        return np.zeros(len(x), np.int64)  # An impulse shows in the second difference along the row.
    centre = x[:, 1:-1, 1:-1]
    around = (x[:, :-2, 1:-1], x[:, 2:, 1:-1], x[:, 1:-1, :-2], x[:, 1:-1, 2:])
    high, low = np.maximum.reduce(around), np.minimum.reduce(around)
    found: Array = np.count_nonzero((centre - high > threshold) | (low - centre > threshold), axis=(1, 2))
    return found


def _greys(image: Array) -> Array | None:
    if image.size == 0 or image.min() < 0 or image.max() >= GREY_VALUES:
        return None
    return np.stack([np.bincount(band.astype(np.uint8).ravel(), minlength=GREY_VALUES) for band in image])


@dataclass(frozen=True)
class Fit:
    """How well the edges of labels and image agree, where the labels are and when they are moved by SHIFTS."""

    weight: int
    """Pixels compared."""
    correlation: Array
    """(len(SHIFTS),) sums of weight * correlation."""

    def __add__(self, other: Fit) -> Fit:
        return Fit(self.weight + other.weight, self.correlation + other.correlation)

    @property
    def here(self) -> float:
        """Correlation where the labels are; NaN where nothing was compared."""
        return float(self.correlation[0] / self.weight) if self.weight else float("nan")

    @property
    def best(self) -> tuple[float, tuple[int, int]]:
        """(greatest correlation, the shift that gives it)."""
        at = int(np.argmax(self.correlation))
        return float(self.correlation[at] / self.weight) if self.weight else float("nan"), SHIFTS[at]


def fit_of(image: Array, fraction: NDArray[np.uint8], valid: Array | None) -> Fit:
    """Compare the edges of a strip's image with those of its labels.

    image: (N, h, w) float32; fraction: (K, h, w) coded; valid: (h, w) or None. Nothing is compared where either has
    next to no edges.
    """
    margin = max(step for shift in SHIFTS for step in shift)
    height, width = image.shape[1:]
    nothing = Fit(0, np.zeros(len(SHIFTS)))
    if min(height, width) < 4 * margin:
        return nothing
    # Edges are taken at every second row, and all shifts are even.
    picture = _edges(image, 1 / np.maximum(image[:, ::4].std(axis=(1, 2)), 1e-9))
    labels = _edges(fraction.astype(np.float32), np.full(len(fraction), 1 / FRACTION_SCALE))
    hidden = fraction[0] == UNLABELLED if valid is None else (fraction[0] == UNLABELLED) | ~valid
    if hidden.any():
        labels[hidden[:-1:2, :-1] | hidden[1::2, :-1] | hidden[:-1:2, 1:]] = 0
    half = margin // 2
    inside = labels[half:-half, margin:-margin]
    if np.count_nonzero(inside > 0.05) < 0.02 * inside.size:
        return nothing
    # `inside` gets mean 0, so that the products need no centring of the other side.
    inside = np.ascontiguousarray(inside - inside.mean())
    norm = float(np.sqrt(np.einsum("ij,ij->", inside, inside)) * picture.std() * np.sqrt(inside.size))
    if norm == 0:
        return nothing
    rows, cols = picture.shape
    products = [
        float(
            np.einsum(
                "ij,ij->",
                inside,
                picture[half + down // 2 : rows - half + down // 2, margin + right : cols - margin + right],
            )
        )
        for down, right in SHIFTS
    ]
    return Fit(inside.size, np.array(products) / norm * inside.size)


def _edges(bands: Array, weights: Array) -> Array:
    """(h // 2, w - 1), every second row: square root of the weighted sum over bands of the absolute differences to the
    right and the lower neighbour."""
    here = bands[:, :-1:2, :-1]
    steps = np.abs(bands[:, :-1:2, 1:] - here)
    steps += np.abs(bands[:, 1::2, :-1] - here)
    edges: Array = np.sqrt(np.einsum("nhw,n->hw", steps, weights.astype(np.float32)))
    return edges
