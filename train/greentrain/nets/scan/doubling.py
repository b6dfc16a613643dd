"""The selective scan in log2(L) steps of plain operators, for exported programs: no loop, no kernel, none of our code.

It holds (B, D, L, N) numbers at once, so it is for inference only. Hillis and Steele: Data parallel algorithms (1986).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from greentrain.nets.scan.reference import ScanInputs

__all__ = ["doubling_scan"]


def doubling_scan(inputs: ScanInputs) -> Tensor:
    """What `reference_scan` computes. After step k each place holds the map over the 2^k steps that end there.

    Only products of decays are formed, never quotients, so strong decay is harmless.
    """
    u, delta, A, B, C, D, delta_bias, delta_softplus = inputs
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    by_group = (batch, groups, channels // groups, 1, length)  # B, G, H, N, L below
    a = torch.exp(delta.reshape(by_group) * A.view(groups, channels // groups, states, 1))
    b = (delta * u).reshape(by_group) * B.unsqueeze(2)
    reach = 1
    while reach < length:
        a_before = F.pad(a[..., :-reach], (reach, 0), value=1.0)
        b_before = F.pad(b[..., :-reach], (reach, 0))
        a, b = a * a_before, a * b_before + b
        reach *= 2
    y = (b * C.unsqueeze(2)).sum(3).reshape(batch, channels, length)
    return y if D is None else y + D[:, None] * u
