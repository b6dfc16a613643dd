"""The quick look that training takes after each epoch, beside the best constant's scores.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from greentrain.data.loader import Loader
from greentrain.data.targets import TargetRule
from greentrain.scores.metrics import confusion, scores, sum_over_ranks
from greentrain.scores.temperature import best_temperature, thinned

__all__ = ["Validation", "validate"]

_PIXELS = 200_000
"""About as many of each rank decide on the temperature."""


@dataclass(frozen=True)
class Validation:
    """What a look at the val split gave."""

    scores: dict[str, Any]
    """As `metrics.scores`."""
    loss: float
    """Mean over the pixels; NaN where none counts."""
    temperature: float
    """As `best_temperature`, for these very pixels."""


@torch.no_grad()
def validate(
    net: nn.Module,
    batches: Loader,
    rule: TargetRule,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Validation:
    """Over all ranks; the quick look that training takes after each epoch."""
    net.eval()
    counts = torch.zeros((len(rule.classes),) * 2, dtype=torch.int64, device=device)
    total = torch.zeros(2, dtype=torch.float64, device=device)  # loss times pixels, pixels
    kept = [torch.zeros((2, 0, len(rule.classes)), device=device)]
    every = 0
    for batch in batches:
        image, target = batch["image"].to(device), rule(batch["fraction"].to(device), batch["valid"].to(device))
        with autocast():
            logits = net(image)
        logits = logits.float()
        counts += confusion(logits, target.fraction, target.counted)
        every = every or -(-len(batches) * target.counted.numel() // _PIXELS)
        kept.append(thinned(torch.stack([logits, target.fraction]), target.counted, every))
        pixels = target.counted.sum().double()
        total += torch.stack([loss(logits, target.fraction, target.counted).double() * pixels, pixels])
    counts, total = sum_over_ranks(counts), sum_over_ranks(total)
    mean_loss = float(total[0] / total[1]) if total[1] > 0 else float("nan")
    return Validation(scores(counts, rule.classes), mean_loss, best_temperature(*torch.cat(kept, 1)))
