"""The selective scan of Mamba, one function over several kernels."""

from __future__ import annotations

from greentrain.nets.scan.allocator import tune_allocator
from greentrain.nets.scan.dispatch import BACKENDS, selective_scan

__all__ = ["BACKENDS", "selective_scan", "tune_allocator"]
