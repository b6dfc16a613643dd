"""Scores of a classification from one confusion matrix, always beside the best constant predictor's.

Letters: B batch, K classes, H rows, W columns, G groups. A confusion matrix is a plain int64 tensor (K, K),
rows truth, columns prediction, so that matrices of batches, ranks or groups merge by `+` and by an
all-reduce. Labels are the largest fraction of a pixel, the first of equal ones, as in training.

Of one class (one against the rest; TP, FP, FN, TN in pixels, N their sum):
    iou = TP / (TP + FP + FN)                  f1 = 2 TP / (2 TP + FP + FN)
    sensitivity = TP / (TP + FN)               specificity = TN / (TN + FP)
    precision = TP / (TP + FP), 0 if the class is never predicted
    accuracy = (TP + TN) / N                   balanced_accuracy = (sensitivity + specificity) / 2
    kappa = Cohen's, of the class against the rest

`mean` is the mean of these over the classes that the truth holds: so `mean.accuracy` is the mean of the
one-against-rest accuracies and `mean.sensitivity` what scikit-learn calls balanced accuracy. `micro` pools
the counts of all classes, but for three: `micro.accuracy` is the share of pixels that are right (overall
accuracy), `micro.balanced_accuracy` the mean sensitivity, `micro.kappa` Cohen's of the whole matrix.

A class that the truth does not hold is absent: its scores are None and it enters no mean, though pixels
lost to it count against the others. None also stands where a quotient has no meaning, such as the
specificity of a class that fills everything.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "bootstrap",
    "class_scores",
    "confusion",
    "confusion_by_group",
    "constant_confusion",
    "mean_scores",
    "micro_scores",
    "scores",
    "sum_over_ranks",
]

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Confusion matrix (K, K), int64, on the device of its inputs; rows truth, columns prediction.

    logits: (B, K, H, W), or probabilities; the largest is the prediction, the first of equal ones.
    target: (B, K, H, W), fractions or one-hot; a pixel with any NaN is unlabelled and does not count.
    counted: (B, H, W), bool or 0/1: 1 where a pixel counts.
    """
    return confusion_by_group(logits, target, counted, torch.zeros(len(logits), dtype=torch.int64), 1)[0]


def confusion_by_group(logits: Tensor, target: Tensor, counted: Tensor, group: Tensor, groups: int) -> Tensor:
    """Confusion matrices (G, K, K), one a group; `group` (B,) holds indices 0..G-1. Else as `confusion`."""
    if logits.shape != target.shape or counted.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(
            f"logits {tuple(logits.shape)}, target {tuple(target.shape)}, counted {tuple(counted.shape)}: "
            "wanted (B, K, H, W) twice and (B, H, W)"
        )
    classes = logits.shape[1]
    size = groups * classes**2
    counts = counted.bool() & ~target.isnan().any(1)
    # max, not argmax: the same place, the first of equal ones, and many times as fast along channels
    cell = target.max(1).indices * classes + logits.max(1).indices
    cell = cell + group.to(cell.device).view(-1, 1, 1) * classes**2
    cell = torch.where(counts, cell, size)  # what does not count gets a cell of its own, cut off again
    return torch.bincount(cell.flatten(), minlength=size + 1)[:size].view(groups, classes, classes)


def sum_over_ranks(counts: Tensor) -> Tensor:
    """The sum of a plain tensor of counts over all processes of a distributed run; itself in a run of one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return counts
    total = counts.clone()
    torch.distributed.all_reduce(total)
    return total


def constant_confusion(counts: Counts) -> Counts:
    """What the best constant predictor gets, (…, K, K): all pixels in the most frequent class's column."""
    truth = counts.sum(-1)
    columns = np.arange(counts.shape[-1]) == truth.argmax(-1)[..., None]
    return np.asarray(truth[..., :, None] * columns[..., None, :], dtype=np.int64)


def class_scores(counts: Counts) -> dict[str, Floats]:
    """Each metric of each class, (…, K) for matrices (…, K, K); NaN where absent or without meaning."""
    cells = counts.astype(np.float64)
    total = cells.sum((-2, -1))[..., None]
    true, predicted = cells.sum(-1), cells.sum(-2)
    tp = np.diagonal(cells, axis1=-2, axis2=-1)
    fp, fn = predicted - tp, true - tp
    tn = total - tp - fp - fn
    sensitivity, specificity = _quotient(tp, true), _quotient(tn, tn + fp)
    accuracy = _quotient(tp + tn, total)
    by_chance = _quotient(true * predicted + (total - true) * (total - predicted), total**2)
    found = {
        "iou": _quotient(tp, tp + fp + fn),
        "f1": _quotient(2 * tp, 2 * tp + fp + fn),
        "accuracy": accuracy,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "specificity": specificity,
        "sensitivity": sensitivity,
        "precision": _quotient(tp, np.where(predicted > 0, predicted, 1.0)),
        "kappa": _quotient(accuracy - by_chance, 1.0 - by_chance),
    }
    return {metric: np.where(true > 0, values, np.nan) for metric, values in found.items()}


def mean_scores(per_class: Mapping[str, Floats]) -> dict[str, Floats]:
    """The mean of each metric over the classes where it is a number, (…); NaN where there is none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return {metric: np.asarray(np.nanmean(values, axis=-1)) for metric, values in per_class.items()}


def micro_scores(counts: Counts) -> dict[str, Floats]:
    """Metrics of the pooled counts, (…) for matrices (…, K, K); see the top of the module."""
    cells = counts.astype(np.float64)
    classes = cells.shape[-1]
    total = cells.sum((-2, -1))
    right = np.trace(cells, axis1=-2, axis2=-1)
    wrong = total - right
    accuracy = _quotient(right, total)
    true, predicted = cells.sum(-1), cells.sum(-2)
    by_chance = _quotient((true * predicted).sum(-1), total**2)
    return {
        "iou": _quotient(right, total + wrong),
        "f1": accuracy,
        "accuracy": accuracy,
        "balanced_accuracy": mean_scores({"": class_scores(counts)["sensitivity"]})[""],
        "specificity": _quotient((classes - 1) * total - wrong, (classes - 1) * total),
        "sensitivity": accuracy,
        "precision": accuracy,
        "kappa": _quotient(accuracy - by_chance, 1.0 - by_chance),
    }


def scores(counts: Tensor | Counts, classes: Sequence[str]) -> dict[str, Any]:
    """All scores of a confusion matrix (K, K), ready for JSON.

    `{"mean": {metric: …}, "micro": {metric: …}, "classes": {name: {metric: …}}, "confusion": [[…]],
    "constant": {"class": name, "mean": …, "micro": …, "classes": …}}`; None where absent or without meaning.
    The constant predictor is the best in hindsight: it names the most frequent class of this very truth.
    """
    matrix = _matrices(counts)
    if matrix.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of shape {matrix.shape} for {len(classes)} classes")
    known = matrix.sum() > 0
    constant = _tables(constant_confusion(matrix), classes)
    best = classes[int(matrix.sum(1).argmax())] if known else None
    return {**_tables(matrix, classes), "confusion": matrix.tolist(), "constant": {"class": best, **constant}}


def bootstrap(
    counts: Tensor | Counts, classes: Sequence[str], *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Percentile intervals of all scores over groups drawn with replacement (Efron 1979).

    counts: (G, K, K), one matrix a group. Groups are drawn, not pixels or tiles: pixels of one place resemble
    each other, and an interval over them would be far too narrow. Gives `{"mean": {metric: [low, high]},
    "micro": …, "classes": {name: …}, "groups": G, "draws": …, "level": …}`; None instead of an interval for
    fewer than two groups, and for what has no value in one draw of ten.
    """
    matrices = _matrices(counts)
    groups = len(matrices)
    if groups < 2:
        sums = np.zeros((1, *matrices.shape[1:]), dtype=np.int64)  # one group says nothing about another
    else:
        times = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=draws)
        sums = np.tensordot(times, matrices, axes=1)
    per_class = class_scores(sums)
    return {
        "mean": {metric: _interval(values, level) for metric, values in mean_scores(per_class).items()},
        "micro": {metric: _interval(values, level) for metric, values in micro_scores(sums).items()},
        "classes": {
            name: {metric: _interval(values[:, k], level) for metric, values in per_class.items()}
            for k, name in enumerate(classes)
        },
        "groups": groups,
        "draws": draws,
        "level": level,
    }


def _tables(matrix: Counts, classes: Sequence[str]) -> dict[str, Any]:
    per_class = class_scores(matrix)
    return {
        "mean": {metric: _number(value) for metric, value in mean_scores(per_class).items()},
        "micro": {metric: _number(value) for metric, value in micro_scores(matrix).items()},
        "classes": {
            name: {metric: _number(values[k]) for metric, values in per_class.items()} for k, name in enumerate(classes)
        },
    }


def _matrices(counts: Tensor | Counts) -> Counts:
    array = counts.detach().cpu().numpy() if isinstance(counts, Tensor) else np.asarray(counts)
    return array.astype(np.int64)


def _quotient(above: Floats, below: Floats) -> Floats:
    """above / below in the shape of `above`, NaN where below is 0."""
    found: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)
    return found


def _number(value: Floats | np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(values: Floats, level: float) -> list[float] | None:
    known = values[~np.isnan(values)]
    if len(known) < 0.9 * len(values):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]
