"""The selective scan in plain torch: the definition that every kernel is tested against.

Shapes: B batch, G groups, D channels, H = D / G channels of a group, N states, L steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ScanInputs", "reference_scan"]


class ScanInputs(NamedTuple):
    """What every kernel is given; all tensors of one type, on one device."""

    u: Tensor
    """(B, D, L)."""
    delta: Tensor
    """(B, D, L), step sizes before the bias and softplus."""
    A: Tensor
    """(D, N), below zero."""
    B: Tensor
    """(B, G, N, L)."""
    C: Tensor
    """(B, G, N, L)."""
    D: Tensor | None
    """(D,), the share of u that is added to the output; None for none."""
    delta_bias: Tensor | None
    """(D,); None for none."""
    delta_softplus: bool


def reference_scan(inputs: ScanInputs) -> Tensor:
    """y (B, D, L).

    With d = softplus(delta + delta_bias), or d = delta + delta_bias without `delta_softplus`:

        h_t = exp(d_t A) h_{t-1} + d_t u_t B_t        h_0 = 0, one state (N,) a channel
        y_t = C_t . h_t + D u_t

    Channels come in G equal groups that share B and C. Gu and Dao: Mamba (2023), equations 2 and 4, with the
    simplified discretisation of their code.
    """
    u, delta, A, B, C, D, delta_bias, delta_softplus = inputs
    channels = u.shape[1]
    groups, states = B.shape[1:3]
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    # Each product, and the order of factors and sums, rounds as in mamba's own reference: a net amplifies the last bit.
    B, C = (t.repeat_interleave(channels // groups, dim=1) for t in (B, C))  # (B, D, N, L)
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    gain = torch.einsum("bdl,bdnl,bdl->bdln", delta, B, u)

    # Steps are unbound once: indexing inside the loop would make the backward pass quadratic in L.
    h = u.new_zeros(u.shape[0], channels, states)
    out = []
    for decay_t, gain_t, C_t in zip(decay.unbind(2), gain.unbind(2), C.unbind(3), strict=True):  # each (B, D, N)
        h = decay_t * h + gain_t
        out.append(torch.einsum("bdn,bdn->bd", h, C_t))
    y = torch.stack(out, dim=-1)
    return y if D is None else y + u * D[:, None]
