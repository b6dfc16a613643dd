"""What the net is taught: fractions as they are, hard labels, or one class against all others.

Letters: B batch, K classes, H rows, W columns. The loader gives `fraction` (B, K, H, W), 0..1 with NaN
where a pixel is unlabelled, and `valid` (B, H, W), 1 where the image may be used. A target has no NaN:
pixels without a label hold zeros and are False in `counted`, the mask for losses and metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from greenschemas.errors import ConfigError, nearest

__all__ = ["Target", "TargetRule", "against_all", "as_fractions", "as_hard", "ignore_mixed", "target_rule"]


class Target(NamedTuple):
    """What one batch is compared with."""

    fraction: Tensor
    """(B, K', H, W), float, 0..1, sums to 1 where counted and 0 elsewhere."""
    counted: Tensor
    """(B, H, W), bool: True where a pixel is valid, labelled and pure enough."""


def as_fractions(fraction: Tensor, valid: Tensor) -> Target:
    """The fractions themselves; a pixel with any NaN is unlabelled."""
    counted = valid.bool() & ~fraction.isnan().any(1)
    return Target(fraction.masked_fill(~counted.unsqueeze(1), 0.0), counted)


def as_hard(target: Target) -> Target:
    """One-hot of the largest fraction, the first of equal ones: never two classes in a pixel."""
    labels = one_hot(target.fraction.max(1).indices, target.fraction.shape[1]).movedim(-1, 1)
    return Target(labels.to(target.fraction.dtype) * target.counted.unsqueeze(1), target.counted)


def against_all(target: Target, index: int) -> Target:
    """Two channels, the others' share first and the class's second.

    Two, not one, so that the largest channel is the prediction: argmax over one channel is 0 everywhere,
    which scores specificity 0 and sensitivity 1 whatever the net says.
    """
    one = target.fraction[:, index]
    return Target(torch.stack([target.counted.to(one.dtype) - one, one], 1), target.counted)


def ignore_mixed(target: Target, min_purity: float) -> Target:
    """Leaves out pixels whose largest fraction is below `min_purity`; 0 leaves all in."""
    # half a step of the store's 1/200: 0.6 decoded in float32 must pass a limit of 0.6
    pure = target.fraction.amax(1) >= min_purity - 0.0025
    counted = target.counted & pure
    return Target(target.fraction * counted.unsqueeze(1), counted)


@dataclass(frozen=True)
class TargetRule:
    """How fractions become targets; made by `target_rule`, the same for training and for scores."""

    classes: tuple[str, ...]
    """Names of the target's channels: the store's classes, or `other` and the one class."""
    hard: bool
    """One-hot of the largest fraction instead of the fractions."""
    index: int | None
    """The class that stands against all others, as its place in the store; None for all classes."""
    min_purity: float
    """Pixels whose largest target fraction is below it do not count; 0..1."""

    def __call__(self, fraction: Tensor, valid: Tensor) -> Target:
        """The target of a batch: fraction (B, K, H, W) with NaN, valid (B, H, W)."""
        target = as_fractions(fraction, valid)
        if self.index is not None:
            target = against_all(target, self.index)
        target = ignore_mixed(target, self.min_purity)
        return as_hard(target) if self.hard else target

    def fold(self, class_sum: ArrayLike) -> NDArray[np.float64]:
        """Sums of the target's classes (…, K') from those of the store's (…, K), to make class weights of."""
        sums = np.asarray(class_sum, dtype=np.float64)
        if self.index is None:
            return sums
        one = sums[..., self.index]
        return np.stack([sums.sum(-1) - one, one], -1)


def target_rule(text: str, classes: Sequence[str], min_purity: float = 0.0) -> TargetRule:
    """The rule that `text` names: `fractions`, `hard`, or the name of one class, that class against all.

    One class against all keeps fractions, its share and the rest's. Raises ConfigError for an unknown name,
    and for a purity outside 0..1.
    """
    if not 0.0 <= min_purity <= 1.0:
        raise ConfigError("min_purity", f"{min_purity}", "give a share from 0 (all pixels) to 1 (unmixed pixels only)")
    if text in ("fractions", "hard"):
        return TargetRule(tuple(classes), text == "hard", None, min_purity)
    if text not in classes:
        raise ConfigError(
            "target", f"`{text}` is no class of the store", nearest(text, ["fractions", "hard", *classes])
        )
    return TargetRule(("other", text), False, list(classes).index(text), min_purity)
