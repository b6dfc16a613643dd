"""What the scan costs: the published net's training step with each scan, as ratios to the same net without one.

    python tests/bench/bench_scan.py [--rounds 5] [--threads 2] [--only cpu,floor,numba,pscan]

The variants take turns within one process, so that what else the machine does hits all alike; the medians are compared.
Memory is the peak of a process of its own for each variant.

`floor` leaves the scan out (u + delta in its place); `numba` is the fallback without a compiler; `pscan` is the
parallel scan of Blelloch over (B, D, L, N) arrays with autograd through every level, as mamba.py does it, written here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from greentrain.nets import scan
from greentrain.nets.presets import build_model
from greentrain.nets.scan import cpu, fallback, native

LIMITS = {"cpu": (1.45, 1.35, 1.25), "numba": (3.0, None, None)}
"""Targets for step, inference and memory, as ratios to the floor."""


def floor(u: Tensor, delta: Tensor, *_: Any, **__: Any) -> Tensor:
    return u + delta


def pscan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, **_: Any) -> Tensor:
    """Blelloch (1990), by pairs: scan the odd places of a sequence half as long, then fill in the even ones."""
    batch, channels, length = u.shape
    groups = B.shape[1]
    d = F.softplus(delta + bias[:, None]).view(batch, groups, -1, length, 1)
    a = torch.exp(d * A.view(groups, -1, 1, A.shape[1]))  # (B, G, H, L, N)
    b = d * u.view(batch, groups, -1, length, 1) * B.transpose(2, 3).unsqueeze(2)
    h = _by_pairs(a, b)
    y = (h * C.transpose(2, 3).unsqueeze(2)).sum(-1).view(batch, channels, length)
    return y + D[:, None] * u


def _by_pairs(a: Tensor, b: Tensor) -> Tensor:
    length = a.shape[3]
    if length == 1:
        return b
    even_a, odd_a = a[..., 0 : length - 1 : 2, :], a[..., 1::2, :]
    even_b, odd_b = b[..., 0 : length - 1 : 2, :], b[..., 1::2, :]
    odd = _by_pairs(even_a * odd_a, odd_a * even_b + odd_b)
    even = torch.cat([b[..., :1, :], a[..., 2::2, :] * odd[..., : (length - 1) // 2, :] + b[..., 2::2, :]], dim=3)
    whole = torch.empty_like(b)
    whole[..., 0::2, :] = even
    whole[..., 1::2, :] = odd
    return whole


def use(variant: str, real: Callable[..., Tensor]) -> None:
    """Put a variant's scan in its place."""
    scan.selective_scan = {"floor": floor, "pscan": pscan}.get(variant, real)
    if variant in ("cpu", "numba"):
        module = native if variant == "cpu" else fallback
        cpu.kernel = lambda: module  # type: ignore[assignment]


def measure(variants: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of a training step and of inference by variant; the first round is thrown away."""
    torch.manual_seed(0)
    model, x, real = build_model("base", 19, 5), torch.randn(2, 19, 128, 128), scan.selective_scan
    times: dict[str, dict[str, list[float]]] = {v: {"step": [], "inference": []} for v in variants}
    for _ in range(rounds + 1):
        for variant in variants:
            use(variant, real)
            model.train()
            start = time.perf_counter()
            model.zero_grad(set_to_none=True)
            model(x).square().mean().backward()
            times[variant]["step"].append(time.perf_counter() - start)
            model.eval()
            start = time.perf_counter()
            with torch.inference_mode():
                model(x)
            times[variant]["inference"].append(time.perf_counter() - start)
    return {v: {what: statistics.median(t[1:]) for what, t in both.items()} for v, both in times.items()}


def memory(variant: str) -> float:
    """MB that two training steps add to the peak of a process that holds the net, its input and its gradients."""
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import bench_scan; bench_scan.peak({variant!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak(variant: str) -> None:
    """Print the growth of this process's peak."""
    torch.manual_seed(0)
    model, x = build_model("base", 19, 5), torch.randn(2, 19, 128, 128)
    use(variant, scan.selective_scan)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.train()
    model(x[:, :, :32, :32]).square().mean().backward()  # compilers and pools get what they want
    before = _peak_mb()
    for _ in range(2):
        model(x).square().mean().backward()
    print(_peak_mb() - before)


def _peak_mb() -> float:
    """Of this program: `getrusage` also counts what its parent held when it was started."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="floor,cpu,numba,pscan")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scan.tune_allocator()
    variants = ["floor", *(v for v in options.only.split(",") if v != "floor")]
    seconds = measure(variants, options.rounds)
    added = {v: memory(v) for v in variants}
    rows = {
        v: {
            "step": seconds[v]["step"] / seconds["floor"]["step"],
            "inference": seconds[v]["inference"] / seconds["floor"]["inference"],
            "memory": added[v] / added["floor"],
            "seconds": seconds[v]["step"],
        }
        for v in variants
    }
    if options.json:
        print(json.dumps(rows))
        return
    print(f"base net, 19 bands, 5 classes, batch 2, 128 x 128, {options.threads} threads; ratios to no scan at all")
    print(f"{'scan':8} {'step':>8} {'inference':>10} {'memory':>8} {'s a step':>9}   limits")
    for v, row in rows.items():
        limits = " ".join(f"{limit or '-':>5}" for limit in LIMITS.get(v, ()))
        print(
            f"{v:8} {row['step']:8.2f} {row['inference']:10.2f} {row['memory']:8.2f} {row['seconds']:9.3f}   {limits}"
        )
    if "pscan" in rows and "cpu" in rows:
        print(f"pscan's step takes {rows['pscan']['step'] / rows['cpu']['step']:.1f} times cpu's")


if __name__ == "__main__":
    main()
