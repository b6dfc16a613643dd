"""Checks the arguments of a scan and sends it to the kernel that was asked for."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable

import torch
from torch import Tensor

from greenschemas.errors import ConfigError, nearest
from greentrain.nets.scan.cpu import cpu_scan
from greentrain.nets.scan.doubling import doubling_scan
from greentrain.nets.scan.mamba import mamba_available, mamba_scan
from greentrain.nets.scan.reference import ScanInputs, reference_scan

__all__ = ["BACKENDS", "selective_scan"]

BACKENDS = ("auto", "reference", "cpu", "triton", "mamba-ssm")
"""What `backend` may be. `auto` is `cpu` on the CPU, and on a GPU `triton`, or `mamba-ssm` without Triton; in
torch.export it is the scan of plain operators, whose program runs without this package."""

Kernel = Callable[[ScanInputs], Tensor]


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
    given = ScanInputs(u, delta, A, B, C, D, delta_bias, delta_softplus)
    _check(given)
    wide = torch.float64 if u.dtype == torch.float64 else torch.float32
    inputs = ScanInputs(*(t.to(wide) if isinstance(t, Tensor) else t for t in given))  # type: ignore[arg-type]
    return _kernel(backend, u)(inputs).to(u.dtype)


def _kernel(backend: str, u: Tensor) -> Kernel:
    match backend:
        case "auto" if torch.compiler.is_exporting():
            return doubling_scan
        case "auto":
            return _fastest(u.device.type)
        case "reference":
            return reference_scan
        case "cpu":
            return _cpu(u)
        case "triton":
            return _triton(u)
        case "mamba-ssm":
            if not mamba_available():
                raise ConfigError(
                    "scan", "mamba-ssm's CUDA kernel does not load here", "install the extra `cuda`, or use auto"
                )
            return mamba_scan
    raise ConfigError("scan", f"no kernel is called {backend!r}", nearest(backend, BACKENDS))


@functools.cache
def _fastest(device: str) -> Kernel:
    """The best kernel of a device that is at hand."""
    if device in ("cpu", "meta"):
        return cpu_scan
    if importlib.util.find_spec("triton") is not None:
        from greentrain.nets.scan.triton_scan import triton_scan  # Triton is heavy, and not everywhere

        return triton_scan
    return mamba_scan if mamba_available() else reference_scan


def _cpu(u: Tensor) -> Kernel:
    if u.device.type not in ("cpu", "meta"):
        raise ConfigError("scan", f"kernel cpu asked for on {u.device}", "use auto")
    return cpu_scan


def _triton(u: Tensor) -> Kernel:
    if importlib.util.find_spec("triton") is None:
        raise ConfigError("scan", "Triton is not installed", "pip install triton, or use auto")
    if u.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ConfigError("scan", "Triton runs on a GPU, the tensors are on the CPU", "use auto")
    from greentrain.nets.scan.triton_scan import triton_scan

    return triton_scan


def _check(inputs: ScanInputs) -> None:
    """Refuse shapes that do not fit together: a kernel would read past the end of an array."""
    u, delta, A, B, C, D, delta_bias, _ = inputs
    found = ", ".join(f"{k} {tuple(t.shape)}" for k, t in (("u", u), ("delta", delta), ("A", A), ("B", B), ("C", C)))
    fits = u.dim() == 3 and A.dim() == 2 and B.dim() == 4
    fits = fits and delta.shape == u.shape and A.shape[0] == u.shape[1] and C.shape == B.shape
    fits = fits and (B.shape[0], B.shape[2], B.shape[3]) == (u.shape[0], A.shape[1], u.shape[2])
    if not fits or B.shape[1] == 0 or u.shape[1] % B.shape[1]:
        raise ConfigError(
            "scan", found, "give u and delta (B, D, L), A (D, N), B and C (B, G, N, L) with D a multiple of G"
        )
    for name, vector in (("D", D), ("delta_bias", delta_bias)):
        if vector is not None and vector.shape != u.shape[1:2]:
            raise ConfigError(
                "scan", f"{name} {tuple(vector.shape)} beside u {tuple(u.shape)}", "give one value a channel"
            )
