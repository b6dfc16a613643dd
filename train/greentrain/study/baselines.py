"""Baselines without a net, all with one interface: what every score of a net has to stand beside.

`constant` knows only the class shares; `linear` and `spectral` see each pixel alone. All learn from plain arrays.
Letters: N tiles, C bands, K classes, H rows, W columns.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

__all__ = ["Baseline", "ConstantBaseline", "LinearBaseline", "SpectralBaseline"]

Floats = NDArray[np.floating]


class Baseline(Protocol):
    """What `compare` asks of a predictor."""

    def fit(self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None) -> Self:
        """Learn from images (N, C, H, W) and class fractions (N, K, H, W); NaN fractions are unlabelled.

        `valid` (N, H, W) is True where the image may be used.
        """
        ...

    def predict(self, image: Floats) -> NDArray[np.float32]:
        """Class probabilities (N, K, H, W) of images (N, C, H, W): expected fractions."""
        ...


def _usable(fraction: Floats, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(N, H, W): labelled, with something in it, and valid."""
    usable: NDArray[np.bool_] = np.isfinite(fraction).all(axis=1) & (np.nan_to_num(fraction).sum(axis=1) > 0)
    if valid is not None:
        usable &= valid
    if not usable.any():
        raise ValueError(f"no pixel of {usable.size} is both valid and labelled: nothing to learn from")
    return usable


def _check_fitted(classes: int) -> None:
    if classes == 0:
        raise ValueError("`predict` was called before `fit`")


class ConstantBaseline:
    """The class shares of the training pixels, everywhere: the score of doing nothing."""

    def __init__(self) -> None:
        self.shares = np.zeros(0)
        """(K,), sums to 1; empty before `fit`."""

    def fit(self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None) -> Self:
        usable = _usable(fraction, valid)
        sums = np.array([plane[usable].sum(dtype=np.float64) for plane in fraction.swapaxes(0, 1)])
        self.shares = sums / sums.sum()
        return self

    def predict(self, image: Floats) -> NDArray[np.float32]:
        _check_fitted(len(self.shares))
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

    def fit(self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None) -> Self:
        usable = _usable(fraction, valid)
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
        _check_fitted(self.weights.shape[1])
        share = np.einsum("nchw,ck->nkhw", image, self.weights[1:]) + self.weights[0][None, :, None, None]
        share = np.clip(share, 0.0, 1.0)
        total = share.sum(axis=1, keepdims=True)
        even = np.full_like(share, 1 / share.shape[1])
        found: NDArray[np.float32] = np.divide(share, total, out=even, where=total > 0).astype(np.float32)
        return found


class SpectralBaseline:
    """Gradient boosting on single pixels: all that the bands say without looking at the neighbours.

    A sampled pixel's class is drawn from its fractions, so that the probabilities estimate fractions;
    hard labels are the special case in which the draw is certain. Missing values (NaN) are a branch of
    their own in the trees. Ke et al.: LightGBM (2017), as scikit-learn's HistGradientBoostingClassifier.
    """

    def __init__(
        self, *, max_pixels: int = 300_000, iterations: int = 100, learning_rate: float = 0.1, seed: int = 0
    ) -> None:
        self.max_pixels = max_pixels
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.seed = seed
        self._classes = 0

    def fit(self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None) -> Self:
        generator = np.random.default_rng(self.seed)
        place = np.flatnonzero(_usable(fraction, valid))
        if len(place) > self.max_pixels:
            place = np.sort(generator.choice(place, self.max_pixels, replace=False))
        tile, pixel = np.divmod(place, image.shape[2] * image.shape[3])
        row, column = np.divmod(pixel, image.shape[3])
        share = fraction[tile, :, row, column].astype(np.float64).cumsum(axis=1)
        draw = generator.random((len(place), 1)) * share[:, -1:]
        label = (draw >= share).sum(axis=1)
        self._classes = fraction.shape[1]
        # The library's own early stopping holds out random pixels, whose neighbours it has seen: of no use.
        self._model = HistGradientBoostingClassifier(
            max_iter=self.iterations, learning_rate=self.learning_rate, early_stopping=False, random_state=self.seed
        )
        self._seen = np.unique(label)
        if len(self._seen) > 1:
            self._model.fit(image[tile, :, row, column], label)
        return self

    def predict(self, image: Floats) -> NDArray[np.float32]:
        _check_fitted(self._classes)
        tiles, _, height, width = image.shape
        out = np.zeros((tiles, self._classes, height, width), dtype=np.float32)
        if len(self._seen) == 1:
            out[:, self._seen[0]] = 1.0
            return out
        for index, tile in enumerate(image):  # tile by tile: the trees' work arrays stay small
            share = self._model.predict_proba(tile.reshape(len(tile), -1).T)
            out[index, self._seen] = share.T.reshape(len(self._seen), height, width)
        return out
