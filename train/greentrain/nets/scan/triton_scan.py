"""The fused scan in Triton, for GPUs; on the CPU in Triton's interpreter, for tests.

A chunk of T steps of one channel is a tile (N, T) that `associative_scan` runs through, in O(log T) steps of all lanes;
chunks follow each other. The forward pass keeps the state at the start of each chunk, the backward pass recomputes the
rest. A program of the backward pass takes a block of channels, so that sums over channels have a fixed order: results
do not change from run to run. Blelloch: Prefix sums and their applications (1990).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from greentrain.nets.scan.reference import ScanInputs

__all__ = ["triton_scan"]

TILE = 512
"""States times steps that one warp takes. On an H100 tiles of 512 in one warp took 0.5 to 0.8 of the time of 2048 in
four: a scan over the lanes of a warp needs no shared memory, and fewer live values let more programs run at once."""
BLOCK = 16
"""Channels of a program of the backward pass: more are slower on small batches, fewer take more memory."""


def triton_scan(inputs: ScanInputs) -> Tensor:
    """What `reference_scan` computes, in float32."""
    *tensors, softplus = inputs
    zeros = inputs.u.new_zeros(inputs.u.shape[1])
    given = (zeros if t is None else t.contiguous() for t in tensors)
    y: Tensor = _Scan.apply(*given, softplus)  # type: ignore[no-untyped-call]
    return y


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        u, _, A, B, *_ = inputs
        batch, channels, length = u.shape
        y, chunk = torch.empty_like(u), _chunk(length, A.shape[1])
        starts = u.new_empty(batch, channels, triton.cdiv(length, chunk), A.shape[1])
        _forward_kernel[(batch * channels,)](
            *inputs[:7], y, starts, channels, channels // B.shape[1], length, A.shape[1],
            SOFTPLUS=inputs[7], NP=triton.next_power_of_2(A.shape[1]), T=chunk, num_warps=_warps(chunk, A.shape[1]),
        )  # fmt: skip
        ctx.save_for_backward(*inputs[:7], starts)
        ctx.softplus = inputs[7]
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        u, delta, A, B, C, D, bias, starts = ctx.saved_tensors
        batch, channels, length = u.shape
        groups, states = B.shape[1:3]
        width, chunk = channels // groups, _chunk(length, states)
        blocks = triton.cdiv(width, BLOCK)
        du, ddelta = torch.empty_like(u), torch.empty_like(u)
        carry, dA = (u.new_zeros(batch, channels, states) for _ in range(2))
        dB, dC = (u.new_empty(batch, groups, blocks, states, length) for _ in range(2))
        dD, dbias = (u.new_zeros(batch, channels) for _ in range(2))
        _backward_kernel[(batch * groups * blocks,)](
            u, delta, A, B, C, D, bias, starts, grads[0].contiguous(), carry, du, ddelta, dA, dB, dC, dD, dbias,
            groups, blocks, width, length, states,
            SOFTPLUS=ctx.softplus, NP=triton.next_power_of_2(states), T=chunk, BLOCK=BLOCK,
            num_warps=_warps(chunk, states),
        )  # fmt: skip
        return du, ddelta, dA.sum(0), dB.sum(2), dC.sum(2), dD.sum(0), dbias.sum(0), None


def _chunk(length: int, states: int) -> int:
    """Steps of a chunk: a power of two, no longer than the scan needs."""
    most = min(128, max(32, TILE // triton.next_power_of_2(states)))
    return int(min(most, max(16, triton.next_power_of_2(length))))


def _warps(chunk: int, states: int) -> int:
    """Of a program, so that none has more than a `TILE` to itself, up to eight."""
    return int(min(8, max(1, chunk * triton.next_power_of_2(states) // TILE)))


@triton.jit
def _after(a1, b1, a2, b2):  # type: ignore[no-untyped-def]
    """x -> a1 x + b1, then x -> a2 x + b2."""
    return a1 * a2, a2 * b1 + b2


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]
    """As torch's, exact also where exp(x) vanishes beside 1 (Kahan's log1p)."""
    e = tl.exp(tl.minimum(x, 20.0))
    w = 1.0 + e
    log1p = tl.where(w == 1.0, e, tl.log(w) * (e / tl.where(w == 1.0, 1.0, w - 1.0)))
    return tl.where(x > 20.0, x, log1p)


@triton.jit  # type: ignore[untyped-decorator]
def _step_sizes(delta, bias, at, within, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Step sizes at these places, zero (so that the decay is 1) outside."""
    d = tl.load(delta + at, mask=within, other=0.0) + bias
    if SOFTPLUS:
        d = _softplus(d)
    return tl.where(within, d, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, bias, y, starts, channels, width, length, states,
    SOFTPLUS: tl.constexpr, NP: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)  # sample and channel
    channel = row % channels
    group = row // channels * (channels // width) + channel // width
    n, t = tl.arange(0, NP), tl.arange(0, T)
    real = n < states
    decay = tl.load(A + channel * states + n, mask=real, other=0.0)
    skip, shift = tl.load(D + channel), tl.load(bias + channel)
    h = tl.zeros((NP,), tl.float32)
    chunks = tl.cdiv(length, T)
    for chunk in range(chunks):
        at = chunk * T + t
        within = at < length
        tl.store(starts + (row * chunks + chunk) * states + n, h, mask=real)
        x = tl.load(u + row * length + at, mask=within, other=0.0)
        d = _step_sizes(delta + row * length, shift, at, within, SOFTPLUS)
        tile = (group * states + n[:, None]) * length + at[None, :]
        inside = real[:, None] & within[None, :]
        a = tl.exp(d[None, :] * decay[:, None])
        b = (d * x)[None, :] * tl.load(B + tile, mask=inside, other=0.0)
        a, b = tl.associative_scan((a, b), 1, _after)
        b += a * h[:, None]
        out = tl.sum(b * tl.load(C + tile, mask=inside, other=0.0), axis=0) + skip * x
        tl.store(y + row * length + at, out, mask=within)
        h = tl.sum(tl.where(t[None, :] == T - 1, b, 0.0), axis=1)  # steps past the end leave it as it is


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(  # type: ignore[no-untyped-def]
    u, delta, A, B, C, D, bias, starts, dy, carry, du, ddelta, dA, dB, dC, dD, dbias,
    groups, blocks, width, length, states,
    SOFTPLUS: tl.constexpr, NP: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64)  # sample, group and block of channels
    block, group = place % blocks, place // blocks
    n, t = tl.arange(0, NP), tl.arange(0, T)
    real = n < states
    chunks = tl.cdiv(length, T)
    for back in range(chunks):
        chunk = chunks - 1 - back
        at = chunk * T + t
        within = at < length
        tile = (group * states + n[:, None]) * length + at[None, :]
        inside = real[:, None] & within[None, :]
        before = inside & (t > 0)[None, :]
        Bt = tl.load(B + tile, mask=inside, other=0.0)
        Ct = tl.load(C + tile, mask=inside, other=0.0)
        B_before = tl.load(B + tile - 1, mask=before, other=0.0)
        sum_B = tl.zeros((NP, T), tl.float32)
        sum_C = tl.zeros((NP, T), tl.float32)
        for i in range(BLOCK):
            if block * BLOCK + i < width:
                channel = group % groups * width + block * BLOCK + i
                row = group // groups * groups * width + channel
                decay = tl.load(A + channel * states + n, mask=real, other=0.0)
                shift = tl.load(bias + channel)
                series = row * length
                x = tl.load(u + series + at, mask=within, other=0.0)
                grad = tl.load(dy + series + at, mask=within, other=0.0)
                d = _step_sizes(delta + series, shift, at, within, SOFTPLUS)

                # The state before each step: the same scan, one step late, from the state kept at the chunk's start.
                earlier = within & (t > 0)
                d_before = _step_sizes(delta + series, shift, at - 1, earlier, SOFTPLUS)
                x_before = tl.load(u + series + at - 1, mask=earlier, other=0.0)
                a = tl.exp(d_before[None, :] * decay[:, None])
                a, b = tl.associative_scan((a, (d_before * x_before)[None, :] * B_before), 1, _after)
                start = tl.load(starts + (row * chunks + chunk) * states + n, mask=real, other=0.0)
                h_before = a * start[:, None] + b

                # What reaches each state: from its own output, and from the next state, whose decay is the next step's.
                later = (at + 1 < length) & (t < T - 1)
                d_after = _step_sizes(delta + series, shift, at + 1, later, SOFTPLUS)
                a = tl.exp(d_after[None, :] * decay[:, None])
                a, g = tl.associative_scan((a, grad[None, :] * Ct), 1, _after, reverse=True)
                g += a * tl.load(carry + row * states + n, mask=real, other=0.0)[:, None]

                e = tl.exp(d[None, :] * decay[:, None])
                h = e * h_before + (d * x)[None, :] * Bt
                sum_C += grad[None, :] * h
                sum_B += (d * x)[None, :] * g
                through_exp = g * e * h_before
                by_input = tl.sum(g * Bt, axis=0)
                by_d = by_input * x + tl.sum(through_exp * decay[:, None], axis=0)
                if SOFTPLUS:
                    raw = tl.load(delta + series + at, mask=within, other=0.0) + shift
                    by_d = tl.where(raw > 20.0, by_d, by_d / (1.0 + tl.exp(-raw)))
                by_d = tl.where(within, by_d, 0.0)
                tl.store(du + series + at, by_input * d + grad * tl.load(D + channel), mask=within)
                tl.store(ddelta + series + at, by_d, mask=within)
                first = tl.where(t[None, :] == 0, g * e, 0.0)  # what the chunk before gets
                tl.store(carry + row * states + n, tl.sum(first, axis=1), mask=real)
                here = dA + row * states + n
                tl.store(here, tl.load(here, mask=real) + tl.sum(d[None, :] * through_exp, axis=1), mask=real)
                tl.store(dD + row, tl.load(dD + row) + tl.sum(grad * x, axis=0))
                tl.store(dbias + row, tl.load(dbias + row) + tl.sum(by_d, axis=0))
        out = (place * states + n[:, None]) * length + at[None, :]
        tl.store(dB + out, sum_B, mask=inside)
        tl.store(dC + out, sum_C, mask=inside)
        tl.debug_barrier()  # sums and `carry` are read again at the next chunk, by other threads than wrote them
