"""The fused scan on a CPU as torch operators: the C++ kernel, or numba's where there is no compiler.

Operators rather than an autograd function: torch.compile takes them as they are.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from greentrain.nets.scan import native
from greentrain.nets.scan.reference import ScanInputs, reference_scan

__all__ = ["cpu_scan", "kernel"]

CHUNK = 64
"""Steps after which both kernels keep a state; T in kernel.cpp."""

log = logging.getLogger("greentrain.nets.scan")


@functools.cache
def kernel() -> ModuleType:
    """The module that computes: `native`, or `fallback`. Says once which one, and why."""
    try:
        native.library()
    except native.BuildError as error:
        from greentrain.nets.scan import fallback  # numba takes a second to import

        log.warning("selective scan: numba's kernel, the slower one: %s", error)
        return fallback
    log.info("selective scan: the C++ kernel")
    return native


def cpu_scan(inputs: ScanInputs) -> Tensor:
    """What `reference_scan` computes, with O(L) memory; float32 or float64, on the CPU."""
    if inputs.u.dtype == torch.float64 and torch.float64 not in kernel().DTYPES:
        return reference_scan(inputs)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in inputs if isinstance(t, Tensor))
    y, _ = _forward(*inputs, keep)
    return y  # type: ignore[no-any-return]


_INPUTS = "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? bias, bool softplus"
"""`ScanInputs` in the language of operators."""


@torch.library.custom_op(
    "greentrain::scan_forward",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_INPUTS}, bool keep) -> (Tensor, Tensor)",
)
def _forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    *given, keep = arguments
    inputs = _contiguous(given)
    state = inputs.u.new_empty(_states_kept(inputs.u, inputs.B) if keep else 0)
    return kernel().forward(inputs, state if keep else None), state


@_forward.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    kept = _states_kept(u, B) if args[-1] else 0
    return torch.empty_like(u, memory_format=torch.contiguous_format), u.new_empty(kept)


def _states_kept(u: Tensor, B: Tensor) -> int:
    """Numbers that hold the states at the start of each chunk, however a kernel packs them into vectors."""
    batch, groups, states, length = B.shape
    width = -(-(u.shape[1] // groups) // 16) * 16
    lanes = 1 << (states - 1).bit_length() if states < 16 else -(-states // 16) * 16
    return batch * groups * -(-length // CHUNK) * width * lanes


@torch.library.custom_op(
    "greentrain::scan_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor dy, Tensor state, {_INPUTS}) -> ({', '.join(['Tensor'] * 7)})",
)
def _backward(dy: Tensor, state: Tensor, *given: Any) -> tuple[Tensor, ...]:
    return kernel().backward(dy.contiguous(), state, _contiguous(given))  # type: ignore[no-any-return]


@_backward.register_fake
def _(dy: Tensor, state: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *_: Any) -> Any:
    vector = u.new_empty(u.shape[1])
    like = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, delta, A, B, C, vector, vector)]
    return tuple(like)


def _contiguous(given: Sequence[Any]) -> ScanInputs:
    return ScanInputs(*(t.contiguous() if isinstance(t, Tensor) else t for t in given))  # type: ignore[arg-type]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, softplus, _ = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.softplus = softplus
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # or zeros are made for the states' gradient at each step


def _gradients(ctx: Any, dy: Tensor, _: None) -> tuple[Tensor | None, ...]:
    state, *inputs = ctx.saved_tensors
    grads = _backward(dy, state, *inputs, ctx.softplus)
    kept = [None if given is None else grad for given, grad in zip(inputs, grads, strict=True)]
    return *kept, None, None


_forward.register_autograd(_gradients, setup_context=_setup)
