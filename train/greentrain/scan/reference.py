"""The selective scan in plain torch: the definition that every kernel is tested against.

Shapes: B batch, G groups, D channels, H = D / G channels of a group, N states, L steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["reference_scan"]


def reference_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """y (B, D, L) of u, delta (B, D, L), A (D, N), B and C (B, G, N, L), D and delta_bias (D,).

    With d = softplus(delta + delta_bias), or d = delta + delta_bias without `delta_softplus`:

        h_t = exp(d_t A) h_{t-1} + d_t u_t B_t        h_0 = 0, one state (N,) a channel
        y_t = C_t . h_t + D u_t

    Channels come in G equal groups that share B and C. Gu and Dao: Mamba (2023), equations 2 and 4, with the
    simplified discretisation of their code.
    """
    batch, channels, length = u.shape
    groups, states = B.shape[1:3]
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    by_group = (batch, groups, channels // groups, length)
    decay = A.view(groups, channels // groups, states)  # (G, H, N)

    # Steps are unbound once: indexing inside the loop would make the backward pass quadratic in L.
    steps = zip(
        delta.reshape(by_group).unbind(-1),  # each (B, G, H)
        (delta * u).reshape(by_group).unbind(-1),
        B.unbind(-1),  # each (B, G, N)
        C.unbind(-1),
        strict=True,
    )
    h = u.new_zeros(*by_group[:3], states)
    out = []
    for d_t, du_t, B_t, C_t in steps:
        h = torch.exp(d_t[..., None] * decay) * h + du_t[..., None] * B_t[:, :, None]
        out.append((h * C_t[:, :, None]).sum(-1))
    y = torch.stack(out, dim=-1).reshape(batch, channels, length)
    return y if D is None else y + D[:, None] * u
