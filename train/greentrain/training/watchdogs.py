"""Watchdogs: what a person who sat by the run would notice, from numbers that the run has anyway.

They find a loss that is not finite, a loss that only rises, and collapse: a net that predicts one class nearly
everywhere, or scores no better than the best constant predictor. Each finding names the likely causes in
order and what to look at.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Finding", "Kind", "find_collapse", "find_non_finite", "find_rising", "first_non_finite"]


class Kind(StrEnum):
    """What can be found."""

    NON_FINITE = "non-finite"
    """A loss that is NaN or infinite: the run must stop, weights are lost with the next step."""
    RISING = "rising"
    """A loss that has only risen since the start."""
    COLLAPSE = "collapse"
    """Predictions or scores of a constant."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run; its text is for the user."""

    kind: Kind
    """Which watchdog found it."""
    found: str
    """What was seen, with the numbers."""
    causes: tuple[str, ...]
    """Likely causes, the likeliest first, each with what to look at."""

    def __str__(self) -> str:
        causes = "\n".join(f"  {i}. {cause}" for i, cause in enumerate(self.causes, 1))
        return f"{self.kind}: {self.found}.\nLikely causes, in order:\n{causes}"


_NON_FINITE_CAUSES = (
    "the rate is too high, or has no warm-up: lower it, clip gradients at 1",
    "half precision: float16 overflows, take bfloat16 or float32",
    "values out of all range after normalisation: `greentrain doctor` shows each band's",
)
_RISING_CAUSES = (
    "the rate is too high: divide it by 10",
    "labels do not belong to the images: look at tiles with `greenprep show`",
    "normalisation: `greentrain doctor` shows each band's mean and deviation, near 0 and 1 if all is well",
)
_COLLAPSE_CAUSES = (
    "labels: do masks belong to their images, are classes in the masks' order? look at some tiles",
    "statistics: of this store's train split, bands at mean 0 and deviation 1? see `greentrain doctor`",
    "class weights: one class outweighs the others; try `sqrt`, or a loss with `dice`",
    "rate: too high to settle, or too low to leave the start; from scratch 6e-4 to 1e-3 with warm-up",
)


def find_non_finite(loss: float, tiles: Sequence[int], layer: str | None) -> Finding | None:
    """A finding if the loss is NaN or infinite; names its tiles and layer (`first_non_finite`)."""
    if math.isfinite(loss):
        return None
    where = f", first in `{layer}`" if layer else ""
    found = f"the loss of the batch of tiles {', '.join(map(str, tiles))} is {loss}{where}"
    return Finding(Kind.NON_FINITE, found, _NON_FINITE_CAUSES)


def first_non_finite(model: nn.Module, image: Tensor) -> str | None:
    """Name of what first holds a value that is not finite: a parameter, `input` or a module; else None.

    Runs the model once on image (B, C, H, W), without gradients, in the mode in which it is.
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return name
    if not image.isfinite().all():
        return "input"
    seen: list[str] = []

    def look(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not seen and not output.isfinite().all():
            seen.append(name or "output")

    hooks = [module.register_forward_hook(partial(look, name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0] if seen else None


def find_rising(losses: Sequence[float], checks: int = 5) -> Finding | None:
    """A finding if the loss rose at each of the last `checks` checks and is above where it started.

    losses: one number a check, all of the run so far; a check is an epoch, or some hundred steps, but no
    single batch.
    """
    last = losses[-checks - 1 :]
    if len(last) <= checks or any(b <= a for a, b in pairwise(last)) or last[-1] <= losses[0]:
        return None
    found = f"the loss has risen at {checks} checks in a row, from {last[0]:.4g} to {last[-1]:.4g}"
    return Finding(Kind.RISING, found, _RISING_CAUSES)


def find_collapse(
    history: Sequence[Mapping[str, Any]], *, checks: int = 3, share: float = 0.99, margin: float = 0.005
) -> Finding | None:
    """A finding if the last `checks` validations all say one class nearly everywhere, or score as a constant.

    history: what `metrics.scores` gave at each validation, the oldest first. `share`: of the pixels given
    to one class, where the truth has less by at least 1 percent. `margin`: how much mean IoU above the
    constant's is still nothing.
    """
    last = history[-checks:]
    if len(last) < checks or not all(scores["micro"]["accuracy"] is not None for scores in last):
        return None
    judges: tuple[Callable[[Mapping[str, Any]], str | None], ...] = (
        partial(_one_class, share=share),
        partial(_as_constant, margin=margin),
    )
    for judge in judges:
        verdicts = [judge(scores) for scores in last]
        if verdicts[-1] is not None and all(verdict is not None for verdict in verdicts):
            return Finding(Kind.COLLAPSE, f"{verdicts[-1]}, at {checks} checks in a row", _COLLAPSE_CAUSES)
    return None


def _one_class(scores: Mapping[str, Any], share: float) -> str | None:
    confusion = torch.tensor(scores["confusion"], dtype=torch.float64)
    predicted, true = (confusion.sum(axis) / confusion.sum() for axis in (0, 1))
    k = int(predicted.argmax())
    if predicted[k] < share or predicted[k] - true[k] < 0.01:
        return None
    name = list(scores["classes"])[k]
    return f"`{name}` is predicted on {predicted[k]:.1%} of the pixels, the truth has it on {true[k]:.1%}"


def _as_constant(scores: Mapping[str, Any], margin: float) -> str | None:
    ours, constant = scores["mean"]["iou"], scores["constant"]["mean"]["iou"]
    if sum(row["iou"] is not None for row in scores["classes"].values()) < 2 or ours > constant + margin:
        return None
    name = scores["constant"]["class"]
    return f"mean IoU {ours:.3f} is no better than {constant:.3f}, that of always predicting `{name}`"
