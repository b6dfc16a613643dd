"""The CUDA kernel of mamba-ssm (Gu and Dao), where it is installed. Never required."""

from __future__ import annotations

import functools
import importlib

import torch
from torch import Tensor

from greentrain.nets.scan.reference import ScanInputs

__all__ = ["mamba_available", "mamba_scan"]


@functools.cache
def mamba_available() -> bool:
    """Whether the compiled kernel loads. The package alone says little: a plain install of it has no kernel."""
    if not torch.cuda.is_available():
        return False
    try:
        importlib.import_module("selective_scan_cuda")
    except (ImportError, OSError, RuntimeError):  # built for another torch or CUDA: any of the three
        return False
    return True


def mamba_scan(inputs: ScanInputs) -> Tensor:
    """What `reference_scan` computes, in float32, up to 256 states. Its backward pass adds in no fixed order."""
    interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    *tensors, softplus = inputs
    u, delta, A, B, C, D, bias = (t if t is None else t.contiguous() for t in tensors)
    y: Tensor = interface.selective_scan_fn(u, delta, A, B, C, D, delta_bias=bias, delta_softplus=softplus)
    return y
