"""The quick look that training takes after each epoch, beside the best constant's scores.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from greentrain.data.loader import Batch
from greentrain.data.targets import TargetRule
from greentrain.scores.metrics import confusion, scores, sum_over_ranks

__all__ = ["validate"]


@torch.no_grad()
def validate(
    net: nn.Module,
    batches: Iterable[Batch],
    rule: TargetRule,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[dict[str, Any], float]:
    """(`metrics.scores`, mean loss a pixel) over all ranks; the quick look that training takes after each epoch."""
    net.eval()
    counts = torch.zeros((len(rule.classes),) * 2, dtype=torch.int64, device=device)
    total = torch.zeros(2, dtype=torch.float64, device=device)  # loss times pixels, pixels
    for batch in batches:
        image, target = batch["image"].to(device), rule(batch["fraction"].to(device), batch["valid"].to(device))
        with autocast():
            logits = net(image)
        logits = logits.float()
        counts += confusion(logits, target.fraction, target.counted)
        pixels = target.counted.sum().double()
        total += torch.stack([loss(logits, target.fraction, target.counted).double() * pixels, pixels])
    counts, total = sum_over_ranks(counts), sum_over_ranks(total)
    mean_loss = float(total[0] / total[1]) if total[1] > 0 else float("nan")
    return scores(counts, rule.classes), mean_loss
