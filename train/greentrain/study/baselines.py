"""Baselines without a net, all with one interface: what every score of a net has to stand beside.

`constant` knows only the class shares; `index` and `linear` see each pixel alone; for gradient boosting see `trees`.
All learn from plain arrays. Letters: N tiles, C bands, K classes, P pixels, H rows, W columns.
"""

from __future__ import annotations

from itertools import combinations
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from greentrain.scores.metrics import class_scores, mean_scores

__all__ = [
    "Baseline",
    "ConstantBaseline",
    "IndexBaseline",
    "LinearBaseline",
    "Places",
    "check_fitted",
    "draw_pixels",
    "label_iou",
    "usable_pixels",
]

Floats = NDArray[np.floating]
Ids = NDArray[np.integer]
Places = tuple[Ids, Ids, Ids]
"""Tile, row and column of each of P pixels: (P,) each."""


class Baseline(Protocol):
    """What `compare` asks of a predictor."""

    def fit(
        self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None, group: Ids | None = None
    ) -> Self:
        """Learn from images (N, C, H, W) and class fractions (N, K, H, W); NaN fractions are unlabelled.

        `valid` (N, H, W) is True where the image may be used; `group` (N,) says which tiles belong together, where
        settings are chosen on ground held out.
        """
        ...

    def predict(self, image: Floats) -> NDArray[np.float32]:
        """Class probabilities (N, K, H, W) of images (N, C, H, W): expected fractions."""
        ...


def usable_pixels(fraction: Floats, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(N, H, W): labelled, with something in it, and valid."""
    usable: NDArray[np.bool_] = np.isfinite(fraction).all(axis=1) & (np.nan_to_num(fraction).sum(axis=1) > 0)
    if valid is not None:
        usable &= valid
    if not usable.any():
        raise ValueError(f"no pixel of {usable.size} is both valid and labelled: nothing to learn from")
    return usable


def draw_pixels(
    fraction: Floats, usable: NDArray[np.bool_], most: int, generator: np.random.Generator
) -> tuple[Places, Ids]:
    """(places, classes (P,)) of at most `most` usable pixels, each class drawn from its pixel's fractions.

    So probabilities learnt from them estimate fractions; on hard labels the draw is certain.
    """
    place = np.flatnonzero(usable)
    if len(place) > most:
        place = np.sort(generator.choice(place, most, replace=False))
    tile, row, column = np.unravel_index(place, usable.shape)
    share = fraction[tile, :, row, column].astype(np.float64).cumsum(axis=1)
    draw = generator.random((len(place), 1)) * share[:, -1:]
    return (tile, row, column), (draw >= share).sum(axis=1)


def label_iou(truth: Ids, found: Ids, classes: int) -> float:
    """Mean IoU of labels (P,), over the classes that the truth holds."""
    counts = np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)
    return float(mean_scores(class_scores(counts))["iou"])


def check_fitted(classes: int) -> None:
    if classes == 0:
        raise ValueError("`predict` was called before `fit`")


class ConstantBaseline:
    """The class shares of the training pixels, everywhere: the score of doing nothing."""

    def __init__(self) -> None:
        self.shares = np.zeros(0)
        """(K,), sums to 1; empty before `fit`."""

    def fit(
        self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None, group: Ids | None = None
    ) -> Self:
        usable = usable_pixels(fraction, valid)
        sums = np.array([plane[usable].sum(dtype=np.float64) for plane in fraction.swapaxes(0, 1)])
        self.shares = sums / sums.sum()
        return self

    def predict(self, image: Floats) -> NDArray[np.float32]:
        check_fitted(len(self.shares))
        tiles, _, height, width = image.shape
        planes = self.shares.astype(np.float32)[None, :, None, None]
        return np.broadcast_to(planes, (tiles, len(self.shares), height, width)).copy()


class LinearBaseline:
    """Linear unmixing: each fraction a linear function of the pixel's bands, by least squares.

    Predictions are cut to 0..1 and made to sum to 1, so that they are fractions. Bands that say nothing of their own
    get the smallest weights that fit.
    """

    def __init__(self) -> None:
        self.weights = np.zeros((0, 0))
        """(1 + C, K), the first row the offset; empty before `fit`."""

    def fit(
        self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None, group: Ids | None = None
    ) -> Self:
        usable = usable_pixels(fraction, valid)
        bands, classes = image.shape[1], fraction.shape[1]
        total, sums, count = np.zeros((bands, bands + classes)), np.zeros(bands + classes), int(usable.sum())
        shift = np.array([plane[usable].mean(dtype=np.float64) for plane in image.swapaxes(0, 1)])
        for pixels, shares, keep in zip(image, fraction, usable, strict=True):  # tile by tile: little memory
            x = pixels[:, keep].astype(np.float64) - shift[:, None]
            both = np.concatenate([x, shares[:, keep].astype(np.float64)])
            total += x @ both.T
            sums += both.sum(axis=1)
        centred = total - np.outer(sums[:bands], sums) / count
        spread = np.sqrt(np.maximum(np.diag(centred[:, :bands]), 0))
        scale = np.divide(1.0, spread, out=np.zeros(bands), where=spread > 0)
        slope = np.linalg.lstsq(scale[:, None] * centred[:, :bands] * scale, scale[:, None] * centred[:, bands:])[0]
        slope *= scale[:, None]
        offset = sums[bands:] / count - (shift + sums[:bands] / count) @ slope
        self.weights = np.concatenate([offset[None], slope])
        return self

    def predict(self, image: Floats) -> NDArray[np.float32]:
        check_fitted(self.weights.shape[1])
        share = np.einsum("nchw,ck->nkhw", image, self.weights[1:]) + self.weights[0][None, :, None, None]
        share = np.clip(share, 0.0, 1.0)
        total = share.sum(axis=1, keepdims=True)
        even = np.full_like(share, 1 / share.shape[1])
        found: NDArray[np.float32] = np.divide(share, total, out=even, where=total > 0).astype(np.float32)
        return found


class IndexBaseline:
    """Thresholds on one normalised difference (a - b) / (a + b): what a map maker tries first, as with the NDVI.

    Of all pairs of bands that one is taken whose values, cut into at most 2 K pieces (by a decision tree on the one
    number; Breiman et al. 1984), give the best mean IoU on the training pixels. The bands must be in one unit.
    """

    def __init__(self, *, max_pixels: int = 20_000, seed: int = 0) -> None:
        self.max_pixels = max_pixels
        self.seed = seed
        self.pair = (0, 0)
        """Positions of the bands a and b."""
        self._classes = 0

    def fit(
        self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None, group: Ids | None = None
    ) -> Self:
        generator, classes, best = np.random.default_rng(self.seed), fraction.shape[1], -1.0
        place, label = draw_pixels(fraction, usable_pixels(fraction, valid), self.max_pixels, generator)
        pixels = image[place[0], :, place[1], place[2]]
        bands = image.shape[1]
        for pair in combinations(range(bands), 2) if bands > 1 else [(0, 0)]:
            value = _normalised_difference(pixels[:, pair[0]], pixels[:, pair[1]])[:, None]
            # A leaf of few pixels is no threshold that anybody would set.
            tree = DecisionTreeClassifier(max_leaf_nodes=2 * classes, min_samples_leaf=min(20, len(label)))
            tree.fit(value, label)
            score = label_iou(label, tree.predict(value), classes)
            if score > best:
                best, self.pair, self._tree = score, pair, tree
        self._classes = classes
        return self

    def predict(self, image: Floats) -> NDArray[np.float32]:
        check_fitted(self._classes)
        value = _normalised_difference(image[:, self.pair[0]], image[:, self.pair[1]])
        share = self._tree.predict_proba(value.reshape(-1, 1)).reshape(*value.shape, -1)
        out = np.zeros((len(image), self._classes, *image.shape[2:]), np.float32)
        out[:, self._tree.classes_] = np.moveaxis(share, -1, 1)
        return out


def _normalised_difference(a: Floats, b: Floats) -> Floats:
    """(a - b) / (a + b) in -1..1; 0 where the sum is not positive, as with reflectances below 0."""
    total = np.asarray(a + b, np.float64)
    return np.clip(np.divide(a - b, total, out=np.zeros_like(total), where=total > 0), -1, 1)
