"""The Triton kernel in Triton's interpreter on the CPU, against the float64 reference.

The interpreter must be chosen before Triton is imported, so the comparison runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

COMPARE = """
import torch
from greentrain.nets.scan import selective_scan
from greentrain.nets.scan.reference import ScanInputs, reference_scan
from greentrain.nets.scan.triton_scan import triton_scan

def r(*shape):
    return torch.randn(*shape, generator=g, dtype=torch.float64)

for b, G, width, N, L, softplus, vectors, decay in [
    (1, 1, 2, 16, 1, True, True, 1.0), (2, 2, 3, 4, 37, True, True, 1.0), (1, 1, 2, 3, 300, True, True, 1.0),
    (1, 2, 1, 1, 130, False, False, 1.0), (1, 1, 18, 2, 20, True, False, 1.0), (1, 1, 2, 16, 140, True, True, 300.0),
]:
    g = torch.Generator().manual_seed(0)
    D = G * width
    delta = r(b, D, L) - 1 if softplus else 0.1 * r(b, D, L).abs()
    case = [r(b, D, L), delta, -decay * torch.exp(0.5 * r(D, N)), r(b, G, N, L), r(b, G, N, L)]
    case += [r(D), 0.5 * r(D)] if vectors else [None, None]
    dy = r(b, D, L)
    results = []
    for scan, dtype in ((reference_scan, torch.float64), (triton_scan, torch.float32)):
        leaves = [None if t is None else t.detach().clone().to(dtype).requires_grad_() for t in case]
        y = scan(ScanInputs(*leaves, softplus))
        y.backward(dy.to(dtype))
        results.append([y.detach()] + [t.grad for t in leaves if t is not None])
    for i, (truth, found) in enumerate(zip(*results, strict=True)):
        error = ((found - truth).abs().max() / truth.abs().max().clamp(min=1e-30)).item()
        assert error < 1e-5, (b, G, width, N, L, decay, i, error)
    by_name = selective_scan(*(None if t is None else t.float() for t in case), softplus, backend="triton")
    assert torch.equal(by_name, results[1][0])
"""


def test_triton_gives_what_the_reference_gives_in_double() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", COMPARE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
