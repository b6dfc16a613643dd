"""Checks the arguments of a scan and sends it to the kernel that was asked for."""

from __future__ import annotations

import torch
from greenschemas.errors import ConfigError, nearest
from torch import Tensor

from greentrain.scan.cpu import cpu_scan
from greentrain.scan.reference import reference_scan

__all__ = ["BACKENDS", "selective_scan"]

BACKENDS = ("auto", "reference", "cpu")
"""What `backend` may be."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool = True,
    backend: str = "auto",
) -> Tensor:
    """y (B, D, L), of the type of u.

    u and delta are (B, D, L), A (D, N), B and C (B, G, N, L), D and delta_bias (D,) or None; see `reference_scan` for
    what is computed. Half precision is computed in float32 (a decay of 0.999 is 1 in bfloat16).

    Raises ConfigError for an unknown backend or shapes that do not fit together.
    """
    _check(u, delta, A, B, C, D, delta_bias)
    wide = torch.float64 if u.dtype == torch.float64 else torch.float32
    u_, delta, A, B, C = (t.to(wide) for t in (u, delta, A, B, C))
    D = None if D is None else D.to(wide)
    delta_bias = None if delta_bias is None else delta_bias.to(wide)
    match backend:
        case "reference":
            y = reference_scan(u_, delta, A, B, C, D, delta_bias, delta_softplus)
        case "cpu" | "auto":
            y = cpu_scan(u_, delta, A, B, C, D, delta_bias, delta_softplus)
        case _:
            raise ConfigError("scan", f"no kernel is called {backend!r}", nearest(backend, BACKENDS))
    return y.to(u.dtype)


def _check(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None
) -> None:
    """Refuse shapes that do not fit together: a kernel would read past the end of an array."""
    found = f"u {tuple(u.shape)}, delta {tuple(delta.shape)}, A {tuple(A.shape)}, B {tuple(B.shape)}, C {tuple(C.shape)}"
    fits = u.dim() == 3 and A.dim() == 2 and B.dim() == 4
    fits = fits and delta.shape == u.shape and A.shape[0] == u.shape[1] and C.shape == B.shape
    fits = fits and (B.shape[0], B.shape[2], B.shape[3]) == (u.shape[0], A.shape[1], u.shape[2])
    if not fits or B.shape[1] == 0 or u.shape[1] % B.shape[1]:
        raise ConfigError(
            "scan", found, "give u and delta (B, D, L), A (D, N), B and C (B, G, N, L) with D a multiple of G"
        )
    for name, vector in (("D", D), ("delta_bias", delta_bias)):
        if vector is not None and vector.shape != u.shape[1:2]:
            raise ConfigError("scan", f"{name} {tuple(vector.shape)} beside u {tuple(u.shape)}", "give one value a channel")
