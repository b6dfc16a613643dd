"""Losses on class fractions, and sums of them read from text such as `0.3*ce+0.7*dice`.

Letters: B batch, K classes, H rows, W columns. Every loss takes
    logits         (B, K, H, W), any float type; computed in float32, or float64 where the logits are
    target         (B, K, H, W), fractions in 0..1 that sum to 1; a pixel with any NaN is unlabelled
    weight         (B, H, W), float or bool: how much a pixel counts; 0 or False is not at all
    class_weights  (K,) or None for all equal
and gives a scalar. What a pixel that does not count holds, logits included, changes neither the loss nor a
gradient; where no pixel counts the loss is 0 and so are the gradients.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, one_hot, softmax

from greenschemas.errors import ConfigError, nearest

__all__ = ["WeightedSum", "build_loss", "cross_entropy", "dice", "focal", "lovasz", "tversky"]

Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy with soft labels, over the sum of the weights that the labels carry.

    On hard labels it equals `torch.nn.functional.cross_entropy` with its `weight` and `label_smoothing`;
    torch's soft-label form divides by the number of pixels, so that its size depends on the class weights.
    """
    return focal(logits, target, weight, class_weights, label_smoothing, gamma=0.0)


def focal(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss (Lin et al. 2017): each class's share of a pixel times (1 - p)^gamma; 0 is cross-entropy.

    With gamma above 0 a mixed pixel's optimum is not its fractions: take `ce` where fractions are wanted.
    """
    logits, target, weight = _counted(logits, target, weight)
    shares = target * weight[:, None]
    carried = shares.sum((0, 2, 3))
    if label_smoothing > 0.0:
        shares = torch.lerp(shares, weight[:, None] / target.shape[1], label_smoothing)
    log_p = log_softmax(logits, 1)
    if gamma > 0.0:
        # expm1 keeps 1 - p exact near 1; the clamp keeps its power differentiable at 1 for gamma below 1
        shares = shares * (-torch.expm1(log_p)).clamp_min(1e-12) ** gamma
    sums = torch.stack([-(shares * log_p).sum((0, 2, 3)), carried])  # (2, K)
    if class_weights is not None:
        sums = sums * class_weights.to(sums)
    return sums[0].sum() / _or_one(sums[1].sum())


def dice(logits: Tensor, target: Tensor, weight: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """One minus the soft Dice score, averaged over the classes present in the batch: Tversky at 1/2, 1/2."""
    return tversky(logits, target, weight, class_weights, alpha=0.5, beta=0.5)


def tversky(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    class_weights: Tensor | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
) -> Tensor:
    """Tversky loss (Salehi et al. 2017) over the whole batch: alpha weighs false positives, beta negatives.

    The overlap of prediction p and fraction t is min(p, t), as in the Dice semimetric losses (Wang et al.
    2023): on hard labels that is the usual product p t, and on fractions the loss is 0 just where p = t, as
    with the product it is not. Classes absent from the batch are left out of the (class-weighted) mean.
    """
    logits, target, weight = _counted(logits, target, weight)
    probability = softmax(logits, 1)
    parts = (torch.minimum(probability, target), probability, target)
    overlap, predicted, true = ((part * weight[:, None]).sum((0, 2, 3)) for part in parts)
    score = overlap / _or_one(overlap + alpha * (predicted - overlap) + beta * (true - overlap))
    return _mean_of_present(1.0 - score, true > 0, class_weights)


def lovasz(logits: Tensor, target: Tensor, weight: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Lovasz-softmax, the convex surrogate of 1 - IoU (Berman, Triki, Blaschko 2018), on hard labels.

    The label of a pixel is its largest fraction, the first of equal ones. The set function is the Jaccard
    index of weighted pixels, so that a pixel of weight 0 is as good as not there.
    """
    logits, target, weight = _counted(logits, target, weight)
    classes = target.shape[1]
    labels = one_hot(target.max(1).indices, classes).movedim(-1, 1).to(logits.dtype)
    errors = (labels - softmax(logits, 1)).abs().movedim(1, 0).flatten(1)  # (K, B H W)
    errors, order = errors.sort(dim=1, descending=True)
    with torch.no_grad():
        # float64: the steps of the index are of the size of one pixel in millions
        pixels = weight.flatten().double()[order]
        inside = labels.movedim(1, 0).flatten(1).gather(1, order).double() * pixels
        true = inside.sum(1, keepdim=True)
        index = 1.0 - (true - inside.cumsum(1)) / _or_one(true + (pixels - inside).cumsum(1))
        steps = torch.diff(index, dim=1, prepend=torch.zeros_like(true)).to(errors.dtype)
    return _mean_of_present((errors * steps).sum(1), true[:, 0] > 0, class_weights)


class WeightedSum(nn.Module):
    """A sum of losses, each times its factor; class weights move with the module to its device."""

    def __init__(self, terms: tuple[tuple[float, Loss], ...], class_weights: Tensor | None) -> None:
        super().__init__()
        self.terms = terms
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """The loss as a scalar; `class_weights`, if given, in place of those it was built with."""
        chosen = self.class_weights if class_weights is None else class_weights
        parts = [factor * loss(logits, target, weight, chosen) for factor, loss in self.terms]
        return torch.stack(parts).sum()


def build_loss(text: str, class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> WeightedSum:
    """The loss that `text` names: terms `ce dice focal tversky lovasz`, each with a factor, joined by `+`.

    Examples: `ce`, `0.3*ce+0.7*dice`, `focal(gamma=3) + 0.5*tversky(alpha=0.3, beta=0.7)`. Label smoothing
    reaches the terms that are sums over pixels, `ce` and `focal`.

    Raises ConfigError for an unknown term or setting (naming the nearest), a sum that cannot be read, a
    factor that is not positive, and smoothing that is outside 0..1 or would reach no term.
    """
    terms = _parse(text)
    if not 0.0 <= label_smoothing < 1.0:
        raise ConfigError("label_smoothing", f"{label_smoothing}", "give a share from 0 to below 1")
    if label_smoothing > 0.0 and not any(term.name in _SMOOTHED for term in terms):
        raise ConfigError(
            "label_smoothing", f"{label_smoothing} with the loss `{text}`", "add a `ce` or `focal` term, or set it to 0"
        )
    parts: list[tuple[float, Loss]] = []
    for term in terms:
        settings = dict(term.settings)
        if term.name in _SMOOTHED:
            settings["label_smoothing"] = label_smoothing
        parts.append((term.factor, partial(_LOSSES[term.name], **settings)))
    return WeightedSum(tuple(parts), class_weights)


@dataclass(frozen=True)
class _Term:
    factor: float
    name: str
    settings: Mapping[str, float]


_LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": cross_entropy, "dice": dice, "focal": focal, "tversky": tversky, "lovasz": lovasz,
}  # fmt: skip
_SMOOTHED = frozenset({"ce", "focal"})
_SETTINGS: dict[str, tuple[str, ...]] = {"focal": ("gamma",), "tversky": ("alpha", "beta")}
_LONG_NAMES = {
    "cross_entropy": "ce",
    "crossentropy": "ce",
    "bce": "ce",
    "f1": "dice",
    "iou": "lovasz",
    "jaccard": "lovasz",
}

_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"\s*(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<name>[A-Za-z][\w-]*)\s*(?:\((?P<settings>[^()]*)\))?\s*")
_SETTING = re.compile(rf"\s*(?P<key>\w+)\s*=\s*(?P<value>{_NUMBER})\s*")


def _parse(text: str) -> list[_Term]:
    terms: list[_Term] = []
    position = 0
    while True:
        match = _TERM.match(text, position)
        if match is None or (match.end() < len(text) and text[match.end()] != "+"):
            rest = text[position if match is None else match.end() :]
            raise ConfigError("loss", f"`{text}`, which cannot be read from `{rest}` on", "write it as 0.3*ce+0.7*dice")
        terms.append(_term(match))
        if match.end() == len(text):
            return terms
        position = match.end() + 1


def _term(match: re.Match[str]) -> _Term:
    factor = float(match["factor"] or 1.0)
    if not 0.0 < factor < math.inf:
        raise ConfigError("loss", f"factor {match['factor']} of `{match['name']}`", "give a number above 0")
    name = match["name"].lower().replace("-", "_")
    if name not in _LOSSES:
        remedy = f"did you mean `{_LONG_NAMES[name]}`?" if name in _LONG_NAMES else nearest(name, _LOSSES)
        raise ConfigError("loss", f"no term is called `{match['name']}`", remedy)
    given = match["settings"]
    return _Term(factor, name, dict(_setting(name, part) for part in given.split(",")) if given else {})


def _setting(name: str, text: str) -> tuple[str, float]:
    match = _SETTING.fullmatch(text)
    if match is None:
        raise ConfigError("loss", f"`{text.strip()}` in the brackets of `{name}`", "write settings as gamma=2")
    known = _SETTINGS.get(name, ())
    if match["key"] not in known:
        remedy = nearest(match["key"], known) if known else "leave the brackets out: it has no settings"
        raise ConfigError("loss", f"`{name}` has no setting `{match['key']}`", remedy)
    return match["key"], float(match["value"])


def _counted(logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three in one float type, with zeros in every pixel that does not count."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    unlabelled = target.isnan().any(1)
    weight = weight.to(dtype).masked_fill(unlabelled, 0.0)
    ignored = (weight == 0).unsqueeze(1)
    # the logits too: infinity times 0 would be NaN, and masked_fill stops the gradient
    return logits.to(dtype).masked_fill(ignored, 0.0), target.to(dtype).masked_fill(ignored, 0.0), weight


def _mean_of_present(losses: Tensor, present: Tensor, class_weights: Tensor | None) -> Tensor:
    shares = present.to(losses.dtype)
    if class_weights is not None:
        shares = shares * class_weights.to(losses)
    return (losses * shares).sum() / _or_one(shares.sum())


def _or_one(denominator: Tensor) -> Tensor:
    """The denominator, or 1 where it is 0: what is divided is 0 there as well."""
    return torch.where(denominator > 0, denominator, torch.ones_like(denominator))
