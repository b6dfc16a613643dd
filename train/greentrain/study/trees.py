"""Gradient boosting on pixels: the strongest model without a net, and quickly trained.

Letters: N tiles, C bands, F features, K classes, P pixels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from greentrain.nets.surroundings import feature_count, surroundings
from greentrain.nets.tree_arrays import TreeArrays
from greentrain.study.baselines import Floats, Ids, check_fitted, draw_pixels, label_iou, usable_pixels

__all__ = ["QUICK_VALUES", "TreesBaseline", "quick_trees"]

_FOLDS = 3
QUICK_VALUES = 60_000_000
"""Most values (240 MB) of random training tiles that trees beside a net are shown."""


class TreesBaseline:
    """Gradient-boosted trees on single pixels or, with `scales`, on pixels and their surroundings.

    Each of `scales`, a deviation in pixels, adds the mean and the deviation of every band under a Gaussian of that
    width. How many `iterations` of those given are best is found on whole groups that are held out of training in turn
    (mean IoU of the folds' pooled pixels); where no groups are given, it is the most. Missing values (NaN) are a
    branch of their own in the trees. Ke et al.: LightGBM (2017), as scikit-learn's HistGradientBoostingClassifier.
    """

    def __init__(
        self,
        *,
        scales: Sequence[float] = (),
        max_pixels: int = 300_000,
        max_values: int = 16_000_000,
        iterations: Sequence[int] = (50, 100, 200),
        seed: int = 0,
    ) -> None:
        self.scales = tuple(scales)
        self.max_pixels = max_pixels
        self.max_values = max_values
        """Most pixels times features, which bounds time and memory where there are many features."""
        self.iterations = tuple(sorted(iterations))
        self.seed = seed
        self.chosen = self.iterations[-1]
        """Iterations that were found best."""
        self._classes = 0

    def fit(
        self, image: Floats, fraction: Floats, valid: NDArray[np.bool_] | None = None, group: Ids | None = None
    ) -> Self:
        generator = np.random.default_rng(self.seed)
        most = min(self.max_pixels, self.max_values // feature_count(image.shape[1], self.scales))
        (tile, row, column), label = draw_pixels(fraction, usable_pixels(fraction, valid), most, generator)
        self._classes, self._seen = fraction.shape[1], np.unique(label)
        if len(self._seen) == 1:
            return self
        here = [(index, tile == index) for index in np.unique(tile)]  # in the order of the drawn pixels
        features = np.concatenate([surroundings(image[at], self.scales)[:, row[on], column[on]].T for at, on in here])
        if group is not None and len(self.iterations) > 1 and len(np.unique(group[tile])) >= _FOLDS:
            self.chosen = self._best_iterations(features, label, group[tile])
        self._model = self._trees(self.chosen).fit(features, label)
        return self

    def predict(self, image: Floats) -> NDArray[np.float32]:
        check_fitted(self._classes)
        tiles, _, height, width = image.shape
        out = np.zeros((tiles, self._classes, height, width), dtype=np.float32)
        if len(self._seen) == 1:
            out[:, self._seen[0]] = 1.0
            return out
        for index, tile in enumerate(image):  # tile by tile: the trees' work arrays stay small
            features = surroundings(tile, self.scales)
            share = self._model.predict_proba(features.reshape(len(features), -1).T)
            out[index, self._seen] = share.T.reshape(len(self._seen), height, width)
        return out

    def as_arrays(self, channels: int) -> TreeArrays:
        """The fitted trees, over `channels` bands; their answer is `predict`'s up to rounding."""
        check_fitted(self._classes)
        start = np.full(self._classes, -np.inf)
        if len(self._seen) == 1:
            start[self._seen] = 0.0
            none: NDArray[np.uint32] = np.empty(0, np.uint32)
            return TreeArrays(
                none, np.empty(0, np.float32), none, np.empty(0), none, none, start, channels, self.scales
            )
        # Of two classes there is one tree an iteration: the score of the second, where that of the first is 0.
        start[self._seen] = 0.0
        scored = self._seen[-self._model.n_trees_per_iteration_ :]
        start[scored] = self._model._baseline_prediction.ravel()
        trees = [_flat(tree.nodes) for iteration in self._model._predictors for tree in iteration]
        root = np.cumsum([0, *(len(tree.child) for tree in trees)])[:-1].astype(np.uint32)
        return TreeArrays(
            np.concatenate([tree.feature for tree in trees]),
            np.concatenate([tree.threshold for tree in trees]),
            np.concatenate([tree.child + first for tree, first in zip(trees, root, strict=True)]).astype(np.uint32),
            np.concatenate([tree.value for tree in trees]),
            root,
            np.tile(scored, len(self._model._predictors)).astype(np.uint32),
            start,
            channels,
            self.scales,
        )

    def _trees(self, iterations: int) -> HistGradientBoostingClassifier:
        # The library's own early stopping holds out random pixels, whose neighbours it has seen: of no use.
        return HistGradientBoostingClassifier(
            max_iter=iterations, l2_regularization=1.0, early_stopping=False, random_state=self.seed
        )

    def _best_iterations(self, features: Floats, label: Ids, group: Ids) -> int:
        """The number of iterations with the best mean IoU on groups held out."""
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=self.seed)
        found = {count: np.zeros_like(label) for count in self.iterations}
        for train, held_out in folds.split(features, label, group):
            trees = self._trees(self.iterations[-1]).fit(features[train], label[train])
            for count, labels in enumerate(trees.staged_predict(features[held_out]), 1):
                if count in found:
                    found[count][held_out] = labels
        return max(self.iterations, key=lambda count: label_iou(label, found[count], self._classes))


def quick_trees(seed: int = 0) -> TreesBaseline:
    """Trees that are fitted in seconds, for a figure beside a net's: 60,000 pixels, no choice of iterations."""
    return TreesBaseline(max_pixels=60_000, iterations=[100], seed=seed)


class _Flat(NamedTuple):
    """A tree whose siblings stand side by side: the arrays of `TreeArrays` for it, numbered from 0."""

    feature: NDArray[np.uint32]
    threshold: NDArray[np.float32]
    child: NDArray[np.int64]
    value: NDArray[np.float64]


def _flat(nodes: NDArray[np.void]) -> _Flat:
    """One of scikit-learn's trees, level by level.

    Its thresholds are float64, images float32: the next lower float32 parts them in the same way.
    """
    order, child = [0], []
    for place, at in enumerate(order):  # which grows on the way
        if nodes["is_leaf"][at]:
            child.append(place)
            continue
        child.append(len(order))
        order += [nodes["left"][at], nodes["right"][at]]
    found, leaf = nodes[order], nodes["is_leaf"][order].astype(bool)
    exact = found["num_threshold"]
    single = exact.astype(np.float32)
    low = np.where(single > exact, np.nextafter(single, np.float32(-np.inf)), single)
    return _Flat(
        np.where(leaf, 0, found["feature_idx"]).astype(np.uint32),
        np.where(leaf, np.float32(np.inf), low),
        np.array(child),
        np.where(leaf, found["value"], 0.0),
    )
