"""The fused scan in numba, for machines without a C++ compiler; same results as kernel.cpp up to rounding.

A channel at a time: its states are the inner loop, which LLVM vectorises, so B and C are laid out with the states last.
The backward pass recomputes the states of `CHUNK` steps from the state kept at the start of the chunk.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from greentrain.nets.scan.reference import ScanInputs
from greentrain.threads import on_threads

__all__ = ["DTYPES", "backward", "forward"]

DTYPES = (torch.float32,)
CHUNK = 64
BLOCK = 64
"""Channels whose sums for B and C go into one array: a constant, so that no result depends on the threads."""

MATHS = {"contract", "arcp", "reassoc", "nsz"}  # not nnan or ninf: what is not finite must stay so


def forward(inputs: ScanInputs, state: Tensor | None) -> Tensor:
    """y; the states at the start of each chunk, which `backward` wants, go to `state`."""
    u, states = inputs.u, inputs.A.shape[1]
    y = torch.empty_like(u)
    starts = u.new_empty(*u.shape[:2], 0, states) if state is None else _starts(state, u, states)
    on_threads(torch.get_num_threads(), _forward, *_arrays(inputs), y.numpy(), starts.numpy())
    return y


def backward(dy: Tensor, state: Tensor, inputs: ScanInputs) -> tuple[Tensor, ...]:
    """Gradients of u, delta, A, B, C, D and bias (of the last two also where they are None)."""
    u = inputs.u
    batch, channels, length = u.shape
    groups, states = inputs.B.shape[1:3]
    blocks = -(-(channels // groups) // BLOCK)
    du, ddelta = torch.empty_like(u), torch.empty_like(u)
    dA = u.new_zeros(batch, channels, states)
    dB, dC = (u.new_zeros(batch, groups, blocks, length, states) for _ in range(2))
    dD, dbias = (u.new_zeros(batch, channels) for _ in range(2))
    starts = _starts(state, u, states).numpy()
    outputs = (t.numpy() for t in (du, ddelta, dA, dB, dC, dD, dbias))
    on_threads(torch.get_num_threads(), _backward, *_arrays(inputs), dy.detach().numpy(), starts, *outputs)
    summed = (t.sum(2).transpose(2, 3).contiguous() for t in (dB, dC))
    return du, ddelta, dA.sum(0), *summed, dD.sum(0), dbias.sum(0)


def _arrays(inputs: ScanInputs) -> list[Any]:
    """As numpy sees them; B and C (batch, G, L, N); zeros for what is None; last, whether there is a softplus."""
    u, delta, A, B, C, D, bias, softplus = inputs
    zeros = u.new_zeros(u.shape[1])
    by_step = (t.transpose(2, 3).contiguous() for t in (B, C))
    vectors = (zeros if t is None else t for t in (D, bias))
    return [*(t.detach().numpy() for t in (u, delta, A, *by_step, *vectors)), softplus]


def _starts(state: Tensor, u: Tensor, states: int) -> Tensor:
    """The beginning of `state` as (batch, D, chunks, N)."""
    shape = (*u.shape[:2], -(-u.shape[2] // CHUNK), states)
    return state[: math.prod(shape)].view(shape)


@njit(inline="always", fastmath=MATHS)
def _exp(x: Any) -> Any:  # pragma: no cover
    """exp as in kernel.cpp: written out, it vectorises; the library's does not."""
    z = min(max(x * np.float32(1.4426950408889634), np.float32(-126.0)), np.float32(127.0))
    whole = np.floor(z + np.float32(0.5))
    f = z - whole
    p = f * np.float32(1.5466987317218716e-4) + np.float32(1.3399618760979617e-3)
    p = p * f + np.float32(9.61803735502784e-3)
    p = p * f + np.float32(5.5503300057977906e-2)
    p = p * f + np.float32(0.2402265107219863)
    p = p * f + np.float32(0.6931472046057543)
    p = p * f + np.float32(1.0)
    return p * np.int32((np.int32(whole) + 127) << 23).view(np.float32)


@njit(inline="always")
def _softplus(x: Any) -> Any:  # pragma: no cover
    return x if x > np.float32(20) else np.float32(math.log1p(math.exp(x)))


@njit(parallel=True, fastmath=MATHS, cache=True)
def _forward(u, delta, A, B, C, D, bias, softplus, y, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    batch, channels, length = u.shape
    states, width = A.shape[1], channels // B.shape[1]
    for task in prange(batch * channels):
        b, c = task // channels, task % channels
        g = c // width
        h = np.zeros(states, np.float32)
        for t in range(length):
            if t % CHUNK == 0 and state.shape[2] > 0:
                state[b, c, t // CHUNK] = h
            d = delta[b, c, t] + bias[c]
            if softplus:
                d = _softplus(d)
            w = d * u[b, c, t]
            out = np.float32(0)
            for n in range(states):
                x = _exp(d * A[c, n]) * h[n] + w * B[b, g, t, n]
                h[n] = x
                out += x * C[b, g, t, n]
            y[b, c, t] = out + D[c] * u[b, c, t]


@njit(parallel=True, fastmath=MATHS, cache=True)
def _backward(  # type: ignore[no-untyped-def]  # pragma: no cover
    u, delta, A, B, C, D, bias, softplus, dy, state, du, ddelta, dA, dB, dC, dD, dbias
):
    batch, channels = u.shape[:2]
    groups, blocks = B.shape[1], dB.shape[2]
    width = channels // groups
    for task in prange(batch * groups * blocks):
        k = task % blocks
        g = task // blocks % groups
        b = task // blocks // groups
        first = g * width + k * BLOCK
        for c in range(first, min(first + BLOCK, (g + 1) * width)):
            _backward_channel(
                u[b, c], delta[b, c], A[c], B[b, g], C[b, g], D[c], bias[c], softplus, dy[b, c], state[b, c],
                du[b, c], ddelta[b, c], dA[b, c], dB[b, g, k], dC[b, g, k], dD[b, c : c + 1], dbias[b, c : c + 1],
            )  # fmt: skip


@njit(fastmath=MATHS, cache=True)
def _backward_channel(  # type: ignore[no-untyped-def]  # pragma: no cover
    u, delta, A, B, C, D, bias, softplus, dy, state, du, ddelta, dA, dB, dC, dD, dbias
):
    length, states = B.shape
    e = np.empty((CHUNK, states), np.float32)  # exp(d A)
    h = np.empty((CHUNK + 1, states), np.float32)  # states, from the one before the chunk on
    step = np.empty(CHUNK, np.float32)
    carry = np.zeros(states, np.float32)
    for chunk in range(state.shape[0] - 1, -1, -1):
        t0 = chunk * CHUNK
        steps = min(CHUNK, length - t0)
        h[0] = state[chunk]
        for t in range(steps):
            d = delta[t0 + t] + bias
            step[t] = d = _softplus(d) if softplus else d
            w = d * u[t0 + t]
            for n in range(states):
                e[t, n] = _exp(d * A[n])
                h[t + 1, n] = e[t, n] * h[t, n] + w * B[t0 + t, n]
        for t in range(steps - 1, -1, -1):
            at = t0 + t
            d, grad = step[t], dy[at]
            w = d * u[at]
            by_du, by_d = np.float32(0), np.float32(0)
            for n in range(states):
                x = carry[n] + grad * C[at, n]
                dC[at, n] += grad * h[t + 1, n]
                dB[at, n] += w * x
                by_du += x * B[at, n]
                x *= e[t, n]
                late = x * h[t, n]
                dA[n] += d * late
                by_d += late * A[n]
                carry[n] = x
            by_d += by_du * u[at]
            if softplus and delta[at] + bias <= np.float32(20):
                by_d /= np.float32(1) + np.float32(math.exp(-(delta[at] + bias)))
            du[at] = by_du * d + grad * D
            ddelta[at] = by_d
            dD[0] += grad * u[at]
            dbias[0] += by_d
