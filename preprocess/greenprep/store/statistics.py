"""Statistics of any set of groups from their records in the store: no pixel is read.

Letters: G groups, C bands, K classes, N histogram bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from greenprep.store.histogram import Histogram
from greenprep.store.moments import Moments
from greenschemas.bands import feature_names
from greenschemas.class_weights import class_weights
from greenschemas.contract import BandStats, Contract, Statistics
from greenschemas.moments import pooled
from greenschemas.store import Store
from greenschemas.values import BandLevels

__all__ = ["PERCENTILES", "group_table", "levels", "merged", "statistics", "stats_table"]

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
"""Those that `greenprep stats` prints."""
ENOUGH = 8
"""Groups below which nothing is said about how far they lie from each other."""
LEVEL_GROUPS = 512
"""Groups, at most, whose histograms make the levels of the train split."""
_BLOCK = 512
"""Groups whose co-moments are in memory at a time."""


def merged(store: Store, chosen: NDArray[np.bool_], *, histogram: bool = True) -> Moments:
    """Moments of the pixels of the groups where (G,) `chosen` is true, without their histogram if not wanted."""
    count, mean = store.read("count")[chosen], store.read("mean")[chosen]
    total, centre, comoment = pooled(count, mean, _blocks(store, "comoment", chosen))
    # Without any pixel in it a group's extremes are infinite and lose against every other's.
    low = store.read("minimum")[chosen].min(axis=0, initial=np.inf)
    high = store.read("maximum")[chosen].max(axis=0, initial=-np.inf)
    class_sum, class_count = (store.read(name)[chosen].sum(axis=0) for name in ("class_sum", "class_count"))
    whole = _histogram(store, chosen) if histogram else Histogram.empty(mean.shape[1])
    return Moments(total, centre, comoment, low, high, class_sum, class_count, whole)


def _blocks(store: Store, name: str, chosen: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """The rows of the chosen groups, block after block along the chunks."""
    array = store.group[name]
    chunk = array.chunks[0] if isinstance(array, zarr.Array) else 1
    step = max(1, _BLOCK // chunk) * chunk
    for start in range(0, len(chosen), step):
        inside = chosen[start : start + step]
        if inside.any():
            yield store.read(name, slice(start, start + step))[inside]


def _histogram(store: Store, chosen: NDArray[np.bool_]) -> Histogram:
    codes = store.read("bin_code")
    total = np.zeros((len(store.contract.bands), len(codes)), np.int64)
    for block in _blocks(store, "histogram", chosen):
        total += block.sum(axis=0)
    return Histogram(codes, total)


def statistics(contract: Contract, moments: Moments, class_sum: NDArray[np.float64]) -> Statistics:
    """What training needs, from the moments of the train split and the (G, K) class sums of its groups."""
    variance = moments.variance
    features = [contract.band_index(name) for name in feature_names(contract.bands)]
    seen = features or list(range(len(contract.bands)))
    centre = float(moments.mean[seen].mean())
    spread = float(np.sqrt((variance[seen] + (moments.mean[seen] - centre) ** 2).mean()))
    labelled = moments.class_sum.sum()
    share = moments.class_sum / labelled if labelled > 0 else moments.class_sum
    return Statistics(
        pixels=int(moments.count.max()),
        bands=tuple(
            BandStats(mean=float(m), std=float(np.sqrt(v)), minimum=_finite(low), maximum=_finite(high))
            for m, v, low, high in zip(moments.mean, variance, moments.minimum, moments.maximum, strict=True)
        ),
        global_mean=centre,
        global_std=spread,
        class_share=tuple(float(s) for s in share),
        class_weights=class_weights(class_sum),
    )


def levels(store: Store, chosen: NDArray[np.bool_]) -> tuple[BandLevels, ...]:
    """Where the numbers of each band lie in the groups where (G,) `chosen` is true; empty where none has a pixel.

    Percentiles are those of at most LEVEL_GROUPS of these groups, evenly taken: more would say nothing else.
    """
    used = np.flatnonzero(chosen & (store.read("count").max(axis=1) > 0))
    if not len(used) or "histogram" not in store.group:
        return ()
    some = np.zeros(len(chosen), bool)
    some[used[np.linspace(0, len(used) - 1, min(len(used), LEVEL_GROUPS)).astype(int)]] = True
    histogram = _histogram(store, some)
    integer = store.contract.whole_numbers
    dark, median, bright = (histogram.percentiles(share, integer=integer) for share in (0.01, 0.5, 0.99))
    mean = store.read("mean")[used]
    away = np.abs(mean - np.median(mean, axis=0))
    between = 1.4826 * np.median(away, axis=0) if len(used) >= ENOUGH else np.zeros(len(dark))
    rows = zip(dark, median, bright, between, strict=True)
    return tuple(
        BandLevels(dark=float(low), median=float(middle), bright=float(high), between=float(spread))
        for low, middle, high, spread in rows
    )


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def stats_table(store: Store, split: str | None) -> dict[str, Any]:
    """All statistics of a split, or (None) of the whole store, as JSON: bands and classes by name."""
    contract = store.contract
    chosen = store.groups_of(split)
    moments = merged(store, chosen)
    class_sum = store.read("class_sum")[chosen]
    whole = statistics(contract, moments, class_sum)
    integer = contract.whole_numbers
    percentiles = {p: moments.histogram.percentiles(p / 100, integer=integer) for p in PERCENTILES}
    counted = max(1, int(moments.class_count.sum()))
    bands = {
        band.name: {
            **one.model_dump(),
            "role": band.role.value,
            "percentiles": {str(p): _number(values[i]) for p, values in percentiles.items()},
        }
        for i, (band, one) in enumerate(zip(contract.bands, whole.bands, strict=True))
    }
    classes = {
        name: {
            "pixels": float(moments.class_sum[k]),
            "share": whole.class_share[k],
            "share_by_argmax": int(moments.class_count[k]) / counted,
            "weights": {scheme: weights[k] for scheme, weights in whole.class_weights.items()},
        }
        for k, name in enumerate(contract.classes)
    }
    return {
        "split": split or "all",
        "groups": int(chosen.sum()),
        "pixels": whole.pixels,
        "labelled_pixels": float(moments.class_sum.sum()),
        "global_mean": whole.global_mean,
        "global_std": whole.global_std,
        "bands": bands,
        "classes": classes,
        "class_weights": {scheme: list(weights) for scheme, weights in whole.class_weights.items()},
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def group_table(store: Store) -> list[dict[str, Any]]:
    """A row a group: pixels, mean and deviation by band, class shares, and its greatest robust z-score over the bands.

    The z-score compares a group's mean of a band with the median over the groups, in units of 1.4826 times the median
    absolute deviation: an outlier stands out whatever the others are.
    """
    names = [band.name for band in store.contract.bands]
    count, mean = store.read("count"), store.read("mean")
    square = np.diagonal(store.read("comoment"), axis1=1, axis2=2)
    std = np.sqrt(np.maximum(square, 0) / np.maximum(count, 1))
    away = np.abs(mean - np.median(mean, axis=0))
    scale = 1.4826 * np.median(away, axis=0)
    score = np.divide(away, scale, out=np.zeros_like(away), where=scale > 0)
    sums = store.read("class_sum")
    share = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-300)
    return [
        {
            "group": str(group),
            "pixels": int(count[g].max()),
            "robust_z": float(score[g].max()),
            "band_of_z": names[int(score[g].argmax())],
            "mean": dict(zip(names, mean[g].tolist(), strict=True)),
            "std": dict(zip(names, std[g].tolist(), strict=True)),
            "classes": dict(zip(store.contract.classes, share[g].tolist(), strict=True)),
        }
        for g, group in enumerate(store.texts("group_name"))
    ]
