"""Scores of predicted fractions: MAE, RMSE, bias, R2 and calibration, from sums that merge by `+`.

Letters: B batch, K classes, H rows, W columns. Sums are plain float64 tensors, so that those of batches and
ranks merge by `+` and by an all-reduce.

Of one class, with error e = predicted - true fraction over the pixels that count:
    mae = mean |e|      rmse = sqrt(mean e^2)      bias = mean e
    r2 = 1 - sum e^2 / sum (true - mean true)^2

A class of which the truth holds nothing is absent: its scores are None and enter no mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["FRACTION_METRICS", "calibration_error", "calibration_sums", "fraction_scores", "fraction_sums"]

FRACTION_METRICS = ("mae", "rmse", "bias", "r2")

STEPS = 200
"""The store keeps fractions in steps of 1/200; a histogram of them gives the constant's scores exactly."""

Floats = npt.NDArray[np.float64]


def fraction_sums(probability: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Sums (K, 3 + 201), float64: of e, |e|, e^2, then how many pixels have each true fraction 0, 1/200 … 1.

    probability, target: (B, K, H, W), 0..1; a pixel with any NaN in the target is unlabelled. counted: (B,
    H, W).
    """
    classes = probability.shape[1]
    counts = counted.bool() & ~target.isnan().any(1)
    left_out = ~counts.unsqueeze(1)
    error = (probability.double() - target.double()).masked_fill(left_out, 0.0)
    sums = torch.stack([part.sum((0, 2, 3)) for part in (error, error.abs(), error.square())], 1)
    step = (target.nan_to_num().clamp(0.0, 1.0) * STEPS).round().long()
    cell = step + torch.arange(classes, device=step.device).view(1, -1, 1, 1) * (STEPS + 1)
    size = classes * (STEPS + 1)
    histogram = torch.bincount(cell.masked_fill(left_out, size).flatten(), minlength=size + 1)[:size]
    return torch.cat([sums, histogram.view(classes, -1).double()], 1)


def fraction_scores(sums: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """`{"mean": {metric: …}, "classes": {name: …}, "constant": {…, "fractions": {name: …}}}`, JSON-ready.

    The constant predictor says the mean fractions of this very truth everywhere, the best constant by RMSE;
    the true fractions are taken to the nearest 1/200, as the store has them, for its scores and for R2.
    """
    table = sums.detach().cpu().numpy()
    if len(table) != len(classes):
        raise ValueError(f"sums of {len(table)} classes for {len(classes)} names")
    values = np.arange(STEPS + 1) / STEPS
    histogram = table[:, 3:]
    pixels = np.maximum(histogram.sum(1), 1.0)
    mean = histogram @ values / pixels
    error = mean[:, None] - values
    spread = (histogram * error**2).sum(1) / pixels
    constant = np.stack([np.zeros_like(mean), (histogram * np.abs(error)).sum(1) / pixels, spread], 1)
    absent = mean == 0
    return {
        **_tables(table[:, :3] / pixels[:, None], spread, absent, classes),
        "constant": {
            **_tables(constant, spread, absent, classes),
            "fractions": {name: float(mean[k]) for k, name in enumerate(classes)},
        },
    }


def calibration_sums(probability: Tensor, target: Tensor, counted: Tensor, bins: int = 15) -> Tensor:
    """Sums (bins, 3), float64, by the confidence of the predicted class: pixels, confidence, right ones.

    A pixel is right if the predicted class has the largest true fraction. Bins are (i/bins, (i+1)/bins].
    """
    counts = (counted.bool() & ~target.isnan().any(1)).flatten()
    confidence, predicted = (part.flatten() for part in probability.double().max(1))
    right = predicted == target.max(1).indices.flatten()
    place = (confidence * bins).ceil().sub(1).clamp(0, bins - 1).long().masked_fill(~counts, bins)
    pixels = torch.bincount(place * 2 + right, minlength=2 * bins + 2)[: 2 * bins].view(bins, 2).double()
    # one sum a bin, not a scatter: on a GPU a scatter adds in any order, and scores must come again bit for bit
    sure = torch.stack([confidence.where(place == i, 0.0).sum() for i in range(bins)])
    return torch.stack([pixels.sum(1), sure, pixels[:, 1]], 1)


def calibration_error(sums: Tensor) -> float | None:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017); None without a pixel.

    The mean over pixels of |share right - mean confidence| in their bin: 0 where the net, when 70 percent
    sure, is right in 70 of 100 pixels.
    """
    table = sums.detach().cpu().numpy()
    pixels = table[:, 0].sum()
    return float(np.abs(table[:, 2] - table[:, 1]).sum() / pixels) if pixels else None


def _tables(moments: Floats, spread: Floats, absent: npt.NDArray[np.bool_], classes: Sequence[str]) -> dict[str, Any]:
    """Scores from the means of e, |e| and e^2 (K, 3) and the variance of the truth (K,)."""
    explained = np.full(len(moments), np.nan)
    np.divide(moments[:, 2], spread, out=explained, where=spread > 0)
    columns = np.stack([moments[:, 1], np.sqrt(moments[:, 2]), moments[:, 0], 1.0 - explained], 1)
    columns[absent] = np.nan
    known = ~np.isnan(columns)
    means = np.where(known, columns, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    means[~known.any(0)] = np.nan
    return {"mean": _row(means), "classes": {name: _row(columns[k]) for k, name in enumerate(classes)}}


def _row(values: Floats) -> dict[str, float | None]:
    return {
        metric: None if np.isnan(value) else float(value)
        for metric, value in zip(FRACTION_METRICS, values, strict=True)
    }
